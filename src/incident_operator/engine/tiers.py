"""Says of a recovery how far each tier is: in Events, and on record when the last one is back."""

from __future__ import annotations

import dataclasses

from incident_operator.engine.case import Case
from incident_operator.planning.plan import PlannedStep
from incident_operator.planning.progress import is_over
from incident_operator.planning.roles import TIER_FAILED, lost
from incident_operator.planning.tiers import tiers_of


def say(case: Case, step: PlannedStep) -> None:
    """A step of a tier is done: say so if that was the last of the tier, and if the tier was the last of all."""
    found = {tier.name: tier for tier in tiers_of(case.record)}
    tier = found.get(step.tier)
    if tier is None or tier.state != "Up":
        return
    late = f", {tier.expected_seconds:g} s were expected" if tier.expected_seconds else ""
    text = f"tier {tier.name} is back after {tier.seconds:g} s{late}: {tier.message}"
    case.note("TierRecovered", text, event=True)
    if lost(case.record):
        return
    recovery = [each for each in case.record.plan if each.phase == "Recovery"]
    if all(is_over(each, case.record.step(each.name)) for each in recovery):
        case.record = case.record.timed("restored", case.stamp)
        case.note("RecoveryDone", f"all tiers are back: {', '.join(found)}", event=True)


def skip(case: Case, steps: tuple[PlannedStep, ...]) -> None:
    """Leave out what was still to be done for a tier that has failed and is gone past."""
    gone_past = lost(case.record)
    for step in steps:
        why = f"step {gone_past[step.tier]} of tier {step.tier} has failed"
        old = case.record.step(step.name)
        case.record = case.record.with_step(
            dataclasses.replace(old, state="Skipped", reason=TIER_FAILED, message=why, finished_at=case.stamp)
        )
        case.note("StepSkipped", f"{step.name}: {why}")
