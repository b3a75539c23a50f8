"""What stands in for controllers that a test does not run: each follows one kind by a watch, as its documentation says.

Kubelet, the CSI snapshot controller and provisioner, Velero, CloudNativePG and Patroni: of each no more than what who
asks it sees. Each answers an object it is shown by the one next thing that its controller would write.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, Any

from tests_support.cluster import Namespace

Object = dict[str, Any]
Handler = Callable[[Namespace, Object], None]
SNAPSHOTS = "volumesnapshots.snapshot.storage.k8s.io"
RESTORES = "restores.velero.io"
CLUSTERS = "clusters.postgresql.cnpg.io"
HEALTHY = "Cluster in healthy state"
RECOVERING = "Setting up primary"


class Following:
    """The watches of some kinds in one namespace, each object handed to what follows it."""

    def __init__(self, namespace: Namespace, handlers: dict[str, Handler]) -> None:
        self._namespace = namespace
        self._watches = [self._watch(kind) for kind in handlers]
        self._threads = [
            threading.Thread(target=self._follow, args=(watch.stdout, handler), daemon=True)
            for watch, handler in zip(self._watches, handlers.values(), strict=True)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for watch in self._watches:
            watch.terminate()
            watch.wait(10)
        for thread in self._threads:
            thread.join(10)
        for watch in self._watches:
            if watch.stdout is not None:
                watch.stdout.close()

    def _watch(self, kind: str) -> subprocess.Popen[str]:
        argv = self._namespace.kubectl.argv("-n", self._namespace.name, "get", kind, "--watch", "-o", "json")
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def _follow(self, told: IO[str] | None, handler: Handler) -> None:
        assert told is not None
        for thing in _objects(told):
            if "deletionTimestamp" not in thing["metadata"]:
                handler(self._namespace, thing)


def _objects(told: IO[str]) -> Iterator[Object]:
    """The objects of a stream, each as soon as its last line is there."""
    lines: list[str] = []
    for line in told:
        lines.append(line)
        if line.startswith("}"):
            yield json.loads("".join(lines))
            lines.clear()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def says(namespace: Namespace, kind: str, thing: Object, *, subresource: bool = True, **status: Any) -> None:
    """A controller writes a status; that the object may be gone by now is its everyday."""
    flags = ["--subresource=status"] if subresource else []
    body = json.dumps({"status": status})
    namespace.run("patch", kind, thing["metadata"]["name"], "--type=merge", *flags, "-p", body)


def annotate(namespace: Namespace, kind: str, name: str, **values: str | None) -> None:
    namespace.run("patch", kind, name, "--type=merge", "-p", json.dumps({"metadata": {"annotations": values}}))


def kubelet(namespace: Namespace, pod: Object) -> None:
    """Pods of Jobs succeed, all others are ready."""
    status = pod.get("status") or {}
    owners = pod["metadata"].get("ownerReferences") or [{}]
    seen = {"name": "main", "image": "x", "imageID": "", "restartCount": 0}
    if owners[0].get("kind") == "Job":
        if status.get("phase") != "Succeeded":
            end = {"terminated": {"exitCode": 0, "reason": "Completed"}}
            says(namespace, "pod", pod, phase="Succeeded", containerStatuses=[{**seen, "ready": False, "state": end}])
    elif status.get("phase") != "Running":
        running = [{**seen, "ready": True, "state": {"running": {"startedAt": now()}}}]
        ready = [{"type": "Ready", "status": "True", "lastTransitionTime": now()}]
        says(namespace, "pod", pod, phase="Running", conditions=ready, containerStatuses=running)


def snapshot_controller(namespace: Namespace, snapshot: Object) -> None:
    """Bound to a content first, then ready to use."""
    status = snapshot.get("status") or {}
    if not status.get("boundVolumeSnapshotContentName"):
        content = f"snapcontent-{snapshot['metadata']['uid']}"
        says(namespace, SNAPSHOTS, snapshot, boundVolumeSnapshotContentName=content, readyToUse=False)
    elif not status.get("readyToUse"):
        says(namespace, SNAPSHOTS, snapshot, readyToUse=True, creationTime=now(), restoreSize="1Gi")


def provisioner(namespace: Namespace, claim: Object) -> None:
    """A volume for each claim that is to be made from a snapshot which is ready."""
    source = claim["spec"].get("dataSource") or {}
    if source.get("kind") != "VolumeSnapshot" or (claim.get("status") or {}).get("phase") == "Bound":
        return
    snapshot = namespace.get(SNAPSHOTS, source["name"])
    if snapshot and (snapshot.get("status") or {}).get("readyToUse"):
        meta = claim["metadata"]
        whose = {"kind": "PersistentVolumeClaim", "name": meta["name"], "namespace": namespace.name, "uid": meta["uid"]}
        spec = {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "storageClassName": claim["spec"]["storageClassName"],
            "hostPath": {"path": f"/nowhere/{meta['uid']}"},
            "claimRef": {"apiVersion": "v1", **whose},
        }
        made = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"pvc-{meta['uid']}"}}
        namespace.kubectl.run("create", "-f", "-", given=json.dumps({**made, "spec": spec}))


def velero(namespace: Namespace, restore: Object) -> None:
    """New, InProgress, Completed; a Restore from a backup that is not there does not pass its validation."""
    phase = (restore.get("status") or {}).get("phase") or ""
    if namespace.get("backups.velero.io", restore["spec"]["backupName"]) is None:
        if phase != "FailedValidation":
            says(namespace, RESTORES, restore, subresource=False, phase="FailedValidation")
        return
    following = {"": "New", "New": "InProgress", "InProgress": "Completed"}.get(phase)
    if following:
        progress = {"totalItems": 2, "itemsRestored": 2 if following == "Completed" else 1}
        says(namespace, RESTORES, restore, subresource=False, phase=following, progress=progress)


def cloud_native_pg(namespace: Namespace, cluster: Object) -> None:
    """A Cluster begins, from its backup if it has one, and is healthy; then it promotes whom it is told to."""
    status, name = cluster.get("status") or {}, cluster["metadata"]["name"]
    names = [f"{name}-{number}" for number in range(1, cluster["spec"]["instances"] + 1)]
    if not status.get("phase"):
        says(namespace, CLUSTERS, cluster, phase=RECOVERING, instances=len(names), readyInstances=0)
    elif status["phase"] == RECOVERING:
        recovery = ((cluster["spec"].get("bootstrap") or {}).get("recovery") or {}).get("backup")
        source = recovery and namespace.get("backups.postgresql.cnpg.io", recovery["name"])
        if recovery and (source or {}).get("status", {}).get("phase") != "completed":
            return
        primary = {"currentPrimary": names[0], "targetPrimary": names[0], "readyInstances": len(names)}
        well = {"instanceNames": names, "instancesStatus": {"healthy": names}}
        says(namespace, CLUSTERS, cluster, phase=HEALTHY, **primary, **well)
    elif status.get("targetPrimary") != status.get("currentPrimary"):
        says(namespace, CLUSTERS, cluster, phase=HEALTHY, currentPrimary=status["targetPrimary"])


def patroni(namespace: Namespace, endpoints: Object) -> None:
    """The member that is asked for leads, if the leader is the one that is named; then the request is taken back."""
    scope, _, what = endpoints["metadata"]["name"].rpartition("-")
    asked = endpoints["metadata"].get("annotations") or {}
    if what != "failover" or not asked.get("member"):
        return
    lock = namespace.get("endpoints", scope)["metadata"]["annotations"]
    if asked.get("leader") in (None, lock["leader"]):
        annotate(namespace, "endpoints", scope, leader=asked["member"])
        tells_role(namespace, lock["leader"], "replica")
        tells_role(namespace, asked["member"], "primary")
    annotate(namespace, "endpoints", endpoints["metadata"]["name"], leader=None, member=None, scheduled_at=None)


def tells_role(namespace: Namespace, member: str, role: str) -> None:
    """What a member says of itself."""
    said = {"state": "running", "role": role, "xlog_location": 100, "timeline": 1}
    annotate(namespace, "pod", member, status=json.dumps(said))


ALL: dict[str, Handler] = {
    "pods": kubelet,
    SNAPSHOTS: snapshot_controller,
    "persistentvolumeclaims": provisioner,
    RESTORES: velero,
    CLUSTERS: cloud_native_pg,
    "endpoints": patroni,
}
