"""The engine's numbers move with what it does, and its log says of which step."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import structlog

from incident_operator.faults import Stalled, Waiting
from incident_operator.notify.counting import Counted
from incident_operator.telemetry import logs
from incident_operator.telemetry.metrics import Metrics
from unit.engine.shop import ISOLATE, Shop, scaled

API = ("Deployment", "api")
UP = [{"name": "up", "podsReady": {}}]


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"incident_operator_{name}", labels) or 0.0


async def test_an_incident_that_runs_to_its_end_is_measured() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1), verification=UP)
    await shop.look("load", times=2)
    assert value(shop.metrics, "time_to_contain_seconds_count") == 0, "its pods are still there"
    shop.settle("api")
    await shop.look("load", times=4)
    assert value(shop.metrics, "time_to_contain_seconds_count") == 1
    assert value(shop.metrics, "time_to_contain_seconds_sum") == 2
    assert value(shop.metrics, "steps_total", action="scale", outcome="Done") == 1
    assert value(shop.metrics, "step_duration_seconds_sum", action="scale") == 2
    assert shop.ready("load")[0] == "Resolved"
    assert value(shop.metrics, "time_to_recover_seconds_count") == 1
    assert value(shop.metrics, "time_to_recover_seconds_sum") >= 2


async def test_a_step_that_fails_is_one() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1, timeout="1s"))
    await shop.look("load", times=1)
    shop.now += timedelta(minutes=1)
    await shop.look("load", times=2)
    assert value(shop.metrics, "steps_total", action="scale", outcome="Failed") == 1
    assert value(shop.metrics, "refusals_total", reason="TimedOut") == 1
    assert value(shop.metrics, "time_to_contain_seconds_count") == 0


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"maxMode": "Propose"}, "AwaitingApproval"),
        ({"actions": {"forbidden": ["isolate"]}}, "ActionForbidden"),
        ({"blastRadius": {"pods": 1}}, "BlastRadiusExceeded"),
        ({"protected": [{"name": "all", "namespaces": ["shop"]}]}, "Protected"),
    ],
)
async def test_what_is_refused_or_waits_is_counted_once_however_often_it_is_looked_at(
    policy: dict[str, Any], reason: str
) -> None:
    shop = Shop()
    shop.policy(**policy)
    shop.deployment("api")
    shop.incident("cut", API, containment=ISOLATE)
    await shop.look("cut", times=5)
    assert shop.ready("cut")[0] == reason
    assert value(shop.metrics, "refusals_total", reason=reason) == 1


async def test_a_plan_that_is_only_looked_at_is_no_refusal() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("cut", API, containment=ISOLATE, mode="Observe")
    await shop.look("cut")
    assert value(shop.metrics, "refusals_total", reason="Planned") == 0


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    yield stream
    structlog.reset_defaults()


async def test_what_is_logged_about_a_step_names_it(said: io.StringIO) -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load", times=2)
    shop.settle("api")
    await shop.look("load", times=2)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    named = {line["reason"]: line.get("step") for line in lines if "reason" in line}
    assert {named["Acted"], named["StepDone"]} == {"less"}
    assert named["Planned"] is None


class Hook:
    """Takes the first message, and then says what it is told to."""

    def __init__(self, *faults: Exception) -> None:
        self.faults = list(faults)

    async def post(self, name: str, message: object) -> None:
        if self.faults:
            raise self.faults.pop()


async def test_what_came_of_each_message_to_a_hook_is_counted_and_nobody_can_make_up_series() -> None:
    metrics = Metrics()
    away, refused = Waiting("HookUnavailable", "away", delay=timedelta(0)), Stalled("HookRefused", "no")
    hooks = Counted(Hook(refused, away), ["pager"], metrics)
    with pytest.raises(Waiting):
        await hooks.post("pager", {})
    with pytest.raises(Stalled):
        await hooks.post("pager", {})
    await hooks.post("pager", {})
    for outcome in ("HookUnavailable", "HookRefused", "Delivered"):
        assert value(metrics, "notifications_total", sink="pager", outcome=outcome) == 1
    unknown = Counted(Hook(*(Stalled("UnknownHook", "no") for _ in range(2))), ["pager"], metrics)
    for name in ("made-up", "made-up-too"):
        with pytest.raises(Stalled):
            await unknown.post(name, {})
    assert value(metrics, "notifications_total", sink="unknown", outcome="UnknownHook") == 2
