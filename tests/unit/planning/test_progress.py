"""Which move comes next, and what a new plan keeps of an old one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.planning.merging import merged, superseded
from incident_operator.planning.plan import (
    Change,
    CheckWish,
    Entry,
    EntryState,
    Further,
    Plan,
    PlannedStep,
    Ref,
    Release,
    Request,
    Verdict,
)
from incident_operator.planning.progress import agreed, next_move, stages
from incident_operator.planning.record import CheckRecord, Record, StepRecord

TARGET = Ref("Deployment", "api", "shop", "uid-1")


def change(key: str = "Deployment/api", *, before: Any = 3, after: Any = 0, noop: bool = False) -> Change:
    request = None if noop else Request("patch", TARGET, [{"op": "replace", "path": "/spec/replicas", "value": after}])
    return Change(key, TARGET, request, before, after, f"{key}: {before} -> {after}")


def step(name: str, *changes: Change, **rest: Any) -> PlannedStep:
    return PlannedStep(name, rest.pop("phase", "Containment"), "scale", changes, Release.ON_RESOLVE, **rest)


def planned(*steps: PlannedStep) -> Record:
    return merged(Record(), Plan(steps))


def in_state(record: Record, name: str, entries: EntryState, step_state: Any) -> Record:
    record = record.with_entries(dataclasses.replace(entry, state=entries) for entry in record.of_step(name))
    return record.with_step(StepRecord(name, step_state))


def move(record: Record, *, has_checks: bool = False) -> str:
    return next_move(record, has_checks=has_checks, release_asked=False).kind


def test_a_new_plan_is_first_put_on_record() -> None:
    assert move(planned(step("one", change()))) == "intend"


def test_what_is_on_record_is_made_and_then_settled() -> None:
    record = planned(step("one", change()))
    assert move(in_state(record, "one", EntryState.INTENDED, "Acting")) == "act"
    assert move(in_state(record, "one", EntryState.DONE, "Settling")) == "settle"


def test_a_plan_without_writes_is_settled_without_an_intent() -> None:
    assert move(planned(step("one", change(noop=True)))) == "settle"


def test_the_second_step_waits_for_the_first() -> None:
    record = planned(step("one", change()), step("two", change("Deployment/bot")))
    first = next_move(record, has_checks=False, release_asked=False)
    assert [each.name for each in first.steps] == ["one"]
    done = in_state(record, "one", EntryState.DONE, "Done")
    assert [each.name for each in next_move(done, has_checks=False, release_asked=False).steps] == ["two"]


def test_neighbours_with_one_stage_run_together_and_others_do_not() -> None:
    plan = [step("a", stage="x"), step("b", stage="x"), step("c"), step("d", stage="x"), step("e", phase="Remediation")]
    assert [[each.name for each in stage] for stage in stages(plan)] == [["a", "b"], ["c"], ["d"], ["e"]]


@pytest.mark.parametrize(("policy", "kind"), [("Halt", "fail"), ("Release", "fail"), ("Continue", "hold")])
def test_a_failed_step_stops_the_others_unless_told_to_continue(policy: Any, kind: str) -> None:
    record = in_state(planned(step("one", change(), on_failure=policy)), "one", EntryState.DONE, "Failed")
    assert move(record) == kind


def test_unknown_and_failing_checks_keep_it_from_resolving() -> None:
    record = in_state(planned(step("one", change())), "one", EntryState.DONE, "Done")
    assert move(record, has_checks=True) == "verify"
    for verdict in (Verdict.UNKNOWN, Verdict.FAIL):
        looked = dataclasses.replace(record, checks=(CheckRecord("c", verdict),))
        assert move(looked, has_checks=True) == "verify"
    passed = dataclasses.replace(record, checks=(CheckRecord("c", Verdict.PASS, passed=True),))
    assert move(passed, has_checks=True) == "resolve"


def test_without_checks_what_is_held_keeps_it_open_and_what_is_never_put_back_does_not() -> None:
    record = in_state(planned(step("one", change())), "one", EntryState.DONE, "Done")
    assert move(record) == "hold"
    one = dataclasses.replace(step("one", change()), release=Release.NEVER)
    never = in_state(planned(one), "one", EntryState.DONE, "Done")
    assert move(never) == "resolve"


def test_what_is_in_force_on_other_terms_than_the_plan_s_is_agreed_to_first() -> None:
    record = in_state(planned(step("one", change())), "one", EntryState.DONE, "Done")
    for_good = dataclasses.replace(step("one", change(noop=True)), release=Release.NEVER)
    again = merged(record, Plan((for_good,)))
    assert (move(again), again.entries[0].release) == ("agree", Release.ON_RESOLVE)
    assert move(agreed(again, (for_good,))) == "resolve"


def test_a_new_plan_keeps_what_is_in_force_with_its_first_before() -> None:
    record = in_state(planned(step("one", change(before=3, after=0))), "one", EntryState.DONE, "Done")
    again = merged(record, Plan((step("one", change(before=0, after=0, noop=True)),)))
    (entry,) = again.entries
    assert (entry.state, entry.change.before) == (EntryState.DONE, 3)
    assert again.step("one").state == "Done"
    other = merged(record, Plan((step("one", change(before=0, after=1)),)))
    held, entry = other.entries
    assert (entry.state, entry.change.before, entry.change.after) == (EntryState.PLANNED, 3, 1)
    assert other.step("one").state == "Pending"
    assert (held.step, held.state, held.change) == ("one~1", EntryState.DONE, record.entries[0].change)
    third = merged(other, Plan((step("one", change(before=0, after=2)),)))
    assert [each.step for each in third.entries] == ["one~1", "one"]
    assert third.entries[1].change.before == 3, "still what was there before the Incident"
    back = merged(other, Plan((step("one", change(before=0, after=0, noop=True)),)))
    assert [(each.step, each.state, each.change.before) for each in back.entries] == [("one", EntryState.DONE, 3)]
    made = dataclasses.replace(entry, state=EntryState.DONE)
    assert superseded(other.with_entries([made]), [made]).entries == (made,)


def test_what_a_step_did_that_does_something_else_by_now_stays_on_record() -> None:
    record = in_state(planned(step("one", change())), "one", EntryState.DONE, "Done")
    other = dataclasses.replace(step("one", change()), action="rolloutUndo")
    made = dataclasses.replace(merged(record, Plan((other,))).entries[1], state=EntryState.DONE)
    again = merged(record, Plan((other,))).with_entries([made])
    assert [(each.step, each.action) for each in superseded(again, [made]).entries] == [
        ("one~1", "scale"),
        ("one", "rolloutUndo"),
    ]


def test_what_failed_in_a_step_of_this_name_is_no_part_of_the_new_one() -> None:
    record = in_state(planned(step("one", change())), "one", EntryState.FAILED, "Failed")
    again = merged(record, Plan((step("one", change("Deployment/bot")),)))
    assert [(each.change.key, each.state) for each in again.entries] == [("Deployment/bot", EntryState.PLANNED)]


def test_a_new_plan_does_not_forget_what_a_step_that_is_no_more_did() -> None:
    record = in_state(planned(step("one", change())), "one", EntryState.DONE, "Done")
    again = merged(record, Plan((step("two", change("Deployment/bot")),)))
    assert [(entry.step, entry.state) for entry in again.entries] == [
        ("one", EntryState.DONE),
        ("two", EntryState.PLANNED),
    ]


def test_a_target_that_was_replaced_by_another_of_its_name_is_planned_anew() -> None:
    record = in_state(planned(step("one", change())), "one", EntryState.DONE, "Done")
    new = dataclasses.replace(change(), target=dataclasses.replace(TARGET, uid="uid-2"))
    old, entry = merged(record, Plan((step("one", new),))).entries
    assert (entry.state, old.step) == (EntryState.PLANNED, "one~1")


def test_what_was_so_before_is_never_put_back() -> None:
    (entry,) = planned(step("one", change(noop=True))).entries
    assert entry.state is EntryState.SKIPPED
    assert planned(step("one", change(noop=True))).held() == ()


def test_the_hash_names_every_request() -> None:
    one, two = Plan((step("one", change(after=0)),)), Plan((step("one", change(after=1)),))
    assert one.hash != two.hash
    assert one.hash == Plan((step("one", change(after=0)),)).hash
    assert len(one.hash) == 16


OTHER: dict[str, Any] = {
    "name": "two",
    "phase": "Remediation",
    "action": "isolate",
    "release": Release.NEVER,
    "stage": "both",
    "timeout_seconds": 1.0,
    "on_failure": "Release",
    "expires_seconds": 1800.0,
    "approval": "Required",
    "tier": "api",
    "gates": (CheckWish("up", "podsReady", {}, (TARGET,), 5.0, 60.0),),
    "brings_back": ("stop",),
    "changes": (dataclasses.replace(change(), further=(Further("delete", "Pod"),)),),
}
"""For each field of a step another value; one that only tells something is not in it."""
ONLY_TOLD = {"expected_seconds": 90.0}
steps_of_any_kind = st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in OTHER.items()})


@given(steps_of_any_kind, steps_of_any_kind, st.sampled_from(["a", "b"]), st.sampled_from(["a", "b"]))
def test_any_difference_in_what_is_done_by_whom_and_for_how_long_is_another_hash(
    one: dict[str, Any], two: dict[str, Any], first: str, second: str
) -> None:
    plain_step = step("one", change())
    left, right = (dataclasses.replace(plain_step, **each) for each in (one, two))
    is_same = Plan((left,), first).hash == Plan((right,), second).hash
    assert is_same is (one == two and first == second)


def test_every_field_of_a_step_is_in_the_hash_or_named_as_one_that_only_tells() -> None:
    assert {each.name for each in dataclasses.fields(PlannedStep)} == OTHER.keys() | ONLY_TOLD.keys()
    one = step("one", change())
    assert Plan((one,)).hash == Plan((dataclasses.replace(one, **ONLY_TOLD),)).hash


def test_entries_of_one_step_are_replaced_by_key() -> None:
    record = planned(step("one", change("a"), change("b")))
    new = dataclasses.replace(record.entries[1], state=EntryState.DONE)
    assert [entry.state for entry in record.with_entries([new]).entries] == [EntryState.PLANNED, EntryState.DONE]
    more = Entry("one", "scale", change("c"), Release.ON_RESOLVE, EntryState.INTENDED)
    assert [entry.change.key for entry in record.with_entries([more]).entries] == ["a", "b", "c"]
