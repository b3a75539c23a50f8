"""Takes the steps of a stage through intent, act and settlement."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog

from incident_operator.actions.contract import Action
from incident_operator.checks.contract import Check
from incident_operator.cluster.port import Reader
from incident_operator.engine import acting, tiers, verifying
from incident_operator.engine.case import Case
from incident_operator.faults import Fault, Waiting
from incident_operator.planning.merging import superseded
from incident_operator.planning.plan import GATES, Entry, EntryState, PlannedStep, Settlement, failed, pending
from incident_operator.planning.progress import contained, expiry
from incident_operator.planning.record import StepState
from incident_operator.planning.roles import clock_of, is_clocked
from incident_operator.telemetry.metrics import Metrics

SAY_AGAIN = timedelta(seconds=2)
"""How far apart two status patches are that only say how far a settlement has come."""


async def intend(case: Case, steps: tuple[PlannedStep, ...]) -> None:
    """Put every write of the stage on record before any is made; one patch, with the plan if that is new."""
    if case.fastening is None:
        await case.fastened()
    new = [entry for step in steps for entry in _intend(case, step, case.record.of_step(step.name))]
    await case.save()
    case.unsent = frozenset(entry.place for entry in new)


def _intend(case: Case, step: PlannedStep, entries: tuple[Entry, ...]) -> list[Entry]:
    """Put the writes of one step on record, without saving it yet; those entries."""
    old = case.record.step(step.name)
    expires = expiry(case.stamp, step.expires_seconds)
    started = old.started_at or case.stamp
    case.record = case.record.with_step(dataclasses.replace(old, state="Acting", started_at=started))
    new = [
        dataclasses.replace(entry, state=EntryState.INTENDED, intended_at=case.stamp, expires_at=expires)
        for entry in entries
        if entry.state is EntryState.PLANNED
    ]
    case.record = case.record.with_entries(new)
    return new


async def act(case: Case, steps: tuple[PlannedStep, ...], actions: Mapping[str, Action], metrics: Metrics) -> None:
    """Make the intended writes of the stage at once; what became of each goes on record with what is seen next.

    Until then the entries stand there as Intended: a process that dies here is followed by one that adopts them.
    """
    await case.save()  # what a settlement has added is on record before it is made
    await case.fastened()
    unsent, case.unsent = case.unsent, frozenset()
    due = [
        acting.Attempt(actions[step.action], entry, is_first=entry.place in unsent)
        for step in steps
        for entry in case.record.of_step(step.name)
        if entry.state is EntryState.INTENDED
    ]
    results, waiting = await acting.act_all(case.hands, due, case.stamp)
    case.record = superseded(case.record.with_entries(results), results)
    for step in steps:
        with _named(step):
            _after_act(case, step, metrics)
    case.memory.looks = 0
    case.memory.said_at = None
    if waiting is not None:
        await case.save()
        raise waiting


def _after_act(case: Case, step: PlannedStep, metrics: Metrics) -> None:
    entries = case.record.of_step(step.name)
    broken = [entry for entry in entries if entry.state is EntryState.FAILED]
    if any(entry.state is EntryState.INTENDED for entry in entries):
        return
    record = case.record.step(step.name)
    if broken:
        reason, _, text = broken[0].message.partition(": ")
        finish(case, step, failed(reason, text), metrics)
        return
    made = "; ".join(_said(entry) for entry in entries)
    case.record = case.record.with_step(dataclasses.replace(record, state="Settling", message=made))
    case.note("Acted", f"{step.name}: {made}")


def _said(entry: Entry) -> str:
    """What became of one write, for people; that nothing was to be written is in the summary of it already."""
    is_news = entry.message and entry.change.request is not None
    return f"{entry.change.summary}: {entry.message}" if is_news else entry.change.summary


async def settle(
    case: Case,
    reader: Reader,
    steps: tuple[PlannedStep, ...],
    actions: Mapping[str, Action],
    checks: Mapping[str, Check],
    metrics: Metrics,
) -> bool:
    """Look how far the world has followed; whether a step of the stage finished or has more to write."""
    found = await asyncio.gather(
        *(
            _gates(case, checks, step)
            if step.action == GATES
            else _settlement(case, reader, step, actions[step.action])
            for step in steps
        )
    )
    moved = False
    for step, settlement in zip(steps, found, strict=True):
        with _named(step):
            moved = _settled(case, step, settlement, metrics) or moved
    is_late = case.memory.said_at is None or case.now - case.memory.said_at >= SAY_AGAIN
    if not moved and (is_late or _has_unsaved_end(case)):
        case.memory.said_at = case.now
        await case.save()
    return moved


def _named(step: PlannedStep) -> contextlib.AbstractContextManager[Any]:
    """What is logged meanwhile names the step."""
    return structlog.contextvars.bound_contextvars(step=step.name)


def _settled(case: Case, step: PlannedStep, settlement: Settlement, metrics: Metrics) -> bool:
    """Put on record how far a step is; whether it finished or has more to write."""
    if settlement.state != "Pending":
        finish(case, step, settlement, metrics)
        return True
    if _further(case, step, settlement, metrics):
        return True
    record = case.record.step(step.name)
    started = record.started_at or case.stamp
    case.record = case.record.with_step(
        dataclasses.replace(record, state="Settling", message=settlement.message, started_at=started)
    )
    case.change(message=f"{step.name}: {settlement.message}")
    return False


def _has_unsaved_end(case: Case) -> bool:
    """Whether a step has ended of which status does not say so yet: what comes next may take long."""
    stored = {raw["name"]: raw["phase"] for raw in (case.incident.get("status") or {}).get("steps", ())}
    return any(step.finished_at and stored.get(step.name) != step.state for step in case.record.steps)


async def _gates(case: Case, checks: Mapping[str, Check], step: PlannedStep) -> Settlement:
    """How the gates of a tier stand; what may pass by itself is looked at again."""
    try:
        with _named(step):
            return await verifying.gates(case, checks, step)
    except Waiting as fault:
        return pending(fault.message)
    except Fault as fault:
        return failed(fault.reason, fault.message)


async def _settlement(case: Case, reader: Reader, step: PlannedStep, action: Action) -> Settlement:
    """The settlement of one step; its deadline turns Pending into Failed, and a fault into what it means."""
    entries = case.record.of_step(step.name)
    record = case.record.step(step.name)
    begun = datetime.fromisoformat(record.started_at) if record.started_at else case.now
    clock = clock_of(case.record, step)
    try:
        with _named(step):
            found = await action.settle(reader, entries, since=begun, now=case.now)
    except Waiting as fault:
        found = pending(fault.message)
    except Fault as fault:
        return failed(fault.reason, fault.message)
    if (
        found.state == "Pending"
        and clock
        and case.now - datetime.fromisoformat(clock) > timedelta(seconds=step.timeout_seconds)
    ):
        of = f" of the start of tier {step.tier}" if is_clocked(step) else ""
        return failed("TimedOut", f"not settled within {step.timeout_seconds:g} s{of}: {found.message}")
    return found


def _further(case: Case, step: PlannedStep, settlement: Settlement, metrics: Metrics) -> bool:
    """Plan the writes that turned out to be needed: they pass the gate and are intended like all others.

    Whether there are any that were not on record already. One of a kind that the plan has not named is not made.
    """
    entries = case.record.of_step(step.name)
    known = {entry.change.key for entry in entries}
    new = [
        Entry(step.name, step.action, change, step.release, EntryState.PLANNED)
        for change in settlement.further
        if change.key not in known
    ]
    named = {(each.verb, each.kind) for entry in entries for each in entry.change.further}
    asked = [entry.change.request for entry in new if entry.change.request is not None]
    other = next((each for each in asked if (each.verb, each.ref.kind) not in named), None)
    if other is not None:
        text = f"the plan does not say that it may {other.verb} {other.ref}, so that is not done: this is a bug"
        finish(case, step, failed("NotPlanned", text), metrics)
        return True
    case.record = case.record.with_entries(new)
    if new:
        case.note("FurtherWrites", f"{step.name}: {'; '.join(entry.change.summary for entry in new)}")
    return bool(new)


def _given_back(case: Case, step: PlannedStep) -> None:
    """What an earlier step held is held no longer: this one has given it back."""
    keys = {entry.change.key for entry in case.record.of_step(step.name)}
    case.record = case.record.with_entries(
        dataclasses.replace(
            entry, state=EntryState.RELEASED, released_at=case.stamp, message=f"given back by step {step.name}"
        )
        for name in step.brings_back
        for entry in case.record.of_step(name)
        if entry.state is EntryState.DONE and entry.change.key in keys
    )


def finish(case: Case, step: PlannedStep, settlement: Settlement, metrics: Metrics) -> None:
    """Put a step's end on record."""
    old = case.record.step(step.name)
    state: StepState = "Done" if settlement.state == "Settled" else "Failed"
    new = dataclasses.replace(
        old,
        state=state,
        reason=settlement.reason,
        message=settlement.message,
        facts=settlement.facts,
        started_at=old.started_at or case.stamp,
        finished_at=case.stamp,
    )
    case.record = case.record.with_step(new)
    begun = datetime.fromisoformat(old.started_at) if old.started_at else case.now
    metrics.step_finished(step.action, state, (case.now - begun).total_seconds())
    if state == "Failed":
        is_gone_past = bool(step.tier) and step.on_failure == "Continue"
        case.note(settlement.reason, f"{step.name}: {settlement.message}", warning=True, event=is_gone_past)
        return
    case.note("StepDone", f"{step.name}: {settlement.message}")
    _given_back(case, step)
    if step.tier:
        tiers.say(case, step)
    if contained(case.record) and not case.record.timers.get("contained"):
        case.record = case.record.timed("contained", case.stamp)
        case.note("ContainmentDone", "every containment step is done")
        created = datetime.fromisoformat(case.meta["creationTimestamp"])
        metrics.contained((case.now - created).total_seconds())
