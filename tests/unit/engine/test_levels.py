"""The performance of the guide's list: compared with the level before the incident, which the plan shows."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.checks.promql import PromQL
from incident_operator.engine.cycle import Engine
from incident_operator.engine.levels import asked_of, window_seconds
from incident_operator.engine.settings import EngineSettings
from incident_operator.monitoring.prometheus import Sample
from incident_operator.telemetry.metrics import Metrics
from unit.actions.objects import SINCE
from unit.engine.tiered import Application

LATENCY = {"query": "max(latency)", "maxRatio": "1.5"}
MADE = "2026-11-23T10:00:00Z"


class Measuring:
    """A Prometheus in which the latency was 0.2 before the incident."""

    names = ("main",)

    def __init__(self, now: float, *, hangs: bool = False) -> None:
        self.now = now
        self.hangs = hangs
        self.moments: list[datetime] = []

    async def query(self, name: str, query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        if self.hangs:
            await asyncio.Event().wait()
        if at is None:
            return (Sample({}, self.now),)
        self.moments.append(at)
        return (Sample({}, 0.2 if at < SINCE else 9.0),)

    async def alerts(self, name: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def expression(self, name: str, alertname: str) -> str:
        raise NotImplementedError


def application(servers: Measuring) -> Application:
    app = Application(recovery={"verification": "Standard", "performance": LATENCY})
    app.engine = Engine(
        app.fake,
        actions=ACTIONS,
        checks={**CHECKS, "promql": PromQL(servers, clock=lambda: app.now)},
        settings=EngineSettings(),
        clock=lambda: app.now,
        metrics=Metrics(),
    )
    return app


def planned(app: Application) -> dict[str, Any]:
    step = next(step for step in app.status["plan"]["steps"] if step["name"] == "verification")
    gate = next(each for each in step["gates"] if each["name"] == "performance")
    found: dict[str, Any] = json.loads(gate["parameters"])
    return found


def gate_of(app: Application) -> dict[str, Any]:
    step = next(step for step in app.status["steps"] if step["name"] == "verification")
    found: dict[str, Any] = next(each for each in step["gates"] if each["name"] == "performance")
    return found


async def test_it_is_as_fast_as_ten_minutes_before_it_was_detected_or_it_is_not_over() -> None:
    servers = Measuring(0.31)
    app = application(servers)
    await app.look(2)
    assert planned(app) == {**LATENCY, "at": "2026-11-23T09:50:00Z", "level": "0.2"}
    await app.look(120)
    assert gate_of(app)["verdict"] == "Fail"
    assert "0.31, wanted at most 0.3; it was 0.2 at 2026-11-23T09:50:00Z" in gate_of(app)["message"]
    assert app.ready == "Progressing"
    servers.now = 0.3
    await app.look(20)
    await app.change(confirmed=["user-access"])
    await app.look(10)
    assert app.ready == "Resolved", app.status["steps"]
    assert len(servers.moments) == 1


async def test_a_prometheus_that_hangs_keeps_no_plan_waiting_and_is_never_good() -> None:
    servers = Measuring(0.1, hangs=True)
    app = application(servers)
    async with asyncio.timeout(5):
        await app.look(2)
    assert planned(app) == {**LATENCY, "at": "2026-11-23T09:50:00Z"}
    assert app.log, "the recovery has begun"
    servers.hangs = False
    await app.look(120)
    assert gate_of(app)["verdict"] == "Pass", "what it was is asked for when it is compared"
    assert servers.moments


def an_incident(*starts: str) -> dict[str, Any]:
    signals = [{"name": "Slow", "startsAt": each} for each in starts]
    return {"metadata": {"creationTimestamp": MADE}, "spec": {"signals": signals}}


@pytest.mark.parametrize(
    ("more", "starts", "at"),
    [
        ({}, (), "2026-11-23T09:50:00Z"),
        ({"before": "1h"}, (), "2026-11-23T09:00:00Z"),
        ({"before": "0s"}, (), MADE),
        ({}, ("2026-11-23T09:58:00.123Z", "2026-11-23T09:30:00+00:00"), "2026-11-23T09:20:00Z"),
        ({}, ("2026-11-23T10:30:00Z",), "2026-11-23T09:50:00Z"),
        ({}, ("2026-11-23T11:40:00.123456789+02:00",), "2026-11-23T09:30:00Z"),
        ({"before": "720h"}, ("yesterday", "2026-11-23T09:00:00", "0001-01-01T00:00:00Z"), "2026-10-24T10:00:00Z"),
    ],
)
def test_it_is_compared_with_before_the_first_alert(more: Any, starts: tuple[str, ...], at: str) -> None:
    found = asked_of({"recovery": {"performance": {**LATENCY, **more}}}, an_incident(*starts))
    assert found == {**LATENCY, "at": at}


@pytest.mark.parametrize("spec", [{}, {"recovery": {}}, {"recovery": {"verification": "Standard"}}])
def test_who_does_not_ask_compares_nothing(spec: Any) -> None:
    assert asked_of(spec, an_incident()) is None


@pytest.mark.parametrize(("query", "seconds"), [("rate(x[5m])", 300), ("up", 0), ("x[5m * 2]", 0)])
def test_the_list_waits_for_the_window_of_the_query(query: str, seconds: float) -> None:
    assert window_seconds({"query": query}) == seconds
    assert window_seconds(None) == 0
