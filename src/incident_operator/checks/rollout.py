"""``rollout``: the targets' rollouts are finished, by the rules of ``kubectl rollout status``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.checks.seeing import overall, unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import assess, troubles
from incident_operator.planning.selectors import pods_of

KINDS = ("Deployment", "StatefulSet", "DaemonSet")


class Rollout:
    """Every replica of the targets is new and available."""

    name: ClassVar[str] = "rollout"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "read how far the rollout is"),
        Rule("", ("pods",), ("list",), "say why it is not further"),
    )
    asks: ClassVar[tuple[Rule, ...]] = ()

    async def look(
        self,
        reader: Reader,
        namespace: str,  # noqa: ARG002 - part of the contract
        targets: tuple[Ref, ...],
        params: Mapping[str, Any],  # noqa: ARG002 - part of the contract
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
    ) -> Finding:
        """Pass when all are done; a rollout on its way fails until it is."""
        return overall(await asyncio.gather(*(self._one(reader, target) for target in targets)))

    async def _one(self, reader: Reader, target: Ref) -> Finding:
        if target.kind not in KINDS:
            return unknown(f"{target}: rollout looks at {', '.join(KINDS)}; give the check targets of those kinds")
        try:
            workload = await reader.get(target.kind, target.namespace, target.name)
            progress = assess(workload)
            if progress.state == "Done":
                return Finding(Verdict.PASS, f"{target.name}: {progress.message}")
            selector = workload["spec"].get("selector") or {}
            pods = pods_of(workload, await reader.list("Pod", target.namespace, selector))
        except Fault as fault:
            return unseen(fault)
        return Finding(Verdict.FAIL, f"{target.name}: {progress.message}{troubles(pods)}")
