"""snapshotVolumes: one snapshot of each volume there is, ready only when its controller says so, and kept."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.actions.snapshot_volumes import SnapshotVolumes
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Refused, Stalled
from incident_operator.planning.plan import Change, Release, Standing
from unit.actions.objects import a_cluster, done, pod, workload
from unit.actions.restoring import GROUPS, claim, make, mounted, plan, put_back, settle, standing_of, unknown_uid

SNAPSHOT = SnapshotVolumes()
Object = dict[str, Any]


def deployment(*claims: str) -> Object:
    volumes = [
        {"name": f"v{number}", "persistentVolumeClaim": {"claimName": each}} for number, each in enumerate(claims)
    ]
    found = workload("Deployment", "db", template=mounted())
    found["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {}}, *volumes]
    return found


def stateful(replicas: int = 2) -> Object:
    template: Object = {"metadata": {"name": "data"}, "spec": {}}
    return workload("StatefulSet", "db", replicas=replicas, volumeClaimTemplates=[template])


def claims_in(changes: tuple[Change, ...]) -> list[str]:
    return [change.after["claim"] for change in changes]


async def planned(fake: FakeCluster, thing: Object, **params: Any) -> tuple[Change, ...]:
    return await plan(fake, thing, params, SNAPSHOT)


async def test_each_claim_of_the_template_gets_a_snapshot_once() -> None:
    thing = deployment("data", "logs", "data")
    fake = a_cluster(thing, claim("data"), claim("logs"), claim("of-others"), groups=GROUPS)
    changes = await planned(fake, thing)
    assert claims_in(changes) == ["data", "logs"]
    assert changes[0].request is not None
    body = changes[0].request.body
    assert body["spec"] == {"source": {"persistentVolumeClaimName": "data"}}, "the cluster's default class"
    assert body["metadata"]["labels"][names.INCIDENT_UID] == "incident-uid-1"
    assert any("crash-consistent" in note for note in changes[0].notes)
    (first, *_) = await planned(fake, thing, className="csi-retain")
    assert first.request is not None
    assert first.request.body["spec"]["volumeSnapshotClassName"] == "csi-retain"


async def test_claims_of_claim_templates_are_found_with_and_without_pods() -> None:
    there = [claim("data-db-0"), claim("data-db-1"), claim("data-db-7"), claim("data-db-x"), claim("data-dbx-0")]
    for replicas in (2, 0):
        thing = stateful(replicas)
        fake = a_cluster(thing, *there, groups=GROUPS)
        assert claims_in(await planned(fake, thing)) == ["data-db-0", "data-db-1", "data-db-7"]


async def test_a_claim_that_only_a_pod_names_is_found_and_pods_of_others_are_left_out() -> None:
    thing = deployment()
    own = pod(thing, "db-x", spec=mounted("injected")["spec"])
    foreign = pod(None, "stray", labels={"app": "db"}, spec=mounted("foreign")["spec"])
    fake = a_cluster(thing, own, foreign, claim("injected"), claim("foreign"), groups=GROUPS)
    assert claims_in(await planned(fake, thing)) == ["injected"]


async def test_a_single_pod_is_a_target_too() -> None:
    victim = pod(None, "bare", spec=mounted("data")["spec"])
    fake = a_cluster(victim, claim("data"), groups=GROUPS)
    assert claims_in(await planned(fake, victim)) == ["data"]


async def test_what_is_not_bound_cannot_be_snapshotted_and_is_pointed_out() -> None:
    thing = deployment("data", "waiting", "missing")
    fake = a_cluster(thing, claim("data"), claim("waiting", phase="Pending"), groups=GROUPS)
    (change,) = await planned(fake, thing)
    assert "left out, as they are not bound: missing, waiting" in change.notes


async def test_a_target_without_volumes_is_refused() -> None:
    thing = deployment()
    with pytest.raises(Refused, match="it has no PersistentVolumeClaim") as caught:
        await planned(a_cluster(thing, groups=GROUPS), thing)
    assert caught.value.reason == "NoVolumes"
    thing = deployment("data")
    with pytest.raises(Refused, match="none of its claims is bound: data"):
        await planned(a_cluster(thing, claim("data", phase="Pending"), groups=GROUPS), thing)


async def test_a_cluster_without_snapshots_is_refused_with_what_to_do() -> None:
    thing = deployment("data")
    with pytest.raises(Refused, match=r"does not serve snapshot\.storage\.k8s\.io; install .*runJob") as caught:
        await planned(a_cluster(thing, claim("data")), thing)
    assert caught.value.reason == "NotServed"


async def test_a_protected_target_is_refused() -> None:
    thing = deployment("data")
    thing["metadata"]["labels"] = {names.PROTECTED: "true"}
    with pytest.raises(Refused) as caught:
        await planned(a_cluster(thing, claim("data"), groups=GROUPS), thing)
    assert caught.value.reason == "Protected"


async def taken(*claims: str) -> tuple[FakeCluster, tuple[Change, ...]]:
    thing = deployment(*claims)
    fake = a_cluster(thing, *(claim(each) for each in claims), groups=GROUPS)
    return fake, await make(fake, await planned(fake, thing))


async def test_a_retry_takes_no_second_snapshot() -> None:
    fake, changes = await taken("data")
    again = await planned(fake, fake.at("Deployment", "db"))
    assert [each.key for each in again] == [each.key for each in changes]
    with pytest.raises(Stalled, match="already exists"):
        await make(fake, again)
    assert await standing_of(fake, unknown_uid(again[0]), SNAPSHOT) is Standing.AFTER


async def test_it_is_settled_only_when_every_snapshot_is_bound_and_ready() -> None:
    fake, changes = await taken("data", "logs")
    first, second = (fake.at("VolumeSnapshot", change.target.name) for change in changes)
    seen = [(await settle(fake, changes, SNAPSHOT)).message]
    first["status"] = {"boundVolumeSnapshotContentName": "c1", "readyToUse": False}
    second["status"] = {"readyToUse": True}
    seen.append((await settle(fake, changes, SNAPSHOT)).message)
    assert [text.count("is not bound yet") for text in seen] == [2, 1]
    assert "is bound, not ready yet" in seen[1]
    ready = {"boundVolumeSnapshotContentName": "c", "readyToUse": True, "creationTime": "2026-11-23T10:00:05Z"}
    first["status"] = second["status"] = ready
    settlement = await settle(fake, changes, SNAPSHOT)
    assert settlement.state == "Settled"
    assert "taken at 2026-11-23T10:00:05Z" in settlement.message
    assert settlement.facts == {"snapshots": ", ".join(change.target.name for change in changes)}


async def test_an_error_is_shown_and_waited_out_as_its_controller_tries_again() -> None:
    fake, changes = await taken("data")
    there = fake.at("VolumeSnapshot", changes[0].target.name)
    there["status"] = {"readyToUse": False, "error": {"message": "driver said:\nbusy", "time": "2026-11-23T10:00:05Z"}}
    settlement = await settle(fake, changes, SNAPSHOT)
    assert settlement.state == "Pending"
    assert "driver said: busy (its controller tries again)" in settlement.message


async def test_a_snapshot_that_was_deleted_has_failed() -> None:
    fake, changes = await taken("data")
    fake.take("VolumeSnapshot", "shop", changes[0].target.name)
    settlement = await settle(fake, changes, SNAPSHOT)
    assert (settlement.state, settlement.reason) == ("Failed", "SnapshotGone")


async def test_snapshots_are_kept() -> None:
    fake, changes = await taken("data", "logs")
    assert await put_back(fake, changes, SNAPSHOT) == []
    assert (SNAPSHOT.release, SNAPSHOT.reversible, SNAPSHOT.destructive) == (Release.NEVER, False, False)
    assert len(done(changes)) == sum(key[0] == "VolumeSnapshot" for key in fake.objects)
