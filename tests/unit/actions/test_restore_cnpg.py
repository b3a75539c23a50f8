"""restore.cloudNativePG: a new Cluster from a completed Backup, beside the old one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import NotFound, Refused, Stalled
from incident_operator.planning.plan import Change, Standing
from unit.actions.objects import a_cluster, later, pod, stamp
from unit.actions.restoring import GROUPS, made, make, plan, put_back, settle, standing_of, unknown_uid

Object = dict[str, Any]
API = "postgresql.cnpg.io/v1"
HEALTHY = "Cluster in healthy state"


def postgres(name: str = "pg", *, metadata: Any = None, **spec: Any) -> Object:
    whole = {
        "instances": 3,
        "imageName": "registry/postgresql:17",
        "storage": {"size": "10Gi", "storageClass": "fast"},
        "postgresql": {"parameters": {"max_connections": "300"}},
        "bootstrap": {"initdb": {"database": "orders", "owner": "shop", "secret": {"name": "shop-user"}}},
        **spec,
    }
    return made("Cluster", name, API, spec=whole, metadata=metadata or {})


def backup(name: str = "nightly", *, of: str = "pg", method: str = "barmanObjectStore", **status: Any) -> Object:
    seen = {"phase": "completed", "stoppedAt": stamp(later(-90 * 60)), **status}
    return made("Backup", name, API, spec={"cluster": {"name": of}, "method": method}, status=seen)


def cluster(*objects: Object) -> FakeCluster:
    there = {(each["kind"], each["metadata"]["name"]): each for each in (postgres(), backup(), *objects)}
    return a_cluster(*there.values(), groups=GROUPS)


async def planned(fake: FakeCluster, **params: Any) -> Change:
    given = {"backup": "nightly", **params}
    (change,) = await plan(fake, fake.at("Cluster", "pg"), {"cloudNativePG": given})
    return change


async def test_a_new_cluster_as_large_as_the_old_one_begins_with_the_backup() -> None:
    fake = cluster()
    before = copy.deepcopy(fake.at("Cluster", "pg"))
    (change,) = await make(fake, (await planned(fake),))
    assert change.target.name.startswith("pg-restored-")
    there = fake.at("Cluster", change.target.name)
    assert there["spec"] == {
        "instances": 3,
        "imageName": "registry/postgresql:17",
        "storage": {"size": "10Gi", "storageClass": "fast"},
        "postgresql": {"parameters": {"max_connections": "300"}},
        "bootstrap": {
            "recovery": {
                "backup": {"name": "nightly"},
                "database": "orders",
                "owner": "shop",
                "secret": {"name": "shop-user"},
            }
        },
    }
    assert there["metadata"]["labels"][names.INCIDENT_UID] == "incident-uid-1"
    assert fake.at("Cluster", "pg") == before, "the old one is kept as it is"
    assert "1 h 30 min old" in change.summary
    assert any("clients go on using pg-rw until they are pointed at" in note for note in change.notes)
    assert any("damage that a statement did comes back" in note for note in change.notes)


async def test_two_clusters_never_archive_to_one_place_and_what_is_left_out_is_said() -> None:
    store = {"barmanObjectStore": {"destinationPath": "s3://backups"}}
    old = postgres(backup=store, plugins=[{"name": "barman"}], managed={"roles": []}, logLevel="info", bootstrap={})
    change = await planned(cluster(old))
    assert change.request is not None
    spec = change.request.body["spec"]
    assert {"backup", "plugins", "managed", "logLevel"}.isdisjoint(spec)
    assert spec["bootstrap"] == {"recovery": {"backup": {"name": "nightly"}}}
    assert "not taken over from pg: backup, managed, plugins" in change.notes
    assert any("has no backups of its own" in note for note in change.notes)
    assert any("password is a new one, in Secret pg-restored-" in note for note in change.notes)


async def test_a_cluster_that_was_recovered_itself_keeps_its_application_database() -> None:
    old = postgres(bootstrap={"recovery": {"backup": {"name": "older"}, "database": "orders", "owner": "shop"}})
    change = await planned(cluster(old))
    assert change.request is not None
    recovery = change.request.body["spec"]["bootstrap"]["recovery"]
    assert recovery == {"backup": {"name": "nightly"}, "database": "orders", "owner": "shop"}


@pytest.mark.parametrize("name", ["pg", "p" * 50])
async def test_the_name_fits_what_cloud_native_pg_takes(name: str) -> None:
    fake = a_cluster(postgres(name), backup(of=name), groups=GROUPS)
    (change,) = await plan(fake, fake.at("Cluster", name), {"cloudNativePG": {"backup": "nightly"}})
    assert len(change.target.name) <= 50
    assert change.target.name != name


async def test_a_name_may_be_given_but_never_that_of_the_old_one_or_of_another() -> None:
    assert (await planned(cluster(), name="pg2")).target.name == "pg2"
    for name, reason in (("pg", "Invalid"), ("x" * 51, "Invalid"), ("other", "AlreadyExists")):
        with pytest.raises(Refused, match=r"restore\.cloudNativePG\.name") as caught:
            await planned(cluster(postgres("other")), name=name)
        assert caught.value.reason == reason


@pytest.mark.parametrize("phase", ["", "pending", "started", "running", "finalizing", "failed", "walArchivingFailing"])
async def test_a_backup_that_is_not_completed_is_refused(phase: str) -> None:
    why = r"\(disk\s?full\)" if phase == "failed" else phase or "pending"
    broken = backup(phase=phase, **({"error": "disk\nfull"} if phase == "failed" else {}))
    with pytest.raises(Refused, match=why) as caught:
        await planned(cluster(broken))
    assert caught.value.reason == "BackupIncomplete"


async def test_a_backup_of_another_cluster_or_of_a_plugin_is_refused() -> None:
    with pytest.raises(Refused, match="it is of Cluster other") as caught:
        await planned(cluster(backup(of="other")))
    assert caught.value.reason == "BackupOfOthers"
    with pytest.raises(Refused, match="externalClusters") as caught:
        await planned(cluster(backup(method="plugin")))
    assert caught.value.reason == "UnsupportedBackup"


@pytest.mark.parametrize(("most", "fits"), [("90m", True), ("89m", False)])
async def test_a_backup_that_is_too_old_is_refused(most: str, fits: bool) -> None:
    if fits:
        assert await planned(cluster(), maxAge=most)
        return
    with pytest.raises(Refused, match="1 h 30 min ago") as caught:
        await planned(cluster(), maxAge=most)
    assert caught.value.reason == "BackupTooOld"


async def test_what_is_not_served_protected_or_not_there_is_said() -> None:
    with pytest.raises(Refused) as caught:
        await planned(a_cluster(postgres(), backup()))
    assert caught.value.reason == "NotServed"
    with pytest.raises(Refused) as caught:
        await planned(cluster(postgres(metadata={"labels": {names.PROTECTED: "true"}})))
    assert caught.value.reason == "Protected"
    with pytest.raises(NotFound, match="yesterday"):
        await planned(cluster(), backup="yesterday")


async def test_a_retry_makes_no_second_cluster() -> None:
    fake = cluster()
    first = await planned(fake)
    assert await standing_of(fake, first) is Standing.BEFORE
    await make(fake, (first,))
    again = await planned(fake)
    assert again.request == first.request
    with pytest.raises(Stalled, match="already exists"):
        await make(fake, (again,))
    assert await standing_of(fake, unknown_uid(again)) is Standing.AFTER


async def test_it_is_settled_only_when_healthy_with_all_instances() -> None:
    fake = cluster()
    (change,) = await make(fake, (await planned(fake),))
    name = change.target.name
    settlement = await settle(fake, (change,))
    assert settlement.state == "Pending"
    assert settlement.message == f"Cluster {name}: not seen by CloudNativePG yet, 0 of 3 instances are ready"
    for status in (
        {"phase": "Setting up primary", "phaseReason": "Creating\nprimary", "readyInstances": 0},
        {"phase": HEALTHY, "readyInstances": 2},
        {"phase": "Creating a new replica", "readyInstances": 3},
    ):
        fake.at("Cluster", name)["status"] = status
        settlement = await settle(fake, (change,))
        assert settlement.state == "Pending"
        assert str(status["phase"]) in settlement.message
    fake.at("Cluster", name)["status"] = {"phase": HEALTHY, "readyInstances": 3}
    settlement = await settle(fake, (change,))
    assert settlement.state == "Settled"
    assert settlement.facts == {"cluster": name}


async def test_what_keeps_its_pods_from_getting_ready_is_said() -> None:
    fake = cluster()
    (change,) = await make(fake, (await planned(fake),))
    broken = pod(None, "pg-1-full-recovery", ready=False, waiting="ImagePullBackOff")
    broken["metadata"]["labels"]["cnpg.io/cluster"] = change.target.name
    fake.put(broken, pod(None, "stray", ready=False, waiting="ErrImagePull"))
    assert (await settle(fake, (change,))).message.endswith("; pod pg-1-full-recovery: container web ImagePullBackOff")


async def test_a_cluster_that_was_deleted_has_failed_and_one_that_is_there_is_kept() -> None:
    fake = cluster()
    (change,) = await make(fake, (await planned(fake),))
    assert await put_back(fake, (change,)) == []
    fake.take("Cluster", "shop", change.target.name)
    assert (await settle(fake, (change,))).reason == "RestoreGone"
