"""Puts back what an Incident did, backwards, and says of every entry what became of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from incident_operator.actions.contract import Action
from incident_operator.engine import acting
from incident_operator.engine.case import Case
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
    for entry in reversed(case.record.entries):
        if entry.state not in LIVE or (only is not None and entry not in only):
            continue
        if entry.release is Release.NEVER:
            settled = dataclasses.replace(entry, state=EntryState.KEPT, message=STAYS)
        elif not is_due(entry, everything=everything):
            continue
        else:
            await _record_plan(case)
            settled = await acting.release(case.hands, actions[entry.action], entry, case.stamp)
        case.record = case.record.with_entries([settled])
        if settled.state is EntryState.RELEASED and not settled.message:
            case.note("Released", f"put back: {entry.change.summary}")
        elif settled.state is EntryState.CONFLICT:
            case.note("ReleaseConflict", f"{entry.change.target}: {settled.message}", warning=True, event=True)


async def _record_plan(case: Case) -> None:
    """Save a plan of this look before anything is put back: made anew after a crash it would do that again."""
    stored = (case.incident.get("status") or {}).get("plan") or {}
    if stored.get("basis", "") != case.record.plan_basis:
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
