"""R5 and R6: what happened while nobody looked, and reads that are old."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from faults.access import Api
from faults.lane import Course, Lane
from faults.matrix import TURNS, References
from faults.patience import WITHIN
from faults.rules import ALWAYS, Rule
from faults.scenarios import SCENARIOS, ready_reason, release
from faults.world import snapshot
from tests_support.cluster import incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster


# R5: what happened while nobody looked.


@pytest.fixture
def unseen(lane: Lane) -> Callable[[], list[Rule]]:
    """Takes the operator's eyes; it gets them back when the rules are cleared."""

    def close() -> list[Rule]:
        rules = [
            Rule("watch_dropped", count=ALWAYS),
            Rule("status", kind="list incidents", code=500, count=ALWAYS),
        ]
        lane.proxy.add(*rules)
        return rules

    return close


def isolation(run: str, target: str) -> dict[str, object]:
    targets = [{"kind": "Deployment", "name": target}]
    return incident(run, targets=targets, containment=[{"name": "cut", "isolate": {}}])


def selected(api: Api) -> list[str]:
    """The apps that NetworkPolicies cut off."""
    return sorted(each["spec"]["podSelector"]["matchLabels"]["app"] for each in api.list("networkpolicies"))


@pytest.fixture
def other(lane: Lane) -> Iterator[str]:
    """A second workload."""
    name = lane.name(SCENARIOS["isolate"])
    SCENARIOS["isolate"].prepare(lane.api, name)
    yield name
    lane.api.delete("deployments", name)


def test_an_incident_that_was_deleted_and_made_again_unseen_is_taken_for_the_new_one(
    lane: Lane, other: str, unseen: Callable[[], list[Rule]]
) -> None:
    with lane.prepared(SCENARIOS["isolate"]) as run:
        rules = unseen()
        lane.api.create("incidents", isolation(run, run))
        lane.api.delete("incidents", run)
        lane.api.create("incidents", isolation(run, other))
        lane.proxy.clear(*rules)
        lane.proxy.cut_watches()
        eventually(lambda: selected(lane.api) == [other], within=WITHIN, what="the isolation of the other")
        assert {each.name for each in lane.writes() if each.is_on_target and each.is_made} == {
            each["metadata"]["name"] for each in lane.api.list("networkpolicies")
        }


def test_an_incident_that_came_and_went_unseen_leaves_no_trace_even_if_a_re_list_expires(
    lane: Lane, unseen: Callable[[], list[Rule]]
) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        rules = unseen()
        lane.api.create("incidents", isolation(run, run))
        lane.api.delete("incidents", run)
        assert lane.api.get("incidents", run) is None, "nobody who saw it holds it"
        lane.proxy.clear(*rules)
        expired = Rule("status", kind="list incidents", code=410, count=2)
        lane.proxy.add(expired)
        lane.proxy.cut_watches()
        eventually(lambda: expired.fired == expired.count, within=WITHIN, what="re-lists that are refused with 410")
        scenario.apply(lane.api, run)
        eventually(
            lambda: ready_reason(lane.api.get("incidents", run)) == scenario.held, within=WITHIN, what="the next one"
        )
        made = [each for each in lane.writes() if each.is_on_target and each.is_made]
        assert [each.verb for each in made] == ["create"], "only for the one that is there"


def test_a_step_that_became_another_and_was_put_back_unseen_changes_nothing(
    lane: Lane, unseen: Callable[[], list[Rule]]
) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        scenario.apply(lane.api, run)
        held = lambda: ready_reason(lane.api.get("incidents", run)) == scenario.held  # noqa: E731
        eventually(held, within=WITHIN, what="the isolation")
        before = [each["metadata"]["uid"] for each in lane.api.list("networkpolicies")]
        rules = unseen()
        for step in ({"name": "cut", "scale": {"replicas": 0}}, {"name": "cut", "isolate": {}}):
            lane.api.merge("incidents", run, {"spec": {"containment": [step]}})
        lane.proxy.clear(*rules)
        lane.proxy.cut_watches()
        newest = lane.api.get("incidents", run)["metadata"]["generation"]
        eventually(
            lambda: lane.api.get("incidents", run)["status"]["observedGeneration"] == newest and held(),
            within=WITHIN,
            what="the newest spec to be observed",
        )
        assert [each["metadata"]["uid"] for each in lane.api.list("networkpolicies")] == before
        assert lane.api.get("deployments", run)["spec"]["replicas"] == 1, "the step in between was never done"


def test_an_incident_that_is_replaced_while_its_first_write_is_under_way_does_not_act_for_the_old_one(
    lane: Lane, other: str
) -> None:
    with lane.prepared(SCENARIOS["isolate"]) as run:
        rule = Rule("hang", kind="patch incidents", seconds=2.0)
        lane.proxy.add(rule)
        lane.api.create("incidents", isolation(run, run))
        eventually(lambda: rule.fired, within=WITHIN, what="the first write")
        lane.api.delete("incidents", run)
        lane.api.create("incidents", isolation(run, other))
        eventually(lambda: selected(lane.api) == [other], within=WITHIN, what="the isolation of the other")
        made = [each for each in lane.writes() if each.is_on_target and each.verb == "create" and each.is_made]
        assert len(made) == 1, "the old Incident's isolation was never made"


def test_a_spec_that_went_there_and_back_unseen_changes_nothing(lane: Lane, unseen: Callable[[], list[Rule]]) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        scenario.apply(lane.api, run)
        held = lambda: ready_reason(lane.api.get("incidents", run)) == scenario.held  # noqa: E731
        eventually(held, within=WITHIN, what="the isolation")
        before = [each["metadata"]["uid"] for each in lane.api.list("networkpolicies")]
        rules = unseen()
        for suspended in (True, False):
            lane.api.merge("incidents", run, {"spec": {"suspend": suspended}})
        lane.proxy.clear(*rules)
        lane.proxy.cut_watches()
        newest = lane.api.get("incidents", run)["metadata"]["generation"]
        eventually(
            lambda: lane.api.get("incidents", run)["status"]["observedGeneration"] == newest and held(),
            within=WITHIN,
            what="the newest spec to be observed",
        )
        assert [each["metadata"]["uid"] for each in lane.api.list("networkpolicies")] == before


# R6a: reads that are old.


@pytest.mark.parametrize("kind", ["get deployments", "list pods", "get incidents"])
@pytest.mark.parametrize("name", ["undo", pytest.param("scale", marks=pytest.mark.slow)])
def test_reads_of_the_past_delay_and_change_nothing(lane: Lane, name: str, kind: str, reference: References) -> None:
    for _ in range(TURNS):  # in a course in which it was read only once nothing has been tried
        rule = Rule("stale", kind=kind, count=8, skip=1)  # the first answer is the past that the others are given
        found = lane.run(SCENARIOS[name], rule, within=40)
        assert not found.asked_again or kind == "get deployments", "only an old GET is taken for somebody's change"
        assert found.differs_from(reference(name).warm) == []
        if rule.has_struck:
            return
    pytest.fail(f"{kind}: no read was answered from the past")


def test_a_rollback_that_is_shown_old_revisions_goes_to_the_one_before_the_newest(lane: Lane) -> None:
    scenario = SCENARIOS["undo"]
    with lane.prepared(scenario) as run:
        lane.api.create("incidents", incident(run, **scenario.spec(run), mode="Observe"))
        planned = lambda: ready_reason(lane.api.get("incidents", run)) == "Planned"  # noqa: E731
        eventually(planned, within=WITHIN, what="a plan, from revisions 1 and 2")
        assert lane.proxy.seen_of("list replicasets")
        lane.api.delete("incidents", run)
        eventually(lambda: lane.api.get("incidents", run) is None, within=WITHIN, what="its end")
        release(lane.api, run, "3")
        lane.read_lists_anew()
        old = Rule("stale", kind="list replicasets", count=3)
        lane.proxy.add(old)
        course = Course(lane, scenario, run)
        assert course.to_the_end(course.begun + WITHIN) == ""
        assert old.has_struck
        assert course.asked_again == 0
        assert snapshot(lane.api, run)["revisions RUN"] == ["1: version 1", "3: version 3", "4: version 2"]


def test_a_change_by_somebody_else_after_the_plan_was_read_is_never_overwritten(lane: Lane) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        stale = Rule("stale", kind="get deployments", count=4)
        late = Rule("hang", kind="dry-run patch deployments/scale", seconds=2.0)
        lane.proxy.add(stale, late)
        targets = [{"kind": "Deployment", "name": run}]
        lane.api.create(
            "incidents", incident(run, targets=targets, containment=[{"name": "d", "scale": {"replicas": 0}}])
        )
        eventually(lambda: late.fired, within=WITHIN, what="the dry run")
        lane.api.merge("deployments", run, {"spec": {"replicas": 3}})
        eventually(
            lambda: ready_reason(lane.api.get("incidents", run)) == "Contained", within=2 * WITHIN, what="Contained"
        )
        lane.api.delete("incidents", run)
        eventually(lambda: lane.api.get("incidents", run) is None, within=WITHIN, what="its end")
        assert lane.api.get("deployments", run)["spec"]["replicas"] == 3, "what somebody else chose is what comes back"
