"""The ends an Incident can come to: contained, resolved, cancelled, expired, halted, gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from incident_operator.actions.contract import Action
from incident_operator.api import names
from incident_operator.engine import releasing, rollback
from incident_operator.engine.case import Case
from incident_operator.engine.settings import EngineSettings
from incident_operator.engine.statuses import MESSAGE_MOST
from incident_operator.faults import Fault, Waiting
from incident_operator.planning.merging import is_overtaken
from incident_operator.planning.plan import Entry, EntryState, PlannedStep
from incident_operator.planning.record import OVER, Over, Record
from incident_operator.planning.roles import TIER_FAILED, lost
from incident_operator.planning.summary import containment
from incident_operator.telemetry.metrics import Metrics

AGAIN = (
    "; when that is put right: kubectl annotate incident/{name} -n {namespace} "
    + names.REQUESTED_AT
    + '="$(date -u +%FT%TZ)" --overwrite'
)
Actions = Mapping[str, Action]


def reopen(case: Case) -> None:
    """The spec has changed: whatever it had come to, it is looked at anew, and checks get their whole time again."""
    past = {"mitigated", "recovered", *map(str.lower, OVER)}
    timers = {name: at for name, at in case.record.timers.items() if name not in past}
    case.change(generation=case.meta["generation"], timers=timers, checks=())
    case.memory.windows.clear()


async def fail(case: Case, actions: Actions, metrics: Metrics, steps: Sequence[PlannedStep]) -> None:
    """A step failed and its policy is not to go on, or not to go on any longer: those of tiers that were gone past."""
    if lost(case.record) and all(step.on_failure == "Continue" for step in steps):
        await _lose(case, metrics)
        return
    # Of several that failed at once the one whose policy gives back most decides.
    decisive = min(steps, key=lambda step: ("Release", "Rollback", "Halt", "Continue").index(step.on_failure))
    name, on_failure = decisive.name, decisive.on_failure
    step = case.record.step(name)
    if on_failure == "Release":
        await _put_back(case, actions, everything=True)
        step = dataclasses.replace(step, message=f"{step.message}; released: {releasing.told(case.record.entries)}")
    elif on_failure == "Rollback":
        tier = next((planned.tier for planned in case.record.plan if planned.name == name), "")
        await case.save()  # why it failed is on record before anything is taken back: a new process goes on from that
        told = await rollback.roll_back(case, actions, tier)
        step = dataclasses.replace(step, message=f"{step.message}; {told}")
    await halt(case, step.reason or "StepFailed", f"step {name}: {step.message}", metrics)


async def _lose(case: Case, metrics: Metrics) -> None:
    """All that could be brought back is up, and that is not all: which tiers failed, and why, is a person's to know."""
    gone_past = lost(case.record)
    found = [(tier, case.record.step(name)) for tier, name in gone_past.items()]
    told = "; ".join(
        f"tier {tier}: step {step.name}: {step.reason}: {step.message}{rollback.still_stopped(case, tier)}"
        for tier, step in found
    )
    count = len({step.tier for step in case.record.plan if step.tier})
    await halt(case, TIER_FAILED, f"{len(gone_past)} of {count} tiers failed and were gone past: {told}", metrics)


async def halt(case: Case, reason: str, message: str, metrics: Metrics) -> None:
    """Stop and say what a person can do; nothing is retried until asked for."""
    text = message + AGAIN.format(name=case.meta["name"], namespace=case.meta["namespace"])
    is_told = _is_halted(case, reason, text)
    case.change(outcome="Halted", reason=reason, message=text)
    case.change(generation=case.meta["generation"], handled_request=case.requested, retrying="")
    if not is_told:
        case.note(reason, message, warning=True, event=True)
        metrics.refused(reason)
    await case.save()


def _is_halted(case: Case, reason: str, message: str) -> bool:
    """Whether status says this very halt already and nobody has asked since: an expiry is tried again by itself."""
    status = case.incident.get("status") or {}
    is_seen = status.get("observedGeneration") == case.meta["generation"]
    said = {(each.reason, each.message) for each in case.record.conditions if each.type == "Stalled"}
    is_same = (reason, message[:MESSAGE_MOST]) in said
    return is_seen and is_same and status.get("lastHandledRequest", "") == case.requested


async def hold(case: Case, metrics: Metrics) -> None:
    """Contained, and nothing says how to tell that it is over: a person does."""
    found = containment(case.record, case.stamp)
    if found is not None and found.status != "True":
        await halt(case, found.reason, found.message, metrics)
        return
    text = "contained; when it is over, set spec.release to true or delete the Incident to put back what it did"
    case.change(outcome="Contained", reason="Contained", message=text)
    case.note("Contained", text, event=True)
    await case.save()


async def close(
    case: Case, actions: Actions, metrics: Metrics, outcome: Literal["Resolved", "Cancelled"], *, everything: bool
) -> None:
    """Put back what is due and close the Incident."""
    # Whatever it had come to is over: were that kept, a fault below would leave it at rest with the release undone.
    case.change(outcome="", reason="", message="putting back what was done", retrying="", paused=False)
    case.change(generation=case.meta["generation"], handled_request=case.requested)
    await _put_back(case, actions, everything=everything)
    case.record = case.record.timed("mitigated", case.stamp).timed(outcome.lower(), case.stamp)
    case.note(outcome, _told(case, outcome), event=True)
    await conclude(case, metrics, outcome)


async def _put_back(case: Case, actions: Actions, *, everything: bool, only: Sequence[Entry] | None = None) -> None:
    """Put back what is due; what was is on record where the rest could not be."""
    try:
        await releasing.release(case, actions, everything=everything, only=only)
    except Fault:
        await case.save()
        raise


def _told(case: Case, outcome: Over) -> str:
    return f"{outcome.lower()}: {releasing.told(case.record.entries)}"


async def conclude(case: Case, metrics: Metrics, outcome: Over) -> None:
    """Put on record that it is over, once all that is due was put back."""
    case.change(outcome=outcome, reason=outcome, message=_told(case, outcome), retrying="", paused=False)
    case.change(generation=case.meta["generation"], handled_request=case.requested)
    await case.save()
    if outcome == "Resolved":
        metrics.resolved(_seconds_between(case.record, "detected", "resolved"))


async def expire(case: Case, actions: Actions, metrics: Metrics, *, may_end: bool = True) -> bool:
    """Put back what has expired; whether that is the end of the Incident, because nothing is left to hold.

    While steps or checks are still under way it goes on: expiry takes back what was done, it does not
    say that the Incident is over. Nor is it where another plan is due (``may_end`` is false).
    """
    due = case.record.expired(case.stamp)
    if not due:
        return False
    await _put_back(case, actions, everything=True, only=due)
    if is_overtaken(case.record, due):
        case.change(plan_basis="")  # it would be refused: it is made anew from what is there now
    case.note("Expired", f"expired after its time: {releasing.told(tuple(case.record.of(due)))}", event=True)
    if case.record.outcome in OVER or case.record.held() or not may_end or _is_under_way(case):
        await case.save()
        return False
    case.record = case.record.timed("expired", case.stamp)
    await conclude(case, metrics, "Expired")
    return True


def _is_under_way(case: Case) -> bool:
    """Whether there is more to come of the plan as it is: steps that are not over, or checks that have not all passed.

    A step is over, however far it had come, once nothing that it wrote is there any more.
    """
    record = case.record
    for step in record.plan:
        entries = record.of_step(step.name)
        is_gone = bool(entries) and all(entry.state is EntryState.RELEASED for entry in entries)
        if record.step(step.name).state in ("Pending", "Acting", "Settling") and not is_gone:
            return True
    is_checked = bool(record.checks) and all(check.passed for check in record.checks)
    return bool(case.wishes.checks) and not is_checked and record.outcome != "Halted"


async def leave(case: Case, actions: Actions, settings: EngineSettings) -> None:
    """The Incident is being deleted: put back what it did, within its time box, and let it go."""
    if names.FINALIZER not in case.meta.get("finalizers", ()):
        return
    tried = case.memory.leaving = case.memory.leaving or case.now
    try:
        await releasing.release(case, actions, everything=True)
        told = releasing.told(case.record.entries)
        case.note("Released", f"deleted: {told}", event=bool(case.record.entries))
    except Fault as fault:
        # What passes by itself is tried for the whole time, however long nobody was there to try before.
        begun = tried if isinstance(fault, Waiting) else datetime.fromisoformat(case.meta["deletionTimestamp"])
        if case.now - begun <= settings.release_box and not await _is_terminating(case):
            case.change(outcome="", retrying=f"being deleted, and could not put back everything yet: {fault.message}")
            await case.save()
            raise Waiting("ReleaseBlocked", fault.message) from fault
        left = await releasing.release_each(case, actions)
        if left:
            text = f"gone without putting back {'; '.join(left)}"
            case.note("ReleaseAbandoned", text, warning=True, event=True)
    await case.tell()
    await case.set_finalizer(wanted=False)


async def _is_terminating(case: Case) -> bool:
    """Whether the whole namespace goes: its Roles may be gone before its Incidents, and all it holds goes anyway."""
    try:
        found = await case.cluster.find("Namespace", "", case.meta["namespace"])
    except Fault:
        return False
    return found is None or bool(found["metadata"].get("deletionTimestamp"))


def _seconds_between(record: Record, start: str, end: str) -> float:
    first, last = record.timers.get(start), record.timers.get(end)
    if not first or not last:
        return 0.0
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
