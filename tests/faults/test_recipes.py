"""R2 to R4: a right that is never there, outages, and watches that break or lie."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from faults.access import AnswerError, Api
from faults.audit import effects, masker
from faults.lane import Course, Lane
from faults.matrix import References
from faults.patience import WITHIN, some, until
from faults.rules import ALWAYS, Rule
from faults.scenarios import SCENARIOS, is_stalled, ready_reason
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


# R3: outages.


@pytest.mark.parametrize(
    "seconds", [0, pytest.param(30, marks=pytest.mark.slow), pytest.param(60, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", some("undo", "delete"))
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
