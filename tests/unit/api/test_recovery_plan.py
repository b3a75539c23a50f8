"""The RecoveryPlan as a model: what it takes, and what it says against the rest."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from incident_operator.api.recovery import STEP_FAILURE, RecoveryPlanSpec

UNDO: dict[str, Any] = {"name": "undo", "rolloutUndo": {}}


def plan(**api: Any) -> dict[str, Any]:
    return {"tiers": [{"name": "api", **api}]}


@pytest.mark.parametrize("said", ["Halt", "Continue", "Release"])
def test_a_step_of_a_tier_has_no_failure_of_its_own(said: str) -> None:
    with pytest.raises(ValidationError, match=STEP_FAILURE):
        RecoveryPlanSpec.model_validate(plan(steps=[{**UNDO, "onFailure": said}]))


def test_what_is_not_said_about_a_step_is_the_same_as_in_an_incident() -> None:
    found = RecoveryPlanSpec.model_validate(plan(steps=[UNDO, {"name": "again", "resume": {}}], onFailure="Continue"))
    steps = found.tiers[0].steps or []
    assert [(step.action[0], step.timeout, step.approval) for step in steps] == [
        ("rolloutUndo", "10m", "ByPolicy"),
        ("resume", "10m", "ByPolicy"),
    ]
