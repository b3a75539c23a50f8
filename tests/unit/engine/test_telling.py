"""The first hook is told of each clock that runs out and of each halt, once, whoever has taken the Incident on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from incident_operator.engine.clockwork import LOOK
from incident_operator.engine.keys import Key
from incident_operator.planning.record import Moment
from unit.engine.clocked import AWAY, HOUR, MINUTE, World


@pytest.fixture
async def calm() -> World:
    """With no clock, so that all that is told is what the test is about."""
    return World(severity="SEV-4")


async def test_who_has_taken_it_on_is_told_of_each_clock_that_runs_out_once_also_by_a_new_process() -> None:
    world = World(acknowledgedBy="ada")
    for after in (14 * MINUTE, 16 * MINUTE, 20 * MINUTE, 40 * MINUTE, 5 * HOUR, 6 * HOUR):
        await world.go_on(after)
        world.restart()
        await world.go_on(after)
    assert [(hook, told["reason"]) for hook, told in world.desk.told] == [
        ("pager", "ContainOverdue"),
        ("pager", "UpdateOverdue"),
        ("pager", "ResolveOverdue"),
    ]
    assert world.desk.told[0][1]["text"] == "contain: 1m over (due 14:30 UTC)"
    assert world.record.escalated == ("contain", "update", "resolve")
    assert [each.message for each in world.record.timeline if each.reason == "Escalated"] == [
        f"hook pager was told that {clock} is overdue" for clock in ("contain", "update", "resolve")
    ]


async def test_silence_once_more_is_told_once_more() -> None:
    world = World(acknowledgedBy="ada")
    world.record = world.record.timed("contained", "2026-11-23T14:16:00Z")
    await world.go_on(31 * MINUTE)
    world.record = world.record.noted(Moment("2026-11-23T15:15:00Z", "StepDone", "undo"))
    await world.go_on(65 * MINUTE)
    assert (world.record.overdue, len(world.desk.told)) == ({}, 1)
    world.restart()
    await world.go_on(91 * MINUTE)
    first, second = (told for _, told in world.desk.told)
    assert first["reason"] == second["reason"] == "UpdateOverdue"
    assert first["key"] != second["key"], "or a receiver would take it for the same"


async def test_a_clock_that_is_met_while_it_is_told_is_let_go() -> None:
    world = World(acknowledgedBy="ada")
    world.desk.faults = [AWAY]
    await world.go_on(16 * MINUTE)
    world.record = world.record.timed("contained", "2026-11-23T14:32:00Z")
    await world.go_on(20 * MINUTE)
    assert (world.hooks, world.record.escalated, world.clockwork._posts) == (["pager"], (), {})


def halt(world: World, message: str = "step undo: no revision to go back to", **more: Any) -> None:
    given = {"outcome": "Halted", "reason": "NoRevision", "asked": "a", "message": message, **more}
    world.record = dataclasses.replace(world.record, **given)


@pytest.mark.parametrize("by", ["", "ada"])
async def test_a_halt_is_told_once_with_what_was_seen_and_the_command_to_go_on(by: str) -> None:
    world = World(severity="SEV-4", acknowledgedBy=by)
    halt(world, "step undo: it does not come up; when that is put right: kubectl cut off by the bound of sta")
    await world.go_on(MINUTE)
    world.restart()
    await world.go_on(2 * MINUTE)
    ((hook, told),) = world.desk.told
    assert (hook, told["reason"], told["incident"]["phase"]) == ("pager", "Halted", "Halted")
    assert told["text"] == (
        "halted, and needs a person: NoRevision: step undo: it does not come up; when that is put right: "
        'kubectl annotate incident/slow -n shop incident-operator.dev/requested-at="$(date -u +%FT%TZ)" --overwrite'
    )
    assert world.record.timeline[-1].message == "hook pager was told that it has halted and needs a person"


async def test_the_command_to_go_on_is_told_however_long_the_rest_is(calm: World) -> None:
    halt(calm, "x" * 5000)
    await calm.go_on(MINUTE)
    assert calm.desk.told[0][1]["text"].endswith("--overwrite")


async def test_a_halt_after_somebody_has_asked_to_go_on_is_another_and_the_last_one_is_on_record(calm: World) -> None:
    for handled, asked in (("", "a"), ("", "a"), ("monday", "a"), ("monday", "b"), ("monday", "b")):
        halt(calm, handled_request=handled, asked=asked)
        await calm.go_on(MINUTE)
        halt(calm, outcome="", reason="", message="")
        await calm.go_on(MINUTE)
    assert len({told["key"] for _, told in calm.desk.told}) == len(calm.desk.told) == 3
    assert len(calm.record.escalated) == 1


async def test_a_halt_is_told_beside_the_look_that_came_to_it(calm: World) -> None:
    halt(calm)
    case = calm.case()
    assert calm.clockwork.halted(case) == LOOK
    assert calm.clockwork.halted(case) is None, "it is on its way"
    await calm.answered()
    assert calm.woken == [Key("shop", "slow")]
    assert calm.look().is_news
    assert (calm.hooks, len(calm.record.escalated)) == (["pager"], 1)


async def test_a_halt_that_nobody_was_told_of_is_due_after_a_restart(calm: World) -> None:
    stalled = [{"type": kind, "status": "True", "reason": "NoRevision"} for kind in ("Ready", "Stalled")]
    status = {"conditions": stalled, "asked": "a", "lastHandledRequest": "monday"}
    assert calm.clockwork.is_due({**calm.incident, "status": status})
    halt(calm, handled_request="monday")
    await calm.go_on(MINUTE)
    told = {**status, "escalated": list(calm.record.escalated)}
    assert not calm.clockwork.is_due({**calm.incident, "status": told})
    assert calm.clockwork.is_due({**calm.incident, "status": {**told, "lastHandledRequest": "tuesday"}})
