"""A recovery by labels, and by a RecoveryPlan: stopped from the top down, brought back from below, gate by gate."""

from __future__ import annotations

from typing import Any

import pytest

from unit.engine.tiered import DATABASE, LONG, Application, a_tier, plan_of

STOPPED = [("stats", 0), ("web", 0), ("bot", 0), ("api", 0)]
BACK = [("api", 2), ("bot", 2), ("web", 2), ("stats", 2)]


async def test_labels_alone_are_a_plan_from_the_database_to_the_auxiliary_services() -> None:
    app = Application()
    await app.look(LONG)
    assert app.ready == "Resolved", app.status
    assert app.log == STOPPED + BACK
    assert app.tiers == dict.fromkeys(("database", "api", "bot", "frontend", "auxiliary"), "Up")
    assert app.status["recovery"]["summary"] == "5/5"


@pytest.mark.parametrize("restarting", [True])
async def test_a_process_that_dies_after_every_look_changes_nothing_about_the_order(*, restarting: bool) -> None:
    app = Application(more={"verification": [{"name": "up", "podsReady": {}}]})
    await app.look(LONG)
    other = Application(more={"verification": [{"name": "up", "podsReady": {}}]})
    for _ in range(LONG):
        await other.look(6)  # windows are kept in memory, so a process must live longer than one
        if restarting:
            other.restart()
    assert other.log == app.log == STOPPED + BACK
    assert other.ready == "Resolved"


async def test_a_tier_that_fails_its_gate_leaves_those_above_untouched_and_those_below_up() -> None:
    app = Application(recovery={"planRef": {"name": "shop"}}, plan={"tiers": plan_of(timeout="30s")}, broken={"api"})
    await app.look(LONG)
    assert app.ready in ("TimedOut", "GateFailed")
    assert app.tiers["database"] == "Up"
    assert app.tiers["api"] == "Failed"
    assert (app.count("db"), app.count("web"), app.count("bot")) == (2, 0, 0)
    app.broken.clear()
    await app.ask_again("2026-11-23T11:00:00Z")
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert app.log == STOPPED + BACK, "what was up already was not stopped again"


async def test_a_tier_that_needs_a_word_waits_for_it_and_says_what_to_type() -> None:
    plan = {"tiers": plan_of(approval="Required")}
    app = Application(recovery={"planRef": {"name": "shop"}}, plan=plan)
    await app.look(LONG)
    assert app.ready == "Progressing"
    waiting = next(step for step in app.status["steps"] if step["name"] == "confirm-api")
    assert (
        'kubectl patch incident/outage -n shop --type merge -p \'{"spec":{"confirmed":["api"]}}\'' in waiting["message"]
    )
    assert app.count("api") == 0
    await app.change(confirmed=["api"])
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert app.log == STOPPED + BACK


async def test_a_tier_that_may_fail_is_gone_past() -> None:
    plan = {"tiers": plan_of(timeout="20s", onFailure="Continue")}
    app = Application(recovery={"planRef": {"name": "shop"}}, plan=plan, broken={"api"})
    await app.look(LONG)
    assert app.log == STOPPED + BACK
    assert app.tiers["auxiliary"] == "Up"


async def test_workloads_of_a_tier_start_after_each_other() -> None:
    tiers = [
        DATABASE,
        {
            "name": "api",
            "workloads": [
                {"kind": "Deployment", "name": "web", "after": ["bot"]},
                {"kind": "Deployment", "name": "bot", "after": ["api"]},
                {"kind": "Deployment", "name": "api"},
            ],
        },
    ]
    app = Application(recovery={"planRef": {"name": "shop"}}, plan={"tiers": tiers})
    await app.look(LONG)
    assert app.log[3:] == [("api", 2), ("bot", 2), ("web", 2)]
    assert app.ready == "Resolved"


async def test_a_circle_is_drawn_and_nothing_is_stopped() -> None:
    circle = [
        {"kind": "Deployment", "name": "api", "after": ["web"]},
        {"kind": "Deployment", "name": "bot", "after": ["api"]},
        {"kind": "Deployment", "name": "web", "after": ["bot"]},
    ]
    plan = {"tiers": [DATABASE, {"name": "api", "workloads": circle}]}
    app = Application(recovery={"planRef": {"name": "shop"}}, plan=plan)
    await app.look(5)
    assert app.ready == "Invalid"
    assert "api -> web -> bot -> api" in next(c["message"] for c in app.status["conditions"] if c["type"] == "Ready")
    assert app.log == []


async def test_what_has_no_replicas_when_it_begins_is_brought_to_those_the_plan_names() -> None:
    tiers = [{"name": "database", "workloads": [{"kind": "StatefulSet", "name": "db", "replicas": 1}]}, *plan_of()[1:]]
    tiers[1]["workloads"][0]["replicas"] = 3
    app = Application(
        recovery={"planRef": {"name": "shop"}}, plan={"tiers": tiers}, replicas={"db": 0, "api": 0, "bot": 4}
    )
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert {name: app.count(name) for name in ("db", "api", "bot", "web")} == {"db": 1, "api": 3, "bot": 4, "web": 2}


async def test_the_standard_verification_looks_at_all_tiers_at_once_and_then_asks_a_person() -> None:
    http = {"name": "answers", "http": {"service": "api", "port": "http", "path": "/"}}
    recovery = {"planRef": {"name": "shop"}, "verification": "Standard"}
    app = Application(recovery=recovery, plan={"tiers": plan_of(gates=[http])})
    app.fake.network.answers["shop", "api"] = (200, 3)
    app.fake.network.logs["web-0", "web"] = "error\n" * 11
    await app.look(LONG)
    assert gates(app, "verification") == {"health-checks": "Pass", "api-answers": "Pass", "no-errors-in-logs": "Fail"}
    assert gates(app, "user-access") == {}, "nobody is asked before all is well"
    app.fake.network.logs.clear()
    await app.look(20)
    assert app.ready == "Progressing"
    assert gates(app, "user-access") == {"user-access": "Unknown"}
    await app.change(confirmed=["user-access"])
    await app.look(10)
    assert app.ready == "Resolved"


def gates(app: Application, name: str) -> dict[str, str]:
    step = next(step for step in app.status["steps"] if step["name"] == name)
    return {gate["name"]: gate["verdict"] for gate in step.get("gates", [])}


async def test_a_cancelled_recovery_gives_back_what_it_had_stopped() -> None:
    app = Application(broken={"db"})
    await app.look(20)
    assert app.count("web") == 0
    await app.change(cancel=True)
    await app.look(5)
    assert app.ready == "Cancelled"
    assert [app.count(name) for name in ("api", "bot", "web", "stats")] == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("plan", "reason", "words"),
    [
        (None, "PlanNotFound", "there is no RecoveryPlan shop in namespace shop"),
        ({"tiers": [{"name": "cache"}]}, "NothingToRecover", "has incident-operator.dev/tier=cache"),
        ({"tiers": [a_tier("api", "api", steps=[{"name": "x"}])]}, "Invalid", "exactly one is to be set"),
    ],
)
async def test_a_plan_that_cannot_be_followed_is_refused_with_the_remedy(plan: Any, reason: str, words: str) -> None:
    app = Application(recovery={"planRef": {"name": "shop"}}, plan=plan)
    await app.look(3)
    assert app.ready == reason
    assert words in next(each["message"] for each in app.status["conditions"] if each["type"] == "Ready")
    assert app.log == []
