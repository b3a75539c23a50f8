"""Marks revisions that proved good, so that an Incident knows which one to go back to.

Kubernetes keeps no memory of it. Only where a namespace or a workload opted in, and only on
ReplicaSets and ControllerRevisions: never on an object that Git manages.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import structlog

from incident_operator.api import names
from incident_operator.cluster.port import Cluster
from incident_operator.cluster.scope import list_within
from incident_operator.engine.claims import OPEN
from incident_operator.faults import Conflict, Fault, NotFound, Waiting
from incident_operator.operator.relist import is_open
from incident_operator.planning.plan import Manifest, Ref, Request
from incident_operator.planning.revisions import Revision, current_of, of_controller_revisions, of_replica_sets
from incident_operator.planning.rollouts import assess, parsed
from incident_operator.planning.selectors import labels_of
from incident_operator.telemetry.metrics import Metrics

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.marks")

KINDS = ("Deployment", "StatefulSet", "DaemonSet")
OPTED_IN = f"{names.MARK_REVISIONS}=true"
MOST_EVERY = timedelta(seconds=30)
LEAST_EVERY = timedelta(milliseconds=500)


def is_good(
    workload: Manifest, revision: Revision, *, now: datetime, since: datetime, verified_after: timedelta,
    has_open_incident: bool,
) -> bool:  # fmt: skip
    """Whether a workload's current revision has proved good: all of it available, for long enough, with no Incident.

    A workload that runs no pods proves nothing.
    """
    if has_open_incident or revision.verified_at or not is_running_whole(workload):
        return False
    return now - since >= verified_after


def is_running_whole(workload: Manifest) -> bool:
    """Whether every pod of a workload is of its current revision, and available; and there are some."""
    status = workload.get("status") or {}
    match workload["kind"]:
        case "Deployment":
            pods, is_one = status.get("availableReplicas") or 0, not workload["spec"].get("paused")
        case "StatefulSet":
            pods, is_one = (
                status.get("availableReplicas") or 0,
                status.get("currentRevision") == status.get("updateRevision"),
            )
        case _:
            pods, is_one = status.get("numberAvailable") or 0, True
    wanted = status.get("replicas", status.get("desiredNumberScheduled")) or 0
    return pods > 0 and pods == wanted and bool(is_one) and assess(workload).state == "Done"


def complete_since(workload: Manifest) -> datetime | None:
    """Since when a Deployment says that its rollout is complete and available; the other kinds do not say."""
    found = {condition["type"]: condition for condition in (workload.get("status") or {}).get("conditions") or ()}
    available, progressing = found.get("Available"), found.get("Progressing")
    if not available or not progressing or progressing.get("reason") != "NewReplicaSetAvailable":
        return None
    times = [parsed(available.get("lastTransitionTime")), parsed(progressing.get("lastUpdateTime"))]
    known = [time for time in times if time is not None]
    return max(known) if len(known) == len(times) else None


def targeted(incidents: Iterable[Manifest]) -> frozenset[tuple[str, str, str]]:
    """(kind, namespace, name) of everything that an open Incident names as a target, of itself or of a step."""
    found = set()
    for incident in filter(is_open, incidents):
        spec, namespace = incident.get("spec") or {}, incident["metadata"]["namespace"]
        steps = [*(spec.get("containment") or ()), *(spec.get("remediation") or ())]
        for part in (spec, *steps):
            found |= {(target["kind"], namespace, target["name"]) for target in part.get("targets") or ()}
    return frozenset(found)


@dataclasses.dataclass(slots=True)
class _Seen:
    """What was seen of a workload from look to look."""

    generation: int = -1
    since: datetime | None = None
    was_bad: bool = False
    """It was incomplete or had an Incident while we looked: what its conditions say of before does not count."""
    is_marked: bool = False
    said: str = ""
    """Why it could not be marked, as it was logged last."""


class Marker:
    """Looks at the workloads that opted in, and marks."""

    def __init__(
        self,
        cluster: Cluster,
        metrics: Metrics,
        *,
        verified_after: timedelta,
        clock: Callable[[], datetime],
        namespaces: Sequence[str] = (),
    ) -> None:
        """Remember nothing yet; no namespaces: all of them."""
        self._cluster = cluster
        self._metrics = metrics
        self._verified_after = verified_after
        self._clock = clock
        self._namespaces = namespaces
        self._seen: dict[str, _Seen] = {}

    async def run(self) -> None:
        """Look for ever."""
        every = max(min(MOST_EVERY, self._verified_after / 2), LEAST_EVERY)
        said = ""
        while True:
            try:
                await self.once()
                said = ""
            except Fault as fault:
                if fault.message != said:
                    log.warning("Could not look for good revisions", cause=fault.message)
                said = fault.message
            await asyncio.sleep(every.total_seconds())

    async def once(self) -> None:
        """One look at everything that opted in."""
        workloads = await self._workloads()
        uids = {workload["metadata"]["uid"] for workload in workloads}
        self._seen = {uid: seen for uid, seen in self._seen.items() if uid in uids}
        if not workloads:
            return
        busy = targeted(await list_within(self._cluster, self._namespaces, "Incident", field_selector=OPEN))
        for workload in workloads:
            meta = workload["metadata"]
            is_busy = (workload["kind"], meta["namespace"], meta["name"]) in busy
            if self._is_due(workload, is_busy=is_busy):
                await self._try(workload, is_busy=is_busy)

    async def _workloads(self) -> list[Manifest]:
        """Every workload that opted in, by its own label or by that of its namespace."""
        found: dict[str, Manifest] = {}
        opted = await self._opted_namespaces()
        for kind in KINDS:
            lists = [await self._cluster.list(kind, namespace) for namespace in opted]
            lists.append(await list_within(self._cluster, self._namespaces, kind, label_selector=OPTED_IN))
            for workload in (each for some in lists for each in some):
                if labels_of(workload).get(names.MARK_REVISIONS, "true") == "true":
                    found[workload["metadata"]["uid"]] = workload
        return list(found.values())

    async def _opted_namespaces(self) -> list[str]:
        if not self._namespaces:
            listed = await self._cluster.list_all("Namespace", label_selector=OPTED_IN)
            return [namespace["metadata"]["name"] for namespace in listed]
        opted = []
        for name in self._namespaces:
            try:
                namespace = await self._cluster.find("Namespace", "", name)
            except Fault as fault:  # an operator of some namespaces need not be allowed to read them
                log.debug("Could not read the Namespace", namespace=name, cause=fault.message)
                continue
            if namespace is not None and labels_of(namespace).get(names.MARK_REVISIONS) == "true":
                opted.append(name)
        return opted

    def _is_due(self, workload: Manifest, *, is_busy: bool) -> bool:
        """Whether its revisions are worth reading: it has been whole for long enough, and is not marked yet."""
        now = self._clock()
        seen = self._seen.setdefault(workload["metadata"]["uid"], _Seen())
        generation = workload["metadata"].get("generation") or 0
        if is_busy or not is_running_whole(workload):
            seen.since, seen.was_bad = None, True
            return False
        if seen.generation != generation:
            seen.generation, seen.since, seen.is_marked = generation, None, False
        if seen.since is None:
            said = None if seen.was_bad else complete_since(workload)
            seen.since = said or now
        return not seen.is_marked and now - seen.since >= self._verified_after

    async def _try(self, workload: Manifest, *, is_busy: bool) -> None:
        """Consider one workload; what keeps it alone from being marked is said once, and keeps no other from it.

        Waiting is raised: with the API server away it is the same for all.
        """
        meta, seen = workload["metadata"], self._seen[workload["metadata"]["uid"]]
        try:
            await self._consider(workload, is_busy=is_busy)
            seen.said = ""
        except Waiting:
            raise
        except Fault as fault:
            if fault.message != seen.said:
                named = f"{workload['kind']} {meta['namespace']}/{meta['name']}"
                log.warning("Could not mark the revision", workload=named, cause=fault.message)
            seen.said = fault.message

    async def _consider(self, workload: Manifest, *, is_busy: bool) -> None:
        """Read the revisions of one workload, and mark the current one if it proved good."""
        meta, seen = workload["metadata"], self._seen[workload["metadata"]["uid"]]
        try:
            kind, raw = await self._revisions(workload)
            read = (
                of_replica_sets(workload, raw) if kind == "ReplicaSet" else of_controller_revisions(workload, raw, ())
            )
            revision, now = current_of(workload, read), self._clock()
            if revision is None or seen.since is None:
                return
            if is_good(
                workload, revision, now=now, since=seen.since, verified_after=self._verified_after,
                has_open_incident=is_busy,
            ):  # fmt: skip
                uid = next(each["metadata"]["uid"] for each in raw if each["metadata"]["name"] == revision.name)
                await self._mark(Ref(kind, revision.name, meta["namespace"], uid), now)
            seen.is_marked = True
        except (Conflict, NotFound) as fault:  # it has changed since: the next look sees how
            log.debug("Could not mark the revision", cause=fault.message)

    async def _revisions(self, workload: Manifest) -> tuple[str, Sequence[Manifest]]:
        kind = "ReplicaSet" if workload["kind"] == "Deployment" else "ControllerRevision"
        selector = workload["spec"].get("selector")
        return kind, await self._cluster.list(kind, workload["metadata"]["namespace"], selector)

    async def _mark(self, ref: Ref, now: datetime) -> None:
        """Write the annotation, on the object of that UID and no other."""
        metadata = {"uid": ref.uid, "annotations": {names.VERIFIED_AT: f"{now:%Y-%m-%dT%H:%M:%SZ}"}}
        await self._cluster.send(Request("patch", ref, {"metadata": metadata}, "application/merge-patch+json"))
        self._metrics.revision_marked(ref.kind)
        log.info("Marked the revision as good", revision=str(ref))
