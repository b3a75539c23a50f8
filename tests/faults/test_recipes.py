"""Faults that are more than one request: outages, watches that lie, what nobody saw, and two operators."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from faults.access import AnswerError, Api
from faults.audit import Write, effects, masker, unannounced
from faults.lane import LOOK, Course, Lane
from faults.matrix import References
from faults.rules import ALWAYS, Rule
from faults.scenarios import SCENARIOS, is_stalled, ready_reason
from tests_support.cluster import incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster
WRITES = ("POST", "PATCH", "DELETE")
WITHIN = 20.0
"""Seconds: the re-list comes each 2 s, a retry after at most as many again, and this machine may be busy."""


def no_writes(code: int) -> list[Rule]:
    return [Rule("status", method=method, code=code, count=ALWAYS) for method in WRITES]


def until(moment: float) -> None:
    """Wait for a moment; where it is the thing that is waited for."""
    eventually(lambda: time.monotonic() >= moment, within=max(moment - time.monotonic(), 0) + 1, what="the time")


@pytest.fixture
def lane(lanes: list[Lane]) -> Lane:
    return lanes[0]


# R2: a right that is never there.


@pytest.mark.parametrize(
    "kind", ["get deployments", "dry-run create networkpolicies", "create networkpolicies", "list networkpolicies"]
)
def test_a_request_that_is_forbidden_for_ever_stalls_as_forbidden_and_is_not_repeated(lane: Lane, kind: str) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        lane.proxy.add(Rule("status", kind=kind, code=403, count=ALWAYS))
        scenario.apply(lane.api, run)
        found = eventually(
            lambda: (each := lane.api.get("incidents", run)) and is_stalled(each) and each,
            within=WITHIN,
            what="Stalled",
        )
        assert ready_reason(found) == "Forbidden"
        lane.proxy.seen.clear()
        begun = time.monotonic()
        until(begun + 6)
        asked = [each.kind for each in lane.proxy.seen if not each.is_watch and each.kind != "list incidents"]
        assert len(asked) <= 6, f"more than one request a second: {asked}"


def test_a_status_that_may_never_be_written_makes_no_hot_loop(make_lane: Callable[..., Lane]) -> None:
    lane, scenario = make_lane("forbidden", "--resync", "30s"), SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        rule = Rule("status", kind="patch incidents/status", code=403, count=ALWAYS)
        lane.proxy.add(rule)
        scenario.apply(lane.api, run)
        eventually(lambda: rule.fired >= 3, within=WITHIN, what="three attempts")
        assert lane.api.list("networkpolicies") == [], "nothing is written without an intent on record"
        lane.proxy.seen.clear()
        until(time.monotonic() + 10)
        tried = lane.proxy.seen_of("patch incidents/status")
        assert len(tried) <= 10, f"{len(tried)} attempts in 10 s"


# R3: outages.


@pytest.mark.parametrize(
    "seconds", [0, pytest.param(30, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_while_no_write_is_taken_nothing_is_lost_although_the_watch_lives(
    lane: Lane, name: str, seconds: int, reference: References
) -> None:
    scenario, want = SCENARIOS[name], reference(name).warm
    with lane.prepared(scenario) as run:
        rules = no_writes(500)
        lane.proxy.add(*rules)
        begun = time.monotonic()
        course = Course(lane, scenario, run)
        eventually(lambda: sum(each.fired for each in rules) >= 3, within=WITHIN, what="three refused writes")
        until(begun + seconds)
        lane.proxy.clear()
        assert course.to_the_end(time.monotonic() + WITHIN) == ""
        assert (course.restarts, course.asked_again) == (0, 0)
        assert effects(lane.writes(), masker(run)) == want.effects


@pytest.fixture
def api_server(witnessed: object) -> Iterator[object]:
    """The lab, to take its API server away; it is back in the end."""
    yield witnessed
    witnessed.resume("kube-apiserver")  # type: ignore[attr-defined]


def is_answering(api: Api) -> bool:
    try:
        return api.list("incidents") is not None
    except (OSError, AnswerError):
        return False


@pytest.mark.parametrize("name", ["isolate", "undo"])
def test_an_api_server_that_goes_away_and_comes_back_costs_nothing_but_time(
    lane: Lane, name: str, reference: References, api_server: object
) -> None:
    scenario, want = SCENARIOS[name], reference(name).warm
    with lane.prepared(scenario) as run:
        pid = lane.pid
        rule = Rule("hang_applied", kind="patch incidents/status", seconds=1.0)
        lane.proxy.add(rule)
        course = Course(lane, scenario, run)
        eventually(lambda: rule.fired, within=WITHIN, what="the intent on its way")
        api_server.hold("kube-apiserver")  # type: ignore[attr-defined]
        lane.proxy.seen.clear()
        eventually(lambda: len(lane.proxy.seen) > 3, within=WITHIN, what="requests into the void")
        api_server.resume("kube-apiserver")  # type: ignore[attr-defined]
        eventually(lambda: is_answering(lane.api), within=60, what="the API server to be back")
        assert course.to_the_end(time.monotonic() + 2 * WITHIN) == ""
        assert lane.pid == pid, "the process stays up"
        assert effects(lane.writes(), masker(run)) == want.effects


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_api_server_that_freezes_for_20_seconds_costs_nothing_but_time(
    lane: Lane, witnessed: object, reference: References
) -> None:
    scenario, want = SCENARIOS["undo"], reference("undo").warm
    server = int((witnessed.directory / "run/kube-apiserver.pid").read_text())  # type: ignore[attr-defined]
    with lane.prepared(scenario) as run:
        pid = lane.pid
        course = Course(lane, scenario, run)
        eventually(lambda: lane.proxy.seen_of("patch incidents/status"), within=WITHIN, what="the first write")
        os.kill(server, signal.SIGSTOP)
        try:
            until(time.monotonic() + 20)
        finally:
            os.kill(server, signal.SIGCONT)
        assert course.to_the_end(time.monotonic() + 2 * WITHIN) == ""
        assert lane.pid == pid
        assert effects(lane.writes(), masker(run)) == want.effects


# R4: a watch that breaks or lies.

CUT = Rule("watch_cut", kind="watch incidents", count=ALWAYS)
WATCHES: dict[str, tuple[Rule, ...]] = {
    "cut at every event": (CUT,),
    "silent": (Rule("watch_silent", count=ALWAYS),),
    "without events, bookmarks only": (Rule("watch_dropped", count=ALWAYS),),
    "late": (Rule("watch_delayed", seconds=3.0, count=ALWAYS),),
    "each event three times": (Rule("watch_replayed", count=ALWAYS),),
    **{f"ERROR {code}": (Rule("watch_error", code=code, count=5),) for code in (410, 429, 500)},
    **{f"HTTP {code}": (CUT, Rule("status", watch=True, code=code, count=6)) for code in (401, 403, 410, 429, 500)},
    "broken as soon as it is open": (CUT, Rule("torn", watch=True, count=ALWAYS)),
}


@pytest.mark.parametrize("fault", WATCHES)
@pytest.mark.parametrize("name", ["isolate", "scale"])
def test_a_watch_that_breaks_or_lies_neither_ends_the_process_nor_loses_an_incident(
    lane: Lane, name: str, fault: str, reference: References
) -> None:
    rules = [Rule(each.action, **{key: getattr(each, key) for key in COPIED}) for each in WATCHES[fault]]
    pid = lane.pid
    found = lane.run(SCENARIOS[name], *rules, within=WITHIN)
    assert found.differs_from(reference(name).warm) == []
    assert lane.pid == pid
    assert rules[0].fired, "the watch was not spoilt"


COPIED = ("kind", "watch", "count", "code", "seconds")


def test_a_watch_that_breaks_as_soon_as_it_is_open_makes_no_hot_loop(lane: Lane) -> None:
    lane.revive()
    lane.proxy.forget()
    try:
        lane.proxy.add(Rule("torn", watch=True, count=ALWAYS))
        lane.proxy.cut_watches()
        eventually(lambda: len(lane.proxy.seen_of("watch incidents")) > 3, within=WITHIN, what="new watches")
        lane.proxy.seen.clear()
        until(time.monotonic() + 10)
        begun = len(lane.proxy.seen_of("watch incidents"))
    finally:
        lane.proxy.forget()
    assert begun <= 20, f"{begun} watches begun in 10 s"


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
        assert {each.name for each in lane.writes() if each.is_on_target and each.verb == "create"} == {
            each["metadata"]["name"] for each in lane.api.list("networkpolicies")
        }


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


@pytest.mark.parametrize("kind", ["get deployments", "list pods", "get incidents", "list replicasets"])
@pytest.mark.parametrize("name", ["scale", "undo"])
def test_reads_of_the_past_delay_and_change_nothing(lane: Lane, name: str, kind: str, reference: References) -> None:
    found = lane.run(SCENARIOS[name], Rule("stale", kind=kind, count=8), within=40)
    assert found.differs_from(reference(name).warm) == []


def test_a_change_by_somebody_else_after_the_plan_was_read_is_never_overwritten(lane: Lane) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        stale = Rule("stale", kind="get deployments", count=4)
        late = Rule("hang", kind="dry-run patch deployments/scale", seconds=2.0)
        lane.proxy.add(stale, late)
        targets = [{"kind": "Deployment", "name": run}]
        lane.api.create("incidents", incident(run, targets=targets, containment=[{"name": "d", "scale": {"replicas": 0}}]))
        eventually(lambda: late.fired, within=WITHIN, what="the dry run")
        lane.api.merge("deployments", run, {"spec": {"replicas": 3}})
        eventually(
            lambda: ready_reason(lane.api.get("incidents", run)) == "Contained", within=2 * WITHIN, what="Contained"
        )
        lane.api.delete("incidents", run)
        eventually(lambda: lane.api.get("incidents", run) is None, within=WITHIN, what="its end")
        assert lane.api.get("deployments", run)["spec"]["replicas"] == 3, "what somebody else chose is what comes back"


# R7: two operators at once.


def both(lanes: list[Lane]) -> list[Write]:
    agents = [lane.agent for lane in lanes]
    return [each for each in lanes[0].audit.writes(lanes[0].namespace.name) if each.agent in agents]


@pytest.mark.parametrize("name", SCENARIOS)
def test_two_operators_that_both_take_themselves_for_the_only_one_do_nothing_twice(
    lane: Lane, make_lane: Callable[..., Lane], name: str, reference: References
) -> None:
    twin, want = make_lane(f"twin-{name}", namespace=lane.namespace.name), reference(name).warm
    try:
        with lane.prepared(SCENARIOS[name]) as run:
            course = Course(lane, SCENARIOS[name], run)
            assert course.to_the_end(time.monotonic() + WITHIN) == ""
            twin.proxy.seen.clear()
            eventually(lambda: len(twin.proxy.seen_of("list incidents")) > 1, within=WITHIN, what="two re-lists")
            writes = both([lane, twin])
            assert effects(writes, masker(run)) == want.effects
            assert unannounced(writes) == []
            assert {each.agent for each in writes} == {lane.agent, twin.agent}, "both wrote something"
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
        versions = [each["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for each in old.api.list("replicasets")]
        assert sorted(versions) == ["2", "3"], "a second undo would make a 4"


# R9: write-ahead order, from the audit log.


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_change_of_a_target_follows_a_status_in_which_it_is_intended(
    lane: Lane, name: str
) -> None:
    with lane.prepared(SCENARIOS[name]) as run:
        assert Course(lane, SCENARIOS[name], run).to_the_end(time.monotonic() + WITHIN) == ""
        writes = lane.writes()
        changes = [each for each in writes if each.is_made and each.is_on_target]
        assert changes, "the audit log saw nothing"
        assert {each.user for each in changes} == {f"system:serviceaccount:{lane.namespace.name}:incident-responder"}
        assert unannounced(writes) == []
        silent = [each for each in writes if not each.is_status_of_incident]
        assert len(unannounced(silent)) == len(changes), "without the status patches every change is one too many"
