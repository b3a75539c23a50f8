"""What comes next for an Incident, told from its record alone.

The moves are few, and each is safe to make again: a process that dies after any
of them leaves a record from which the next one finds the same move.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from incident_operator.planning.plan import Change, Entry, EntryState, Plan, PlannedStep
from incident_operator.planning.record import LIVE, Record, StepRecord
from incident_operator.planning.roles import RESUMED, is_question, is_stop, lost

FINISHED = frozenset({"Done", "Skipped"})


@dataclasses.dataclass(frozen=True, slots=True)
class Move:
    """What to do now, to which steps."""

    kind: str
    """``agree`` (what they hold is to go back at another time than it was made for), ``intend``, ``act``, ``settle``,
    ``verify``, ``fail`` (these steps failed), ``skip`` (their tier has failed and is gone past), ``hold`` or
    ``resolve``."""
    steps: tuple[PlannedStep, ...] = ()


def stages(plan: Sequence[PlannedStep]) -> tuple[tuple[PlannedStep, ...], ...]:
    """The steps in the order they run: alone, or together where neighbours name the same stage."""
    found: list[tuple[PlannedStep, ...]] = []
    for key, steps in groupby(enumerate(plan), key=lambda item: (item[1].phase, item[1].stage or f"#{item[0]}")):
        del key
        found.append(tuple(step for _, step in steps))
    return tuple(found)


def is_over(step: PlannedStep, record: StepRecord) -> bool:
    """Whether the next step may begin as far as this one goes."""
    return record.state in FINISHED or (record.state == "Failed" and step.on_failure == "Continue")


def next_move(record: Record, *, has_checks: bool, release_asked: bool) -> Move:
    """The one thing to do now; the plan is there and no outcome has been reached."""
    other = tuple(step for step in record.plan if _on_terms(record, step) != record.of_step(step.name))
    if other:
        return Move("agree", other)
    gone_past = lost(record)
    move = _of_stages(record, gone_past)
    if move is not None:
        return move
    if gone_past:
        return Move("fail", tuple(step for step in record.plan if step.name in gone_past.values()))
    if has_checks and not release_asked and not (record.checks and all(check.passed for check in record.checks)):
        return Move("verify")
    return Move("hold" if record.held() and not has_checks and not release_asked else "resolve")


def _of_stages(record: Record, gone_past: Mapping[str, str]) -> Move | None:
    """The next move of the first stage that is not over; None: all are."""
    for open_steps in _open_stages(record):
        if gone_past and _is_over_all(open_steps):
            break
        unable = _unable(record, open_steps, gone_past)
        if unable is not None:
            return unable
        states = {entry.state for step in open_steps for entry in record.of_step(step.name)}
        if EntryState.PLANNED in states:
            return Move("intend", open_steps)
        if EntryState.INTENDED in states:
            return Move("act", open_steps)
        return Move("settle", open_steps)
    return None


def _open_stages(record: Record) -> Iterator[tuple[PlannedStep, ...]]:
    """Of each stage that is not over the steps that are not, in their order."""
    for stage in stages(record.plan):
        left = tuple(step for step in stage if not is_over(step, record.step(step.name)))
        if left:
            yield left


def _unable(record: Record, steps: Sequence[PlannedStep], gone_past: Collection[str]) -> Move | None:
    """What to do about steps that cannot be made any more, or are not to be."""
    left = tuple(step for step in steps if step.tier in gone_past and not record.step(step.name).started_at)
    if left:
        return Move("skip", left)
    failed = tuple(step for step in steps if record.step(step.name).state == "Failed")
    return Move("fail", failed) if failed else None


def _is_over_all(steps: Sequence[PlannedStep]) -> bool:
    """Whether steps of the recovery look at all tiers together."""
    return all(step.phase == "Recovery" and not step.tier for step in steps)


def contained(record: Record) -> bool:
    """Whether every containment step is over."""
    steps = [step for step in record.plan if step.phase == "Containment"]
    return bool(steps) and all(is_over(step, record.step(step.name)) for step in steps)


def merged(record: Record, plan: Plan, *, is_same: bool = False) -> Record:
    """The record with a new plan in place of the one it had.

    What is in force already stays on record with its first ``before``, so that release gives back
    what was there before the Incident, not what an earlier plan of it had made. ``is_same``: the new plan is
    made once more from what the old one was made from.
    """
    entries: list[Entry] = []
    steps: list[StepRecord] = []
    taken: set[tuple[str, str]] = set()
    for step in plan.steps:
        mine = [_entry(record, step, change, is_same=is_same) for change in step.changes]
        entries += mine
        taken |= {entry.place for entry in mine}
        old = record.step(step.name)
        unchanged = old.state == "Done" and all(entry.state is not EntryState.PLANNED for entry in mine)
        steps.append(old if unchanged else StepRecord(step.name))
    left = [e for e in record.entries if e.place not in taken and e.state is not EntryState.PLANNED]
    return dataclasses.replace(
        record, plan=plan.steps, plan_hash=plan.hash, steps=tuple(steps), entries=(*left, *entries)
    )


def is_recovering(record: Record) -> bool:
    """Whether the recovery of the plan has begun: from then on it is gone on with, and not planned anew."""
    return any(step.phase == "Recovery" and record.step(step.name).state != "Pending" for step in record.plan)


def resumed(record: Record, at: str) -> Record:
    """The record with what has failed, was skipped for it or was rolled back to be tried once more from then on.

    What is done stays done.
    """
    failed = {step.name for step in record.steps if step.state == "Failed"}
    back = _rolled_back(record, failed)
    again = failed | back | {step.name for step in record.steps if step.state == "Skipped"}

    def is_planned(entry: Entry) -> bool:
        is_back = entry.step in back and entry.state is EntryState.RELEASED
        return is_back or (entry.step in failed and _is_made_again(entry))

    return dataclasses.replace(
        record,
        steps=tuple(StepRecord(step.name) if step.name in again else step for step in record.steps),
        entries=tuple(
            dataclasses.replace(entry, state=EntryState.PLANNED, message="", intended_at="", done_at="", released_at="")
            if is_planned(entry)
            else entry
            for entry in record.entries
        ),
        timers={**record.timers, RESUMED: at},
    )


def _rolled_back(record: Record, failed: Collection[str]) -> set[str]:
    """The steps of which something was put back because their tier had failed."""
    tiers = {step.tier for step in record.plan if step.name in failed and step.on_failure == "Rollback"}
    return {
        step.name
        for step in record.plan
        if step.tier in tiers
        and not is_stop(step, record.plan)
        and not is_question(step)
        and any(entry.state is EntryState.RELEASED for entry in record.of_step(step.name))
    }


def _is_made_again(entry: Entry) -> bool:
    """Whether a step that is tried again makes this write again: it failed, or made what a person may have removed.

    A Job that failed and was deleted by hand runs once more; one that is still there is found under its name.
    """
    made = entry.change.request is not None and entry.change.request.verb == "create"
    return entry.state is EntryState.FAILED or (made and entry.state is EntryState.DONE)


def agreed(record: Record, steps: Sequence[PlannedStep]) -> Record:
    """The record with what these steps hold on the terms of the plan: it goes back when that says."""
    return record.with_entries(entry for step in steps for entry in _on_terms(record, step))


def _on_terms(record: Record, step: PlannedStep) -> tuple[Entry, ...]:
    """The entries of a step, those in force as the step has it now: when they go back, and how."""

    def on_terms(entry: Entry) -> Entry:
        if entry.state not in LIVE:
            return entry
        expires = expiry(entry.intended_at, step.expires_seconds)
        return dataclasses.replace(entry, release=step.release, expires_at=expires)

    return tuple(map(on_terms, record.of_step(step.name)))


def expiry(intended_at: str, seconds: float) -> str:
    """When an entry that was intended then is put back whatever else; empty: never by itself."""
    if not intended_at or not seconds:
        return ""
    until = datetime.fromisoformat(intended_at) + timedelta(seconds=seconds)
    return f"{until:%Y-%m-%dT%H:%M:%SZ}"


def _entry(record: Record, step: PlannedStep, change: Change, *, is_same: bool) -> Entry:
    """The ledger entry for one change of a new plan, given what an earlier plan may have done about it.

    ``is_same``: the new plan is made from what the earlier one was made from.
    """
    fresh = Entry(step.name, step.action, change, step.release, EntryState.PLANNED)
    if change.request is None:
        fresh = dataclasses.replace(fresh, state=EntryState.SKIPPED, message="it was so already")
    for old in record.entries:
        same = old.change.key == change.key and old.step == step.name and old.action == step.action
        if not same or (change.target.uid and old.change.target.uid != change.target.uid):
            continue
        if old.state is EntryState.KEPT and change.request is None:
            return old  # by this Incident, whose end could not be recorded or that was opened again
        if old.state is EntryState.RELEASED and is_same and old.expires_at and old.expires_at <= old.released_at:
            return old  # its time is over: asked for again, it is not done again but by another spec
        if old.state not in LIVE:
            continue
        # One that was made and is asked for again is not as it was made any more: it is made again.
        if change.request is None or (old.state is EntryState.INTENDED and old.change.after == change.after):
            return old  # on the terms that it was made on, until the gate lets those of the new plan through
        return dataclasses.replace(fresh, change=dataclasses.replace(change, before=old.change.before))
    return fresh
