"""Whether an isolation holds, by trying to connect.

NetworkPolicies have no status, and without a network plugin that implements them they do
nothing, without an error (kubernetes.io, "Network Policies").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from incident_operator.cluster.port import Reader
from incident_operator.planning.containers import containers_of, statuses_of
from incident_operator.planning.plan import Json, Manifest, Settlement, failed, pending, settled
from incident_operator.planning.rollouts import is_ready

GRACE = timedelta(seconds=5)
"""How long a network plugin may take; Cilium was measured at 0.2 s."""
TIMEOUT_SECONDS = 1.0
WORST = ("Partial", "Unverified", "Full")


async def first(reader: Reader, pods: Iterable[Manifest]) -> Json:
    """Try the first ready pod with a TCP port, before it is isolated; what was tried goes on record."""
    ready = [pod for pod in pods if is_ready(pod) and (pod.get("status") or {}).get("podIP")]
    if not ready:
        return {"why": "no pod was ready"}
    found = next(((pod, each) for pod in ready if (each := _port(pod)) is not None), None)
    if found is None:
        return {"why": "no container declares a TCP port"}
    pod, (container, port) = found
    address = pod["status"]["podIP"]
    reachable = await reader.connects(address, port, timeout_seconds=TIMEOUT_SECONDS)
    if reachable is None:
        return {"why": "the operator does not run in a pod, so no connection of its own would prove anything"}
    return {
        "pod": pod["metadata"]["name"],
        "uid": pod["metadata"]["uid"],
        "container": container,
        "address": address,
        "port": port,
        "reachable": reachable,
        "why": "" if reachable else f"{address}:{port} could not be reached before, either",
    }


def _port(pod: Manifest) -> tuple[str, int] | None:
    """The first TCP port that a container declares."""
    for container in containers_of(pod["spec"]):
        for each in container.get("ports") or ():
            if each.get("protocol", "TCP") == "TCP":
                return container["name"], each["containerPort"]
    return None


async def again(
    reader: Reader, probe: Mapping[str, Any], pods: Sequence[Manifest], *, made: datetime, now: datetime
) -> Settlement:
    """Try the same again: Full if it no longer connects, NotEnforced if it still does, else Unverified."""
    if not probe.get("reachable"):
        return unverified(probe.get("why") or "no connection was tried before")
    pod = next((each for each in pods if each["metadata"]["uid"] == probe["uid"]), None)
    if pod is None:
        return unverified(f"pod {probe['pod']}, which was tried before, is gone")
    where = f"{probe['address']}:{probe['port']} of pod {probe['pod']}"
    if await reader.connects(probe["address"], probe["port"], timeout_seconds=TIMEOUT_SECONDS):
        if now - made < GRACE:
            return pending(f"{where} can still be reached")
        return failed(
            "NotEnforced",
            f"the NetworkPolicy is there, but {where} can still be reached: the cluster's network plugin does not "
            "enforce it; scale the workload to 0, or cordon the node and delete the pod",
            {"isolation": "NotEnforced"},
        )
    if not _runs(pod, probe["container"]):
        return unverified(f"{where} cannot be reached, but its container does not run, either")
    return settled(f"isolated: {where} could be reached before, and cannot now", {"isolation": "Full"})


def unverified(why: str) -> Settlement:
    """The policy is there; whether it does anything could not be seen."""
    return settled(
        f"the NetworkPolicy is there, whether it is enforced could not be seen: {why}", {"isolation": "Unverified"}
    )


def _runs(pod: Manifest, container: str) -> bool:
    """Whether a container runs: one that crashed does not answer, isolated or not."""
    return any(each["name"] == container and "running" in (each.get("state") or {}) for each in statuses_of(pod))
