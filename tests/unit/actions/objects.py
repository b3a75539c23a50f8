"""Workloads, revisions and pods as an API server shows them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from incident_operator.actions.contract import Occasion
from incident_operator.cluster.fake import FakeCluster
from incident_operator.planning.plan import Change, Entry, EntryState, Ref, Release

OCCASION = Occasion("shop", "api-5xx", "incident-uid-1", "undo")
SINCE = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
Object = dict[str, Any]
GROUP_KIND = {"Deployment": "ReplicaSet", "StatefulSet": "ControllerRevision", "DaemonSet": "ControllerRevision"}


def later(seconds: float) -> datetime:
    return SINCE + timedelta(seconds=seconds)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def template(version: str, *, app: str = "api", image: str = "", **more: Any) -> Object:
    container: Object = {
        "name": "web",
        "image": image or f"registry/api:{version}",
        "env": [{"name": "VERSION", "value": version}],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
    }
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [container], **more}}


def workload(kind: str = "Deployment", name: str = "api", *, version: str = "1", **spec: Any) -> Object:
    pods = spec.pop("template", None) or template(version, app=name)
    found: Object = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": f"{name}-uid", "generation": 2},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": pods, "replicas": 2, **spec},
        "status": {"observedGeneration": 2},
    }
    if kind == "DaemonSet":
        del found["spec"]["replicas"]
    return found


def owned(thing: Object, owner: Object) -> Object:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    thing["metadata"]["ownerReferences"] = [reference]
    return thing


def revision(owner: Object, number: int, version: str = "", *, ready: int = 0, **annotations: str) -> Object:
    """A ReplicaSet or a ControllerRevision; annotations by the end of their names."""
    pods = template(version or str(number), app=owner["metadata"]["name"])
    return revision_of(owner, number, pods, ready=ready, **annotations)


def revision_of(owner: Object, number: int, pods: Object, *, ready: int = 0, **annotations: str) -> Object:
    name = f"{owner['metadata']['name']}-h{number}"
    said = {ANNOTATIONS[key]: value for key, value in annotations.items()}
    labels = {"app": owner["metadata"]["name"]}
    metadata: Object = {"name": name, "namespace": "shop", "uid": f"{name}-uid", "labels": labels, "annotations": said}
    if owner["kind"] == "Deployment":
        said["deployment.kubernetes.io/revision"] = str(number)
        pods = copy.deepcopy(pods)
        pods["metadata"]["labels"]["pod-template-hash"] = f"h{number}"
        found: Object = {"kind": "ReplicaSet", "metadata": metadata, "spec": {"template": pods}}
        found["status"] = {"readyReplicas": ready} if ready else {}
    else:
        data = {"spec": {"template": {**copy.deepcopy(pods), "$patch": "replace"}}}
        found = {"kind": "ControllerRevision", "metadata": metadata, "revision": number, "data": data}
        if owner["kind"] == "DaemonSet":
            labels["controller-revision-hash"] = f"h{number}"
    return owned({"apiVersion": "apps/v1", **found}, owner)


ANNOTATIONS = {
    "verified": "incident-operator.dev/verified-at",
    "cause": "kubernetes.io/change-cause",
    "former": "deployment.kubernetes.io/revision-history",
}


def pod(owner: Object | None, name: str, number: int = 1, *, ready: bool = True, **more: Any) -> Object:
    """A running pod of a workload's revision; ``waiting`` gives its container a reason not to run."""
    app = owner["metadata"]["name"] if owner else "alone"
    labels = {"app": app, **more.pop("labels", {})}
    waiting, image_id = more.pop("waiting", ""), more.pop("image_id", f"sha256:{number}")
    state: Object = {"waiting": {"reason": waiting}} if waiting else {"running": {"startedAt": stamp(later(-600))}}
    found: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": f"{name}-uid", "labels": labels},
        "spec": template(str(number), app=app)["spec"],
        "status": {
            "phase": "Running",
            "podIP": "10.1.2.3",
            "conditions": [
                {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": stamp(later(-600))}
            ],
            "containerStatuses": [
                {"name": "web", "imageID": image_id, "restartCount": more.pop("restarts", 0), "state": state}
            ],
        },
    }
    found["spec"].update(more.pop("spec", {}))
    found["metadata"].update(more.pop("metadata", {}))
    found["status"].update(more.pop("status", {}))
    assert not more, more
    if owner is None:
        return found
    if owner["kind"] == "Deployment":
        labels["pod-template-hash"] = f"h{number}"
        parent = {"apiVersion": "apps/v1", "kind": "ReplicaSet"}
        parent["metadata"] = {"name": f"{app}-h{number}", "uid": f"{app}-h{number}-uid"}  # type: ignore[assignment]
        return owned(found, parent)
    labels["controller-revision-hash"] = f"{app}-h{number}" if owner["kind"] == "StatefulSet" else f"h{number}"
    if owner["kind"] == "StatefulSet":
        labels["statefulset.kubernetes.io/pod-name"] = name
    return owned(found, owner)


def target(thing: Object) -> Ref:
    return Ref(thing["kind"], thing["metadata"]["name"], "shop")


def done(changes: Sequence[Change], *, release: Release = Release.NEVER, at: datetime = SINCE) -> tuple[Entry, ...]:
    """Entries as the engine hands them to settle."""
    return tuple(
        Entry(
            "step",
            "action",
            change,
            release,
            EntryState.DONE if change.request else EntryState.SKIPPED,
            done_at=stamp(at) if change.request else "",
        )
        for change in changes
    )


def created(change: Change, made: Any) -> Change:
    """The change as the engine keeps it once its object is made: with the UID."""
    return dataclasses.replace(change, target=dataclasses.replace(change.target, uid=made["metadata"]["uid"]))


def a_cluster(*objects: Object, groups: Sequence[str] = ()) -> FakeCluster:
    """A cluster in memory with these objects, on whose pod network the operator is."""
    made = FakeCluster(*objects, groups=groups)
    made.network.on_pod_network = True
    return made
