"""How far each tier of a recovery is, told from the records of its steps."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Literal

from incident_operator.planning.plan import PlannedStep
from incident_operator.planning.progress import FINISHED, is_over
from incident_operator.planning.record import Record
from incident_operator.planning.roles import bringing, first_start, is_stop

TierState = Literal["Pending", "Stopped", "Restoring", "Checking", "Up", "Failed"]


@dataclasses.dataclass(frozen=True, slots=True)
class TierProgress:
    """One tier."""

    name: str
    state: TierState
    message: str
    started_at: str
    """When bringing it back began, a person's word apart; empty: not yet."""
    finished_at: str
    seconds: float
    """From one to the other; 0 as long as it is not over."""
    expected_seconds: float


def tiers_of(record: Record) -> tuple[TierProgress, ...]:
    """The tiers in the order they come back."""
    recovery = [step for step in record.plan if step.tier]
    back = [step for step in recovery if not is_stop(step, record.plan)]
    order = dict.fromkeys(step.tier for step in back)
    return tuple(
        _tier(
            record,
            name,
            [step for step in recovery if step.tier == name and is_stop(step, record.plan)],
            [step for step in back if step.tier == name],
        )
        for name in order
    )


def _tier(record: Record, name: str, stops: list[PlannedStep], steps: list[PlannedStep]) -> TierProgress:
    records = [record.step(step.name) for step in steps]
    begun = first_start(record, bringing(record.plan, name))
    is_up = all(is_over(step, each) for step, each in zip(steps, records, strict=True))
    failed = next((each for each in (*records, *(record.step(s.name) for s in stops)) if each.state == "Failed"), None)
    ended = max((each.finished_at for each in records if each.finished_at), default="") if is_up else ""
    current = next((each for each in records if each.state not in FINISHED), records[-1])
    state: TierState = "Pending"
    if failed is not None:
        state, current = "Failed", failed
    elif is_up:
        state = "Up"
    elif any(each.started_at for each in records):
        state = "Checking" if current.name.startswith("gates-") else "Restoring"
    elif stops and all(record.step(step.name).state in FINISHED for step in stops):
        state = "Stopped"
    seconds = 0.0
    if begun and ended:
        seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(begun)).total_seconds()
    expected = max(step.expected_seconds for step in steps)
    return TierProgress(name, state, current.message, begun, ended, seconds, expected)


def spoken(seconds: float) -> str:
    """A length of time as kubectl prints it, like ``1m30s``; empty for none."""
    whole = int(seconds)
    if not whole:
        return ""
    parts = ((whole // 3600, "h"), (whole % 3600 // 60, "m"), (whole % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)
