"""rollout: the targets' rollouts are finished."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from incident_operator.checks.contract import unknown_on_fault
from incident_operator.cluster.port import Reader
from incident_operator.planning import rollouts
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule


class Rollout:
    """Implements ``Check``; targets that are pods have no rollout and must be ready."""

    name: ClassVar[str] = "rollout"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "see how far a rollout is"),
        Rule("", ("pods",), ("get",), "see whether a single pod is ready"),
    )

    @unknown_on_fault
    async def look(self, reader: Reader, namespace: str, targets: tuple[Ref, ...], params: Mapping[str, Any]) -> Finding:
        """Pass when every rollout is finished; Fail says which is not, and how far it is."""
        del namespace, params
        words = []
        for target in targets:
            found = await reader.get(target.kind, target.namespace, target.name)
            name = f"{target.kind}/{target.name}"
            if target.kind == "Pod":
                if not rollouts.is_ready(found):
                    return Finding(Verdict.FAIL, f"{name} is not ready")
                words.append(f"{name} is ready")
                continue
            progress = rollouts.progress(found)
            if progress.state != "Done":
                return Finding(Verdict.FAIL, f"{name}: {progress.message}")
            words.append(f"{name}: {progress.message}")
        return Finding(Verdict.PASS, "; ".join(words))
