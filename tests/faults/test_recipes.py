"""R2 to R4: a right that is never there, outages, and watches that break or lie."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from faults.access import AnswerError, Api
from faults.audit import effects, masker
from faults.lane import Course, Lane
from faults.matrix import PROMISED, References
from faults.patience import BACK, WITHIN, some, until
from faults.rules import ALWAYS, Rule
from faults.scenarios import SCENARIOS, controllers_follow, is_stalled, ready_reason
from tests_support.cluster import incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster
WRITES = ("POST", "PATCH", "DELETE")


def no_writes(code: int) -> list[Rule]:
    return [Rule("status", method=method, code=code, count=ALWAYS) for method in WRITES]


# R2: a right that is never there.


@pytest.mark.parametrize(
    "kind",
    [
        "get deployments",
        "create networkpolicies",
        pytest.param("dry-run create networkpolicies", marks=pytest.mark.slow),
        pytest.param("list networkpolicies", marks=pytest.mark.slow),
    ],
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
        until(time.monotonic() + 5)
        asked = [each.kind for each in lane.proxy.seen if run in each.target or each.is_write]
        assert len(asked) <= 5, f"more than one request a second: {asked}"


def test_a_status_that_may_never_be_written_makes_no_hot_loop(make_lane: Callable[..., Lane]) -> None:
    lane, scenario = make_lane("forbidden", "--resync", "30s"), SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        rule = Rule("status", kind="patch incidents/status", code=403, count=ALWAYS)
        lane.proxy.add(rule)
        scenario.apply(lane.api, run)
        eventually(lambda: rule.fired >= 12, within=2 * WITHIN, what="attempts that come less and less often")
        assert lane.api.list("networkpolicies") == [], "nothing is written without an intent on record"
        lane.proxy.seen.clear()
        until(time.monotonic() + 5)
        tried = lane.proxy.seen_of("patch incidents/status")
        assert len(tried) <= 5, f"{len(tried)} attempts in 5 s"


# R2: answers that take long, or that say to come back much later.

LONG = 30.0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["get deployments", "patch incidents/status", "create networkpolicies"])
@pytest.mark.parametrize("action", ["hang", "hang_applied", "status"])
def test_a_delay_of_half_a_minute_costs_no_more_than_that(
    lane: Lane, action: Any, kind: str, reference: References
) -> None:
    rule = Rule(action, kind=kind, seconds=LONG, code=429, retry_after=int(LONG) if action == "status" else None)
    found = lane.run(SCENARIOS["isolate"], rule, within=2 * reference("isolate").warm.seconds + PROMISED)
    assert rule.fired
    assert found.differs_from(reference("isolate").warm) == []
    assert (found.restarts, found.asked_again) == (0, 0)


# R3: outages.


def writes_again(lane: Lane) -> None:
    """Wait for a write that is carried out, no longer than is promised after an outage."""
    there = len(lane.proxy.audit_ids)
    eventually(lambda: len(lane.proxy.audit_ids) > there, within=BACK, what="the first write after the outage")


def lasting(*seconds: int) -> list[Any]:
    """An outage of a moment in each session, the longer ones nightly."""
    marks = [pytest.mark.slow, pytest.mark.timeout(600)]
    return [0, *(pytest.param(each, marks=marks) for each in seconds)]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [120, 300])
def test_after_minutes_without_a_write_it_goes_on_as_soon_as_after_a_moment(
    lane: Lane, seconds: int, reference: References
) -> None:
    without_writes(lane, "undo", seconds, reference)


@pytest.mark.parametrize("seconds", lasting(30, 60))
@pytest.mark.parametrize("name", some("undo", "delete"))
def test_while_no_write_is_taken_nothing_is_lost_although_the_watch_lives(
    lane: Lane, name: str, seconds: int, reference: References
) -> None:
    without_writes(lane, name, seconds, reference)


def without_writes(lane: Lane, name: str, seconds: int, reference: References) -> None:
    """A course during which for so long every write is answered with 500."""
    scenario, want = SCENARIOS[name], reference(name).warm
    with lane.prepared(scenario) as run:
        rules = no_writes(500)
        lane.proxy.add(*rules)
        begun = time.monotonic()
        course = Course(lane, scenario, run)
        eventually(lambda: sum(each.fired for each in rules) >= 3, within=WITHIN, what="three refused writes")
        until(begun + seconds)
        lane.proxy.clear()
        writes_again(lane)
        assert course.to_the_end(time.monotonic() + 2 * want.seconds + PROMISED) == ""
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


@pytest.mark.parametrize("name", some("undo"))
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
        writes_again(lane)
        controllers_follow(lane.api)
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
        writes_again(lane)
        assert course.to_the_end(time.monotonic() + 2 * WITHIN) == ""
        assert lane.pid == pid
        assert effects(lane.writes(), masker(run)) == want.effects


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_minute_in_which_everything_is_refused_costs_nothing_but_time(lane: Lane, reference: References) -> None:
    scenario, want = SCENARIOS["undo"], reference("undo").warm
    with lane.prepared(scenario) as run:
        pid, begun = lane.pid, time.monotonic()
        course = Course(lane, scenario, run)
        eventually(lambda: lane.proxy.seen_of("patch incidents/status"), within=WITHIN, what="the first write")
        lane.proxy.add(Rule("reset_before", count=ALWAYS))
        lane.proxy.cut_watches()
        until(begun + 60)
        lane.proxy.clear()
        writes_again(lane)
        assert course.to_the_end(time.monotonic() + 2 * want.seconds + PROMISED) == ""
        assert (lane.pid, course.restarts, course.asked_again) == (pid, 0, 0)
        assert effects(lane.writes(), masker(run)) == want.effects


def compact(etcd: str) -> None:
    """Have etcd forget all history, by the JSON way of its client port."""

    def ask(what: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(f"{etcd}/v3/kv/{what}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    newest = ask("range", {"key": "AA=="})["header"]["revision"]
    ask("compaction", {"revision": newest, "physical": True})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_watch_whose_place_in_history_is_gone_for_good_begins_anew(
    lane: Lane, reference: References, api_server: object
) -> None:
    scenario = SCENARIOS["isolate"]
    with lane.prepared(scenario) as run:
        pid, before = lane.pid, lane.proxy.expired
        # Held up, not refused: who is refused for two seconds begins anew with a list, and no place in history.
        blind = Rule("hang", kind="watch incidents", seconds=60.0, count=ALWAYS)
        lane.proxy.add(blind, Rule("status", kind="list incidents", code=500, count=ALWAYS))
        lane.proxy.cut_watches()
        eventually(lambda: blind.fired, within=WITHIN, what="a watch that is held up")
        for number in range(3):  # so that the API server's own memory, once it is new, begins after the watch's place
            lane.api.merge("deployments", run, {"metadata": {"annotations": {"n": str(number)}}})
        course = Course(lane, scenario, run)
        compact(f"http://127.0.0.1:{api_server.settings().etcd_port}")  # type: ignore[attr-defined]
        api_server.hold("kube-apiserver")  # type: ignore[attr-defined]
        api_server.resume("kube-apiserver")  # type: ignore[attr-defined]
        eventually(lambda: is_answering(lane.api), within=60, what="the API server to be back")
        blind.is_over = True
        lane.proxy.clear()
        assert course.to_the_end(time.monotonic() + 2 * WITHIN) == ""
        eventually(lambda: lane.proxy.expired > before, within=WITHIN, what="the API server's own 410")
        assert lane.pid == pid
        assert effects(lane.writes(), masker(run)) == reference("isolate").warm.effects


# R4: a watch that breaks or lies.

CUT = Rule("watch_cut", kind="watch incidents", count=ALWAYS)
WATCHES: dict[str, tuple[Rule, ...]] = {
    "cut at every event": (CUT,),
    "silent": (Rule("watch_silent", count=ALWAYS),),
    "without events, bookmarks only": (Rule("watch_dropped", count=ALWAYS),),
    "late": (Rule("watch_delayed", seconds=3.0, count=ALWAYS),),
    "very late": (Rule("watch_delayed", seconds=10.0, count=ALWAYS),),
    "each event three times": (Rule("watch_replayed", count=ALWAYS),),
    **{f"ERROR {code}": (Rule("watch_error", code=code, count=5),) for code in (410, 429, 500)},
    **{f"HTTP {code}": (CUT, Rule("status", watch=True, code=code, count=6)) for code in (401, 403, 410, 429, 500)},
    "broken as soon as it is open": (CUT, Rule("torn", watch=True, count=ALWAYS)),
}


@pytest.mark.parametrize(
    "fault", [pytest.param(each, marks=[pytest.mark.slow] if each == "very late" else []) for each in WATCHES]
)
@pytest.mark.parametrize("name", some("isolate"))
def test_a_watch_that_breaks_or_lies_neither_ends_the_process_nor_loses_an_incident(
    lane: Lane, name: str, fault: str, reference: References
) -> None:
    rules = [Rule(each.action, **{key: getattr(each, key) for key in COPIED}) for each in WATCHES[fault]]
    want, pid = reference(name).warm, lane.pid
    found = lane.run(SCENARIOS[name], *rules, within=WITHIN)
    assert found.differs_from(want) == []
    assert lane.pid == pid
    assert rules[0].fired, "the watch was not spoilt"


COPIED = ("kind", "watch", "count", "code", "seconds")


def test_a_deletion_that_no_event_tells_leaves_nobody_waiting_for_what_is_no_more(lane: Lane) -> None:
    scenario = SCENARIOS["scale"]
    with lane.prepared(scenario) as run:
        unheard = Rule("watch_dropped", event="DELETED", count=ALWAYS)
        lane.proxy.add(unheard)
        assert Course(lane, scenario, run).to_the_end(time.monotonic() + WITHIN) == ""
        eventually(lambda: unheard.fired, within=WITHIN, what="the event that is left out")
        name = f"{run}-again"  # on the same target: who thinks that the first one is still there waits for it
        lane.api.create("incidents", incident(name, **scenario.spec(run)))
        try:
            has_it = lambda: ready_reason(lane.api.get("incidents", name)) == scenario.held  # noqa: E731
            with contextlib.suppress(AssertionError):
                eventually(has_it, within=WITHIN, what="the second Incident to have the target")
            assert has_it(), json.dumps(lane.api.get("incidents", name).get("status"))[:2000]
        finally:
            lane.api.delete("incidents", name)
            eventually(lambda: lane.api.get("incidents", name) is None, within=WITHIN, what="its end")


def test_a_watch_that_breaks_as_soon_as_it_is_open_makes_no_hot_loop(lane: Lane) -> None:
    lane.revive()
    lane.proxy.forget()
    try:
        lane.proxy.add(Rule("torn", watch=True, count=ALWAYS))
        lane.proxy.cut_watches()
        eventually(lambda: len(lane.proxy.seen_of("watch incidents")) > 3, within=WITHIN, what="new watches")
        lane.proxy.seen.clear()
        until(time.monotonic() + 5)
        begun = len(lane.proxy.seen_of("watch incidents"))
    finally:
        lane.proxy.forget()
    assert begun <= 10, f"{begun} watches begun in 5 s"
