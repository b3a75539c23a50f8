"""scale planned back: what was stopped starts again as it was, and autoscalers choose from then on."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from incident_operator.actions.autoscalers import PAUSED
from incident_operator.actions.contract import Stops
from incident_operator.actions.scale import Scale
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, a_cluster, done, later, pod, target, workload
from unit.actions.scaling import bounds, hpa, make, paused, replicas, scaled_object

SCALE = Scale()


async def planned(fake: FakeCluster, number: int = 0, kind: str = "Deployment") -> tuple[Change, ...]:
    return await SCALE.plan(fake, OCCASION, target(fake.at(kind, "api")), {"replicas": number})


def back_of(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return tuple(back for change in changes if (back := SCALE.back(change)) is not None)


async def stopped(*objects: Any, number: int = 0, keda: bool = False) -> tuple[FakeCluster, tuple[Change, ...]]:
    """A world in which the workload is stopped, and the changes that take that back."""
    fake = a_cluster(*objects, groups=["keda.sh"] if keda else [])
    changes = await planned(fake, number)
    backs = back_of(changes)
    await make(fake, changes)
    return fake, backs


async def settle(fake: FakeCluster, changes: tuple[Change, ...]) -> Settlement:
    return await SCALE.settle(fake, done(changes), since=SINCE, now=later(1))


def asked(fake: FakeCluster, number: int, *, ready: int) -> None:
    """Replicas that somebody asks for, the controller's status, and as many pods."""
    api = fake.edit("Deployment", "shop", "api", lambda thing: thing["spec"].update(replicas=number))
    api["status"] = {"observedGeneration": api["metadata"]["generation"], "replicas": number, "readyReplicas": ready}
    fake.put(*(pod(api, f"api-{each}") for each in range(ready)))


def test_it_can_plan_how_what_it_stops_starts_again() -> None:
    assert isinstance(SCALE, Stops)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize(("before", "after"), [(3, 0), (0, 3), (5, 1)])
async def test_the_way_back_is_planned_beforehand_and_goes_back_exactly(kind: str, before: int, after: int) -> None:
    fake = a_cluster(workload(kind, replicas=before))
    (change,) = await planned(fake, after, kind)
    (back,) = back_of((change,))
    assert (back.key, back.target) == (change.key, change.target)
    assert back.summary == f"api: {after} -> {before} replicas, as before"
    assert back.request is not None
    assert back.request.subresource == "scale"
    with pytest.raises(Conflict):
        await make(fake, (back,))
    await make(fake, (change,))
    assert SCALE.standing(back, fake.at(kind, "api")) is Standing.BEFORE
    await make(fake, (back,))
    assert replicas(fake, kind) == before
    assert SCALE.standing(back, fake.at(kind, "api")) is Standing.AFTER
    with pytest.raises(Conflict):
        await make(fake, (back,))


async def test_what_was_stopped_already_is_not_started() -> None:
    fake = a_cluster(workload(replicas=0))
    assert back_of(await planned(fake)) == ()


async def test_the_way_back_can_be_undone_and_taken_back_itself() -> None:
    fake, (back,) = await stopped(workload(replicas=3))
    await make(fake, (back,))
    undo = SCALE.undo(back, fake.at("Deployment", "api"))
    assert undo is not None
    again = SCALE.back(back)
    assert again is not None
    assert again.request == undo
    await fake.send(undo)
    assert replicas(fake) == 0


async def test_replicas_that_somebody_set_since_it_was_stopped_are_not_overwritten() -> None:
    fake, (back,) = await stopped(workload(replicas=3))
    fake.at("Deployment", "api")["spec"]["replicas"] = 1
    with pytest.raises(Conflict):
        await make(fake, (back,))
    assert SCALE.standing(back, fake.at("Deployment", "api")) is Standing.OTHER


async def test_another_deployment_of_the_name_is_not_started() -> None:
    fake, (back,) = await stopped(workload(replicas=3))
    fake.at("Deployment", "api")["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await make(fake, (back,))
    assert SCALE.standing(back, fake.at("Deployment", "api")) is Standing.GONE
    assert (await settle(fake, (back,))).reason == "TargetGone"


async def test_it_settles_when_all_that_were_there_before_are_ready_again() -> None:
    fake, backs = await stopped(workload(replicas=3))
    await make(fake, backs)
    asked(fake, 3, ready=2)
    assert (await settle(fake, backs)).state == "Pending"
    asked(fake, 3, ready=3)
    assert (await settle(fake, backs)).message == "api: 3 of 3 replicas are ready"
    asked(fake, 2, ready=2)
    found = await settle(fake, backs)
    assert (found.state, found.reason) == ("Failed", "Reverted"), "no autoscaler did that"


async def test_an_hpa_that_switched_itself_off_is_on_again_with_the_replicas() -> None:
    fake, backs = await stopped(workload(replicas=5), hpa())
    assert [back.key for back in backs] == ["Deployment/api"]
    assert backs[0].after["autoscaled"] is True
    assert any("autoscaler chooses" in note for note in backs[0].notes)
    await make(fake, backs)
    assert (replicas(fake), bounds(fake)) == (5, (3, 10))


@pytest.mark.parametrize("least", [0, 3, None])
async def test_bounds_that_were_held_are_given_back_without_reading_them_again(least: int | None) -> None:
    fake, backs = await stopped(workload(replicas=5), hpa(least=least), number=0 if least == 0 else 1)
    assert [back.key for back in backs] == ["Deployment/api", "HorizontalPodAutoscaler/api"]
    assert SCALE.standing(backs[1], fake.at("HorizontalPodAutoscaler", "api")) is Standing.BEFORE
    await make(fake, backs)
    assert (replicas(fake), bounds(fake)) == (5, (1 if least is None else least, 10))
    assert SCALE.standing(backs[1], fake.at("HorizontalPodAutoscaler", "api")) is Standing.AFTER
    assert "minReplicas 1 ->" in backs[1].summary


async def test_bounds_that_somebody_changed_while_they_were_held_are_not_overwritten() -> None:
    fake, backs = await stopped(workload(replicas=5), hpa(), number=1)
    fake.at("HorizontalPodAutoscaler", "api")["spec"]["maxReplicas"] = 20
    with pytest.raises(Conflict):
        await make(fake, backs[1:])
    assert SCALE.standing(backs[1], fake.at("HorizontalPodAutoscaler", "api")) is Standing.OTHER


@pytest.mark.parametrize("before", [None, "7"])
async def test_keda_is_paused_no_longer_or_as_it_was(before: str | None) -> None:
    scaled = scaled_object(**({PAUSED: before} if before else {}), other="kept")
    fake, backs = await stopped(workload(replicas=5), scaled, keda=True)
    assert paused(fake) == {PAUSED: "0", "other": "kept"}
    await make(fake, backs)
    assert (replicas(fake), paused(fake)) == (5, {"other": "kept"} | ({PAUSED: before} if before else {}))
    told = f"0 -> {before or 'not set'}, as before"
    assert backs[1].summary.endswith(told)


async def test_a_workload_that_keda_had_at_0_gets_only_its_autoscaler_back() -> None:
    _, backs = await stopped(workload(replicas=0), scaled_object(), keda=True)
    assert [back.key for back in backs] == ["ScaledObject/api"]


@pytest.mark.parametrize("number", [4, 7])
async def test_the_number_is_the_autoscalers_choice_again(number: int) -> None:
    fake, backs = await stopped(workload(replicas=5), hpa())
    await make(fake, backs)
    asked(fake, number, ready=number - 1)
    found = await settle(fake, backs)
    assert (found.state, f"{number - 1} of {number} replicas" in found.message) == ("Pending", True)
    asked(fake, number, ready=number)
    assert (await settle(fake, backs)).state == "Settled"
    assert SCALE.standing(backs[0], fake.at("Deployment", "api")) is Standing.AFTER


async def test_an_autoscaler_that_was_faster_than_the_write_has_done_it() -> None:
    fake, backs = await stopped(workload(replicas=5), hpa(), number=1)
    await make(fake, backs[1:])
    fake.at("Deployment", "api")["spec"]["replicas"] = 3
    with pytest.raises(Conflict):
        await make(fake, backs[:1])
    assert SCALE.standing(backs[0], fake.at("Deployment", "api")) is Standing.AFTER


async def test_undone_it_stops_whatever_number_its_autoscaler_has_chosen_since() -> None:
    fake, (back,) = await stopped(workload(replicas=5), hpa())
    await make(fake, (back,))
    fake.at("Deployment", "api")["spec"]["replicas"] = 8
    undo = SCALE.undo(back, fake.at("Deployment", "api"))
    assert undo is not None
    await fake.send(undo)
    assert replicas(fake) == 0


@pytest.mark.parametrize("autoscaler", [scaled_object(), scaled_object(least=0), hpa(least=0)])
async def test_an_autoscaler_that_may_choose_0_may_do_so_at_once(autoscaler: dict[str, Any]) -> None:
    fake, backs = await stopped(workload(replicas=5), autoscaler, keda=True)
    await make(fake, backs)
    asked(fake, 0, ready=0)
    assert (await settle(fake, backs)).state == "Settled"


@pytest.mark.parametrize("autoscaler", [hpa(), scaled_object(least=2)])
async def test_at_0_where_its_autoscaler_never_goes_it_waits_and_says_what_to_do(autoscaler: dict[str, Any]) -> None:
    fake, backs = await stopped(workload(replicas=5), autoscaler, keda=True)
    await make(fake, backs)
    asked(fake, 0, ready=0)
    found = await settle(fake, backs)
    assert found.state == "Pending"
    assert "kubectl scale deployment/api -n shop --replicas=5" in found.message


async def test_a_way_back_that_was_not_gone_is_not_waited_for() -> None:
    fake, backs = await stopped(workload(replicas=5))
    (entry,) = done(backs)
    failed = dataclasses.replace(entry, state=type(entry.state).FAILED)
    assert (await SCALE.settle(fake, (failed,), since=SINCE, now=later(1))).state == "Settled"
