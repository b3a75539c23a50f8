"""What the demo tells of an outage while it lasts, and what it takes for a proof afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.demo.outages import NAMES
from incident_operator.demo.outages.course import TIERS, Outage, Span
from incident_operator.demo.outages.readiness import Turns, ready_parts
from incident_operator.demo.outages.restoring import Killed
from incident_operator.demo.outages.scenarios import SCENARIOS
from incident_operator.demo.outages.watching import News, clock, stamp
from incident_operator.demo.rows import Loss
from incident_operator.lab.faults import LabError

BEGAN = "2026-11-26T10:00:00Z"
AT = stamp(BEGAN)


def tier(**more: Any) -> dict[str, Any]:
    return {"name": "database", "phase": "Restoring", "message": "new-volume", "startedAt": BEGAN, **more}


def incident(*tiers: dict[str, Any], steps: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    planned = [{"name": step["name"], "tier": "database"} for step in steps]
    return {"status": {"plan": {"steps": planned}, "steps": list(steps), "recovery": {"tiers": list(tiers)}}}


def pod(app: str, *, ready: str = "True", role: str = "", leaving: bool = False) -> dict[str, Any]:
    meta: dict[str, Any] = {"labels": {"app": app, "role": role}}
    if leaving:
        meta["deletionTimestamp"] = BEGAN
    return {"metadata": meta, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def test_every_scenario_has_the_name_that_the_command_line_takes() -> None:
    assert tuple(SCENARIOS) == NAMES
    assert set(Killed.MOMENTS) == set(TIERS), "the operator is killed in each tier"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"startedAt": None}, ""),
        ({}, "12 s"),
        ({"expectedSeconds": 40}, "12/40 s"),
        ({"expectedSeconds": 10}, "12/10 s late"),
        ({"expectedSeconds": 40, "finishedAt": "2026-11-26T10:00:05Z"}, "5/40 s"),
    ],
)
def test_the_clock_of_a_tier_has_what_it_took_and_what_was_expected(told: dict[str, Any], said: str) -> None:
    assert clock(tier(**told), AT + 12.7) == said


def test_each_turn_is_told_once_and_a_long_silence_with_what_is_waited_for() -> None:
    news = News()
    assert news.lines(incident(tier(phase="Pending", startedAt=None)), AT) == []
    assert news.lines(incident(tier()), AT + 1) == [("database", "[Restoring]")]
    assert news.lines(incident(tier()), AT + 10) == []
    assert news.lines(incident(tier()), AT + 11) == [("database", "[Restoring] new-volume")]
    assert news.lines(incident(tier()), AT + 12) == []
    assert news.lines(incident(tier(phase="Up")), AT + 40) == [("database", "[Up]")]
    assert news.lines(incident(tier(phase="Up")), AT + 90) == []


def test_a_step_is_told_when_it_is_done_and_when_it_has_failed() -> None:
    news, step = News(), {"name": "database-load-dump", "phase": "Settling"}
    assert news.lines(incident(steps=(step,)), AT) == []
    failed = {**step, "phase": "Failed", "message": "Job failed"}
    assert news.lines(incident(steps=(failed,)), AT) == [("database", "database-load-dump: FAILED: Job failed")]
    done = {**step, "phase": "Done", "message": "Job completed"}
    assert news.lines(incident(steps=(done,)), AT) == [("database", "database-load-dump: Job completed")]


def test_a_part_is_ready_by_a_pod_that_is_ready_and_stays() -> None:
    found = [pod("api"), pod("api", ready="False"), pod("bot", leaving=True), pod("db", role="replica")]
    assert ready_parts([*found, pod("frontend", ready="False")]) == {"api", "db-replica"}


def test_first_ready_is_the_first_turn_since_and_none_for_what_was_ready_all_the_while() -> None:
    seen = Turns()
    for at, parts in ((1.0, {"api", "db"}), (2.0, {"db"}), (3.0, {"api", "db"}), (4.0, {"db"}), (5.0, {"api", "db"})):
        seen.see(at, parts)
    assert seen.first("api", 0) == 1.0
    assert seen.first("api", 1.5) == 3.0
    assert seen.first("db", 1.5) is None


@pytest.mark.parametrize(
    ("fate", "loss"),
    [("kept", Loss(20, (7,))), ("lost", Loss(2, (7,))), ("kept", Loss(0, ())), ("lost", Loss(0, ()))],
)
def test_rows_with_another_fate_than_theirs_or_no_rows_at_all_prove_nothing(fate: Any, loss: Loss) -> None:
    with pytest.raises(LabError, match="since containment"):
        Span("since containment", 0, 1, fate).check(loss)


def test_rows_that_are_all_kept_or_all_lost_as_they_must_be_are_a_proof() -> None:
    Span("since containment", 0, 1).check(Loss(20, ()))
    Span("written after it", 0, 1, "lost").check(Loss(2, (7, 8)))


def test_containment_is_over_when_its_steps_are_done_or_else_when_the_load_is_off() -> None:
    done = [
        {"name": "stop-writes", "finishedAt": "2026-11-26T10:00:03Z"},
        {"name": "suspend-auxiliary", "finishedAt": "2026-11-26T10:00:05Z"},
        {"name": "stop-api", "finishedAt": "2026-11-26T10:00:09Z"},
        {"name": "start-api", "finishedAt": "2026-11-26T10:00:30Z"},
    ]
    stops = [{"name": each["name"], "phase": "Recovery", "tier": "any"} for each in done[1:]]
    outage = Outage(None, None)  # type: ignore[arg-type]  # of both nothing is asked here
    outage.incident = {"status": {"plan": {"steps": stops}, "steps": done}}
    assert outage.contained() == AT + 10
    outage.incident["status"]["plan"]["steps"] = [{"name": "stop-writes", "phase": "Containment"}, *stops]
    assert outage.contained() == AT + 4


def recovered(**ready: float) -> Outage:
    """An outage of which each tier took ten seconds, and parts were first ready when it is said."""
    outage = Outage(None, None)  # type: ignore[arg-type]  # of both nothing is asked here
    stop = {"name": "stop-api", "phase": "Recovery", "tier": "api"}
    tiers = [
        {"name": name, "phase": "Up", "finishedAt": f"2026-11-26T10:00:{10 * number:02}Z"}
        for number, name in enumerate(TIERS, start=1)
    ]
    steps = [{"name": "stop-api", "finishedAt": BEGAN}]
    outage.incident = {"status": {"plan": {"steps": [stop]}, "steps": steps, "recovery": {"tiers": tiers}}}
    outage.readiness = Turns()  # type: ignore[assignment]
    for part, at in sorted(ready.items(), key=lambda item: item[1]):
        outage.readiness.see(AT + at, {*outage.readiness._ready, part})
    return outage


IN_ORDER = {"db": 5.0, "api": 12.0, "bot": 22.0, "frontend": 32.0, "exporter": 42.0}


def test_the_order_is_that_of_the_first_ready_pods_and_a_database_that_never_was_down_is_the_first() -> None:
    assert recovered(**IN_ORDER)._order() == list(TIERS)
    assert recovered(**{**IN_ORDER, "db": -5.0})._order() == list(TIERS)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"frontend": 21.0}, "frontend was ready before bot was back"),
        ({"api": 9.0}, "api was ready before database was back"),
        ({"bot": -1.0}, "nobody saw a pod of bot become ready"),
        ({"db": 15.0}, "another order: api, database"),
    ],
)
def test_a_part_that_is_ready_before_its_turn_is_no_proof(changed: dict[str, float], said: str) -> None:
    with pytest.raises(LabError, match=said):
        recovered(**{**IN_ORDER, **changed})._order()


def test_a_tier_that_is_not_up_is_no_proof() -> None:
    outage = recovered(**IN_ORDER)
    outage.incident["status"]["recovery"]["tiers"][2]["phase"] = "Failed"
    with pytest.raises(LabError, match="the tiers are"):
        outage._order()
