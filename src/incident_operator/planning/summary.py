"""What to say about an Incident: conditions, phase, and a line for the table.

The only writer of conditions. They follow kstatus, so that ``kubectl wait``, Flux and
Argo CD read them right: never Reconciling and Stalled together, negative ones only while true.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Literal

from incident_operator.planning.plan import EntryState
from incident_operator.planning.progress import contained, is_over
from incident_operator.planning.record import Condition, Record

ISOLATION_SAYS = {
    "Partial": ("False", "IsolationPartial"),
    "NotEnforced": ("False", "NotEnforced"),
    "Unverified": ("Unknown", "IsolationUnverified"),
}
"""What an isolation's outcome makes of the condition Contained; any other says True."""


PHASES = {
    "Halted": "Halted",
    "Resolved": "Resolved",
    "Cancelled": "Cancelled",
    "Expired": "Closed",
    "Planned": "Triage",
    "Contained": "Investigation",
}
"""What an outcome is called in the guide's words."""


def put(conditions: Iterable[Condition], new: Iterable[Condition]) -> tuple[Condition, ...]:
    """The new conditions, each with its old transition time unless its status flipped."""
    old = {condition.type: condition for condition in conditions}
    kept: list[Condition] = []
    for condition in new:
        before = old.get(condition.type)
        same = before is not None and before.status == condition.status and before.since
        kept.append(dataclasses.replace(condition, since=before.since) if same and before else condition)
    return tuple(kept)


def containment(record: Record, now: str) -> Condition | None:
    """Whether the damage is contained, as far as it could be seen."""
    if not contained(record):
        return None
    names = [step.name for step in record.plan if step.phase == "Containment"]
    for name in names:
        step = record.step(name)
        if step.state == "Failed":
            return Condition("Contained", "False", step.reason or "StepFailed", f"{name}: {step.message}", now)
    for name in names:
        step = record.step(name)
        status, reason = ISOLATION_SAYS.get(step.facts.get("isolation", ""), ("True", ""))
        if status == "False":
            return Condition("Contained", "False", reason, f"{name}: {step.message}", now)
        if status == "Unknown":
            return Condition("Contained", "Unknown", reason, f"{name}: {step.message}", now)
    done = "; ".join(f"{name}: {record.step(name).message}" for name in names)
    return Condition("Contained", "True", "Contained", done, now)


def main_conditions(record: Record, now: str) -> tuple[Condition, ...]:
    """Ready with either Reconciling or Stalled or neither, by what the record has come to."""
    reason, message = record.reason, record.message
    match record.outcome:
        case "Halted":
            return (
                Condition("Ready", "False", reason, message, now),
                Condition("Stalled", "True", reason, message, now),
            )
        case "Waiting":
            return (
                Condition("Ready", "False", reason, message, now),
                Condition("Reconciling", "True", reason, message, now),
            )
        case "Planned" | "Contained" | "Resolved" | "Cancelled" | "Expired":
            return (Condition("Ready", "True", record.outcome, message, now),)
        case _:
            pass
    if record.retrying:
        return (
            Condition("Ready", "False", reason or "ProgressingWithRetry", record.retrying, now),
            Condition("Reconciling", "True", "ProgressingWithRetry", record.retrying, now),
        )
    return (
        Condition("Ready", "Unknown", "Progressing", message, now),
        Condition("Reconciling", "True", "Progressing", message, now),
    )


def conditions(record: Record, now: str) -> tuple[Condition, ...]:
    """All conditions of the record, with transition times kept."""
    new = list(main_conditions(record, now))
    held = containment(record, now)
    if held is not None:
        new.append(held)
    if record.timers.get("recovered"):
        new.append(Condition("Recovered", "True", "VerificationPassed", "every check passed over its window", now))
    known, firing = record.signals
    if known:
        said = "the alert fires" if known == 1 else f"{firing} of {known} alerts fire"
        said = said if firing else "no alert fires any more"
        status: Literal["True", "False"] = "False" if firing else "True"
        new.append(Condition("SignalResolved", status, "AlertFiring" if firing else "AlertResolved", said, now))
    if record.overdue:
        first = next(iter(record.overdue))
        text = "; ".join(said or f"{clock} is overdue" for clock, said in record.overdue.items())
        new.append(Condition("Overdue", "True", f"{first.capitalize()}Overdue", text, now))
    if record.paused:
        new.append(Condition("Paused", "True", "Suspended", "spec.suspend is true: nothing more is done", now))
    if record.exceeded:
        new.append(Condition("BlastRadiusExceeded", "True", "BlastRadiusExceeded", record.exceeded, now))
    conflicts = [e for e in record.entries if e.state is EntryState.CONFLICT]
    if conflicts:
        text = "; ".join(f"{entry.change.target}: {entry.message}" for entry in conflicts)
        new.append(Condition("ReleaseConflict", "True", "ReleaseConflict", text, now))
    return put(record.conditions, new)


def phase(record: Record) -> str:
    """Where the Incident is, in the guide's words; for display only."""
    if record.outcome == "Resolved" and record.held():
        return "Monitoring"  # not closed: others wait for what it holds, and a person, or its time, gives that back
    named = PHASES.get(record.outcome)
    if named:
        return named
    if record.outcome == "Waiting" and not record.has_begun():
        return "AwaitingApproval" if record.reason == "AwaitingApproval" else "Triage"
    if not record.plan_hash:
        return "Detected"
    if record.timers.get("mitigated"):
        return "Verification"
    current = (step for step in record.plan if not is_over(step, record.step(step.name)))
    return next(current, record.plan[-1]).phase if record.plan else "Containment"
