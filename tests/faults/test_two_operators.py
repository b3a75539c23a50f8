"""R7 and R9: two operators at once, and the order in which things are written."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from faults.audit import Write, effects, gaps, masker, started_too_soon, unannounced
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


def test_a_write_that_arrives_when_another_has_done_it_is_refused_by_its_precondition(
    lane: Lane, make_lane: Callable[..., Lane]
) -> None:
    scenario = SCENARIOS["undo"]
    with lane.prepared(scenario) as run:
        late = Rule("hang", kind="patch deployments", seconds=60.0)
        lane.proxy.add(late)
        scenario.apply(lane.api, run)
        eventually(lambda: late.fired, within=WITHIN, what="the first one's write")
        os.kill(lane.pid, signal.SIGSTOP)
        heir = None
        try:
            heir = make_lane("heir", namespace=lane.namespace.name)
            course = Course(heir, scenario, run, is_applied=True)
            assert course.to_the_end(course.begun + 2 * WITHIN) == ""
            late.is_over = True
            refused = lambda: [e for e in both([heir, lane]) if e.agent == lane.agent and e.resource == "deployments"]  # noqa: E731
            eventually(refused, within=WITHIN, what="the late write to arrive")
            assert [each.is_made for each in refused()] == [False], "the late write fails on its precondition"
            assert snapshot(lane.api, run)["revisions RUN"] == ["2: version 2", "3: version 1"]
        finally:
            os.kill(lane.pid, signal.SIGCONT)
            if heir is not None:
                heir.close()


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


# R9: the order of things, from the audit log.


def test_an_upper_tier_is_started_only_after_the_lower_one_was_seen_to_be_up(lane: Lane) -> None:
    scenario = SCENARIOS["recover"]
    with lane.prepared(scenario) as run:
        nowhere = {"spec": {"nodeSelector": {"incident-test/nowhere": "true"}}}
        strategy = {"type": "Recreate", "rollingUpdate": None}
        lane.api.merge("deployments", run, {"spec": {"strategy": strategy, "template": nowhere}})
        eventually(
            lambda: not lane.api.get("deployments", run)["status"].get("readyReplicas"),
            within=WITHIN,
            what="it is down",
        )
        course = Course(lane, scenario, run)
        upper = lambda: lane.api.get("deployments", f"{run}-api")["spec"]["replicas"]  # noqa: E731
        eventually(lambda: upper() == 0, within=WITHIN, what="the upper tier to be stopped")
        lists = len(lane.proxy.seen_of("list incidents"))
        eventually(lambda: len(lane.proxy.seen_of("list incidents")) > lists + 2, within=WITHIN, what="three re-lists")
        assert upper() == 0, "nobody starts it while what it stands on is down"
        lane.api.merge("deployments", run, {"spec": {"template": {"spec": {"nodeSelector": None}}}})
        assert course.to_the_end(time.monotonic() + 2 * WITHIN) == ""
        writes = lane.audit.writes(lane.namespace.name)
        started = [each for each in writes if each.agent == lane.agent and each.resource == "deployments/scale"]
        assert [each.name for each in started if each.is_made] == [f"{run}-api"] * 2, "stopped, and started"
        assert started_too_soon(writes, run, f"{run}-api") == []
        unseen = [each for each in writes if each.resource != "deployments/status"]
        assert started_too_soon(unseen, run, f"{run}-api"), "without what was seen it is too soon"


def test_an_isolation_is_there_from_when_it_is_said_to_be_until_it_is_released(lane: Lane) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        assert Course(lane, scenario, run).to_the_end(time.monotonic() + WITHIN) == ""
        writes, ours = lane.audit.writes(lane.namespace.name), frozenset({lane.agent})
        assert gaps(writes, ours) == []
        lifted = [each for each in writes if each.resource == "networkpolicies" and each.verb == "delete"]
        assert lifted, "it was released"
        unasked = [each for each in writes if each.agent == lane.agent]
        assert gaps(unasked, ours), "had nobody asked for the release, its deletion would be a gap"


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
