"""What a tier's gates look at, from when on and for how long; and plans that have none, or unclear words."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any, ClassVar

from incident_operator.planning.plan import Finding, Verdict
from incident_operator.planning.rights import Rule
from unit.actions.restoring import cron_job, made
from unit.engine.tiered import DATABASE, LONG, Application, a_tier, end_job, plan_of, recovering, until

JOB = "check"


@dataclasses.dataclass
class Looking:
    """A check that says what it is told to, and remembers from when on it was asked to look."""

    verdict: Verdict = Verdict.PASS
    since: list[datetime] = dataclasses.field(default_factory=list)
    name: ClassVar[str] = "logs"
    rules: ClassVar[tuple[Rule, ...]] = ()
    asks: ClassVar[tuple[Rule, ...]] = ()

    async def look(self, *_: Any, since: datetime) -> Finding:
        self.since.append(since)
        return Finding(self.verdict, "as told")


async def test_the_time_of_a_tier_is_one_for_its_waves_and_its_gates() -> None:
    api = {
        "name": "api",
        "timeout": "60s",
        "workloads": [
            {"kind": "Deployment", "name": "api"},
            {"kind": "Deployment", "name": "bot", "after": ["api"]},
            {"kind": "Deployment", "name": "web", "after": ["bot"]},
        ],
    }
    plan = {"tiers": [DATABASE, api, a_tier("auxiliary", "stats")]}
    app = Application(recovery={"planRef": {"name": "shop"}}, plan=plan, broken={"api", "bot", "web"})
    await until(app, lambda: ("api", 2) in app.log)
    begun = app.now
    for slow, then in (("api", "bot"), ("bot", "web")):
        await app.look(25)
        app.broken.discard(slow)
        await until(app, lambda then=then: (then, 2) in app.log)
    await until(app, lambda: app.ready == "TimedOut")
    assert app.now - begun <= timedelta(seconds=65), "a wave does not begin the tier's time anew"
    assert "not settled within 60 s of the start of tier api" in app.said
    app.broken.clear()
    await app.ask_again("2026-11-23T12:00:00Z")
    await app.look(LONG)
    assert app.ready == "Resolved", "who is asked again has the whole time again"


async def test_a_gate_sees_the_job_that_its_own_tier_has_run() -> None:
    gate = {"name": "integrity", "job": {"cronJob": JOB}}
    steps = [{"name": "check", "runJob": {"cronJob": JOB}}]
    app = recovering(steps=steps, gates=[gate], others=[cron_job(JOB)])
    await app.look(30)
    app.now += timedelta(minutes=2)
    end_job(app, JOB, "Complete")
    await app.look(LONG)
    assert app.ready == "Resolved", app.said
    assert "has completed" in app.step("gates-api")["gates"][0]["message"]


async def test_a_job_of_the_tier_still_counts_when_a_person_has_asked_to_go_on() -> None:
    gates = [{"name": "integrity", "job": {"cronJob": JOB}}]
    gates += [{"name": "answers", "http": {"service": "api", "port": "http", "path": "/"}}]
    steps = [{"name": "check", "runJob": {"cronJob": JOB}}]
    app = recovering(steps=steps, gates=gates, timeout="20s", others=[cron_job(JOB)])
    app.fake.network.answers["shop", "api"] = (503, 3)
    await app.look(30)
    end_job(app, JOB, "Complete")
    await app.look(LONG)
    assert app.ready == "GateFailed"
    app.fake.network.answers["shop", "api"] = (200, 3)
    await app.ask_again("2026-11-23T12:00:00Z")
    await app.look(LONG)
    assert app.ready == "Resolved", app.said


async def test_errors_logged_while_tiers_come_up_count_in_the_standard_verification() -> None:
    logs = Looking()
    app = recovering(standard=True, checks={"logs": logs})
    await until(app, lambda: app.tiers.get("database") == "Checking")
    begun = app.now
    await app.look(LONG)
    assert logs.since, "logs were read"
    assert all(abs(since - begun) <= timedelta(seconds=2) for since in logs.since)


async def test_errors_from_before_a_person_put_it_right_do_not_count() -> None:
    logs = Looking(Verdict.FAIL)
    quiet = {"name": "quiet", "logs": {"patterns": ["error"]}}
    app = recovering(timeout="20s", gates=[quiet], checks={"logs": logs})
    await app.look(LONG)
    assert app.ready == "GateFailed"
    begun = app.step("start-api")["startedAt"]
    assert {f"{since:%Y-%m-%dT%H:%M:%SZ}" for since in logs.since} == {begun}, "from the tier's own start on"
    logs.since.clear()
    logs.verdict = Verdict.PASS
    asked = app.now
    await app.ask_again("2026-11-23T12:00:00Z")
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert set(logs.since) == {asked}


async def test_one_word_never_answers_two_questions() -> None:
    ok = {"name": "ok", "confirm": {"question": "Is it?"}}
    tiers = [{**DATABASE, "gates": [ok]}, *plan_of()[1:3], a_tier("frontend", "web", gates=[ok])]
    app = Application(recovery={"planRef": {"name": "shop"}}, plan={"tiers": tiers})
    await app.look(3)
    assert app.ready == "Invalid"
    assert "ok in spec.confirmed would answer two questions at once, a gate of tier database and a gate" in app.said
    assert "give one of the confirm checks another name" in app.said
    assert app.log == []


async def test_the_word_that_lets_a_tier_begin_is_no_other_questions() -> None:
    api = {"name": "api", "confirm": {"question": "Is it?"}}
    app = recovering(approval="Required", gates=[api])
    await app.look(3)
    assert "api in spec.confirmed would answer two questions at once, whether tier api may begin and" in app.said


async def test_a_step_of_a_tier_has_no_failure_of_its_own() -> None:
    app = recovering(steps=[{"name": "x", "rolloutUndo": {}, "onFailure": "Continue"}])
    await app.look(3)
    assert app.ready == "Invalid"
    assert "tier api, step api-x: onFailure belongs to the tier" in app.said


async def test_a_tier_that_nothing_could_tell_to_be_up_is_refused_with_the_remedy() -> None:
    nightly = {"name": "reports", "workloads": [{"kind": "CronJob", "name": "nightly"}]}
    plan = {"tiers": [*plan_of(), nightly]}
    app = Application(recovery={"planRef": {"name": "shop"}}, plan=plan, others=[cron_job("nightly")])
    await app.look(3)
    assert app.ready == "Invalid"
    assert "tier reports: nothing tells by itself whether it is up (CronJob shop/nightly); give it gates" in app.said
    assert app.log == []


def a_cluster(phase: str, *, ready: int) -> Any:
    labels = {"incident-operator.dev/tier": "database"}
    status = {"phase": phase, "readyInstances": ready, "instances": 3}
    api = "postgresql.cnpg.io/v1"
    return made("Cluster", "pg", api, spec={"instances": 3}, status=status, metadata={"labels": labels})


async def test_a_database_of_cloudnativepg_gates_its_tier_by_its_label() -> None:
    app = Application(others=[a_cluster("Failing over", ready=1)], groups=["postgresql.cnpg.io"])
    app.fake.edit("StatefulSet", "shop", "db", lambda each: each["metadata"].pop("labels"))
    await app.look(LONG)
    assert app.tiers["database"] == "Checking"
    assert (app.ready, app.count("api")) == ("Progressing", 0), "nothing is started on a database that fails over"
    message = app.step("gates-database")["gates"][0]["message"]
    assert message == "Cluster pg: Failing over; 1 of 3 pods are ready and steady"
    well = {"phase": "Cluster in healthy state", "readyInstances": 3}
    app.fake.edit("Cluster", "shop", "pg", lambda each: each["status"].update(well))
    await app.look(LONG)
    assert app.ready == "Resolved"
