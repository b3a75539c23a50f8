"""Who has which target: of two Incidents on one object the second waits, so that the first one's record stays true.

Kept in memory by the one process that acts (it holds the Lease), and read from the open Incidents
before the first claim.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import get_args

from incident_operator.api.status import Phase
from incident_operator.cluster.port import Cluster
from incident_operator.cluster.scope import list_within
from incident_operator.engine import restoring
from incident_operator.engine.keys import Key
from incident_operator.faults import NotFound
from incident_operator.planning.plan import EntryState, Manifest, Ref
from incident_operator.planning.record import Record

CLOSED = ("Resolved", "Closed", "Cancelled")
"""Phases in which nothing more is done, until somebody deletes the Incident."""
RECOVERED = (*CLOSED, "Monitoring")
"""Phases in which nothing more is contained: an alert that fires again makes another Incident."""
OPEN = ",".join(f"status.phase!={phase}" for phase in CLOSED)
"""Field selector; ``.status.phase`` is one of the CRD's selectableFields, absent it counts as empty."""
TAKES_IN = ",".join(f"status.phase!={phase}" for phase in RECOVERED)
"""Field selector of those that an alert can join."""
OVER = ",".join(f"status.phase!={phase}" for phase in ("", *get_args(Phase)) if phase not in CLOSED)
"""Field selector of those in a closed phase: selectors know no "or"."""
MADE = frozenset({EntryState.DONE, EntryState.RELEASED, EntryState.KEPT, EntryState.CONFLICT, EntryState.INTENDED})


def names_of(record: Record, targets: Iterable[Ref]) -> frozenset[str]:
    """The objects that an Incident is about: those it names, and those it writes to."""
    written = (entry.change.target for entry in record.entries)
    return frozenset(map(_named, (*targets, *written)))


def made_by(record: Record) -> frozenset[str]:
    """The objects that an Incident has written to, or may have."""
    return frozenset(_named(entry.change.target) for entry in record.entries if entry.state in MADE)


def _named(ref: Ref) -> str:
    return f"{ref.kind} {ref.namespace}/{ref.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class Rival:
    """Another Incident that has a target."""

    key: Key
    target: str


class Claims:
    """Targets with the Incident that has each, when each was last changed, and when Incidents were carried out."""

    def __init__(self, cluster: Cluster, wake: Callable[[Key], None], namespaces: Sequence[str] = ()) -> None:
        """Know nothing yet; ``wake`` is told of Incidents that need wait no longer; no namespaces: all of them."""
        self._cluster = cluster
        self._namespaces = namespaces
        self._wake = wake
        self._holder: dict[str, tuple[str, Key]] = {}
        self._of: dict[str, frozenset[str]] = {}
        self._waiting: dict[str, set[Key]] = {}
        self._changed: dict[str, tuple[str, datetime]] = {}
        self._begun: dict[str, datetime] = {}
        self._open_known = False
        self._all_known = False
        self._reading = asyncio.Lock()

    async def learn(self, *, everything: bool = False) -> None:
        """Read the claims of the open Incidents once; with ``everything`` also what closed ones did lately."""
        async with self._reading:
            if not self._open_known:
                for incident in await self._incidents(OPEN):
                    self._learn_one(incident)
                self._open_known = True
            if everything and not self._all_known:
                for incident in await self._incidents(""):
                    self._learn_one(incident)
                self._all_known = True

    async def _incidents(self, field_selector: str) -> Sequence[Manifest]:
        """The Incidents that this operator looks after."""
        return await list_within(self._cluster, self._namespaces, "Incident", field_selector=field_selector)

    def _learn_one(self, incident: Manifest) -> None:
        """What one Incident has, from its status alone."""
        meta, status = incident["metadata"], incident.get("status") or {}
        ledger = status.get("ledger") or ()
        if not ledger or meta["uid"] in self._of:
            return
        record = restoring.from_incident(incident, _Blank())
        if record.claims():
            # An edited spec may name none any more, where its source would: what it holds on to is in its ledger.
            named = incident["spec"].get("targets") or ()
            targets = [Ref(each["kind"], each["name"], meta["namespace"]) for each in named]
            self._hold(meta["uid"], Key(meta["namespace"], meta["name"]), names_of(record, targets))
        self.saw(meta["uid"], record)

    def saw(self, uid: str, record: Record) -> None:
        """Remember when an Incident was carried out, and when it changed what."""
        for entry in record.entries:
            if entry.state not in MADE or not entry.intended_at:
                continue
            at = datetime.fromisoformat(entry.released_at or entry.done_at or entry.intended_at)
            self._begun.setdefault(uid, datetime.fromisoformat(entry.intended_at))
            name = _named(entry.change.target)
            before = self._changed.get(name)
            if before is None or before[1] <= at:
                self._changed[name] = (uid, at)

    def look(self, uid: str, key: Key, targets: frozenset[str]) -> Rival | None:
        """The Incident that has one of these targets, if another one does; it wakes this one when it is over."""
        for target in sorted(targets):
            holder = self._holder.get(target)
            if holder is not None and holder[0] != uid:
                self._waiting.setdefault(holder[0], set()).add(key)
                return Rival(holder[1], target)
        return None

    def take(self, uid: str, key: Key, targets: frozenset[str], at: datetime) -> Rival | None:
        """Have all of these targets, or none and the Incident that is in the way.

        From here on it counts as carried out: were that known only once its intent is on record, all that
        are judged meanwhile would slip under a policy's storm limit.
        """
        rival = self.look(uid, key, targets)
        if rival is None:
            self._hold(uid, key, targets)
            self._begun.setdefault(uid, at)
        return rival

    def _hold(self, uid: str, key: Key, targets: frozenset[str]) -> None:
        self._of[uid] = self._of.get(uid, frozenset()) | targets
        for target in targets:
            self._holder.setdefault(target, (uid, key))

    def drop(self, uid: str) -> None:
        """Give up everything, and wake those who wait for it."""
        for target in self._of.pop(uid, frozenset()):
            if self._holder.get(target, ("",))[0] == uid:
                del self._holder[target]
        for key in self._waiting.pop(uid, set()):
            self._wake(key)

    async def confirm(self, rival: Rival) -> bool:
        """Whether a rival is still there; one that went without our seeing it is dropped."""
        holder = self._holder.get(rival.target)
        if holder is None:
            return False
        try:
            found = await self._cluster.get("Incident", rival.key.namespace, rival.key.name)
        except NotFound:
            found = None
        if found is not None and found["metadata"]["uid"] == holder[0]:
            return True
        self.drop(holder[0])
        return False

    def last_changed(self, uid: str, targets: frozenset[str]) -> dict[str, datetime]:
        """When another Incident last changed each of these."""
        found = {target: self._changed[target] for target in targets if target in self._changed}
        return {target: at for target, (who, at) in found.items() if who != uid}

    def begun_since(self, since: datetime, but: str) -> int:
        """How many other Incidents began to be carried out since then."""
        return sum(at >= since for uid, at in self._begun.items() if uid != but)

    def forget_before(self, moment: datetime) -> None:
        """Let go of what happened before any policy may ask."""
        self._begun = {uid: at for uid, at in self._begun.items() if at >= moment}
        self._changed = {name: item for name, item in self._changed.items() if item[1] >= moment}


class _Blank(dict[str, dict[str, str]]):
    """Stands in for pages that need not be read to know who has what."""

    def get(self, key: str, default: object = None) -> dict[str, str]:  # noqa: ARG002
        return {}
