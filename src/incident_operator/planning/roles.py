"""What part a step plays in the recovery of its tier, and which instants its windows and deadlines count from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from incident_operator.planning.plan import GATES, Entry, PlannedStep
from incident_operator.planning.record import LIVE, Record

TIER_FAILED = "TierFailed"
"""The reason of a recovery that went past a tier which had failed."""
RESUMED = "resumed"
"""The timer of when a person asked last that a recovery which had halted goes on."""
SINCE_BEGUN = frozenset({"job"})
"""Checks that look for what the tier itself has made, in an earlier try, too."""
OF_THE_WHOLE_WAY = frozenset({"logs"})
"""Checks over all tiers that count what happened while these came up; others see them as they are since then."""


def is_stop(step: PlannedStep, plan: Iterable[PlannedStep]) -> bool:
    """Whether a step of the recovery stops its tier: another one takes it back, or stands before every other tier's."""
    taken_back = {name for each in plan for name in each.brings_back}
    return step.name in taken_back or step.name in (f"stop-{step.tier}", f"suspend-{step.tier}")


def is_question(step: PlannedStep) -> bool:
    """Whether it asks a person whether its tier may begin: the time that takes is nobody's delay."""
    return bool(step.tier) and step.action == GATES and step.name == f"confirm-{step.tier}"


def is_clocked(step: PlannedStep) -> bool:
    """Whether the tier's own timeout holds for it, with all others of the tier: its start in waves, and its gates."""
    return bool(step.tier) and (bool(step.brings_back) or (step.action == GATES and not is_question(step)))


def bringing(plan: Sequence[PlannedStep], tier: str = "") -> tuple[PlannedStep, ...]:
    """The steps that bring a tier back, or all tiers: neither those that stop one nor a question."""
    return tuple(
        step
        for step in plan
        if step.tier and tier in ("", step.tier) and not is_stop(step, plan) and not is_question(step)
    )


def first_start(record: Record, steps: Iterable[PlannedStep]) -> str:
    """When the first of some steps began; empty: none has."""
    return min((at for step in steps if (at := record.step(step.name).started_at)), default="")


def clock_of(record: Record, step: PlannedStep) -> str:
    """When the time of a step began that its timeout is about; empty: it has not.

    A tier's waves and gates have one deadline together, counted anew where a person has asked to go on.
    """
    if not is_clocked(step):
        return record.step(step.name).started_at
    mine = [each for each in record.plan if each.tier == step.tier and is_clocked(each)]
    begun = first_start(record, mine)
    return begun and max(begun, record.timers.get(RESUMED, ""))


def looked_from(record: Record, step: PlannedStep, check: str) -> str:
    """The instant that a gate's look into the past begins at; empty: its step has not begun.

    That is when its tier was begun to be brought back, and for errors in the logs of all tiers when the first
    one was. What went wrong before a person put it right and asked to go on counts no more; a Job that was made
    before that still does.
    """
    own = record.step(step.name).started_at
    is_whole = bool(step.tier) or check in OF_THE_WHOLE_WAY
    begun = first_start(record, bringing(record.plan, step.tier)) or own if is_whole else own
    return begun if check in SINCE_BEGUN else begun and max(begun, record.timers.get(RESUMED, ""))


def lost(record: Record) -> dict[str, str]:
    """The tiers that have failed and are gone past, each with the name of the step that failed."""
    found: dict[str, str] = {}
    for step in record.plan:
        if step.tier and step.on_failure == "Continue" and record.step(step.name).state == "Failed":
            found.setdefault(step.tier, step.name)
    return found


def stopped(record: Record, tier: str) -> tuple[Entry, ...]:
    """What is stopped of a tier: taken from it, and not begun to be given back."""
    plan = [step for step in record.plan if step.tier == tier]
    given = {e.change.key for step in plan if step.brings_back for e in record.of_step(step.name) if e.state in LIVE}
    return tuple(
        entry
        for step in plan
        if is_stop(step, record.plan)
        for entry in record.of_step(step.name)
        if entry.state in LIVE and entry.change.key not in given
    )
