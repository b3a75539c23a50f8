"""restore.volume: a new claim beside the broken one, a workload that uses it, and the way back."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import pytest

from incident_operator.actions.restore_volume import quantity
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict, NotFound, Refused, Stalled
from incident_operator.planning.plan import Change, Release, Standing
from unit.actions.objects import a_cluster, owned, workload
from unit.actions.restoring import (
    RESTORE,
    claim,
    database,
    make,
    move,
    plan,
    put_back,
    snapshot,
    standing_of,
    unknown_uid,
    with_data,
)

Object = dict[str, Any]
CLAIM = "PersistentVolumeClaim"


def claims(fake: FakeCluster, kind: str = "Deployment") -> list[str]:
    volumes = fake.at(kind, "db")["spec"]["template"]["spec"]["volumes"]
    return [each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_a_new_claim_like_the_old_one_from_the_snapshot_and_the_workload_uses_it(kind: str) -> None:
    fake = with_data(kind=kind)
    before = copy.deepcopy(fake.at(CLAIM, "data"))
    new, moved = await make(fake, await move(fake, kind, snapshot="nightly"))
    assert new.target.name.startswith("data-restored-")
    there = fake.at(CLAIM, new.target.name)
    assert there["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": "10Gi"}},
        "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "nightly"},
    }
    assert there["metadata"]["labels"][names.INCIDENT_UID] == "incident-uid-1"
    assert claims(fake, kind) == [new.target.name]
    assert fake.at(CLAIM, "data") == before, "the broken volume is not touched"
    assert "from VolumeSnapshot nightly, 2 h 0 min old" in new.summary
    assert moved.reach is not None
    assert moved.reach.how == "replaced"
    assert any("keeps all that is in it" in note for note in moved.notes)


async def test_without_a_snapshot_the_new_claim_is_empty_and_that_is_said() -> None:
    new, moved = await move(fake := a_cluster(database(), claim()))
    assert new.request is not None
    assert "dataSource" not in new.request.body["spec"]
    assert any("is empty: what is to be in it must be loaded" in note for note in moved.notes)
    assert fake.journal == []


async def test_the_new_claim_is_as_large_as_the_snapshot_needs() -> None:
    new, _ = await move(with_data(snapshot(restoreSize="12Gi")), snapshot="nightly")
    assert new.request is not None
    assert new.request.body["spec"]["resources"]["requests"]["storage"] == "12Gi"
    new, _ = await move(with_data(snapshot(restoreSize=None)), snapshot="nightly")
    assert new.request is not None
    assert new.request.body["spec"]["resources"]["requests"]["storage"] == "10Gi"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10Gi", 10 * 1024**3), ("1G", 10**9), ("1500m", "1.5"), ("2e3", 2000), ("2E", 2 * 10**18),
        ("1Ei", 1024**6), (7, 7), ("0.5Ki", 512), ("1E3", 1000),
    ],
)  # fmt: skip
def test_quantities_are_read_as_the_api_server_does(text: object, number: Any) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "ten", "1Qi", "Gi"])
def test_what_is_no_quantity_is_said_to_be_none(text: str) -> None:
    with pytest.raises(Refused, match="is not a quantity"):
        quantity(text)


async def test_every_volume_of_the_claim_is_moved_wherever_it_stands_and_no_other() -> None:
    thing = database()
    more = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in ("logs", "data")]
    thing["spec"]["template"]["spec"]["volumes"] += [more[0], {**more[1], "name": "again"}]
    fake = with_data(thing)
    new, moved = await make(fake, await move(fake))
    assert claims(fake) == [new.target.name, "logs", new.target.name]
    await put_back(fake, (new, moved))
    assert claims(fake) == ["data", "logs", "data"]


async def test_undo_points_back_to_the_old_claim_and_keeps_the_new_one() -> None:
    fake = with_data()
    changes = await make(fake, await move(fake))
    volumes = fake.at("Deployment", "db")["spec"]["template"]["spec"]["volumes"]
    volumes.insert(0, {"name": "sidecar", "emptyDir": {}})
    sent = await put_back(fake, changes)
    assert [(each.verb, each.ref.kind) for each in sent] == [("patch", "Deployment")]
    assert claims(fake) == ["data"]
    assert fake.at(CLAIM, changes[0].target.name)
    assert await put_back(fake, changes) == [], "once is enough"
    assert (RESTORE.release, RESTORE.reversible) == (Release.NEVER, True)


async def test_a_volume_that_somebody_moved_in_between_is_not_overwritten() -> None:
    fake = with_data()
    changes = await move(fake)
    fake.at("Deployment", "db")["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"] = "mine"
    with pytest.raises(Conflict):
        await make(fake, changes)
    assert await standing_of(fake, changes[1]) is Standing.OTHER
    assert claims(fake) == ["mine"]


async def test_a_volume_that_became_another_one_in_between_is_not_moved() -> None:
    fake = with_data()
    changes = await move(fake)
    fake.at("Deployment", "db")["spec"]["template"]["spec"]["volumes"][1]["name"] = "other"
    with pytest.raises(Conflict):
        await make(fake, changes)
    assert claims(fake) == ["data"]


async def test_another_workload_of_the_name_is_not_touched() -> None:
    fake = with_data()
    changes = await move(fake)
    fake.at("Deployment", "db")["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await make(fake, changes)
    assert await standing_of(fake, changes[1]) is Standing.GONE


async def test_planned_again_it_makes_no_second_claim() -> None:
    fake = with_data()
    first = await move(fake, snapshot="nightly")
    assert await standing_of(fake, first[0]) is Standing.BEFORE
    assert await standing_of(fake, first[1]) is Standing.BEFORE
    await make(fake, first)
    again = await move(fake, snapshot="nightly")
    assert again[0].target.name == first[0].target.name
    with pytest.raises(Stalled, match="already exists"):
        await make(fake, again[:1])
    assert await standing_of(fake, unknown_uid(again[0])) is Standing.AFTER
    assert again[1].request is None, "it uses the new claim already"
    assert "already" in again[1].summary


async def test_a_second_incident_restores_what_was_restored_under_a_name_that_does_not_grow() -> None:
    fake = a_cluster(database(at="data-restored-0a1b2c3d"), claim("data-restored-0a1b2c3d"))
    new, _ = await plan(fake, fake.at("Deployment", "db"), {"volume": {"claim": "data-restored-0a1b2c3d"}})
    assert new.target.name.count("restored") == 1
    assert new.target.name != "data-restored-0a1b2c3d"


async def test_a_claim_of_a_claim_template_is_refused_with_what_to_do_instead() -> None:
    thing = workload("StatefulSet", "db", volumeClaimTemplates=[{"metadata": {"name": "data"}, "spec": {}}])
    fake = a_cluster(thing, claim("data-db-0"))
    with pytest.raises(Refused, match=r"is of its volumeClaimTemplate data.*restore\.job") as caught:
        await plan(fake, thing, {"volume": {"claim": "data-db-0"}})
    assert caught.value.reason == "VolumeClaimTemplate"


async def test_a_claim_that_the_template_does_not_name_is_refused_with_those_it_names() -> None:
    fake = with_data()
    with pytest.raises(Refused, match="names no claim other; it names data") as caught:
        await plan(fake, fake.at("Deployment", "db"), {"volume": {"claim": "other"}})
    assert caught.value.reason == "NoSuchClaim"


async def test_a_claim_that_is_gone_is_not_found_and_one_that_is_being_deleted_is_refused() -> None:
    with pytest.raises(NotFound, match="data"):
        await move(a_cluster(database()))
    leaving = claim(
        metadata={"deletionTimestamp": "2026-11-23T09:00:00Z", "finalizers": ["kubernetes.io/pvc-protection"]}
    )
    with pytest.raises(Refused, match="pv-data has persistentVolumeReclaimPolicy Retain") as caught:
        await move(with_data(leaving))
    assert caught.value.reason == "ClaimIsLeaving"


@pytest.mark.parametrize(
    "broken",
    [
        {"readyToUse": False},
        {"readyToUse": None},
        {"boundVolumeSnapshotContentName": ""},
        {"readyToUse": False, "error": {"message": "the disk is gone"}},
    ],
)
async def test_a_snapshot_that_is_not_ready_is_refused(broken: Any) -> None:
    why = "the disk is gone" if "error" in broken else "readyToUse is not true"
    with pytest.raises(Refused, match=why) as caught:
        await move(with_data(snapshot(**broken)), snapshot="nightly")
    assert caught.value.reason == "BackupIncomplete"


async def test_a_snapshot_that_is_being_deleted_is_refused_and_one_that_is_gone_not_found() -> None:
    leaving = snapshot(metadata={"deletionTimestamp": "2026-11-23T09:00:00Z"})
    with pytest.raises(Refused, match="it is being deleted"):
        await move(with_data(leaving), snapshot="nightly")
    with pytest.raises(NotFound):
        await move(with_data(), snapshot="another")


@pytest.mark.parametrize(("most", "fits"), [("2h", True), ("119m", False), ("1h59m59s", False), (None, True)])
async def test_a_snapshot_that_is_too_old_is_refused(most: str | None, fits: bool) -> None:
    fake = with_data()
    if fits:
        assert await move(fake, snapshot="nightly", maxAge=most)
        return
    with pytest.raises(Refused, match=f"2 h 0 min ago, and maxAge is {most}") as caught:
        await move(fake, snapshot="nightly", maxAge=most)
    assert caught.value.reason == "BackupTooOld"


async def test_a_snapshot_of_unknown_age_is_refused_only_where_its_age_matters() -> None:
    fake = with_data(snapshot(creationTime=None))
    new, _ = await move(fake, snapshot="nightly")
    assert "of unknown age" in new.summary
    with pytest.raises(Refused, match="does not say when it was completed"):
        await move(fake, snapshot="nightly", maxAge="1h")
    with pytest.raises(Refused, match="maxAge: 'soon' is not a duration"):
        await move(with_data(), snapshot="nightly", maxAge="soon")


async def test_a_snapshot_of_another_claim_is_pointed_out() -> None:
    _, moved = await move(with_data(snapshot(of="other")), snapshot="nightly")
    assert "VolumeSnapshot nightly is of claim other, not of data" in moved.notes


async def test_a_snapshot_needs_the_api_and_a_storage_class() -> None:
    with pytest.raises(Refused) as caught:
        await move(a_cluster(database(), claim()), snapshot="nightly")
    assert caught.value.reason == "NotServed"
    with pytest.raises(Refused) as caught:
        await move(with_data(claim(storageClassName="")), snapshot="nightly")
    assert caught.value.reason == "NoStorageClass"
    new, _ = await move(with_data(claim(storageClassName="", selector={"matchLabels": {"disk": "a"}})))
    assert new.request is not None
    assert new.request.body["spec"]["selector"] == {"matchLabels": {"disk": "a"}}
    assert new.request.body["spec"]["storageClassName"] == ""


async def test_what_is_protected_controlled_or_paused_is_refused() -> None:
    owner = database()
    mark = {"annotations": {names.PROTECTED: "true"}}
    protected = database()
    protected["metadata"] |= mark
    for thing, other, reason in (
        (protected, claim(), "Protected"),
        (database(), claim(metadata=mark), "Protected"),
        (owned(database(), {**owner, "kind": "Database"}), claim(), "ControllerOwned"),
        (database(paused=True), claim(), "Paused"),
    ):
        with pytest.raises(Refused) as caught:
            await move(a_cluster(thing, other))
        assert caught.value.reason == reason


async def test_a_person_is_told_what_the_rollout_does() -> None:
    def said(changes: tuple[Change, ...]) -> str:
        return "; ".join(changes[1].notes)

    assert "side by side" in said(await move(with_data()))
    assert "side by side" not in said(await move(with_data(database(strategy={"type": "Recreate"}))))
    ordered = with_data(kind="StatefulSet")
    assert "blocks the rollout is deleted after 20 s" in said(await move(ordered, "StatefulSet"))
    by_hand = with_data(database("StatefulSet", updateStrategy={"type": "OnDelete"}), kind="StatefulSet")
    assert "a person must delete the pods" in said(await move(by_hand, "StatefulSet"))
    parted = database("StatefulSet", updateStrategy={"rollingUpdate": {"partition": 1}})
    assert "lower ordinal keep the old volume" in said(await move(with_data(parted, kind="StatefulSet"), "StatefulSet"))
