"""What an alert that joins an open Incident adds to what it asks for."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.signals.vocabulary import MOST_TARGETS
from unit.engine.alerted import AT, World, ended, runbook, signal

WEB, API = {"kind": "Deployment", "name": "web"}, {"kind": "Deployment", "name": "api"}


def keyed(print_: str, target: str = "", seconds: int = 0, **said: str) -> Any:
    told = {"incident_runbook": "errors", "incident_dedup_key": "checkout", **said}
    labels = {"namespace": "shop"} | ({"deployment": target} if target else {})
    return signal("Slow", print_, AT + timedelta(seconds=seconds), labels=labels, annotations=told)


async def test_alerts_of_one_key_are_about_all_of_their_targets() -> None:
    world = World(runbook())
    await world.take(keyed("aa11", "web"), keyed("bb22", "api", 1))
    assert world.one["spec"]["targets"] == [WEB, API]


async def test_a_joining_alerts_target_is_added_before_there_is_a_plan() -> None:
    world = World(runbook())
    await world.take(keyed("aa11", "web"))
    await world.take(keyed("bb22", "api"))
    await world.take(ended(keyed("cc33", "db")))
    assert world.one["spec"]["targets"] == [WEB, API]
    assert not any("note" in each for each in world.one["spec"]["signals"])


async def test_a_target_that_comes_after_the_plan_is_told_and_not_acted_on() -> None:
    world = World(runbook())
    await world.take(keyed("aa11", "web"))
    world.plan()
    await world.take(keyed("bb22", "api"))
    spec = world.one["spec"]
    assert spec["targets"] == [WEB]
    assert "Deployment/api: not acted on, the plan was there before this alert" in spec["signals"][1]["note"]
    assert "problem" not in spec["signals"][1], "that would hold up the plan"


async def test_no_more_targets_than_an_alert_may_name_are_joined_and_the_rest_is_told() -> None:
    world = World(runbook())
    await world.take(*(keyed(f"{number:04x}", f"d{number}", number) for number in range(MOST_TARGETS + 2)))
    spec = world.one["spec"]
    assert len(spec["targets"]) == MOST_TARGETS
    assert [each["fingerprint"] for each in spec["signals"] if "not acted on" in each.get("note", "")] == [
        f"{MOST_TARGETS:04x}", f"{MOST_TARGETS + 1:04x}",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "mode"),
    [("", "Observe", "Observe"), ("Propose", "Observe", "Observe"), ("Observe", "Enforce", "Observe"), ("", "", None)],
)
async def test_a_joining_alert_lowers_the_mode_and_never_raises_it(first: str, second: str, mode: str | None) -> None:
    world = World(runbook())
    await world.take(keyed("aa11", "web", incident_mode=first))
    await world.take(keyed("bb22", "web", incident_mode=second))
    assert world.one["spec"].get("mode") == mode


async def test_a_repeat_does_not_undo_what_a_person_has_set() -> None:
    world = World(runbook())
    told = keyed("aa11", "web", incident_mode="Observe")
    await world.take(told)
    world.edit(spec={**world.one["spec"], "mode": "Enforce"})
    await world.take(told)
    await world.take(keyed("aa11", "web", 60, incident_mode="Observe"))
    assert world.one["spec"]["mode"] == "Enforce"
    assert world.one["spec"]["signals"][0]["startsAt"] == "2026-11-24T03:01:00Z"


async def test_many_alerts_with_long_words_are_no_more_than_etcd_takes() -> None:
    world = World(runbook())
    for number in range(64):
        told = keyed(f"{number:04x}", "web", summary="s" * 1024, **{f"a{at}": "\u20ac" * 1024 for at in range(50)})
        await world.take(told)
    spec = world.one["spec"]
    assert len(spec["signals"]) == 64
    assert len(json.dumps(spec, ensure_ascii=False).encode()) < 1 << 20
    assert all(each["labels"]["deployment"] == "web" for each in spec["signals"])
    assert spec["signals"][0]["annotations"]["incident_dedup_key"] == "checkout"
    writes = len(world.cluster.journal)
    await world.take(told)
    assert len(world.cluster.journal) == writes, "what was cut is no news"
