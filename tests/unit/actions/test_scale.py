"""scale: a number that sticks, against autoscalers too, and goes back exactly."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.actions.autoscalers import PAUSED
from incident_operator.actions.scale import Scale
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict, Refused
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, a_cluster, done, later, owned, pod, target, workload

SCALE = Scale()


def hpa(name: str = "api", *, least: int | None = 3, most: int = 10) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"},
        "maxReplicas": most,
    }
    if least is not None:
        spec["minReplicas"] = least
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "shop", "uid": f"{name}-hpa"},
        "spec": spec,
    }


def scaled_object(**annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {
            "name": "api",
            "namespace": "shop",
            "uid": "so",
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": {"scaleTargetRef": {"name": "api"}},
    }


async def plan(fake: FakeCluster, replicas: Any, kind: str = "Deployment") -> tuple[Change, ...]:
    return await SCALE.plan(fake, OCCASION, target(fake.at(kind, "api")), {"replicas": replicas})


async def make(fake: FakeCluster, changes: tuple[Change, ...]) -> None:
    for change in changes:
        if change.request is not None:
            await fake.send(change.request)


async def put_back(fake: FakeCluster, changes: tuple[Change, ...]) -> list[Standing]:
    """As the engine releases: backwards, only what stands as we left it."""
    standings = []
    for change in reversed(changes):
        current = await fake.find(change.target.kind, "shop", change.target.name)
        standings.append(SCALE.standing(change, current))
        if standings[-1] is Standing.AFTER and current is not None and change.request is not None:
            request = SCALE.undo(change, current)
            if request is not None:
                await fake.send(request)
    return standings


def replicas(fake: FakeCluster, kind: str = "Deployment") -> int:
    return int(fake.at(kind, "api")["spec"]["replicas"])


def bounds(fake: FakeCluster) -> tuple[int | None, int]:
    spec = fake.at("HorizontalPodAutoscaler", "api")["spec"]
    return spec.get("minReplicas"), spec["maxReplicas"]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
@pytest.mark.parametrize(("before", "after"), [(2, 0), (0, 3), (2, 5), (5, 1)])
async def test_replicas_are_set_and_put_back_exactly(kind: str, before: int, after: int) -> None:
    fake = a_cluster(workload(kind, replicas=before))
    changes = await plan(fake, after, kind)
    assert [change.key for change in changes] == [f"{kind}/api"]
    assert changes[0].request is not None
    assert changes[0].request.subresource == "scale", "who may scale need not be one who may change what runs"
    await make(fake, changes)
    assert replicas(fake, kind) == after
    assert await put_back(fake, changes) == [Standing.AFTER]
    assert replicas(fake, kind) == before
    assert await put_back(fake, changes) == [Standing.BEFORE]


@pytest.mark.parametrize(("before", "meanwhile"), [(2, 4), (0, 1), (2, 0)])
async def test_replicas_that_somebody_set_in_between_are_not_overwritten(before: int, meanwhile: int) -> None:
    fake = a_cluster(workload(replicas=before))
    (change,) = await plan(fake, 9)
    fake.at("Deployment", "api")["spec"]["replicas"] = meanwhile
    with pytest.raises(Conflict):
        await make(fake, (change,))
    assert SCALE.standing(change, fake.at("Deployment", "api")) is Standing.OTHER


async def test_another_deployment_of_the_name_is_not_touched() -> None:
    fake = a_cluster(workload())
    (change,) = await plan(fake, 0)
    fake.at("Deployment", "api")["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await make(fake, (change,))
    assert SCALE.standing(change, fake.at("Deployment", "api")) is Standing.GONE


async def test_what_has_that_many_replicas_already_is_not_written() -> None:
    fake = a_cluster(workload(replicas=3))
    (change,) = await plan(fake, 3)
    assert change.request is None
    assert "has 3 replicas already" in change.summary


async def test_scale_to_zero_leaves_an_hpa_alone_that_switches_itself_off() -> None:
    fake = a_cluster(workload(replicas=5), hpa(least=3))
    changes = await plan(fake, 0)
    assert [change.key for change in changes] == ["Deployment/api"]
    assert any("switches itself off at 0" in note for note in changes[0].notes)
    fake.at("Deployment", "api")["spec"]["replicas"] = 7
    await make(fake, changes)
    assert replicas(fake) == 0, "an autoscaler's number in between is nobody's decision"
    await put_back(fake, changes)
    assert (replicas(fake), bounds(fake)) == (5, (3, 10))


async def test_scale_to_zero_sticks_with_an_hpa_that_may_scale_from_zero() -> None:
    fake = a_cluster(workload(replicas=5), hpa(least=0))
    changes = await plan(fake, 0)
    assert any("could scale up from 0" in note for note in changes[0].notes)
    await make(fake, changes)
    assert (replicas(fake), bounds(fake)) == (0, (1, 10))
    await put_back(fake, changes)
    assert (replicas(fake), bounds(fake)) == (5, (0, 10))


@pytest.mark.parametrize("least", [3, None])
async def test_scaling_to_one_sticks_against_an_hpa_and_gives_its_bounds_back(least: int | None) -> None:
    fake = a_cluster(workload(replicas=5), hpa(least=least))
    changes = await plan(fake, 1)
    await make(fake, changes)
    assert (replicas(fake), bounds(fake)) == (1, (1, 1))
    standings = await put_back(fake, changes)
    assert standings == [Standing.AFTER, Standing.AFTER]
    assert bounds(fake) == (least or 1, 10)
    assert replicas(fake) == 1, "the autoscaler chooses again; the old number is of another time"


async def test_replicas_that_the_autoscaler_moved_on_release_are_no_conflict() -> None:
    fake = a_cluster(workload(replicas=5), hpa())
    changes = await plan(fake, 1)
    await make(fake, changes)
    fake.at("Deployment", "api")["spec"]["replicas"] = 4
    assert (await put_back(fake, changes))[-1] is Standing.BEFORE


async def test_bounds_that_somebody_changed_since_are_a_conflict() -> None:
    fake = a_cluster(workload(replicas=5), hpa())
    changes = await plan(fake, 2)
    await make(fake, changes)
    fake.at("HorizontalPodAutoscaler", "api")["spec"]["maxReplicas"] = 20
    assert SCALE.standing(changes[1], fake.at("HorizontalPodAutoscaler", "api")) is Standing.OTHER


async def test_an_hpa_that_somebody_changed_before_the_write_is_not_overwritten() -> None:
    fake = a_cluster(workload(replicas=5), hpa())
    changes = await plan(fake, 2)
    fake.at("HorizontalPodAutoscaler", "api")["spec"]["maxReplicas"] = 20
    with pytest.raises(Conflict):
        await make(fake, changes[1:])
    assert bounds(fake) == (3, 20)


async def test_an_hpa_of_another_workload_is_not_touched() -> None:
    other = hpa("other")
    other["spec"]["scaleTargetRef"]["name"] = "api-worker"
    fake = a_cluster(workload(), other)
    assert len(await plan(fake, 1)) == 1


@pytest.mark.parametrize("number", [0, 2])
@pytest.mark.parametrize("before", [None, "7"])
async def test_keda_is_paused_at_the_number_and_its_hpa_is_left_alone(number: int, before: str | None) -> None:
    scaled = scaled_object(**({PAUSED: before} if before else {}))
    fake = a_cluster(workload(replicas=5), scaled, owned(hpa(), scaled), groups=["keda.sh"])
    changes = await plan(fake, number)
    assert [change.key for change in changes] == ["Deployment/api", "ScaledObject/api"]
    await make(fake, changes)
    assert fake.at("ScaledObject", "api")["metadata"]["annotations"][PAUSED] == str(number)
    assert (replicas(fake), bounds(fake)) == (number, (3, 10))
    await put_back(fake, changes)
    annotations = fake.at("ScaledObject", "api")["metadata"].get("annotations", {})
    assert annotations.get(PAUSED) == before


async def test_keda_is_not_asked_for_where_it_is_not_served() -> None:
    fake = a_cluster(workload(), scaled_object())
    assert len(await plan(fake, 1)) == 1


async def test_volumes_are_not_deleted_by_scaling_down() -> None:
    retention = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    fake = a_cluster(workload("StatefulSet", replicas=3, persistentVolumeClaimRetentionPolicy=retention))
    with pytest.raises(Refused, match="whenScaled is Delete") as caught:
        await plan(fake, 2, "StatefulSet")
    assert caught.value.reason == "WouldDeleteVolumes"
    (more,) = await plan(fake, 4, "StatefulSet")
    assert "put back, it deletes the volumes" in more.notes[0], "whoever reads the plan knows it before"


@pytest.mark.parametrize("wrong", [None, -1, "3", True, 2.0])
async def test_a_number_of_replicas_that_is_none_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(Refused, match="replicas must be a whole number of at least 0"):
        await plan(a_cluster(workload()), wrong)


async def test_protected_and_controlled_workloads_are_refused() -> None:
    api = workload()
    api["metadata"]["labels"] = {names.PROTECTED: "true"}
    with pytest.raises(Refused) as caught:
        await plan(a_cluster(api), 0)
    assert caught.value.reason == "Protected"
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "r", "uid": "u"}}
    with pytest.raises(Refused, match="Rollout r") as caught:
        await plan(a_cluster(owned(workload(), rollout)), 0)
    assert caught.value.reason == "ControllerOwned"


async def settle(fake: FakeCluster, changes: tuple[Change, ...]) -> Settlement:
    return await SCALE.settle(fake, done(changes), since=SINCE, now=later(1))


def seen(fake: FakeCluster, **status: Any) -> None:
    found = fake.at("Deployment", "api")
    found["status"] = {"observedGeneration": found["metadata"]["generation"], **status}


async def test_at_zero_it_settles_when_the_last_pod_has_really_gone() -> None:
    api = workload(replicas=1)
    fake = a_cluster(api, pod(api, "last", metadata={"deletionTimestamp": "now"}))
    changes = await plan(fake, 0)
    await make(fake, changes)
    assert (await settle(fake, changes)).state == "Pending", "the controller has not seen it"
    seen(fake)
    assert "1 pods are still terminating" in (await settle(fake, changes)).message
    del fake.objects["Pod", "shop", "last"]
    assert (await settle(fake, changes)).state == "Settled"


async def test_above_zero_it_settles_when_all_are_ready_and_says_why_not() -> None:
    api = workload(replicas=1)
    fake = a_cluster(api, pod(api, "new", waiting="ImagePullBackOff", ready=False))
    changes = await plan(fake, 2)
    await make(fake, changes)
    seen(fake, replicas=2, readyReplicas=1)
    assert "pod new: container web ImagePullBackOff" in (await settle(fake, changes)).message
    seen(fake, replicas=2, readyReplicas=2)
    assert (await settle(fake, changes)).state == "Settled"


async def test_replicas_set_by_somebody_else_since_fail_the_step_unless_an_autoscaler_is_held() -> None:
    fake = a_cluster(workload(replicas=5))
    changes = await plan(fake, 1)
    await make(fake, changes)
    fake.at("Deployment", "api")["spec"]["replicas"] = 5
    found = await settle(fake, changes)
    assert (found.state, found.reason) == ("Failed", "Reverted")
    fake = a_cluster(workload(replicas=5), hpa())
    changes = await plan(fake, 1)
    await make(fake, changes)
    fake.at("Deployment", "api")["spec"]["replicas"] = 5
    assert (await settle(fake, changes)).state == "Pending"


async def test_a_workload_that_is_gone_fails() -> None:
    fake = a_cluster(workload(replicas=5))
    changes = await plan(fake, 1)
    fake.objects.clear()
    assert (await settle(fake, changes)).reason == "TargetGone"


async def test_an_autoscaler_in_an_old_list_is_read_anew_before_it_is_said_to_be_so_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = a_cluster(workload(replicas=1), hpa(least=2, most=4))

    async def of_the_past(kind: str, *_: Any) -> list[dict[str, Any]]:
        return [hpa(least=1, most=1)] if kind == "HorizontalPodAutoscaler" else []

    with monkeypatch.context() as patched:
        patched.setattr(fake, "list", of_the_past)
        changes = await plan(fake, 1)
    await make(fake, changes)
    held = fake.at("HorizontalPodAutoscaler", "api")["spec"]
    assert (held["minReplicas"], held["maxReplicas"]) == (1, 1)
