"""pauseAutoscaling: the replicas of now are kept by every autoscaler, and given back exactly."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.actions.autoscalers import PAUSED
from incident_operator.actions.pause_autoscaling import PauseAutoscaling
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict, NotFound, Refused
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, a_cluster, done, later, owned, target, workload
from unit.actions.scaling import bounds, hpa, make, paused, put_back, replicas, scaled_object

PAUSE = PauseAutoscaling()


async def plan(fake: FakeCluster, kind: str = "Deployment") -> tuple[Change, ...]:
    return await PAUSE.plan(fake, OCCASION, target(fake.at(kind, "api")), {})


async def settle(fake: FakeCluster, changes: tuple[Change, ...]) -> Settlement:
    return await PAUSE.settle(fake, done(changes), since=SINCE, now=later(1))


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize("least", [3, None])
async def test_an_hpa_is_held_to_the_replicas_of_now_and_gets_its_bounds_back(kind: str, least: int | None) -> None:
    fake = a_cluster(workload(kind, replicas=5), hpa(least=least, kind=kind))
    changes = await plan(fake, kind)
    assert [change.key for change in changes] == ["HorizontalPodAutoscaler/api"]
    await make(fake, changes)
    assert (replicas(fake, kind), bounds(fake)) == (5, (5, 5))
    assert (await settle(fake, changes)).message == "HorizontalPodAutoscaler api is held to 5 replicas"
    assert await put_back(fake, PAUSE, changes) == [Standing.AFTER]
    assert bounds(fake) == (least or 1, 10)
    assert await put_back(fake, PAUSE, changes) == [Standing.BEFORE]


@pytest.mark.parametrize("before", [None, "7"])
async def test_keda_is_paused_at_the_replicas_of_now_and_its_own_hpa_is_left_alone(before: str | None) -> None:
    scaled = scaled_object(**({PAUSED: before} if before else {}))
    fake = a_cluster(workload(replicas=5), scaled, owned(hpa(), scaled), groups=["keda.sh"])
    changes = await plan(fake)
    assert [change.key for change in changes] == ["ScaledObject/api"]
    await make(fake, changes)
    assert (paused(fake), bounds(fake)) == ({PAUSED: "5"}, (3, 10))
    assert (await settle(fake, changes)).message == "ScaledObject api is held to 5 replicas"
    await put_back(fake, PAUSE, changes)
    assert paused(fake) == ({PAUSED: before} if before else {})


async def test_every_autoscaler_is_held_and_that_of_another_workload_is_not() -> None:
    other = hpa("other")
    other["spec"]["scaleTargetRef"]["name"] = "api-worker"
    fake = a_cluster(workload(replicas=4), hpa(), hpa("second", most=6), other, scaled_object(), groups=["keda.sh"])
    changes = await plan(fake)
    assert sorted(change.key for change in changes) == [
        "HorizontalPodAutoscaler/api",
        "HorizontalPodAutoscaler/second",
        "ScaledObject/api",
    ]
    await make(fake, changes)
    assert [bounds(fake, name) for name in ("api", "second", "other")] == [(4, 4), (4, 4), (3, 10)]
    found = await settle(fake, changes)
    assert (found.state, found.message.count("held to 4")) == ("Settled", 3)


async def test_without_an_autoscaler_it_is_so_already_and_says_what_was_looked_for() -> None:
    fake = a_cluster(workload(), scaled_object())
    (change,) = await plan(fake)
    assert (change.key, change.request) == ("Deployment/api", None)
    assert change.summary == "api: no autoscaler sets its replicas; nothing to pause"
    assert any("HorizontalPodAutoscalers and ScaledObjects" in note for note in change.notes)
    assert PAUSE.standing(change, fake.at("Deployment", "api")) is Standing.AFTER
    assert PAUSE.undo(change, fake.at("Deployment", "api")) is None
    assert (await settle(fake, (change,))).state == "Settled"


async def test_at_no_replicas_an_hpa_is_off_already_and_keda_is_paused_at_0() -> None:
    fake = a_cluster(workload(replicas=0), hpa())
    (change,) = await plan(fake)
    assert (change.request, "switches HPA api off" in change.summary) == (None, True)
    fake = a_cluster(workload(replicas=0), scaled_object(), groups=["keda.sh"])
    changes = await plan(fake)
    await make(fake, changes)
    assert paused(fake) == {PAUSED: "0"}


async def test_at_no_replicas_an_hpa_that_scales_from_zero_is_kept_from_it() -> None:
    fake = a_cluster(workload(replicas=0), hpa(least=0))
    changes = await plan(fake)
    await make(fake, changes)
    assert bounds(fake) == (1, 10)
    assert "does not scale up from 0" in (await settle(fake, changes)).message
    await put_back(fake, PAUSE, changes)
    assert bounds(fake) == (0, 10)


async def test_planned_again_it_writes_nothing_and_gives_nothing_back() -> None:
    fake = a_cluster(workload(replicas=5), hpa())
    first = await plan(fake)
    assert first == await plan(fake)
    await make(fake, first)
    with pytest.raises(Conflict):
        await make(fake, first)
    (again,) = await plan(fake)
    assert again.request is None
    current = fake.at("HorizontalPodAutoscaler", "api")
    assert PAUSE.standing(again, current) is Standing.AFTER
    assert PAUSE.undo(again, current) is None
    assert (await settle(fake, (again,))).state == "Settled"


async def test_an_autoscaler_that_somebody_changed_before_the_write_is_not_overwritten() -> None:
    fake = a_cluster(workload(replicas=5), hpa())
    changes = await plan(fake)
    fake.at("HorizontalPodAutoscaler", "api")["spec"]["maxReplicas"] = 20
    with pytest.raises(Conflict):
        await make(fake, changes)
    assert bounds(fake) == (3, 20)


async def test_changed_or_gone_after_it_was_held_it_fails_and_says_so() -> None:
    fake = a_cluster(workload(replicas=5), hpa())
    changes = await plan(fake)
    await make(fake, changes)
    current = fake.at("HorizontalPodAutoscaler", "api")
    current["spec"] |= {"minReplicas": 3, "maxReplicas": 10}
    current["metadata"]["labels"] = {"helm.toolkit.fluxcd.io/name": "shop"}
    found = await settle(fake, changes)
    assert (found.state, found.reason) == ("Failed", "Reverted")
    assert "Flux HelmRelease" in found.message
    current["metadata"]["uid"] = "another"
    assert PAUSE.standing(changes[0], current) is Standing.GONE
    assert (await settle(fake, changes)).reason == "TargetGone"


async def test_what_a_person_should_know_is_said() -> None:
    made = owned(hpa(), {"apiVersion": "example.org/v1", "kind": "App", "metadata": {"name": "shop", "uid": "u"}})
    made["metadata"]["labels"] = {"kustomize.toolkit.fluxcd.io/name": "apps"}
    (change,) = await plan(a_cluster(workload(replicas=5), made))
    for said in ("controlled by App shop", "Flux Kustomization", "comes back to 5"):
        assert [note for note in change.notes if said in note], said


async def test_a_protected_workload_is_refused_and_one_that_is_not_there_not_found() -> None:
    api: dict[str, Any] = workload()
    api["metadata"]["labels"] = {names.PROTECTED: "true"}
    with pytest.raises(Refused, match="could not pause the autoscaling of Deployment shop/api") as caught:
        await plan(a_cluster(api, hpa()))
    assert caught.value.reason == "Protected"
    with pytest.raises(NotFound):
        await PAUSE.plan(a_cluster(), OCCASION, target(workload()), {})
