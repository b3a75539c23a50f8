"""When an Incident is at rest, and until when."""

from __future__ import annotations

from datetime import datetime, timedelta

from incident_operator.engine.case import Case
from incident_operator.engine.keys import Behind
from incident_operator.planning.plan import EntryState
from incident_operator.planning.record import OVER, Record


def is_at_rest(case: Case) -> bool:
    """Whether it has come to an outcome, and nobody has asked for anything since."""
    record, wished = case.record, case.wishes
    is_as_wished = record.outcome in OVER or wished.suspend == record.paused
    if record.outcome in ("", "Waiting") or not is_as_wished:
        return False
    asked = case.requested != record.handled_request
    return bool(record.generation == case.meta["generation"]) and not asked and not record.expired(case.stamp)


def until_expiry(case: Case) -> timedelta | None:
    """When the first thing that is held expires; None if nothing does, or if that is not for now."""
    record: Record = case.record
    if record.paused:
        return None
    times = [datetime.fromisoformat(entry.expires_at) for entry in record.held() if entry.expires_at]
    return max(min(times) - case.now, timedelta(milliseconds=100)) if times else None


def soonest(again: timedelta | None, clocks: timedelta | None) -> timedelta | None:
    """The sooner of two times to look again; what is left for later keeps its place behind the others."""
    if again is None or clocks is None or isinstance(again, Behind):
        return again if again is not None else clocks
    return min(again, clocks)


def has_unsaved_results(case: Case) -> bool:
    """Whether status still calls something Intended that is done."""
    stored = {raw["state"] for raw in (case.incident.get("status") or {}).get("ledger", ())}
    return EntryState.INTENDED.value in stored and all(
        entry.state is not EntryState.INTENDED for entry in case.record.entries
    )
