"""What a recovery has stopped comes back as it was: autoscalers, CronJobs, and replicas of before all Incidents."""

from __future__ import annotations

import copy
from typing import Any

from incident_operator.api import names
from incident_operator.engine.keys import Key
from unit.actions.restoring import cron_job
from unit.actions.scaling import hpa
from unit.engine.tiered import KEY, LONG, TIERS, Application, recovering, until

AUXILIARY = {"labels": {names.TIER: "auxiliary"}}
REMEMBERED = (
    ("HorizontalPodAutoscaler", "idle"),
    ("HorizontalPodAutoscaler", "busy"),
    ("CronJob", "nightly"),
    ("CronJob", "by-hand"),
)
REPLICAS = {"db": 1, "api": 3, "bot": 4, "web": 2, "stats": 1}


def whole(**more: Any) -> Application:
    """An application with two autoscalers and two CronJobs, of which one was suspended by hand long before."""
    others = [
        hpa("idle", least=0, most=6),
        of_web(hpa("busy", least=2, most=9)),
        cron_job("nightly", metadata=AUXILIARY),
        cron_job("by-hand", metadata=AUXILIARY, suspend=True),
    ]
    return Application(others=others, replicas=REPLICAS, **more)


def of_web(autoscaler: dict[str, Any]) -> dict[str, Any]:
    autoscaler["spec"]["scaleTargetRef"]["name"] = "web"
    return autoscaler


def specs(app: Application) -> dict[str, Any]:
    return {name: copy.deepcopy(app.fake.at(kind, name)["spec"]) for kind, name in REMEMBERED}


def replicas(app: Application) -> dict[str, int]:
    return {name: app.count(name) for name in TIERS}


async def test_autoscalers_cronjobs_and_replicas_come_back_exactly_as_they_were() -> None:
    app = whole()
    before = specs(app)
    await until(app, lambda: app.tiers.get("api") == "Stopped")
    there = specs(app)
    assert (there["idle"]["minReplicas"], there["nightly"]["suspend"]) == (1, True), (
        "held, for it could scale up from 0"
    )
    assert there["busy"] == before["busy"], "it switches itself off at 0 replicas"
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert specs(app) == before
    assert replicas(app) == REPLICAS


async def test_a_cancelled_recovery_gives_autoscalers_and_cronjobs_back_too() -> None:
    app = whole(broken={"db"})
    before = specs(app)
    await app.look(20)
    assert specs(app) != before
    await app.change(cancel=True)
    await app.look(5)
    assert specs(app) == before
    assert replicas(app) == REPLICAS


async def test_of_two_incidents_in_a_row_the_second_waits_and_gives_back_what_was_before_the_first() -> None:
    app = whole(broken={"db"})
    before = specs(app)
    await app.look(20)
    assert app.count("web") == 0
    app.declare("second")
    await app.look(5)
    assert app.ready == "TargetBusy"
    app.key = KEY
    app.broken.clear()
    await app.look(LONG)
    assert app.ready == "Resolved"
    app.key = Key("shop", "second")
    await until(app, lambda: app.count("web") == 0)
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert (specs(app), replicas(app)) == (before, REPLICAS)


async def test_how_long_a_tier_takes_is_told_beside_how_long_it_usually_does() -> None:
    app = recovering(expected="90s", broken={"api"})
    await until(app, lambda: app.tiers.get("database") == "Checking")
    assert "expected" not in app.status["recovery"], "nobody said how long the database takes"
    assert app.status["recovery"]["since"] == app.step("gates-database")["startedAt"]
    await until(app, lambda: app.tiers["api"] == "Restoring")
    await app.look(10)
    told = app.status["recovery"]
    assert (told["summary"], told["expected"]) == ("1/5 api Restoring", "1m30s")
    assert told["since"] == app.step("start-api")["startedAt"]
    app.broken.clear()
    await app.look(LONG)
    assert not {"since", "expected"} & set(app.status["recovery"]), "nothing is on its way any more"
    api = next(tier for tier in app.status["recovery"]["tiers"] if tier["name"] == "api")
    assert api["expectedSeconds"] == 90
    assert api["seconds"] >= 10
