"""Volumes, CronJobs and backups as an API server shows them, and the engine's way with an action."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from incident_operator.actions.contract import Action
from incident_operator.actions.restore import Restore
from incident_operator.cluster.fake import FakeCluster
from incident_operator.planning.plan import Change, Entry, Request, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, a_cluster, created, done, later, stamp, target, workload

Object = dict[str, Any]
GROUPS = ("snapshot.storage.k8s.io", "velero.io", "postgresql.cnpg.io")
RESTORE = Restore(clock=lambda: later(0))


def made(kind: str, name: str, api: str = "v1", *, namespace: str = "shop", **parts: Any) -> Object:
    meta = {"name": name, "namespace": namespace, "uid": f"{name}-uid", **parts.pop("metadata", {})}
    return {"apiVersion": api, "kind": kind, "metadata": meta, **parts}


def claim(name: str = "data", *, phase: str = "Bound", size: str = "10Gi", metadata: Any = None, **spec: Any) -> Object:
    asked = {"resources": {"requests": {"storage": size}}, "accessModes": ["ReadWriteOnce"], "storageClassName": "fast"}
    whole = {**asked, "volumeMode": "Filesystem", "volumeName": f"pv-{name}", **spec}
    return made("PersistentVolumeClaim", name, spec=whole, status={"phase": phase}, metadata=metadata or {})


def snapshot(
    name: str = "nightly", *, of: str = "data", hours: float = 2, metadata: Any = None, **status: Any
) -> Object:
    seen = {
        "readyToUse": True,
        "boundVolumeSnapshotContentName": f"content-{name}",
        "creationTime": stamp(later(-3600 * hours)),
        "restoreSize": "8Gi",
        **status,
    }
    spec = {"source": {"persistentVolumeClaimName": of}}
    api = "snapshot.storage.k8s.io/v1"
    return made("VolumeSnapshot", name, api, spec=spec, status=seen, metadata=metadata or {})


def mounted(claim_name: str = "data", *others: Object) -> Object:
    """A pod template whose volume ``store`` is of a claim."""
    volume = {"name": "store", "persistentVolumeClaim": {"claimName": claim_name}}
    container = {"name": "db", "image": "registry/db:1", "volumeMounts": [{"name": "store", "mountPath": "/data"}]}
    spec = {"containers": [container], "volumes": [*others, volume]}
    return {"metadata": {"labels": {"app": "db"}}, "spec": spec}


def cron_job(name: str = "dump", *, job: Any = None, template: Any = None, metadata: Any = None, **spec: Any) -> Object:
    pods = {"spec": {"containers": [{"name": "main", "image": "registry/dump:1"}], "restartPolicy": "Never"}}
    inner = {"metadata": template or {}, "spec": {"template": pods, "backoffLimit": 2, **(job or {})}}
    whole = {"schedule": "0 3 * * *", "jobTemplate": inner, **spec}
    return made("CronJob", name, "batch/v1", spec=whole, metadata=metadata or {})


def job_pod(job: Object, name: str, *, phase: str = "Running", terminated: Any = None, **container: Any) -> Object:
    state = {"terminated": terminated} if terminated else {"running": {}}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    meta = {
        "labels": {"job-name": job["metadata"]["name"]},
        "ownerReferences": [{**owner, "controller": True}],
        "creationTimestamp": stamp(later(len(name))),
    }
    spec = {"containers": [{"name": "main", **container}]}
    status = {"phase": phase, "containerStatuses": [{"name": "main", "state": state}]}
    return made("Pod", name, spec=spec, status=status, metadata=meta)


async def plan(fake: FakeCluster, thing: Object, params: Object, action: Action = RESTORE) -> tuple[Change, ...]:
    return await action.plan(fake, OCCASION, target(thing), params)


async def make(fake: FakeCluster, changes: Sequence[Change]) -> tuple[Change, ...]:
    """Send what is planned; a made object's UID goes on record, as in the engine."""
    found = []
    for change in changes:
        if change.request is None:
            found.append(change)
            continue
        answer = await fake.send(change.request)
        found.append(created(change, answer) if change.request.verb == "create" else change)
    return tuple(found)


async def settle(
    fake: FakeCluster, changes: Sequence[Change], action: Action = RESTORE, *, seconds: float = 30
) -> Settlement:
    return await action.settle(fake, done(changes), since=SINCE, now=later(seconds))


async def settle_entries(fake: FakeCluster, entries: tuple[Entry, ...], *, seconds: float = 30) -> Settlement:
    return await RESTORE.settle(fake, entries, since=SINCE, now=later(seconds))


async def standing_of(fake: FakeCluster, change: Change, action: Action = RESTORE) -> Standing:
    ref = change.target
    return action.standing(change, await fake.find(ref.kind, ref.namespace, ref.name))


async def put_back(fake: FakeCluster, changes: Sequence[Change], action: Action = RESTORE) -> list[Request]:
    """As the engine releases: backwards, only what stands as it was left; the writes that were made."""
    sent = []
    for change in reversed(changes):
        ref = change.target
        current = await fake.find(ref.kind, ref.namespace, ref.name)
        if current is None or action.standing(change, current) is not Standing.AFTER:
            continue
        request = action.undo(change, current)
        if request is not None:
            sent.append(request)
            await fake.send(request)
    return sent


def unknown_uid(change: Change) -> Change:
    """The change as it is after a crash: sent maybe, its object's UID not on record."""
    return dataclasses.replace(change, target=dataclasses.replace(change.target, uid=""))


def database(kind: str = "Deployment", *, at: str = "data", **spec: Any) -> Object:
    return workload(kind, "db", template=mounted(at, {"name": "tmp", "emptyDir": {}}), **spec)


def with_data(*objects: Object, kind: str = "Deployment") -> FakeCluster:
    there = {(each["kind"], each["metadata"]["name"]): each for each in (database(kind), claim(), snapshot(), *objects)}
    return a_cluster(*there.values(), groups=GROUPS)


async def move(fake: FakeCluster, kind: str = "Deployment", **volume: Any) -> tuple[Change, ...]:
    return await plan(fake, fake.at(kind, "db"), {"volume": {"claim": "data", **volume}})
