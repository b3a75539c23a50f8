"""R7 and R9: two operators at once, and the order in which things are written."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from faults.audit import Write, effects, masker, unannounced
from faults.lane import Course, Lane
from faults.matrix import References
from faults.patience import WITHIN, some
from faults.rules import Rule
from faults.scenarios import SCENARIOS
from faults.world import snapshot
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster


# R7: two operators at once.


def both(lanes: list[Lane]) -> list[Write]:
    """What all of them wrote, in the order of the first one's audit log."""
    made = {each.audit_id for lane in lanes for each in lane.writes()}
    return [each for each in lanes[0].audit.writes(lanes[0].namespace.name) if each.audit_id in made]


@pytest.mark.parametrize("name", some("undo"))
def test_two_operators_that_both_take_themselves_for_the_only_one_do_nothing_twice(
    lane: Lane, make_lane: Callable[..., Lane], name: str, reference: References
) -> None:
    want = reference(name).warm  # before there is another operator that could do some of it
    twin = make_lane(f"twin-{name}", namespace=lane.namespace.name)
    try:
        eventually(lambda: twin.proxy.is_watched("/incidents"), within=20, what="the other operator's watch")
        with lane.prepared(SCENARIOS[name]) as run:
            course = Course(lane, SCENARIOS[name], run)
            assert course.to_the_end(time.monotonic() + WITHIN) == ""
            lists = len(twin.proxy.seen_of("list incidents"))
            eventually(
                lambda: len(twin.proxy.seen_of("list incidents")) > lists + 1, within=WITHIN, what="two re-lists"
            )
            writes = both([lane, twin])
            assert effects(writes, masker(run)) == want.effects
            assert unannounced(writes) == []
            # Who comes second is refused by the lock of status: it has tried, and need not have written anything.
            assert [each for each in twin.proxy.seen if each.is_write and f"/incidents/{run}" in each.target]
    finally:
        twin.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_leader_that_is_frozen_past_its_lease_with_a_write_under_way_does_not_roll_back_twice(
    make_lane: Callable[..., Lane],
) -> None:
    scenario = SCENARIOS["undo"]
    old = make_lane("leader", "--lease", "default/faults")
    name = old.namespace.name
    new = make_lane("standby", "--lease", "default/faults", namespace=name)
    with old.prepared(scenario) as run:
        late = Rule("hang", kind="patch deployments", seconds=30.0)
        old.proxy.add(late)
        course = Course(new, scenario, run)
        eventually(lambda: late.fired, within=WITHIN, what="the leader's write")
        os.kill(old.pid, signal.SIGSTOP)
        try:
            assert course.to_the_end(time.monotonic() + 40) == ""
        finally:
            os.kill(old.pid, signal.SIGCONT)
        refused = lambda: [e for e in both([old, new]) if e.agent == old.agent and e.resource == "deployments"]  # noqa: E731
        eventually(refused, within=40, what="the late write to arrive")
        assert [each.is_made for each in refused()] == [False], "the late write fails on its precondition"
        assert effects(both([old, new]), masker(run)) == {"patch deployments RUN": 1}
        versions = snapshot(old.api, run)["revisions RUN"]
        assert versions == ["2: version 2", "3: version 1"], "a second undo would make a 4"


# R9: write-ahead order, from the audit log.


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_change_of_a_target_follows_a_status_in_which_it_is_intended(lane: Lane, name: str) -> None:
    with lane.prepared(SCENARIOS[name]) as run:
        assert Course(lane, SCENARIOS[name], run).to_the_end(time.monotonic() + WITHIN) == ""
        writes = lane.writes()
        changes = [each for each in writes if each.is_made and each.is_on_target]
        assert changes, "the audit log saw nothing"
        assert {each.user for each in changes} == {f"system:serviceaccount:{lane.namespace.name}:incident-responder"}
        assert unannounced(writes) == []
        silent = [each for each in writes if not each.is_status_of_incident]
        assert len(unannounced(silent)) == len(changes), "without the status patches every change is one too many"
