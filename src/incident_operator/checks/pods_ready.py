"""``podsReady``: the targets' pods are ready, and none of those counted has just restarted.

Of a CloudNativePG ``Cluster`` its operator tells more than its pods do: it is ready when that calls it healthy
(cloudnative-pg ``api/v1/cluster_types.go``, ``PhaseHealthy``) and as many instances as asked for are.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from incident_operator.checks.seeing import overall, unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.containers import statuses_of
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import is_ready, parsed, replicas_of, troubles
from incident_operator.planning.selectors import is_finished, is_leaving, pods_of

CLUSTER = "Cluster"
HEALTHY = "Cluster in healthy state"
STEADY = timedelta(seconds=30)
"""A container that was restarted less long ago than this may be in a crash loop, ready between two crashes."""


@dataclasses.dataclass(frozen=True, slots=True)
class Group:
    """The pods of one target, and how many it asks for."""

    target: Ref
    pods: tuple[Manifest, ...]
    wanted: int
    ready: int = 0
    """How many are ready as its own operator counts them."""
    unwell: str = ""
    """What its own operator says against it; empty: nothing."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class PodsReady:
    """As many pods as asked for are ready and steady; ``minimum`` says how many are enough."""

    name: ClassVar[str] = "podsReady"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "read how many pods there are to be"),
        Rule("", ("pods",), ("get", "list"), "read whether they are ready"),
        Rule("postgresql.cnpg.io", ("clusters",), ("get",), "read whether a database is healthy, where it is there"),
    )
    asks: ClassVar[tuple[Rule, ...]] = ()

    clock: Callable[[], datetime] = _now

    async def look(
        self,
        reader: Reader,
        namespace: str,  # noqa: ARG002 - part of the contract
        targets: tuple[Ref, ...],
        params: Mapping[str, Any],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
    ) -> Finding:
        """Pass when enough pods are ready; by default as many as the targets ask for, and every one that is there."""
        minimum = params.get("minimum")
        if minimum is not None and (isinstance(minimum, bool) or not isinstance(minimum, int) or minimum < 1):
            return unknown(f"minimum must be a whole number of at least 1, not {minimum!r}")
        if not targets:
            return unknown("there is nothing to look at: give the check targets")
        try:
            groups = await asyncio.gather(*(_group(reader, target) for target in targets))
        except Fault as fault:
            return unseen(fault)
        found = _each(groups, self.clock()) if minimum is None else _together(groups, minimum, self.clock())
        unwell = "; ".join(group.unwell for group in groups if group.unwell)
        return Finding(Verdict.FAIL, f"{unwell}; {found.message}") if unwell else found


async def _group(reader: Reader, target: Ref) -> Group:
    """A target's pods; those that run to their end or are being deleted do not count."""
    thing = await reader.get(target.kind, target.namespace, target.name)
    if target.kind == "Pod":
        return Group(target, () if is_finished(thing) or is_leaving(thing) else (thing,), 1)
    if target.kind == CLUSTER:
        ready = (thing.get("status") or {}).get("readyInstances") or 0
        return Group(target, (), thing["spec"].get("instances") or 1, ready, _unwell(thing))
    if target.kind == "DaemonSet":
        wanted = (thing.get("status") or {}).get("desiredNumberScheduled") or 0
    else:
        wanted = replicas_of(thing["spec"])
    found = pods_of(thing, await reader.list("Pod", target.namespace, thing["spec"].get("selector") or {}))
    return Group(target, tuple(pod for pod in found if not is_leaving(pod)), wanted)


def _unwell(cluster: Manifest) -> str:
    """What CloudNativePG says against a Cluster; empty: it is healthy."""
    status = cluster.get("status") or {}
    phase = status.get("phase") or "no phase yet"
    why = f" ({status['phaseReason']})" if status.get("phaseReason") else ""
    return "" if phase == HEALTHY else f"Cluster {cluster['metadata']['name']}: {phase}{why}"


def _together(groups: Sequence[Group], minimum: int, now: datetime) -> Finding:
    """As many as are enough, whosever they are; a pod of two targets counts once."""
    pods = {pod["metadata"]["uid"]: pod for group in groups for pod in group.pods}
    return _judge(list(pods.values()), minimum, sum(group.ready for group in groups), now)


def _each(groups: Sequence[Group], now: datetime) -> Finding:
    """Every target by itself, for a pod too many of one is none of another; one that wants none has what it wants."""
    due = [(group, max(group.wanted, len(group.pods))) for group in groups]
    found = [(group.target, _judge(group.pods, enough, group.ready, now)) for group, enough in due if enough]
    if not found:
        return _judge((), 1, 0, now)
    if len(found) == 1:
        return found[0][1]
    named = ((f"{target.kind} {target.name}: ", each) for target, each in found)
    return overall(Finding(each.verdict, name + each.message) for name, each in named)


def _judge(pods: Sequence[Manifest], enough: int, counted: int, now: datetime) -> Finding:
    """What the pods say, with those ``counted`` as ready by another operator."""
    ready = [pod for pod in pods if is_ready(pod)]
    restarted = [pod["metadata"]["name"] for pod in ready if just_restarted(pod, now)]
    good = len(ready) - len(restarted) + counted
    if good >= enough:
        return Finding(Verdict.PASS, f"{good} pods are ready, {enough} are enough")
    why = f"; restarted within the last {STEADY.seconds} s: {', '.join(sorted(restarted))}" if restarted else ""
    return Finding(Verdict.FAIL, f"{good} of {enough} pods are ready and steady{why}{troubles(pods)}")


def just_restarted(pod: Manifest, now: datetime) -> bool:
    """Whether a container of the pod was restarted within the last half minute."""
    for each in statuses_of(pod):
        started = parsed(((each.get("state") or {}).get("running") or {}).get("startedAt"))
        if each.get("restartCount") and (started is None or now - started < STEADY):
            return True
    return False
