"""podsReady: the targets' pods are ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from incident_operator.checks.contract import unknown_on_fault
from incident_operator.cluster.port import Reader
from incident_operator.planning import rollouts
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule


class PodsReady:
    """Implements ``Check``."""

    name: ClassVar[str] = "podsReady"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "find the pods of a workload"),
        Rule("", ("pods",), ("get", "list"), "see whether pods are ready"),
    )

    @unknown_on_fault
    async def look(self, reader: Reader, namespace: str, targets: tuple[Ref, ...], params: Mapping[str, Any]) -> Finding:
        """Pass when all pods, or at least ``minimum`` of them, are ready; no pod at all is Unknown."""
        del namespace
        pods: dict[str, Manifest] = {}
        for target in targets:
            for pod in await _pods(reader, target):
                pods[pod["metadata"]["uid"]] = pod
        living = [pod for pod in pods.values() if (pod.get("status") or {}).get("phase") != "Succeeded"]
        ready = sum(rollouts.is_ready(pod) for pod in living)
        wanted = int(params.get("minimum") or len(living))
        if not living and "minimum" not in params:
            return Finding(Verdict.UNKNOWN, "there are no pods to look at")
        why = rollouts.trouble(living)
        message = f"{ready} of {len(living)} pods are ready, {wanted} wanted" + (f" ({why})" if why else "")
        return Finding(Verdict.PASS if ready >= wanted else Verdict.FAIL, message)


async def _pods(reader: Reader, target: Ref) -> Sequence[Manifest]:
    found = await reader.get(target.kind, target.namespace, target.name)
    if target.kind == "Pod":
        return (found,)
    return await reader.list("Pod", target.namespace, found["spec"]["selector"])
