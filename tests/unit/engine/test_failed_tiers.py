"""What becomes of a tier that fails, by what its plan says: gone past and told, or rolled back and left stopped."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from incident_operator.faults import Waiting
from unit.actions.restoring import cron_job
from unit.engine.test_recovery import BACK, STOPPED
from unit.engine.tiered import LONG, TIERS, Application, end_job, recovering, until

HALF_AN_HOUR = 1800
JOB = "check"


async def test_a_tier_that_nobody_has_allowed_is_never_begun_even_where_it_may_fail() -> None:
    app = recovering(approval="Required", onFailure="Continue")
    await app.look(LONG)
    assert app.step("confirm-api")["phase"] == "Settling"
    await app.look(50, apart=HALF_AN_HOUR)
    assert app.ready == "GateInconclusive"
    assert "may tier api begin?" in app.said
    assert (app.count("api"), app.count("web")) == (0, 0), "nobody has said that it may begin"
    await app.change(confirmed=["api"])
    await app.ask_again("2026-11-25T11:00:00Z")
    await app.look(LONG)
    assert app.ready == "Resolved"


async def test_a_tier_that_may_be_gone_past_is_not_gone_on_with_after_a_step_of_it_has_failed() -> None:
    steps = [{"name": "check-dump", "runJob": {"cronJob": JOB}}, {"name": "load", "runJob": {"cronJob": "load"}}]
    app = recovering(onFailure="Continue", steps=steps, others=[cron_job(JOB), cron_job("load")])
    await app.look(30)
    end_job(app, JOB, "Failed")
    await app.look(LONG)
    assert [name for kind, _, name in app.fake.objects if kind == "Job" and name.startswith("load")] == []
    assert app.count("api") == 0, "it is not started on what could not be loaded"
    assert app.tiers == {**dict.fromkeys(TIERS.values(), "Up"), "api": "Failed"}
    assert [app.step(name)["phase"] for name in ("api-load", "start-api", "gates-api")] == ["Skipped"] * 3
    assert (app.ready, app.status["phase"]) == ("TierFailed", "Halted")
    assert app.said.startswith("1 of 5 tiers failed and were gone past: tier api: step api-check-dump: JobFailed: ")
    assert "still stopped, until it is up or the Incident is cancelled: Deployment api" in app.said
    assert "Deployment/api" in app.held
    told = {event["reason"]: event["note"] for event in events(app)}
    assert "api-check-dump" in told["JobFailed"], "said when it happens, not only in the end"
    assert "RecoveryDone" not in told


async def test_a_tier_that_was_gone_past_is_brought_back_when_asked_again() -> None:
    app = recovering(onFailure="Continue", timeout="20s", broken={"api"}, standard=True)
    await app.look(LONG)
    assert app.ready == "TierFailed"
    assert app.step("user-access")["phase"] == "Pending", "nobody is asked whether all is well when it is not"
    app.broken.clear()
    await app.ask_again("2026-11-23T11:00:00Z")
    await app.look(LONG)
    assert app.ready == "Progressing"
    await app.change(confirmed=["user-access"])
    await app.look(10)
    assert app.ready == "Resolved"
    assert app.log == STOPPED + BACK, "what was up already was not stopped again"
    assert app.tiers == dict.fromkeys(TIERS.values(), "Up")


async def test_what_a_failed_tier_holds_goes_back_when_its_incident_is_cancelled() -> None:
    app = recovering(
        onFailure="Continue", steps=[{"name": "check", "runJob": {"cronJob": JOB}}], others=[cron_job(JOB)]
    )
    await app.look(30)
    end_job(app, JOB, "Failed")
    await app.look(LONG)
    await app.change(cancel=True)
    await app.look(5)
    assert app.ready == "Cancelled"
    assert {name: app.count(name) for name in TIERS} == dict.fromkeys(TIERS, 2)


async def test_a_tier_that_is_rolled_back_stays_stopped_and_is_done_anew_when_asked_again() -> None:
    steps = [{"name": "apart", "isolate": {}, "targets": [{"kind": "Deployment", "name": "stats"}]}]
    steps += [{"name": "load", "runJob": {"cronJob": JOB}}]
    app = recovering(onFailure="Rollback", timeout="20s", steps=steps, broken={"api"}, others=[cron_job(JOB)])
    await app.look(30)
    assert policies(app), "its first step is done"
    end_job(app, JOB, "Complete")
    await app.look(LONG)
    assert app.ready == "TimedOut"
    assert "tier api was rolled back: 2 put back" in app.said
    assert "not taken back: check-" in app.said
    assert "still stopped, until it is up or the Incident is cancelled: Deployment api" in app.said
    assert policies(app) == []
    assert app.count("api") == 0, "nothing runs on what was taken back"
    assert "Deployment/api" in app.held
    app.broken.clear()
    await app.ask_again("2026-11-23T11:00:00Z")
    await app.look(LONG)
    assert app.step("api-apart")["phase"] == "Done"
    assert policies(app), "it is done anew"
    assert app.tiers == dict.fromkeys(TIERS.values(), "Up")
    assert app.log == [*STOPPED, ("api", 2), ("api", 0), *BACK]
    jobs = [key for key in app.fake.objects if key[0] == "Job"]
    assert len(jobs) == 1, "what was not taken back is not made again"


async def test_a_tier_that_fails_its_gates_is_stopped_again_by_a_rollback() -> None:
    http = {"name": "answers", "http": {"service": "api", "port": "http", "path": "/"}}
    app = recovering(onFailure="Rollback", timeout="20s", gates=[http])
    app.fake.network.answers["shop", "api"] = (503, 3)
    await app.look(LONG)
    assert app.ready == "GateFailed"
    assert app.step("start-api")["phase"] == "Done"
    assert (app.count("api"), "Deployment/api" in app.held) == (0, True)
    await app.change(cancel=True)
    await app.look(5)
    assert {name: app.count(name) for name in TIERS} == dict.fromkeys(TIERS, 2)


@pytest.mark.parametrize("nth", range(1, 6))
async def test_a_process_that_dies_in_the_middle_of_a_rollback_is_followed_by_one_that_finishes_it(nth: int) -> None:
    steps = [{"name": "apart", "isolate": {}, "targets": [{"kind": "Deployment", "name": "stats"}]}]
    app = recovering(onFailure="Rollback", timeout="20s", steps=steps, broken={"api"})
    await until(app, lambda: app.tiers.get("api") == "Restoring" and app.count("api") == 2)
    app.now += timedelta(seconds=30)
    app.fake.fail(Waiting("ApiUnreachable", "gone", delay=timedelta(0)), nth=nth, of=lambda call: call.verb != "get")
    for _ in range(10):
        app.restart()
        await app.look()
    assert app.ready == "TimedOut"
    assert "not settled within 20 s of the start of tier api" in app.said
    assert (policies(app), app.count("api"), "Deployment/api" in app.held) == ([], 0, True)
    app.broken.clear()
    await app.ask_again("2026-11-23T11:00:00Z")
    await app.look(LONG)
    assert app.tiers == dict.fromkeys(TIERS.values(), "Up")
    assert policies(app)


async def test_a_process_that_dies_after_a_rollback_goes_on_as_if_it_had_not() -> None:
    http = {"name": "answers", "http": {"service": "api", "port": "http", "path": "/"}}
    app = recovering(onFailure="Rollback", timeout="20s", gates=[http])
    app.fake.network.answers["shop", "api"] = (503, 3)
    await app.look(LONG)
    app.restart()
    app.fake.network.answers["shop", "api"] = (200, 3)
    await app.ask_again("2026-11-23T11:00:00Z")
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert app.count("api") == 2
    await app.look(5)
    assert app.count("api") == 2, "a start is given back by a rollback only, never at the end"


def events(app: Application) -> list[Any]:
    return [thing for (kind, _, _), thing in app.fake.objects.items() if kind == "Event"]


def policies(app: Application) -> list[str]:
    return [name for kind, _, name in app.fake.objects if kind == "NetworkPolicy"]
