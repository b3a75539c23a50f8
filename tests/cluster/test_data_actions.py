"""runJob, snapshotVolumes and restore on a real API server with its own controllers.

Jobs, StatefulSets and claims are Kubernetes' own; pods have no node, so their status is written here as a
kubelet would. VolumeSnapshot, Velero and CloudNativePG have their real CRDs, where the Go proxy has them
(tests_support/upstream_crds); every status they may have is written here, also those of failures, one by one. From an
Incident to its end, by reconcilers and with the shipped rights: test_data_incidents.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from incident_operator.actions.contract import Action, Occasion
from incident_operator.actions.failover import Failover
from incident_operator.actions.restore import Restore
from incident_operator.actions.run_job import RunJob
from incident_operator.actions.snapshot_volumes import SnapshotVolumes
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Entry, EntryState, Ref, Release, Settlement, Standing
from tests_support import upstream_crds
from tests_support.cluster import Kubectl, Namespace
from tests_support.waiting import eventually, seen

pytestmark = pytest.mark.cluster
GROUPS = ("snapshot.storage.k8s.io", "velero.io", "postgresql.cnpg.io")
Object = dict[str, Any]


@pytest.fixture(scope="module")
def data_crds(kubectl: Kubectl) -> Iterator[None]:
    """The three APIs, for as long as these tests run."""
    kubectl("apply", "--server-side", *upstream_crds.flags())

    def served() -> bool:
        # kubectl wait fails at once where a CRD is so new that its status has no conditions.
        wait = kubectl.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        return wait.returncode == 0 and {*GROUPS} <= {
            each["name"] for each in json.loads(kubectl("get", "--raw", "/apis"))["groups"]
        }

    eventually(served, within=30, what="the groups in discovery")
    yield
    kubectl("delete", *upstream_crds.flags(), "--wait=true", "--timeout=60s")


@dataclasses.dataclass
class Stage:
    """One action in one namespace, driven as the engine does."""

    cluster: ClusterGateway
    namespace: Namespace
    action: Action
    begun: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))

    async def plan(self, kind: str, name: str, params: Object) -> tuple[Change, ...]:
        occasion = Occasion(self.namespace.name, "outage", f"uid-{self.namespace.name}", "data")
        return await self.action.plan(self.cluster, occasion, Ref(kind, name, self.namespace.name), params)

    async def make(self, changes: Sequence[Change]) -> tuple[Entry, ...]:
        entries = []
        for change in changes:
            assert change.request is not None
            answer = await self.cluster.send(change.request)
            uid = change.target.uid or answer["metadata"]["uid"]
            made = dataclasses.replace(change, target=dataclasses.replace(change.target, uid=uid))
            stamp = self.begun.strftime("%Y-%m-%dT%H:%M:%SZ")
            entries.append(Entry("data", self.action.name, made, Release.NEVER, EntryState.DONE, done_at=stamp))
        return tuple(entries)

    async def settle(self, entries: tuple[Entry, ...], *, later: float = 0) -> Settlement:
        now = datetime.now(UTC) + timedelta(seconds=later)
        return await self.action.settle(self.cluster, entries, since=self.begun, now=now)

    async def until(self, entries: tuple[Entry, ...], state: str, *, later: float = 0) -> Settlement:
        async def look() -> Settlement | None:
            found = await self.settle(entries, later=later)
            return found if found.state == state else None

        return await seen(look, f"{self.action.name} {state}", within=30)

    async def standing(self, change: Change) -> Standing:
        ref = change.target
        return self.action.standing(change, await self.cluster.find(ref.kind, ref.namespace, ref.name))

    def says(self, kind: str, name: str, status: Object, *, subresource: bool = True) -> None:
        """A controller writes a status."""
        flags = ["--subresource=status"] if subresource else []
        self.namespace("patch", kind, name, "--type=merge", *flags, "-p", json.dumps({"status": status}))


def stamp(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def made(kind: str, name: str, api: str = "v1", **parts: Any) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **parts}


def pods(*volumes: str) -> Object:
    """A pod template with a claim for each volume."""
    mounts = [{"name": each, "mountPath": f"/{each}"} for each in volumes]
    container = {"name": "main", "image": "localhost/none:1", "volumeMounts": mounts}
    named = [{"name": each, "persistentVolumeClaim": {"claimName": each}} for each in volumes]
    return {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [container], "volumes": named}}


def claim(name: str, storage_class: str) -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return made("PersistentVolumeClaim", name, spec={**spec, "storageClassName": storage_class})


def volume(namespace: Namespace, number: int) -> Object:
    """A PersistentVolume that only claims of this namespace's own storage class are bound to."""
    spec: Object = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
    where = {"hostPath": {"path": f"/nowhere/{number}"}, "storageClassName": namespace.name}
    return made("PersistentVolume", f"{namespace.name}-{number}", spec={**spec, **where})


async def test_a_job_runs_once_and_is_complete_when_its_pod_is(cluster: ClusterGateway, namespace: Namespace) -> None:
    stage = Stage(cluster, namespace, RunJob())
    template = {"spec": {**pods()["spec"], "restartPolicy": "Never"}}
    inner = {"metadata": {"labels": {"team": "data"}}, "spec": {"template": template, "backoffLimit": 0}}
    for name in ("good", "bad"):
        body = {"schedule": "0 3 * * *", "suspend": True, "jobTemplate": inner}
        namespace.apply(made("CronJob", name, "batch/v1", spec=body))
    for name, phase, code in (("good", "Succeeded", 0), ("bad", "Failed", 3)):
        entries = await stage.make(await stage.plan("StatefulSet", "db", {"cronJob": name}))
        job = entries[0].change.target.name
        assert namespace.get("job", job)["metadata"]["labels"]["team"] == "data"
        assert (await stage.settle(entries)).state == "Pending"

        async def its_pod(job: str = job) -> Any:
            found = await cluster.list("Pod", namespace.name, {"matchLabels": {"job-name": job}})
            return found[0]["metadata"]["name"] if found else None

        pod = await seen(its_pod, f"a pod of Job {job}", within=30)
        end = {"exitCode": code, "message": "rows are missing", "reason": "Completed" if code == 0 else "Error"}
        state = {"name": "main", "image": "x", "imageID": "", "ready": False, "restartCount": 0}
        stage.says("pod", pod, {"phase": phase, "containerStatuses": [{**state, "state": {"terminated": end}}]})
        found = await stage.until(entries, "Settled" if code == 0 else "Failed")
        if code:
            assert "BackoffLimitExceeded" in found.message
            assert "container main ended with exit code 3: rows are missing" in found.message
        again = dataclasses.replace(entries[0].change, target=Ref("Job", job, namespace.name))
        assert await stage.standing(again) is Standing.AFTER


async def test_an_ordered_stateful_set_gets_a_new_volume_past_its_crashing_pod_and_its_old_one_back(
    cluster: ClusterGateway, namespace: Namespace, kubectl: Kubectl
) -> None:
    stage = Stage(cluster, namespace, Restore())
    kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": [
        volume(namespace, number) for number in range(2)
    ]}))  # fmt: skip
    spec = {"replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}}, "template": pods("data")}
    namespace.apply(claim("data", namespace.name), made("StatefulSet", "db", "apps/v1", spec=spec))
    eventually(lambda: namespace.get("pod", "db-0"), within=30, what="the pod with the broken volume")
    before = eventually(lambda: bound(namespace, "data"), within=30, what="the broken claim is bound")
    new, moved = await stage.make(await stage.plan("StatefulSet", "db", {"volume": {"claim": "data"}}))

    async def stuck() -> Settlement | None:
        found = await stage.settle((new, moved), later=30)
        assert found.state == "Pending", found
        return found if found.further else None

    found = await seen(stuck, "the crashing pod blocks the rollout", within=30)
    assert [each.key for each in found.further] == ["Pod/db-0"]
    entries = (new, moved, *await stage.make(found.further))
    restored = new.change.target.name

    def renewed() -> bool:
        pod = namespace.get("pod", "db-0")
        volumes = pod["spec"]["volumes"] if pod else []
        return any(each.get("persistentVolumeClaim", {}).get("claimName") == restored for each in volumes)

    eventually(renewed, within=30, what="a pod with the restored volume")
    ready = {"type": "Ready", "status": "True"}
    stage.says("pod", "db-0", {"phase": "Running", "conditions": [ready]})
    assert "is Bound" in (await stage.until(entries, "Settled")).message
    assert bound(namespace, "data") == before, "the old claim and its volume are kept"
    current = await cluster.get("StatefulSet", namespace.name, "db")
    request = stage.action.undo(moved.change, current)
    assert request is not None
    await cluster.send(request)
    assert await stage.standing(moved.change) is Standing.BEFORE
    assert bound(namespace, restored), "and so is the new one"
    kubectl("delete", "pv", *(f"{namespace.name}-{number}" for number in range(2)), "--wait=false")


def bound(namespace: Namespace, name: str) -> str:
    """The volume that a claim is bound to."""
    found = namespace.get("pvc", name)
    return found["spec"].get("volumeName", "") if found["status"].get("phase") == "Bound" else ""


@pytest.mark.usefixtures("data_crds")
async def test_volumes_are_snapshotted_and_a_new_one_is_made_from_the_snapshot(
    cluster: ClusterGateway, namespace: Namespace, kubectl: Kubectl
) -> None:
    stage = Stage(cluster, namespace, SnapshotVolumes())
    kubectl("apply", "-f", "-", given=json.dumps(volume(namespace, 0)))
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "db"}}, "template": pods("data")}
    namespace.apply(claim("data", namespace.name), made("Deployment", "db", "apps/v1", spec=spec))
    eventually(lambda: bound(namespace, "data"), within=30, what="the claim is bound")
    entries = await stage.make(await stage.plan("Deployment", "db", {}))
    taken = entries[0].change.target.name
    for status in (
        {"error": {"message": "driver is busy", "time": stamp(0)}, "readyToUse": False},
        {"error": None, "boundVolumeSnapshotContentName": "content"},
    ):
        stage.says("volumesnapshot", taken, status)
        assert (await stage.settle(entries)).state == "Pending"
    restore = Stage(cluster, namespace, Restore())
    params = {"volume": {"claim": "data", "snapshot": taken, "maxAge": "1h"}}
    with pytest.raises(Refused, match="not ready to use"):
        await restore.plan("Deployment", "db", params)
    stage.says("volumesnapshot", taken, {"readyToUse": True, "restoreSize": "2Gi", "creationTime": stamp(0)})
    assert (await stage.settle(entries)).facts == {"snapshots": taken}
    new, moved = await restore.make(await restore.plan("Deployment", "db", params))
    made_claim = namespace.get("pvc", new.change.target.name)
    assert made_claim["spec"]["dataSource"]["name"] == taken
    assert made_claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    await restore.until((new, moved), "Settled")
    kubectl("delete", "pv", f"{namespace.name}-0", "--wait=false")


@pytest.mark.usefixtures("data_crds")
@pytest.mark.parametrize(("phase", "state"), [("Completed", "Settled"), ("PartiallyFailed", "Failed")])
async def test_velero_restores_and_is_awaited(
    cluster: ClusterGateway, namespace: Namespace, phase: str, state: str
) -> None:
    stage = Stage(cluster, namespace, Restore())
    params = {"velero": {"backup": "daily", "namespace": namespace.name, "maxAge": "24h"}}
    backup = made("Backup", "daily", "velero.io/v1", spec={"includedNamespaces": [namespace.name]})
    for status, reason in (
        ({"phase": "PartiallyFailed", "errors": 2, "completionTimestamp": stamp(1)}, "BackupIncomplete"),
        ({"phase": "Completed", "completionTimestamp": stamp(25)}, "BackupTooOld"),
    ):
        namespace.apply({**backup, "status": status})
        with pytest.raises(Refused) as caught:
            await stage.plan("Deployment", "db", params)
        assert caught.value.reason == reason
    namespace.apply({**backup, "status": {"phase": "Completed", "completionTimestamp": stamp(1)}})
    entries = await stage.make(await stage.plan("Deployment", "db", params))
    name = entries[0].change.target.name
    assert (await stage.settle(entries)).message.endswith("is New")
    progress = {"totalItems": 9, "itemsRestored": 4}
    stage.says("restores.velero.io", name, {"phase": "InProgress", "progress": progress}, subresource=False)
    assert (await stage.settle(entries)).message.endswith("is InProgress, 4 of 9 items")
    stage.says("restores.velero.io", name, {"phase": phase, "warnings": 1}, subresource=False)
    found = await stage.settle(entries)
    assert (found.state, "1 warnings" in found.message) == (state, True)


@pytest.mark.usefixtures("data_crds")
async def test_cloud_native_pg_recovers_a_new_cluster_beside_the_old_one(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    stage = Stage(cluster, namespace, Restore())
    api, params = "postgresql.cnpg.io/v1", {"cloudNativePG": {"backup": "base"}}
    spec = {
        "instances": 2,
        "imageName": "registry/postgresql:17",
        "storage": {"size": "1Gi"},
        "backup": {"barmanObjectStore": {"destinationPath": "s3://b"}},
        "bootstrap": {"initdb": {"database": "orders", "owner": "shop"}},
    }
    namespace.apply(
        made("Cluster", "pg", api, spec=spec), made("Backup", "base", api, spec={"cluster": {"name": "pg"}})
    )
    with pytest.raises(Refused, match="phase is pending"):
        await stage.plan("Cluster", "pg", params)
    stage.says("backups.postgresql.cnpg.io", "base", {"phase": "completed", "stoppedAt": stamp(2)})
    before = namespace.get("clusters.postgresql.cnpg.io", "pg")["spec"]
    entries = await stage.make(await stage.plan("Cluster", "pg", params))
    name = entries[0].change.target.name
    there = namespace.get("clusters.postgresql.cnpg.io", name)["spec"]
    recovery = {"backup": {"name": "base"}, "database": "orders", "owner": "shop"}
    taken = ("instances", "imageName", "storage")
    assert {key: there[key] for key in taken} == {key: before[key] for key in taken}
    assert there["bootstrap"] == {"recovery": recovery}
    assert "backup" not in there, "two clusters that archive to one place would destroy the first one's archive"
    for status in ({"phase": "Setting up primary"}, {"phase": "Cluster in healthy state", "readyInstances": 1}):
        stage.says("clusters.postgresql.cnpg.io", name, status)
        assert (await stage.settle(entries)).state == "Pending"
    stage.says("clusters.postgresql.cnpg.io", name, {"phase": "Cluster in healthy state", "readyInstances": 2})
    assert (await stage.settle(entries)).state == "Settled"
    assert namespace.get("clusters.postgresql.cnpg.io", "pg")["spec"] == before


@pytest.mark.usefixtures("data_crds")
async def test_cloud_native_pg_promotes_a_healthy_replica(cluster: ClusterGateway, namespace: Namespace) -> None:
    stage = Stage(cluster, namespace, Failover())
    kind, healthy = "clusters.postgresql.cnpg.io", "Cluster in healthy state"
    namespace.apply(made("Cluster", "pg", "postgresql.cnpg.io/v1", spec={"instances": 2, "storage": {"size": "1Gi"}}))
    names = ["pg-1", "pg-2"]
    now = {"currentPrimary": "pg-1", "targetPrimary": "pg-1", "phase": healthy, "instanceNames": names}
    stage.says(kind, "pg", {**now, "instancesStatus": {"healthy": ["pg-1"]}})
    with pytest.raises(Refused, match="no healthy replica"):
        await stage.plan("Cluster", "pg", {"cloudNativePG": {}})
    stage.says(kind, "pg", {"instancesStatus": {"healthy": names}})
    entries = await stage.make(await stage.plan("Cluster", "pg", {"cloudNativePG": {}}))
    status = namespace.get(kind, "pg")["status"]
    assert (status["targetPrimary"], status["phase"]) == ("pg-2", "Switchover in progress")
    assert (await stage.settle(entries)).state == "Pending"
    assert await stage.standing(entries[0].change) is Standing.AFTER
    stage.says(kind, "pg", {"currentPrimary": "pg-2", "phase": healthy})
    assert (await stage.settle(entries)).state == "Settled"
