"""What comes next for an Incident, told from its record alone.

The moves are few, and each is safe to make again: a process that dies after any
of them leaves a record from which the next one finds the same move.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from incident_operator.planning.plan import Change, Entry, EntryState, PlannedStep
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

    def tried(entry: Entry) -> Entry:
        if entry.step in back and entry.state is EntryState.RELEASED:
            return planned_again(entry)
        return _again(record, entry) if entry.step in failed else entry

    return dataclasses.replace(
        record,
        steps=tuple(StepRecord(step.name) if step.name in again else step for step in record.steps),
        entries=tuple(map(tried, record.entries)),
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


def _again(record: Record, entry: Entry) -> Entry:
    """An entry of a failed step that is tried again: it is made again where it failed, or may not stand any more.

    What a person may have removed is made anew: a Job that failed and was deleted by hand runs once more, and one
    that is still there is found under its name; but not one that something else of the step has been built on. What
    was set may have been set back: it is intended still, so that it is held until that is known.
    """
    request = entry.change.request
    if entry.state is EntryState.FAILED:
        return planned_again(entry)
    if entry.state is not EntryState.DONE or request is None:
        return entry
    if request.verb == "patch":
        return dataclasses.replace(entry, state=EntryState.INTENDED, done_at="", message="")
    is_built_on = any(each.state in LIVE and is_further(entry.change, each) for each in record.of_step(entry.step))
    return planned_again(entry) if request.verb == "create" and not is_built_on else entry


def is_further(change: Change, entry: Entry) -> bool:
    """Whether an entry is of a write that a change has named as what may turn out to be needed besides."""
    request = entry.change.request
    named = {(each.verb, each.kind) for each in change.further}
    return request is not None and entry.change.key != change.key and (request.verb, request.ref.kind) in named


def planned_again(entry: Entry) -> Entry:
    """An entry as if nothing had been done about it."""
    return dataclasses.replace(entry, state=EntryState.PLANNED, message="", intended_at="", done_at="", released_at="")


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
