"""A new plan in place of an old one: nothing that is in force is forgotten, nor taken for what it is not.

What a step did that the new plan has otherwise, or not any more, stays in the ledger under the step's name with a
number behind it (``cut~1``) until the new plan has gone on from it: a plan may wait for an approval, and the Incident
be deleted meanwhile.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from incident_operator.planning.plan import Change, Entry, EntryState, Plan, PlannedStep, Release
from incident_operator.planning.progress import is_further
from incident_operator.planning.record import LIVE, Record, StepRecord

MARK = "~"
"""Stands between a step's name and the number of an earlier form of it; no name of a step has it."""
What = tuple[str, str, str]
NOTHING_DONE = frozenset({EntryState.PLANNED, EntryState.FAILED, EntryState.SKIPPED})


def origin(step: str) -> str:
    """The name of the step that an entry was made for, whatever plans there have been since."""
    return step.partition(MARK)[0]


def merged(record: Record, plan: Plan, *, is_same: bool = False) -> Record:
    """The record with a new plan in place of the one it had.

    What is in force already stays on record with its first ``before``, so that release gives back
    what was there before the Incident, not what an earlier plan of it had made. ``is_same``: the new plan is
    made once more from what the old one was made from.
    """
    record = _renamed(record, plan)
    entries: list[Entry] = []
    steps: list[StepRecord] = []
    adopted: set[tuple[str, str]] = set()
    known: dict[What, list[Entry]] = defaultdict(list)
    for each in sorted(record.entries, key=lambda each: each.step != origin(each.step)):
        known[what_of(each)].append(each)
    for step in plan.steps:
        mine = []
        for change in step.changes:
            entry, old = _entry(known[step.name, step.action, change.key], step, change, is_same=is_same)
            mine.append(entry)
            adopted |= {old.place} if old is not None else set()
        entries += mine
        before = record.step(step.name)
        unchanged = before.state == "Done" and all(entry.state is not EntryState.PLANNED for entry in mine)
        steps.append(before if unchanged else StepRecord(step.name))
    left = tuple(_left(record, plan, adopted, {entry.place for entry in entries}))
    return dataclasses.replace(
        record, plan=plan.steps, plan_hash=plan.hash, steps=tuple(steps), entries=(*left, *entries)
    )


def _renamed(record: Record, plan: Plan) -> Record:
    """The record with what steps did that the plan has not any more under the names of those that do the same now.

    Each would be the end of the other: what it put back would be taken from the one that is to hold it from now on.
    """
    names = {step.name for step in plan.steps}
    free = {
        (step.action, change.key, change.target.uid): step.name
        for step in plan.steps
        if not record.of_step(step.name)
        for change in step.changes
    }
    entries = []
    for each in record.entries:
        is_gone = each.state in LIVE and each.release is not Release.NEVER and origin(each.step) not in names
        name = free.pop((each.action, each.change.key, each.change.target.uid), "") if is_gone else ""
        entries.append(dataclasses.replace(each, step=name) if name else each)
    return dataclasses.replace(record, entries=tuple(entries))


def superseded(record: Record, done: Iterable[Entry]) -> Record:
    """The record without what earlier plans did that these entries, which are made by now, have gone on from."""
    made = {what_of(entry) for entry in done if entry.state is EntryState.DONE}
    left = tuple(each for each in record.entries if not _is_earlier(each) or what_of(each) not in made)
    return record if len(left) == len(record.entries) else dataclasses.replace(record, entries=left)


def earlier(record: Record, entry: Entry) -> tuple[Entry, ...]:
    """What earlier plans did, and is in force, in place of an entry: the same action of the same step."""
    what = what_of(entry)
    return tuple(
        each for each in record.entries if _is_earlier(each) and each.place != entry.place and what_of(each) == what
    )


def counted(entries: Sequence[Entry]) -> list[Entry]:
    """The entries whose blast radius counts: what an earlier plan cut off, and the new one does, is the same pods."""
    planned = {what_of(each) for each in entries if MARK not in each.step}
    return [each for each in entries if MARK not in each.step or _removes(each) or what_of(each) not in planned]


def _removes(entry: Entry) -> bool:
    return entry.change.blast is not None and entry.change.blast.how == "removed"


def is_overtaken(record: Record, released: Iterable[Entry]) -> bool:
    """Whether what has just gone back is what a new plan, which is not carried out yet, was made to go on from."""
    gone = {what_of(entry) for entry in released if MARK in entry.step}
    return any(entry.state is EntryState.PLANNED and what_of(entry) in gone for entry in record.entries)


def what_of(entry: Entry) -> What:
    """What an entry is about: the step it was made for, its action, and its change's key."""
    return origin(entry.step), entry.action, entry.change.key


def _is_earlier(entry: Entry) -> bool:
    return MARK in entry.step and entry.state in LIVE


def _left(
    record: Record, plan: Plan, adopted: Collection[tuple[str, str]], taken: Collection[tuple[str, str]]
) -> Iterator[Entry]:
    """What stays of the old entries that the new plan has not adopted."""
    steps = {step.name: [change for change in step.changes if change.further] for step in plan.steps}
    used = {entry.place for entry in record.entries} | set(taken)
    for old in record.entries:
        asking = steps.get(old.step)
        if old.place in adopted or old.state is EntryState.PLANNED:
            continue
        if asking is None or (old.place not in taken and any(is_further(change, old) for change in asking)):
            yield old
        elif old.state in LIVE:
            number = 1
            while (place := (f"{old.step}{MARK}{number}", old.change.key)) in used:
                number += 1
            used.add(place)
            yield dataclasses.replace(old, step=place[0])
        elif old.place not in taken and old.state not in NOTHING_DONE:
            yield old


def _entry(known: Iterable[Entry], step: PlannedStep, change: Change, *, is_same: bool) -> tuple[Entry, Entry | None]:
    """The ledger entry for one change of a new plan, given what earlier plans have done about it, the last one first.

    And the entry of that which it stands for from now on, if it does. ``is_same``: the new plan is made from what
    the earlier one was made from.
    """
    fresh = Entry(step.name, step.action, change, step.release, EntryState.PLANNED)
    if change.request is None:
        fresh = dataclasses.replace(fresh, state=EntryState.SKIPPED, message="it was so already")
    for old in known:
        if change.target.uid and old.change.target.uid != change.target.uid:
            continue
        # On the terms that it was made on, until the gate lets those of the new plan through.
        mine = dataclasses.replace(old, step=step.name)
        if old.state is EntryState.KEPT and change.request is None:
            return mine, old  # by this Incident, whose end could not be recorded or that was opened again
        is_over = old.step == step.name and old.expires_at and old.expires_at <= old.released_at
        if old.state is EntryState.RELEASED and is_same and is_over:
            return old, old  # its time is over: asked for again, it is not done again but by another spec
        if old.state not in LIVE:
            continue
        if old.state is EntryState.INTENDED and old.change.after == change.after:
            return mine, old
        if change.request is None and old.state is EntryState.INTENDED:
            continue  # what it intends is not wanted any more, and is not made
        if change.request is None:
            return mine, old
        # One that was made and is asked for again is not as it was made any more: it is made again.
        return dataclasses.replace(fresh, change=dataclasses.replace(change, before=old.change.before)), None
    return fresh, None
