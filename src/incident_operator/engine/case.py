"""One Incident while it is being looked at: what is there, what is on record, and how it is written down."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import structlog

from incident_operator.api import names
from incident_operator.cluster.port import Cluster, Hands
from incident_operator.engine import ledgers, restoring, statuses
from incident_operator.engine.settings import stamp_of
from incident_operator.engine.wishes import Wishes
from incident_operator.planning.clocks import unmet
from incident_operator.planning.plan import Manifest, Ref, Request
from incident_operator.planning.record import OVER, Moment, Record

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.engine")


@dataclasses.dataclass(slots=True)
class Memory:
    """What is remembered about an Incident between two looks, and may be lost without harm."""

    uid: str
    looks: int = 0
    faults: int = 0
    windows: dict[str, tuple[datetime, datetime]] = dataclasses.field(default_factory=dict)
    """Since when each check has passed without a gap, and when it did last; a restart begins its window again."""
    due: datetime | None = None
    """When the next look was to be, as the last one said that ended well."""
    leaving: datetime | None = None
    """When this process first tried to put back what a deleted Incident did."""
    said_at: datetime | None = None
    pages: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
    """Content by ``step/key``, for each IncidentLedger that was read or made."""
    unsaved: tuple[Manifest, Record, list[Moment]] | None = None
    """The Incident, record and news of a look that was left before its results were written down."""


@dataclasses.dataclass(slots=True)
class Case:
    """One look at one Incident."""

    cluster: Cluster
    incident: Manifest
    record: Record
    wishes: Wishes
    hands: Hands
    memory: Memory
    clock: Callable[[], datetime]
    written: Callable[[str], None]
    """Told of the resourceVersion of each write to the Incident, so that its echo is no news."""
    news: list[Moment] = dataclasses.field(default_factory=list)
    fastening: asyncio.Task[None] | None = None
    """Our finalizer on its way."""
    unsent: frozenset[tuple[str, str]] = frozenset()
    """The places of the entries that this look has intended and not tried: no other process can have, either."""

    @property
    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return self.clock()

    @property
    def stamp(self) -> str:
        """The time of day as status holds it."""
        return stamp_of(self.clock())

    @property
    def meta(self) -> Mapping[str, Any]:
        """The Incident's metadata."""
        found: Mapping[str, Any] = self.incident["metadata"]
        return found

    @property
    def requested(self) -> str:
        """The annotation with which a person asks for another try; empty: nobody has.

        Where it is taken away again, the one that was handled: nothing is asked by that.
        """
        found: str = self.meta.get("annotations", {}).get(names.REQUESTED_AT, "")
        return found or self.record.handled_request

    @property
    def ref(self) -> Ref:
        """The Incident itself."""
        return Ref("Incident", self.meta["name"], self.meta["namespace"], self.meta["uid"])

    def change(self, **changes: Any) -> None:
        """Replace fields of the record; nothing is written until ``save``."""
        self.record = dataclasses.replace(self.record, **changes)

    def note(self, reason: str, message: str, *, warning: bool = False, event: bool = False) -> None:
        """Add to the timeline what a person may want to know; with ``event`` an Event says it after the next save."""
        moment = Moment(self.stamp, reason, message, warning, event)
        self.record = self.record.noted(moment)
        log.info("Noted", reason=reason, said=message)
        if event:
            self.news.append(moment)

    async def save(self) -> None:
        """Write the record to status if it says anything new, under an optimistic lock."""
        self.change(overdue=unmet(self.record.overdue, self.record.timers, is_over=self.record.outcome in OVER))
        stored = await ledgers.put_away(self.cluster, self.incident, self.record, self.memory.pages)
        status = statuses.to_status(self.record, self.stamp, stored)
        if status == self.incident.get("status"):
            return
        if self.fastening is None:
            version = self.meta["resourceVersion"]
            self._take(await self.cluster.patch_status(self.ref, status, resource_version=version))
        else:
            # The finalizer is on its way: the lock is on what status was, and both are there before anything else.
            was = self.incident.get("status") or {}
            saved, fastened = await asyncio.gather(
                self.cluster.patch_status(self.ref, status, was=was), self.fastening, return_exceptions=True
            )
            self.fastening = None
            for result in (fastened, saved):
                if isinstance(result, BaseException):
                    raise result
            if not isinstance(saved, BaseException):
                self._take(saved)
        self.record = dataclasses.replace(self.record, conditions=restoring.conditions_of(self.incident))

    def _take(self, incident: Manifest) -> None:
        """Go on from what a write of ours has left; of two at the same time, from the later one."""
        self.written(incident["metadata"]["resourceVersion"])
        if int(incident["metadata"]["resourceVersion"]) >= int(self.meta["resourceVersion"]):
            self.incident = incident

    def fasten(self) -> None:
        """Begin to put our finalizer on; ``save`` and ``fastened`` wait for it."""
        if names.FINALIZER not in self.meta.get("finalizers", ()):
            self.fastening = asyncio.create_task(self.set_finalizer(wanted=True))

    async def fastened(self) -> None:
        """Return once our finalizer is on."""
        if self.fastening is not None:
            fastening, self.fastening = self.fastening, None
            await fastening
        await self.set_finalizer(wanted=True)

    async def tell(self) -> None:
        """Send the Events of what was noted and saved."""
        news, self.news = self.news, []
        for moment in news:
            await self.cluster.event(
                self.incident, reason=moment.reason, message=moment.message, warning=moment.warning
            )

    async def set_finalizer(self, *, wanted: bool) -> None:
        """Put our finalizer on the Incident, or take it off; nothing is written if it is so already."""
        there: list[str] = list(self.meta.get("finalizers", ()))
        if (names.FINALIZER in there) is wanted:
            return
        new = [*there, names.FINALIZER] if wanted else [each for each in there if each != names.FINALIZER]
        metadata = {"resourceVersion": self.meta["resourceVersion"], "finalizers": new}
        request = Request("patch", self.ref, {"metadata": metadata}, "application/merge-patch+json")
        self._take(await self.cluster.send(request))
