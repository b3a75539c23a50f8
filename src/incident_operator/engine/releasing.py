"""Puts back what an Incident did, backwards, and says of every entry what became of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from incident_operator.actions.contract import Action
from incident_operator.engine import acting
from incident_operator.engine.case import Case
from incident_operator.faults import Fault
from incident_operator.planning.merging import earlier
from incident_operator.planning.plan import Entry, EntryState, Release
from incident_operator.planning.record import LIVE

STAYS = "stays, as its release policy says"


def is_due(entry: Entry, *, everything: bool) -> bool:
    """Whether an entry is put back now: those for the end of the Incident, or all that may be at all."""
    return entry.release is Release.ON_RESOLVE or (everything and entry.release is Release.MANUAL)


async def release(
    case: Case, actions: Mapping[str, Action], *, everything: bool, only: Sequence[Entry] | None = None
) -> None:
    """Walk the ledger backwards and put back what is due, or ``only`` some; the record holds each outcome.

    A Waiting or Stalled is raised after what was already put back is on the record, so that
    the caller can save it.
    """
    found = [each for each in reversed(case.record.entries) if each.state in LIVE and (only is None or each in only)]
    if any(is_due(each, everything=everything) for each in found):
        await _record_first(case)
    for entry in found:
        await _release(case, actions, entry, everything=everything)


async def release_each(case: Case, actions: Mapping[str, Action]) -> list[str]:
    """Put back whatever can be, each entry whatever became of the others; what could not be, and why.

    For an Incident that goes: what is not put back now is put back by nobody.
    """
    left = []
    for entry in reversed(case.record.entries):
        try:
            if entry.state in LIVE:
                await _release(case, actions, entry, everything=True)
        except Fault as fault:
            left.append(f"{entry.change.target}: {fault.message}")
    return left


async def _release(case: Case, actions: Mapping[str, Action], entry: Entry, *, everything: bool) -> None:
    """Put back one entry, if it is due, and say what became of it."""
    if entry.release is Release.NEVER:
        settled = dataclasses.replace(entry, state=EntryState.KEPT, message=STAYS)
    elif not is_due(entry, everything=everything):
        return
    else:
        settled = await acting.release(case.hands, actions[entry.action], entry, case.stamp)
        if settled.state is EntryState.CONFLICT and entry.state is EntryState.INTENDED and earlier(case.record, entry):
            # It stands as an earlier plan of this Incident has made it, and that goes back next.
            settled = dataclasses.replace(entry, state=EntryState.SKIPPED, message="it was not made")
    case.record = case.record.with_entries([settled])
    if settled.state is EntryState.RELEASED and not settled.message:
        case.note("Released", f"put back: {entry.change.summary}")
    elif settled.state is EntryState.CONFLICT:
        case.note("ReleaseConflict", f"{entry.change.target}: {settled.message}", warning=True, event=True)


async def _record_first(case: Case) -> None:
    """Save a plan of this look, and what it has made, before anything of it is put back.

    A process that dies in between, or a write of status that is refused, would else leave a plan to be made, or
    an intent to be carried out, that has been put back already.
    """
    status = case.incident.get("status") or {}
    stored = {(raw["step"], raw["key"]): raw["state"] for raw in status.get("ledger", ())}
    is_told = all(stored.get(entry.place) == entry.state.value for entry in case.record.entries)
    if not is_told or (status.get("plan") or {}).get("basis", "") != case.record.plan_basis:
        await case.save()


def told(entries: tuple[Entry, ...]) -> str:
    """What was put back and what was not, in a few words."""
    words = []
    for state, text in (
        (EntryState.RELEASED, "put back"),
        (EntryState.KEPT, "kept"),
        (EntryState.CONFLICT, "left to a person"),
        (EntryState.DONE, "still in force"),
    ):
        count = sum(entry.state is state for entry in entries)
        if count:
            words.append(f"{count} {text}")
    return ", ".join(words) or "nothing to put back"
