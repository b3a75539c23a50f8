"""A restore in a tier: checked before it loads, verified before the tier starts, looked at again after a long wait."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.actions.restore import Restore
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine.acting import Attempt, act_all
from incident_operator.engine.cycle import Engine
from incident_operator.engine.settings import EngineSettings
from incident_operator.faults import Waiting
from incident_operator.planning.plan import Change, Entry, EntryState
from incident_operator.telemetry.metrics import Metrics
from unit.actions.objects import Object, created, done, later, stamp
from unit.actions.restoring import cron_job, database, plan, with_data
from unit.engine.tiered import Application

RESTORE = {
    "job": {"cronJob": "load", "dumpedBy": "dump", "maxAge": "24h", "check": "check-dump"},
    "verifyIntegrity": "integrity",
}
DAY = timedelta(days=1)


def application(*, step: Object | None = None, **tier: Any) -> Application:
    """Its database is restored from a dump that is an hour old."""
    steps = [{"name": "dump", "restore": RESTORE, **(step or {})}]
    first = {"name": "database", "workloads": [{"kind": "StatefulSet", "name": "db"}], "steps": steps, **tier}
    app = Application(recovery={"planRef": {"name": "shop"}}, plan={"tiers": [first, {"name": "api"}]})
    app.fake.put(*(cron_job(name) for name in ("load", "check-dump", "integrity")))
    app.fake.put({**cron_job("dump"), "status": {"lastSuccessfulTime": stamp(later(-3600))}})
    app.engine = Engine(
        app.fake,
        actions={**ACTIONS, "restore": Restore(clock=lambda: app.now)},
        checks=CHECKS,
        settings=EngineSettings(),
        clock=lambda: app.now,
        metrics=Metrics(),
    )
    return app


def ran(app: Application) -> list[str]:
    """The CronJobs whose Jobs were made, in that order."""
    jobs = [thing for (kind, _, _), thing in app.fake.objects.items() if kind == "Job"]
    return [each["metadata"]["ownerReferences"][0]["name"] for each in jobs]


def end(app: Application, cron_job_name: str, condition: str) -> None:
    status = {"conditions": [{"type": condition, "status": "True"}]}
    for (kind, namespace, name), thing in list(app.fake.objects.items()):
        if kind == "Job" and thing["metadata"]["ownerReferences"][0]["name"] == cron_job_name:
            app.fake.edit(kind, namespace, name, lambda each: each.__setitem__("status", status))


async def test_a_dump_is_checked_then_loaded_then_verified_and_only_then_the_next_tier_starts() -> None:
    app = application()
    for number, name in enumerate(("check-dump", "load", "integrity"), start=1):
        await app.look(40)
        assert ran(app) == ["check-dump", "load", "integrity"][:number], "the one before it has not completed"
        assert app.count("api") == 0
        end(app, name, "Complete")
    await app.look(60)
    assert app.ready == "Resolved", app.status
    assert app.count("api") == 2
    planned = [step["name"] for step in app.status["plan"]["steps"]]
    assert planned[1:4] == ["database-dump-check", "database-dump", "database-dump-verify"]


@pytest.mark.parametrize("on_failure", ["Halt", "Continue"])
async def test_a_dump_that_does_not_pass_its_check_is_never_loaded(on_failure: str) -> None:
    app = application(onFailure=on_failure)
    await app.look(20)
    end(app, "check-dump", "Failed")
    await app.look(60)
    assert ran(app) == ["check-dump"]
    assert (app.ready, app.count("api")) == ("JobFailed", 0)


async def test_data_that_do_not_pass_their_check_leave_the_next_tier_stopped() -> None:
    app = application()
    for name, condition in (("check-dump", "Complete"), ("load", "Complete"), ("integrity", "Failed")):
        await app.look(20)
        end(app, name, condition)
    await app.look(60)
    assert (app.ready, app.count("api")) == ("JobFailed", 0)


async def test_a_step_that_is_called_as_a_part_of_another_is_refused() -> None:
    other = {"name": "dump-check", "runJob": {"cronJob": "integrity"}}
    app = application(steps=[{"name": "dump", "restore": RESTORE}, other])
    await app.look(3)
    assert app.ready == "Invalid"
    assert ran(app) == []


async def test_a_dump_that_grew_too_old_while_a_person_was_asked_is_not_loaded() -> None:
    app = application(approval="Required")
    await app.look(20)
    assert ran(app) == []
    app.now += DAY
    await app.change(confirmed=["database"])
    await app.look(10)
    end(app, "check-dump", "Complete")
    await app.look(20)
    assert ran(app) == ["check-dump"]
    assert app.ready == "BackupTooOld"
    message = next(each["message"] for each in app.status["conditions"] if each["type"] == "Ready")
    assert "1 d 1 h ago, and maxAge is 24h" in message
    assert app.count("api") == 0


VOLUME = {"volume": {"claim": "data", "snapshot": "nightly", "maxAge": "24h"}}


def entries(changes: tuple[Change, ...]) -> list[Entry]:
    return [dataclasses.replace(each, state=EntryState.INTENDED) for each in done(changes)]


async def act(fake: FakeCluster, changes: tuple[Change, ...], hours: float) -> list[Entry]:
    action = Restore(clock=lambda: later(3600 * hours))
    made, waiting = await act_all(
        fake, [Attempt(action, entry) for entry in entries(changes)], stamp(later(3600 * hours))
    )
    if waiting is not None:
        raise waiting
    return made


async def test_of_two_writes_none_is_made_where_the_backup_is_not_good_any_more() -> None:
    fake = with_data()
    changes = await plan(fake, database(), VOLUME)
    before = fake.at("Deployment", "db")["spec"]
    made = await act(fake, changes, 25)
    assert [entry.state for entry in made] == [EntryState.FAILED] * 2
    assert all(entry.message.startswith("BackupTooOld: ") for entry in made)
    assert fake.at("Deployment", "db")["spec"] == before
    assert await fake.find("PersistentVolumeClaim", "shop", changes[0].target.name) is None


async def test_what_a_process_before_this_one_has_made_is_adopted_however_old_the_backup_is_by_now() -> None:
    fake = with_data()
    changes = await plan(fake, database(), VOLUME)
    assert changes[0].request is not None
    answer = await fake.send(changes[0].request)
    made = await act(fake, changes, 25)
    assert [entry.state for entry in made] == [EntryState.DONE, EntryState.FAILED]
    assert made[0].change.target == created(changes[0], answer).target


async def test_an_api_server_that_is_away_when_it_is_looked_at_again_is_waited_for() -> None:
    fake = with_data()
    changes = await plan(fake, database(), VOLUME)

    def away(call: Any) -> None:
        if call.ref.kind == "VolumeSnapshot":
            raise Waiting("ApiUnreachable", "away")

    fake.on_call(away)
    with pytest.raises(Waiting, match="away"):
        await act(fake, changes, 1)
    fake.on_call(lambda _: None)
    assert [entry.state for entry in await act(fake, changes, 1)] == [EntryState.DONE] * 2
