"""Looks at what asks to be looked at: annotated workloads, and reports of vulnerabilities.

The operator sees which workloads carry an annotation; all else it reads as the responder of their namespace.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from incident_operator.api import names
from incident_operator.cluster.port import Cluster, Reader
from incident_operator.cluster.resources import resource
from incident_operator.cluster.scope import list_within
from incident_operator.faults import Fault, Waiting
from incident_operator.operator.polling import Intake, take_each
from incident_operator.planning.plan import Manifest
from incident_operator.signals import trivy, workloads
from incident_operator.signals.signal import BadSignal, Notification, Signal

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.scouts")

KINDS = ("Deployment", "StatefulSet", "DaemonSet")
ANNOTATIONS = (names.ON_ROLLOUT_FAILURE, names.ON_CRASHLOOP)
REPORT = "VulnerabilityReport"
AT_ONCE = 8


class Scouts:
    """Looks again and again."""

    def __init__(
        self,
        cluster: Cluster,
        intake: Intake,
        *,
        every: timedelta,
        clock: Callable[[], datetime],
        recall: Callable[[], Awaitable[Sequence[Signal]]],
        namespaces: Sequence[str] = (),
        trivy_threshold: str | None = None,
    ) -> None:
        """Know nothing yet; ``recall`` tells what fires as far as was told before."""
        self._cluster = cluster
        self._intake = intake
        self._every = every
        self._clock = clock
        self._namespaces = namespaces
        self._threshold = trivy_threshold
        self._recall = recall
        self._told: dict[str, Signal] | None = None
        """What fires as far as was told, by fingerprint; None: not recalled yet."""
        self._troubles: set[str] = set()
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Look for ever; what fails is logged once, and tried again the next time."""
        while True:
            try:
                await self.look()
            except Fault as fault:
                self._trouble("all", fault.message)
            except Exception:  # what one object says must not end the operator
                log.exception("Could not look at annotated workloads")
            else:
                self._troubles.discard("all")
            await asyncio.sleep(self._every.total_seconds())

    async def look(self) -> None:
        """Look once, and tell what is new and what is over; raises the first fault if not all of it could be done."""
        if self._told is None:
            # What ends while nobody looks has ended all the same: its Incident must not wait for it for ever.
            self._told = {each.fingerprint: each for each in await self._recall()}
        told = self._told
        found, unseen = await self._workloads()
        reports, are_reports_seen = await self._reports_seen()
        firing = {each.fingerprint: each for each in (*found, *reports)}
        # Of a namespace that could not be looked at nothing is known, so nothing of it is over.
        over = [
            dataclasses.replace(each, ends_at=self._clock())
            for print_, each in told.items()
            if print_ not in firing and each.labels.get("namespace") not in unseen and each.source == "Workload"
        ]
        new = [each for print_, each in firing.items() if not _is_known(each, told.get(print_))]
        taken, cannot = await take_each(self._intake, Notification((*new, *over)))
        # What could not be told is told the next time: until then what was told before counts.
        owed = {each.fingerprint for each in (*new, *over)} - {each.fingerprint for each in taken}
        kept = {
            print_: each
            for print_, each in told.items()
            if each.labels.get("namespace") in unseen
            or (each.source == "Trivy" and not are_reports_seen)
            or print_ in owed
        }
        self._told = kept | {print_: each for print_, each in firing.items() if print_ not in owed}
        for fault in cannot:
            raise fault

    async def _workloads(self) -> tuple[list[Signal], set[str]]:
        """What annotated workloads tell, and the namespaces that could not be looked at."""
        listed = await asyncio.gather(*(self._annotated(kind) for kind in KINDS))
        by_place: dict[str, list[tuple[str, str]]] = {}
        for each in (each for found in listed for each in found):
            by_place.setdefault(each["metadata"]["namespace"], []).append((each["kind"], each["metadata"]["name"]))
        unseen: set[str] = set()

        async def one(namespace: str, wanted: Sequence[tuple[str, str]]) -> list[Signal]:
            try:
                async with self._room:
                    return await self._of(namespace, wanted)
            except Waiting:
                raise
            except Fault as fault:
                unseen.add(namespace)
                self._trouble(namespace, fault.message)
                return []

        found = await asyncio.gather(*(one(*each) for each in by_place.items()))
        return [signal for each in found for signal in each], unseen

    async def _annotated(self, kind: str) -> list[Manifest]:
        """The workloads of a kind with one of the annotations; of all others only metadata is seen."""
        found = await list_within(self._cluster, self._namespaces, kind, metadata_only=True)
        asks = [each for each in found if set(ANNOTATIONS) & set(each["metadata"].get("annotations") or {})]
        return [{**each, "kind": kind} for each in asks]

    async def _of(self, namespace: str, wanted: Sequence[tuple[str, str]]) -> list[Signal]:
        """What the annotated workloads of a namespace tell, read as its responder."""
        hands = self._cluster.acting_as(namespace, names.RESPONDER)
        found: list[Signal | None] = []
        for kind, name in wanted:
            workload = await hands.find(kind, namespace, name)
            if workload is None:
                continue
            found.append(workloads.rollout_failed(workload))
            if names.ON_CRASHLOOP in (workload["metadata"].get("annotations") or {}):
                found.append(workloads.crash_looping(workload, await _pods(hands, workload), self._clock()))
        self._troubles.discard(namespace)
        return [each for each in found if each is not None]

    async def _reports_seen(self) -> tuple[list[Signal], bool]:
        """What reports tell, and whether they could be looked at: that they could not keeps no workload from help."""
        try:
            found = await self._reports()
        except Fault as fault:
            self._trouble("reports", fault.message, said="Could not look at reports of vulnerabilities")
            return [], False
        self._troubles.discard("reports")
        return found, True

    async def _reports(self) -> list[Signal]:
        """What Trivy Operator's reports tell, where it is there and a threshold is configured."""
        if self._threshold is None or resource(REPORT).group not in await self._cluster.groups():
            return []
        found = await list_within(self._cluster, self._namespaces, REPORT)
        made = []
        for each in found:
            try:
                made.append(trivy.read(each, self._threshold))
            except BadSignal as error:
                self._trouble(f"{each['metadata'].get('namespace')}/{each['metadata']['name']}", str(error))
        return [each for each in made if each is not None]

    def _trouble(self, where: str, why: str, said: str = "Could not look at annotated workloads") -> None:
        """Log what could not be seen, once until it can."""
        if where not in self._troubles:
            self._troubles.add(where)
            log.warning(said, namespace=where, cause=why)


def _is_known(signal: Signal, told: Signal | None) -> bool:
    """Whether it was told before, whatever its words are now."""
    return told is not None and told.starts_at == signal.starts_at


async def _pods(hands: Reader, workload: Manifest) -> Sequence[Manifest]:
    """The pods that a workload selects."""
    selector = workload["spec"].get("selector")
    if not selector:
        return ()
    return await hands.list("Pod", workload["metadata"]["namespace"], selector)
