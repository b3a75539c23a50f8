"""A tier that fails its gate is told to a person outside of the cluster, once, with all that is needed to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.api.configuration import Configuration
from incident_operator.engine.clockwork import Clockwork
from incident_operator.faults import Waiting
from unit.engine.test_recovery import plan_of
from unit.engine.tiered import Application

GATE = {"name": "answers", "http": {"service": "api", "port": "http", "path": "/orders"}}
LONG = 120
SECRET = "s3cr3t"


class Desk:
    """Stands in for the hooks: keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Mapping[str, Any]]] = []

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)
        self.told.append((name, message))

    def of(self, reason: str) -> list[tuple[str, Mapping[str, Any]]]:
        return [each for each in self.told if each[1]["reason"] == reason]


class Watched(Application):
    """One whose escalation has somebody to tell."""

    desk: Desk

    def restart(self) -> None:
        super().restart()
        self.engine._clockwork = Clockwork(Configuration(), self.desk, lambda: self.now)


def watched(desk: Desk, **given: Any) -> Watched:
    return type("Watching", (Watched,), {"desk": desk})(**given)  # restart is called while it is made


def broken(desk: Desk, **more: Any) -> Application:
    """Its api answers 500; the pager is to be told."""
    plan = {"tiers": plan_of(timeout="30s", gates=[GATE])}
    escalation = [{"after": "15m", "hook": "pager"}]
    given = {"escalation": escalation, "severity": "SEV-4", **more}
    app = watched(desk, recovery={"planRef": {"name": "shop"}}, plan=plan, more=given)
    app.fake.network.answers["shop", "api"] = (500, 3)
    for name in ("api-0", "api-1"):
        app.fake.network.logs[name, "api"] = f"error: password={SECRET}\n"
    return app


@pytest.mark.parametrize("restarting", [False, True])
async def test_a_tier_that_fails_says_which_gate_and_what_it_saw_and_is_told_once(*, restarting: bool) -> None:
    desk = Desk()
    app = broken(desk)
    while app.ready != "GateFailed":
        await app.look()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
    assert desk.told, "by the very look that came to it"
    for _ in range(LONG):
        await app.look()
        if restarting and app.ready == "GateFailed" and app.status.get("escalated"):
            app.restart()
    assert app.ready == "GateFailed"
    ((hook, told),) = desk.told
    assert (hook, told["reason"]) == ("pager", "Halted")
    incident = told["incident"]
    assert (incident["namespace"], incident["name"], incident["phase"]) == ("shop", "outage", "Halted")
    text = told["text"]
    assert text.startswith("halted in tier api, and needs a person: GateFailed: ")
    assert "gate answers of tier api: Fail: " in text
    assert "500" in text
    assert text.endswith(
        'kubectl annotate incident/outage -n shop incident-operator.dev/requested-at="$(date -u +%FT%TZ)" --overwrite'
    )
    assert SECRET not in str(desk.told)
    assert "Escalated" in [each["reason"] for each in app.status["timeline"]]
    assert (app.count("web"), app.count("db")) == (0, 2), "those above untouched, those below up"


async def test_who_goes_on_and_fails_again_is_told_again_and_nobody_once_it_is_over() -> None:
    desk = Desk()
    app = broken(desk, acknowledgedBy="ada")
    await app.look(LONG)
    await app.ask_again("2026-11-23T11:00:00Z")
    await app.look(LONG)
    assert app.ready == "GateFailed"
    assert len({told["key"] for _, told in desk.of("Halted")}) == len(desk.told) == 2
    app.fake.network.answers["shop", "api"] = (200, 3)
    await app.ask_again("2026-11-23T12:00:00Z")
    await app.look(LONG)
    assert app.ready == "Resolved"
    assert len(desk.told) == 2


async def test_any_halt_is_told_and_where_no_hook_is_named_nobody_is() -> None:
    for escalation, count in (([{"after": "15m", "hook": "pager"}], 1), ([], 0)):
        desk = Desk()
        more = {"escalation": escalation, "severity": "SEV-4"}
        app = watched(desk, recovery={"planRef": {"name": "nowhere"}}, more=more)
        await app.look(5)
        assert app.ready == "PlanNotFound"
        assert [told["text"].partition(": there is no RecoveryPlan nowhere")[0] for _, told in desk.told] == [
            "halted, and needs a person: PlanNotFound"
        ] * count


async def restarted_and_told(app: Watched) -> None:
    """Looks of two processes, one after the other, each for a minute."""
    for _ in range(2):
        for _ in range(60):
            await app.look()
            await asyncio.sleep(0)
        app.restart()


@pytest.mark.parametrize("is_away", [False, True])
async def test_who_the_runbook_names_is_told_of_a_halt_that_comes_before_any_plan(*, is_away: bool) -> None:
    desk = Desk()
    if is_away:
        post, failed = desk.post, []

        async def once_away(name: str, message: Mapping[str, Any]) -> None:
            if not failed:
                failed.append(name)
                raise Waiting("HookAway", "nobody answers")
            await post(name, message)

        desk.post = once_away  # type: ignore[method-assign]
    told = {"escalation": [{"after": "15m", "hook": "pager"}], "containment": [{"name": "c", "isolate": {}}]}
    runbook = {"apiVersion": names.API_VERSION, "kind": "Runbook", "metadata": {"name": "r", "namespace": "shop"}}
    more = {"severity": "SEV-4", "source": "Alertmanager", "runbookRef": {"kind": "Runbook", "name": "r"}}
    app = watched(desk, others=[{**runbook, "spec": told}], more=more)
    spec = {key: value for key, value in app.spec.items() if key not in ("recovery", "targets")}
    app.spec = {**spec, "signals": [{"name": "Down", "fingerprint": "aa", "startsAt": "2026-11-23T10:00:00Z"}]}
    app.declare("lost")
    await restarted_and_told(app)
    assert app.ready == "TargetNotFound"
    assert [hook for hook, _ in desk.told] == ["pager"]
