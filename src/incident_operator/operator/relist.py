"""Lists all open Incidents every now and then, so that no fault of a watch can lose one for longer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from incident_operator.api import names
from incident_operator.cluster.port import Cluster
from incident_operator.cluster.scope import list_within
from incident_operator.engine.claims import CLOSED, OPEN
from incident_operator.engine.keys import Key
from incident_operator.faults import Fault, Waiting
from incident_operator.operator import memory
from incident_operator.operator.queue import WorkQueue, urgency_of
from incident_operator.planning.plan import Manifest
from incident_operator.telemetry.metrics import Metrics

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.relist")

WHOLE_EVERY, WHOLE_FIRST = 20, 2
"""How often closed Incidents are looked through, too: one that is being deleted waits for our finalizer."""
FIRST_SECONDS = 0.5
FRESH_SECONDS = 5.0
"""A list that is no older need not be made again before a watch begins."""
HELD = ("Intended", "Done")
STALE = timedelta(days=2)
"""An Incident that is open for longer has been forgotten (node-healthcheck-operator has the same idea)."""


class Relist:
    """The periodic list, and when it last went well."""

    def __init__(
        self,
        cluster: Cluster,
        queue: WorkQueue,
        metrics: Metrics,
        *,
        every: timedelta,
        namespaces: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        is_due: Callable[[Manifest], bool] = lambda _: False,
    ) -> None:
        """Do not begin yet; no namespaces: all of them. ``is_due`` tells of clocks of those that are at rest."""
        self._is_due = is_due
        self._cluster = cluster
        self._queue = queue
        self._metrics = metrics
        self._every = every
        self._namespaces = namespaces
        self._clock = clock
        self._begun = clock()
        self._succeeded: float | None = None
        self._rounds = 0
        self.trouble = "no list of Incidents has been asked for yet"

    def age_seconds(self) -> float:
        """How long ago the last list succeeded; as long as none has, since the beginning."""
        return self._clock() - (self._begun if self._succeeded is None else self._succeeded)

    @property
    def has_succeeded(self) -> bool:
        """Whether any list has succeeded yet."""
        return self._succeeded is not None

    async def ready(self) -> None:
        """Raises Waiting as long as no list has succeeded: then there is no CRD, or nobody to ask."""
        if self._succeeded is None:
            raise Waiting("NotListed", self.trouble)

    async def fresh(self) -> None:
        """List, unless that was done a moment ago; raises the fault if they cannot be listed."""
        if self._succeeded is None or self.age_seconds() > FRESH_SECONDS:
            await self.once()

    async def once(self) -> None:
        """List the open Incidents and put them on the queue; raises the fault if they cannot be listed."""
        try:
            found = await self._list()
        except Fault as fault:
            self.trouble = fault.message
            self._metrics.relisted("failure")
            raise
        self._rounds += 1
        self._succeeded, self.trouble = self._clock(), ""
        self._metrics.relisted("success")
        still_open = [incident for incident in found if is_open(incident)]
        self._metrics.census(_labels(incident) for incident in still_open)
        self._metrics.overdue(each for incident in still_open for each in _overdue(incident))
        old = f"{datetime.now(UTC) - STALE:%Y-%m-%dT%H:%M:%SZ}"
        self._metrics.stale(sum(each["metadata"].get("creationTimestamp", old) < old for each in still_open))
        for incident in sorted(found, key=urgency_of):
            if may_need_work(incident) or (is_open(incident) and self._is_due(incident)):
                self._queue.put(key_of(incident), urgency=urgency_of(incident))

    async def _list(self) -> Sequence[Manifest]:
        is_whole = self._rounds % WHOLE_EVERY == WHOLE_FIRST
        found = await list_within(self._cluster, self._namespaces, "Incident", field_selector=OPEN)
        if is_whole:
            everything = await list_within(self._cluster, self._namespaces, "Incident", metadata_only=True)
            found += (each for each in everything if each["metadata"].get("deletionTimestamp"))
        return found

    async def run(self) -> None:
        """List for ever; what fails is tried again soon, and less and less soon."""
        backoff = FIRST_SECONDS
        while True:
            try:
                await self.once()
                backoff, wait = FIRST_SECONDS, self._every.total_seconds()
                if self._rounds > 1 and not self._queue.is_pressed():
                    memory.give_back()
            except Fault as fault:
                wait = backoff
                backoff = min(backoff * 2, self._every.total_seconds())
                log.warning("Could not list the Incidents", cause=fault.message, after_seconds=wait)
            await asyncio.sleep(wait)


def key_of(incident: Mapping[str, Any]) -> Key:
    """The key of a raw Incident."""
    return Key(incident["metadata"]["namespace"], incident["metadata"]["name"])


def is_open(incident: Mapping[str, Any]) -> bool:
    """Whether it has not come to its end yet."""
    return (incident.get("status") or {}).get("phase", "") not in CLOSED


def may_need_work(incident: Mapping[str, Any]) -> bool:
    """Whether a worker has to look: not at those that have come to rest, of which there may be thousands."""
    metadata, status = incident["metadata"], incident.get("status") or {}
    is_seen = status.get("observedGeneration") == metadata.get("generation")
    if metadata.get("deletionTimestamp") or not is_seen:
        return True
    if not is_open(incident):
        return False
    asked = (metadata.get("annotations") or {}).get(names.REQUESTED_AT, "")
    return asked not in ("", status.get("lastHandledRequest", "")) or not _has_come_to_rest(incident, status)


def _has_come_to_rest(incident: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether it is held, planned or stopped for a person, and nothing of it expires by itself."""
    conditions = status.get("conditions") or ()
    is_quiet = any(each["type"] in ("Ready", "Stalled") and each["status"] == "True" for each in conditions)
    is_paused = any(each["type"] == "Paused" for each in conditions)
    wants_pause = bool((incident.get("spec") or {}).get("suspend"))
    expires = any(each.get("expiresAt") and each["state"] in HELD for each in status.get("ledger") or ())
    return is_quiet and is_paused == wants_pause and not expires


def _overdue(incident: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The clocks of an Incident that are overdue, each with its severity."""
    severity = (incident.get("spec") or {}).get("severity", "")
    return [(clock, severity) for clock in (incident.get("status") or {}).get("overdue") or ()]


def _labels(incident: Mapping[str, Any]) -> tuple[str, str, str]:
    """Namespace, severity and phase, for the count."""
    spec, status = incident.get("spec") or {}, incident.get("status") or {}
    return incident["metadata"]["namespace"], spec.get("severity", ""), status.get("phase") or "Detected"
