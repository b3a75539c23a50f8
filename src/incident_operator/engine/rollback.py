"""Takes a tier that has failed back to where it stood before its turn."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from incident_operator.actions.contract import Action
from incident_operator.engine import releasing
from incident_operator.engine.case import Case
from incident_operator.planning.plan import Entry, EntryState, PlannedStep, Release
from incident_operator.planning.record import LIVE
from incident_operator.planning.roles import is_question, is_stop, stopped


async def roll_back(case: Case, actions: Mapping[str, Action], tier: str) -> str:
    """Put back what a tier's steps did, and its start with that; in words what became of it.

    It ends as it was before its turn: stopped, if the recovery had stopped it, and that stays on record as
    held. What is never put back by itself (a restored volume, a Job that ran) stays.
    """
    plan = [step for step in case.record.plan if step.tier == tier and not is_question(step)]
    starts = {step.name for step in plan if step.brings_back}
    mine = {step.name for step in plan if not is_stop(step, case.record.plan)}
    there = [entry for entry in case.record.entries if entry.step in mine and entry.state in LIVE]
    due = [_due(entry) if entry.step in starts else entry for entry in there]
    case.record = case.record.with_entries(due)
    try:
        await releasing.release(
            case, actions, everything=True, only=[entry for entry in due if entry.release is not Release.NEVER]
        )
    finally:
        now = case.record.of(due)
        case.record = case.record.with_entries(
            dataclasses.replace(entry, release=Release.NEVER) for entry in now if entry.step in starts
        )
        _hold_again(case, plan, {entry.change.key for entry in now if _is_taken_back(entry, starts)})
    stay = [entry.change.summary for entry in there if entry.release is Release.NEVER and entry.step not in starts]
    told = releasing.told(tuple(entry for entry in case.record.of(due) if entry.state not in LIVE))
    kept = f"; not taken back: {', '.join(stay)}" if stay else ""
    return f"tier {tier} was rolled back: {told}{kept}{still_stopped(case, tier)}"


def _due(entry: Entry) -> Entry:
    """A start as what is put back for once."""
    return dataclasses.replace(entry, release=Release.MANUAL)


def _is_taken_back(entry: Entry, starts: set[str]) -> bool:
    return entry.step in starts and entry.state is EntryState.RELEASED


def _hold_again(case: Case, plan: list[PlannedStep], keys: set[str]) -> None:
    """What was given back by a start that is taken back itself is held as before."""
    case.record = case.record.with_entries(
        dataclasses.replace(entry, state=EntryState.DONE, released_at="", message="")
        for step in plan
        if is_stop(step, case.record.plan)
        for entry in case.record.of_step(step.name)
        if entry.state is EntryState.RELEASED and entry.change.key in keys
    )


def still_stopped(case: Case, tier: str) -> str:
    """Which workloads of a tier are stopped, as the end of a sentence; empty: none."""
    found = dict.fromkeys(f"{e.change.target.kind} {e.change.target.name}" for e in stopped(case.record, tier))
    return f"; still stopped, until it is up or the Incident is cancelled: {', '.join(found)}" if found else ""
