"""A repeated alert is the same Incident, whatever has become of its pods, its rule or its Incident meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.engine import firings
from incident_operator.signals.signal import Signal
from unit.engine.alerted import AT, World, ended, owned, runbook, signal

LATER = AT + timedelta(minutes=5)


def looping(pod: str, print_: str, **more: Any) -> Signal:
    return signal("CrashLooping", print_, labels={"namespace": "shop", "pod": pod}, **more)


def deployed(*pods: str) -> list[dict[str, Any]]:
    return [
        *(owned("Pod", pod, "ReplicaSet", "web-a") for pod in pods),
        owned("ReplicaSet", "web-a", "Deployment", "web"),
    ]


async def crash_loops() -> tuple[World, Signal, Signal]:
    """Two pods of one Deployment crash-loop, one alert after the other, and then a rollback deletes both."""
    world = World(runbook(), *deployed("web-1", "web-2"))
    first, second = looping("web-1", "aa11"), looping("web-2", "bb22", at=AT + timedelta(seconds=30))
    await world.take(first)
    await world.take(second)
    for pod in ("web-1", "web-2"):
        world.cluster.take("Pod", "shop", pod)
    return world, first, second


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_alerts_of_pods_that_are_gone_end_in_the_incident_that_they_joined(is_restarted: bool) -> None:
    world, first, second = await crash_loops()
    intake = world.again() if is_restarted else None
    await world.take(ended(second), intake=intake)
    await world.take(ended(first), intake=intake)
    assert [bool(each.get("endsAt")) for each in world.one["spec"]["signals"]] == [True, True]
    assert not any("problem" in each for each in world.one["spec"]["signals"])


async def test_a_repeat_after_the_runbook_was_edited_is_the_same_incident() -> None:
    world = World(runbook(), runbook("other"))
    await world.take(signal())
    edited = signal(annotations={"incident_runbook": "other"})
    await world.take(edited, intake=world.again())
    await world.take(ended(edited), intake=world.again())
    assert world.one["spec"]["runbookRef"]["name"] == "errors"
    assert world.one["spec"]["signals"][0]["endsAt"]


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_repeat_of_a_joined_alert_after_the_end_is_the_same_incident(is_restarted: bool) -> None:
    world, _, second = await crash_loops()
    world.close()
    before = len(world.cluster.journal)
    intake = world.again() if is_restarted else None
    await world.take(second, intake=intake)
    assert len(world.cluster.journal) == before
    await world.take(ended(second), intake=intake)
    assert world.one["spec"]["signals"][1]["endsAt"]


async def test_a_new_firing_of_a_joined_alert_after_the_end_is_a_new_incident() -> None:
    world, _, second = await crash_loops()
    world.close()
    again = looping("web-2", second.fingerprint, at=LATER)
    await world.take(again, intake=world.again())
    assert len(world.incidents) == 2
    await world.take(second, again, intake=world.again())
    assert len(world.incidents) == 2


async def test_of_one_notification_what_is_known_stays_where_it_is_and_what_is_new_has_its_own() -> None:
    world = World(runbook())
    await world.take(signal())
    world.close()
    found = await world.take(signal(), signal("Slow", "bb22", LATER), intake=world.again())
    assert len(found) == len(world.incidents) == 2
    said = sorted([each["name"] for each in incident["spec"]["signals"]] for incident in world.incidents)
    assert said == [["HighErrorRate"], ["Slow"]]


async def test_repeats_at_once_from_both_replicas_are_one_incident_though_the_pods_are_gone() -> None:
    world, first, second = await crash_loops()
    other = world.again()
    await asyncio.gather(
        *(world.take(each, ended(each), intake=other if n % 2 else None) for n, each in enumerate([first, second] * 10))
    )
    assert all(each["endsAt"] for each in world.one["spec"]["signals"])


async def test_what_is_known_in_the_operators_own_namespace_is_found_there() -> None:
    world = World(runbook())
    one, two = (signal("Lost", print_, labels={"namespace": "gone", "deployment": "x"}) for print_ in ("aa11", "bb22"))
    await world.take(one, two)
    assert world.one["metadata"]["namespace"] == "home"
    await world.take(two, intake=world.again())
    await world.take(ended(two), intake=world.again())
    assert world.one["spec"]["signals"][1]["endsAt"]


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_a_repeat_of_an_alert_whose_namespace_is_not_there_acts_on_nothing(is_restarted: bool) -> None:
    world = World(runbook())
    lost = signal("Lost", labels={"namespace": "gone", "deployment": "web"})
    await world.take(lost)
    made = world.one
    assert "namespace gone, which it names, is not there" in made["spec"]["signals"][0]["problem"]
    for _ in range(2):
        await world.take(lost, intake=world.again() if is_restarted else None)
        assert world.one["spec"] == made["spec"]
    await world.take(signal("Lost", at=LATER, labels=lost.labels), intake=world.again())
    spec = world.one["spec"]
    assert "targets" not in spec
    assert spec["signals"][0]["startsAt"] == "2026-11-24T03:05:00Z"
    assert spec["signals"][0]["problem"] == "namespace gone, which it names, is not there"


async def test_so_does_one_that_the_other_replica_has_just_taken_in() -> None:
    world = World(runbook())
    other, lost = world.again(), signal("Lost", labels={"namespace": "gone", "deployment": "web"})
    await world.take(ended(signal("Old", "cc33")), intake=other)
    await world.take(lost)
    made = world.incidents
    await world.take(lost, intake=other)
    assert world.incidents == made


@pytest.mark.parametrize("namespaces", [(), ("shop", "home")])
async def test_an_operator_of_some_namespaces_finds_them_too(namespaces: tuple[str, ...]) -> None:
    world, _, second = await crash_loops()
    world.close()
    intake = world.again()
    intake._namespaces = namespaces
    await world.take(second, intake=intake)
    assert len(world.incidents) == 1


async def test_an_annotation_that_somebody_has_spoilt_is_read_as_far_as_it_goes() -> None:
    assert firings.read("aa11@zz bb22 @ cc33@!! dd44@2") == {"aa11": 1295, "dd44": 2}
    world = World(runbook())
    await world.take(signal())
    meta = world.one["metadata"]
    world.edit(metadata={**meta, "annotations": {names.FIRINGS: "x"}})
    await world.take(ended(signal()), intake=world.again())
    assert world.one["spec"]["signals"][0]["endsAt"]


async def test_a_rule_that_is_put_right_mends_the_incident_that_waits_for_it() -> None:
    world = World(runbook())
    wrong = signal(annotations={"incident_runbook": "erors", "incident_target": "service/web", "incident_mode": "Obs"})
    await world.take(wrong)
    world.stall("RunbookNotFound")
    right = {"incident_runbook": "errors", "incident_target": "deployment/web", "incident_mode": "Observe"}
    await world.take(signal(annotations=right), intake=world.again())
    spec = world.one["spec"]
    assert (spec["runbookRef"]["name"], spec["mode"]) == ("errors", "Observe")
    assert spec["targets"] == [{"kind": "Deployment", "name": "web"}]
    assert "problem" not in spec["signals"][0]
