"""Conditions as kstatus reads them, from every situation a record can be in."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.planning import summary
from incident_operator.planning.merging import merged
from incident_operator.planning.plan import Entry, EntryState, Plan, PlannedStep, Release
from incident_operator.planning.record import Condition, Record, StepRecord
from tests_support.planning import NOW, a_change

LATER = "2026-11-23T10:00:09Z"


def conditions(record: Record) -> dict[str, Condition]:
    return {condition.type: condition for condition in summary.conditions(record, NOW)}


def with_isolation(fact: str) -> Record:
    step = PlannedStep("cut", "Containment", "isolate", (), Release.ON_RESOLVE)
    record = merged(Record(), Plan((step,)))
    return record.with_step(StepRecord("cut", "Done", message="policy is there", facts={"isolation": fact}))


@pytest.mark.parametrize(
    ("outcome", "ready", "other"),
    [
        pytest.param("", "Unknown", "Reconciling", id="working"),
        pytest.param("Waiting", "False", "Reconciling", id="waiting-for-a-person"),
        pytest.param("Halted", "False", "Stalled", id="cannot-go-on"),
        pytest.param("Planned", "True", None, id="asked-to-stop-at-the-plan"),
        pytest.param("Contained", "True", None, id="asked-to-stop-at-containment"),
        pytest.param("Resolved", "True", None, id="over"),
        pytest.param("Cancelled", "True", None, id="stopped"),
        pytest.param("Expired", "True", None, id="its-time-is-over"),
    ],
)
def test_each_situation_reads_right(outcome: str, ready: str, other: str | None) -> None:
    record = Record(outcome=outcome, reason=outcome, message="why")  # type: ignore[arg-type]
    found = conditions(record)
    assert found["Ready"].status == ready
    assert set(found) == {"Ready", *([other] if other else [])}


def test_retrying_is_reconciling_with_the_cause() -> None:
    found = conditions(Record(retrying="could not patch", reason="ApiBusy"))
    assert (found["Ready"].status, found["Ready"].reason) == ("False", "ApiBusy")
    assert found["Reconciling"].reason == "ProgressingWithRetry"


@pytest.mark.parametrize(
    ("fact", "status", "reason"),
    [
        ("Full", "True", "Contained"),
        ("Partial", "False", "IsolationPartial"),
        ("NotEnforced", "False", "NotEnforced"),
        ("Unverified", "Unknown", "IsolationUnverified"),
    ],
)
def test_contained_is_only_what_was_seen(fact: str, status: str, reason: str) -> None:
    found = conditions(with_isolation(fact))["Contained"]
    assert (found.status, found.reason) == (status, reason)


def test_an_entry_left_to_a_person_is_a_condition_of_its_own() -> None:
    entry = Entry("s", "scale", a_change(), Release.ON_RESOLVE, EntryState.CONFLICT, "changed since")
    found = conditions(Record(outcome="Resolved", reason="Resolved", entries=(entry,)))
    assert found["ReleaseConflict"].status == "True"
    assert "changed since" in found["ReleaseConflict"].message


def test_transition_time_moves_only_when_the_status_flips() -> None:
    first = Record(outcome="", message="one")
    record = dataclasses.replace(first, conditions=summary.conditions(first, NOW), message="two")
    assert {c.since for c in summary.conditions(record, LATER)} == {NOW}
    over = dataclasses.replace(record, outcome="Resolved", reason="Resolved")
    assert [c.since for c in summary.conditions(over, LATER)] == [LATER]


@given(
    outcome=st.sampled_from(["", "AwaitingApproval", "Planned", "Contained", "Resolved", "Halted"]),
    retrying=st.sampled_from(["", "trying"]),
    fact=st.sampled_from(["Full", "Partial", "NotEnforced", "Unverified", ""]),
)
def test_never_reconciling_and_stalled_together(outcome: str, retrying: str, fact: str) -> None:
    record = dataclasses.replace(with_isolation(fact), outcome=outcome, retrying=retrying, reason="R")  # type: ignore[arg-type]
    found = conditions(record)
    assert not {"Reconciling", "Stalled"} <= set(found)
    assert found["Ready"].reason
    assert ("Stalled" in found) is (outcome == "Halted")


@pytest.mark.parametrize(
    ("parts", "first", "expected"),
    [
        (("Containment",), "Pending", "Containment"),
        (("Containment",), "Done", "Containment"),
        (("Containment", "Remediation"), "Pending", "Containment"),
        (("Containment", "Remediation"), "Done", "Remediation"),
        (("Remediation",), "Pending", "Remediation"),
    ],
)
def test_the_phase_is_the_part_of_the_plan_that_is_under_way(parts: tuple[str, ...], first: str, expected: str) -> None:
    steps = tuple(PlannedStep(part.lower(), part, "scale", (), Release.ON_RESOLVE) for part in parts)  # type: ignore[arg-type]
    record = merged(Record(), Plan(steps)).with_step(StepRecord(parts[0].lower(), first))  # type: ignore[arg-type]
    assert summary.phase(record) == expected
