"""A recovery that halts, is edited, or is asked to go on: what is up stays up, and all that was stopped comes back."""

from __future__ import annotations

from typing import Any

import pytest

from unit.engine.tiered import LONG, Application, plan_of, recovering, until

LATER = "2026-11-23T11:00:00Z"
BACK = [("api", 2), ("bot", 2), ("web", 2), ("stats", 2)]


def step_is(app: Application, name: str, *phases: str) -> bool:
    return any(each["name"] == name and each["phase"] in phases for each in app.status.get("steps", ()))


async def test_a_spec_that_is_edited_while_it_recovers_makes_no_other_plan_and_undone_it_goes_on() -> None:
    app = Application()
    await until(app, lambda: step_is(app, "start-api", "Done"))
    plan = app.status["plan"]["hash"]
    await app.change(serviceAccountName="other")
    await app.look(10)
    assert app.ready == "RecoveryBegun"
    assert "cancel it" in app.said
    assert app.status["plan"]["hash"] == plan
    assert app.count("api") == 2, "what is up is not stopped again"
    await app.change(serviceAccountName=None)
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert app.log[-4:] == BACK


async def test_what_a_containment_has_stopped_is_started_by_a_recovery_that_is_planned_after_it() -> None:
    contained = [
        {"name": "less", "scale": {"replicas": 0}, "targets": [{"kind": "Deployment", "name": "api"}]},
        {
            "name": "more",
            "rolloutRestart": {},
            "targets": [{"kind": "Deployment", "name": "stats"}],
            "timeout": "3s",
        },
    ]
    app = Application(more={"containment": contained}, broken={"stats"})
    await app.look(20)
    assert app.ready == "TimedOut"
    app.broken.clear()
    await app.ask_again(LATER)
    await until(app, lambda: app.tiers.get("api") == "Up")
    assert app.count("api") == 2
    await app.look(LONG)
    assert (app.ready, set(app.tiers.values())) == ("Contained", {"Up"}), "stats is held at 3 until a person says so"


async def test_what_was_reverted_is_made_again_when_a_person_has_put_that_right() -> None:
    app = Application()
    await until(app, lambda: app.count("web") == 0)
    app.fake.edit("Deployment", "shop", "web", lambda each: each["spec"].__setitem__("replicas", 2))
    app.settle()
    await app.look(10)
    assert app.ready == "Reverted"
    assert "Deployment/web" in app.held
    await app.ask_again(LATER)
    await app.look(1)
    assert app.count("web") == 0, "whoever reverted it does so no more"
    await app.look(LONG)
    assert (app.ready, app.log[-4:]) == ("Resolved", BACK)


async def test_what_stands_is_not_taken_for_another_s_when_its_step_is_tried_again() -> None:
    app = recovering(broken={"api"}, timeout="20s")
    await until(app, lambda: app.ready in ("TimedOut", "GateFailed"))
    app.broken.clear()
    await app.ask_again(LATER)
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert {each["state"] for each in app.status["ledger"]} <= {"Released", "Kept"}


async def test_the_verification_has_its_whole_time_again_when_a_person_asks_for_it() -> None:
    checks: list[dict[str, Any]] = [{"name": "up", "podsReady": {}, "timeout": "30s", "for": "5s"}]
    app = Application(more={"verification": checks, "targets": [{"kind": "StatefulSet", "name": "db"}]})
    await until(app, lambda: app.status.get("phase") == "Verification")
    app.broken.add("db")
    app.settle()
    await until(app, lambda: app.ready == "VerificationFailed")
    await app.ask_again(LATER)
    await app.look(10)
    assert app.ready == "Progressing", "there is time to come up"
    app.broken.clear()
    app.settle()
    await app.look(10)
    assert app.ready == "Resolved"


async def test_the_window_of_a_gate_does_not_go_on_over_a_halt() -> None:
    gates = [
        {"name": "a", "podsReady": {}, "for": "60s", "targets": [{"kind": "Deployment", "name": "api"}]},
        {"name": "b", "podsReady": {}, "targets": [{"kind": "Deployment", "name": "stats"}]},
    ]
    app = recovering(gates=gates, timeout="70s")
    await until(app, lambda: app.ready == "GateFailed")
    app.now = app.now.replace(hour=app.now.hour + 1)
    app.fake.edit("Deployment", "shop", "stats", lambda each: each["spec"].__setitem__("replicas", 2))
    app.settle()
    await app.ask_again(LATER)
    await app.look(10)
    assert app.tiers["api"] == "Checking"
    await app.look(60)
    assert app.tiers["api"] == "Up"


@pytest.mark.parametrize("edit", [{"title": "still down"}, {"acknowledgedBy": "alice"}], ids=str)
async def test_what_only_tells_more_may_be_edited_at_any_time(edit: dict[str, Any]) -> None:
    app = Application(recovery={"planRef": {"name": "shop"}}, plan={"tiers": plan_of()})
    await until(app, lambda: step_is(app, "start-api", "Done"))
    await app.change(**edit)
    await app.look(LONG)
    assert (app.ready, app.log[-4:]) == ("Resolved", BACK)


async def test_an_autoscaler_is_not_held_to_the_number_that_a_tier_is_started_with() -> None:
    hpa = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
    scaled = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}}
    hpa |= {
        "metadata": {"name": "of-api", "namespace": "shop"},
        "spec": {**scaled, "minReplicas": 2, "maxReplicas": 10},
    }
    workload = {"kind": "Deployment", "name": "api", "replicas": 3}
    plan = {"tiers": [each if each["name"] != "api" else {**each, "workloads": [workload]} for each in plan_of()]}
    app = Application(recovery={"planRef": {"name": "shop"}}, plan=plan, replicas={"api": 0}, others=[hpa])
    await app.look(LONG)
    assert app.ready == "Resolved", app.status
    assert app.count("api") == 3
    spec = app.fake.at("HorizontalPodAutoscaler", "of-api")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 10)
