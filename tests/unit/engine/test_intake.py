"""From signals to Incidents: one for each thing that is wrong, however often it is told."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.faults import Conflict, Waiting
from incident_operator.signals.signal import Signal
from unit.engine.alerted import AT, ON_WEB, World, ended, owned, runbook, signal


async def test_an_alert_becomes_an_incident_that_says_where_it_comes_from() -> None:
    world = World(runbook(type="Performance", severity="SEV-3", title="Errors"))
    (name,) = await world.take(signal(labels={**ON_WEB, "severity": "critical"}))
    found = world.one
    assert name == f"shop/{found['metadata']['name']}"
    assert found["metadata"]["finalizers"] == [names.FINALIZER]
    spec = found["spec"]
    assert (spec["source"], spec["type"], spec["severity"], spec["title"]) == (
        "Alertmanager", "Performance", "SEV-1", "Errors",
    )  # fmt: skip
    assert spec["targets"] == [{"kind": "Deployment", "name": "web"}]
    assert spec["runbookRef"] == {"kind": "Runbook", "name": "errors"}
    assert spec["reportedBy"] == "system:serviceaccount:home:incident-operator"
    assert spec["signals"][0]["startsAt"] == "2026-11-24T03:00:00Z"


async def test_the_same_alert_a_hundred_times_is_one_incident_and_one_write() -> None:
    world = World(runbook())
    takes = [world.take(signal(), intake=world.again() if number % 2 else None) for number in range(100)]
    found = await asyncio.gather(*takes)
    assert len({name for each in found for name in each}) == 1
    assert len(world.incidents) == 1
    assert len([write for write in world.cluster.journal if write.request.ref.kind == "Incident"]) == 1


async def test_alerts_about_one_target_are_signals_of_one_incident_and_the_highest_severity_counts() -> None:
    world = World(runbook())
    await world.take(signal(labels={**ON_WEB, "severity": "warning"}))
    await world.take(signal("Slow", "bb22", AT + timedelta(minutes=1), labels={**ON_WEB, "severity": "critical"}))
    assert [each["name"] for each in world.one["spec"]["signals"]] == ["HighErrorRate", "Slow"]
    assert world.one["spec"]["severity"] == "SEV-1"


async def test_other_targets_runbooks_and_keys_are_other_incidents() -> None:
    world = World(runbook())
    await world.take(
        signal(),
        signal("Slow", "bb22", labels={**ON_WEB, "deployment": "api"}),
        signal("Slow", "cc33", annotations={"incident_runbook": "other"}),
        signal("Slow", "dd44", annotations={"incident_runbook": "errors", "incident_dedup_key": "mine"}),
    )
    assert len(world.incidents) == 4


async def test_a_new_firing_after_the_end_is_a_new_incident_and_one_before_it_is_not() -> None:
    world = World(runbook())
    await world.take(signal())
    await world.take(ended(signal()))
    again = signal(at=AT + timedelta(minutes=5))
    await world.take(again)
    assert len(world.incidents) == 1
    assert "endsAt" not in world.one["spec"]["signals"][0]
    world.close()
    await world.take(ended(again))
    assert len(world.incidents) == 1
    await world.take(signal(at=AT + timedelta(minutes=9)))
    assert len(world.incidents) == 2


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_whatever_the_order_the_latest_word_counts(order: tuple[int, ...]) -> None:
    world = World(runbook())
    first = signal()
    told = [first, ended(first), first]
    for number in order:
        await world.take(told[number])
    (found,) = world.one["spec"]["signals"]
    assert found["endsAt"] == "2026-11-24T03:01:00Z"


async def test_a_pod_is_walked_up_to_what_owns_it() -> None:
    world = World(
        runbook(), owned("Pod", "web-1", "ReplicaSet", "web-a"), owned("ReplicaSet", "web-a", "Deployment", "web")
    )
    await world.take(signal(labels={"namespace": "shop", "pod": "web-1"}))
    assert world.one["spec"]["targets"] == [{"kind": "Deployment", "name": "web"}]


async def test_a_pod_that_is_gone_is_no_guess_but_an_incident_without_targets() -> None:
    world = World(runbook())
    await world.take(signal(labels={"namespace": "shop", "pod": "web-1"}))
    assert "targets" not in world.one["spec"]
    assert "web-1" in world.one["spec"]["signals"][0]["problem"]


async def test_a_namespace_that_is_not_named_or_not_there_leads_home() -> None:
    world = World()
    await world.take(signal(labels={}))
    assert world.one["metadata"]["namespace"] == "home"
    assert "names no namespace" in world.one["spec"]["signals"][0]["problem"]


async def test_a_runbook_is_found_by_the_workload_and_by_its_trigger() -> None:
    answers = runbook("by-trigger", "ClusterRunbook", triggers=[{"alert": "Slow"}])
    closer = runbook("closer", "ClusterRunbook", triggers=[{"alert": "Slow", "labels": {"deployment": "web"}}])
    web = owned("Deployment", "web", annotations={names.ON_ALERT: "Loud=Runbook/errors"})
    world = World(runbook(), answers, closer, web)
    await world.take(signal("Slow", "aa", annotations={}), signal("Loud", "bb", annotations={}))
    found = {each["spec"]["title"]: each["spec"].get("runbookRef") for each in world.incidents}
    assert found == {
        "Slow": {"kind": "ClusterRunbook", "name": "closer"},
        "Loud": {"kind": "Runbook", "name": "errors"},
    }


async def test_while_the_api_server_is_away_the_sender_is_to_try_again_and_nothing_is_doubled() -> None:
    world = World(runbook())
    world.cluster.fail(Waiting("Away", "no answer"), of=lambda call: call.verb == "create", lasting=True)
    with pytest.raises(Waiting):
        await world.take(signal())
    world.cluster.on_call()
    world.cluster.fail(Waiting("Away", "no answer"), of=lambda call: call.verb == "create", when="after")
    with pytest.raises(Waiting):
        await world.take(signal())
    await world.take(signal())
    assert len(world.incidents) == 1


async def test_a_signal_that_cannot_be_looked_at_keeps_no_other_from_its_incident() -> None:
    world = World(runbook())
    look = world.intake._caller.call

    async def call(told: Signal) -> Any:
        if told.name == "Odd":
            raise OverflowError("nobody has foreseen this")
        return await look(told)

    world.intake._caller.call = call  # type: ignore[method-assign]
    with pytest.raises(OverflowError, match="foreseen"):
        await world.take(signal("Odd", "bb22"), signal())
    assert [each["name"] for each in world.one["spec"]["signals"]] == ["HighErrorRate"]
    with pytest.raises(OverflowError, match="foreseen"):
        await world.take(signal("Odd", "bb22"))


async def test_a_time_to_hold_that_is_beyond_counting_is_told_on_the_incident() -> None:
    world = World(runbook())
    await world.take(signal(annotations={"incident_runbook": "errors", "incident_hold_for": "999999999h" * 25}))
    assert "annotation incident_hold_for is" in world.one["spec"]["signals"][0]["problem"]
    assert "holdFor" not in world.one["spec"]


async def test_a_write_in_between_is_looked_at_again() -> None:
    world = World(runbook())
    await world.take(signal())
    world.cluster.fail(Conflict("somebody wrote"), of=lambda call: call.verb == "patch")
    await world.take(ended(signal()))
    assert world.one["spec"]["signals"][0]["endsAt"]


async def test_no_more_signals_are_kept_than_the_kind_allows_and_those_that_fire_stay() -> None:
    world = World(runbook())
    await world.take(*(signal(f"A{number}", f"{number:04x}") for number in range(60)))
    await world.take(*(ended(signal(f"A{number}", f"{number:04x}")) for number in range(60)))
    await world.take(*(signal(f"B{number}", f"b{number:04x}") for number in range(60)))
    found = world.one["spec"]["signals"]
    assert len(found) == 64
    assert sum("endsAt" not in each for each in found) == 60


async def test_an_alert_that_begins_anew_with_every_event_is_no_news_while_it_is_known_to_fire() -> None:
    world = World(runbook())
    for second in range(5):
        at = AT + timedelta(seconds=second)
        told = Signal("Falco", "Shell", "fa1c", at, None, {"namespace": "shop", "pod": "web-1"}, {})
        await world.take(told, intake=world.again())
    assert world.one["spec"]["targets"] == [{"kind": "Pod", "name": "web-1"}]
    assert len([write for write in world.cluster.journal if write.request.ref.kind == "Incident"]) == 1


async def test_an_incident_that_is_being_deleted_takes_no_firing_alert_in() -> None:
    world = World(runbook())
    await world.take(signal())

    def going(each: dict[str, Any]) -> None:
        each["metadata"]["deletionTimestamp"] = "2026-11-24T03:05:00Z"

    meta = world.one["metadata"]
    world.cluster.edit("Incident", "shop", meta["name"], going)
    with pytest.raises(Waiting, match="being deleted"):
        await world.take(signal())
    world.cluster.take("Incident", "shop", meta["name"])
    await world.take(signal())
    assert "deletionTimestamp" not in world.one["metadata"]


async def test_of_a_pair_of_alertmanagers_the_end_that_one_tells_counts_whenever_each_says_it_began() -> None:
    world = World(runbook())
    later = signal(at=AT + timedelta(seconds=5))
    await world.take(signal())
    await world.take(later)
    await world.take(ended(signal(), seconds=4))
    assert "endsAt" not in world.one["spec"]["signals"][0], "that was an earlier firing"
    await world.take(ended(signal(), seconds=60))
    assert world.one["spec"]["signals"][0]["endsAt"] == "2026-11-24T03:01:00Z"


async def test_a_replica_set_that_no_workload_owns_is_named_with_what_owns_it() -> None:
    rollout = owned("ReplicaSet", "web-a", "Rollout", "web")
    world = World(runbook(), owned("Pod", "web-1", "ReplicaSet", "web-a"), rollout)
    await world.take(signal(labels={"namespace": "shop", "pod": "web-1"}))
    assert "targets" not in world.one["spec"]
    assert "ReplicaSet shop/web-a is owned by Rollout web" in world.one["spec"]["signals"][0]["problem"]


@pytest.mark.parametrize(
    ("severity", "runbooks", "counts"),
    [("purple", "SEV-4", "SEV-2"), ("P1", "SEV-1", "SEV-1"), ("P1", None, "SEV-2"), ("info", "SEV-1", "SEV-4")],
)
async def test_a_severity_that_is_no_word_of_ours_is_the_higher_one_and_the_incident_says_so(
    severity: str, runbooks: str | None, counts: str
) -> None:
    world = World(runbook(**({"severity": runbooks} if runbooks else {})))
    await world.take(signal(labels={**ON_WEB, "severity": severity}))
    assert world.one["spec"]["severity"] == counts
    (told,) = world.one["spec"]["signals"]
    assert "problem" not in told, "that would hold it up"
    assert (repr(severity) in told.get("note", "")) is (severity != "info")


async def test_alerts_that_were_left_out_are_told_on_the_incident() -> None:
    world = World(runbook())
    await world.take(signal(), truncated=3)
    assert "3 alerts out (truncatedAlerts)" in world.one["spec"]["signals"][0]["note"]


async def test_a_pod_is_walked_up_whatever_else_of_the_alert_is_not_understood() -> None:
    world = World(runbook(), owned("ReplicaSet", "web-a", "Deployment", "web"))
    labels = {"namespace": "shop", "replicaset": "web-a"}
    await world.take(signal(labels=labels, annotations={"incident_mode": "Force"}))
    assert world.one["spec"]["targets"] == [{"kind": "Deployment", "name": "web"}]
    assert "incident_mode" in world.one["spec"]["signals"][0]["problem"]
