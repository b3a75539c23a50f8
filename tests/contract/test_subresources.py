"""Scale, status and generation: what is written where, and what counts as a new wish."""

from __future__ import annotations

from typing import Any

import pytest

from contract.conftest import Place
from incident_operator.faults import Conflict, NotFound, Stalled
from incident_operator.planning.plan import Manifest, Ref

TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
APPS_X = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
SCALABLE = ["Deployment", "StatefulSet", "ReplicaSet"]


async def workload(place: Place, kind: str) -> Manifest:
    more: dict[str, Any] = {"paused": True} if kind == "Deployment" else {}
    selector = {"matchLabels": {"app": "x"}}
    return await place.make(kind, "x", spec={"replicas": 2, "selector": selector, "template": TEMPLATE, **more})


async def incident(place: Place, name: str = "i", **more: Any) -> Manifest:
    targets = [{"kind": "Pod", "name": "p"}]
    spec = {"title": "t", "type": "Outage", "severity": "SEV-4", "targets": targets}
    return await place.make("Incident", name, spec={**spec, "containment": [{"name": "x", "isolate": {}}]}, **more)


@pytest.mark.parametrize("kind", SCALABLE)
async def test_replicas_are_set_through_scale_which_is_silent_at_zero(place: Place, kind: str) -> None:
    thing = await workload(place, kind)
    uid = {"op": "test", "path": "/metadata/uid", "value": thing["metadata"]["uid"]}
    path = "/spec/replicas"
    zero = await place.patch(
        thing, [uid, {"op": "test", "path": path, "value": 2}, {"op": "replace", "path": path, "value": 0}], "scale"
    )
    assert (zero["kind"], zero["apiVersion"], zero["spec"]) == ("Scale", "autoscaling/v1", {})
    assert zero["metadata"]["uid"] == thing["metadata"]["uid"]
    assert zero["status"]["selector"] == "app=x"
    now = await place.now(thing)
    assert now["spec"]["replicas"] == 0
    assert now["metadata"]["generation"] == thing["metadata"]["generation"] + 1
    one = await place.patch(
        thing, [{"op": "test", "path": path, "value": None}, {"op": "add", "path": path, "value": 1}], "scale"
    )
    assert one["spec"] == {"replicas": 1}
    assert (await place.now(thing))["spec"]["template"] == now["spec"]["template"]


@pytest.mark.parametrize("kind", SCALABLE)
async def test_scale_is_refused_where_it_is_not_as_tested(place: Place, kind: str) -> None:
    thing = await workload(place, kind)
    for operation in (
        {"op": "test", "path": "/spec/replicas", "value": 5},
        {"op": "test", "path": "/spec/replicas", "value": None},
        {"op": "test", "path": "/metadata/uid", "value": "another"},
    ):
        with pytest.raises(Conflict):
            await place.patch(thing, [operation, {"op": "add", "path": "/spec/replicas", "value": 7}], "scale")
    for meta in ({"uid": "another"}, {"resourceVersion": "1"}):
        with pytest.raises(Conflict):
            await place.merge(thing, {"metadata": meta, "spec": {"replicas": 7}}, "scale")
    with pytest.raises(Stalled, match="greater than or equal to 0") as fault:
        await place.merge(thing, {"spec": {"replicas": -1}}, "scale")
    assert fault.value.reason == "Invalid"
    assert (await place.now(thing))["spec"]["replicas"] == 2


async def test_scale_is_tried_without_being_done(place: Place) -> None:
    thing = await workload(place, "Deployment")
    tried = await place.merge(thing, {"spec": {"replicas": 5}}, "scale", dry_run=True)
    assert tried["spec"] == {"replicas": 5}
    assert (await place.now(thing))["spec"]["replicas"] == 2


async def test_only_workloads_have_a_scale(place: Place) -> None:
    thing = await place.make("ConfigMap", "x")
    for subresource in ("scale", "status"):
        with pytest.raises(NotFound):
            await place.merge(thing, {"spec": {"replicas": 1}}, subresource)
    missing = {"kind": "Deployment", "metadata": {"name": "x", "namespace": place.namespace, "uid": "u"}}
    with pytest.raises(NotFound, match=r'deployments\.apps "x" not found'):
        await place.merge(missing, {"spec": {"replicas": 1}}, "scale")


@pytest.mark.parametrize("kind", [*SCALABLE, "Incident"])
async def test_the_generation_grows_with_the_spec_and_not_with_labels_or_status(place: Place, kind: str) -> None:
    thing = await (incident(place) if kind == "Incident" else workload(place, kind))
    first = thing["metadata"]["generation"]
    assert first == 1
    labelled = await place.merge(thing, {"metadata": {"labels": {"l": "1"}}})
    assert labelled["metadata"]["generation"] == first
    told = await place.merge(thing, {"status": {"observedGeneration": 1}}, "status")
    assert told["metadata"]["generation"] == first
    spec = {"title": "other"} if kind == "Incident" else {"replicas": 3}
    changed = await place.merge(thing, {"spec": spec})
    assert changed["metadata"]["generation"] == first + 1
    same = await place.merge(thing, {"spec": spec})
    assert same["metadata"]["generation"] == first + 1
    annotated = await place.merge(thing, {"metadata": {"annotations": {"a": "1"}}})
    assert annotated["metadata"]["generation"] == first + 1 + (kind == "Deployment")


@pytest.mark.parametrize("kind", ["ConfigMap", "HorizontalPodAutoscaler", "Service"])
async def test_some_kinds_have_no_generation(place: Place, kind: str) -> None:
    spec = {
        "ConfigMap": {},
        "HorizontalPodAutoscaler": {"spec": {"maxReplicas": 3, "scaleTargetRef": APPS_X}},
        "Service": {"spec": {"ports": [{"port": 80}]}},
    }[kind]
    assert "generation" not in (await place.make(kind, "x", **spec))["metadata"]


async def test_status_is_replaced_whole_under_a_lock(place: Place) -> None:
    thing = await incident(place, status={"id": "forged"})
    assert thing["status"] == {"observedGeneration": -1}, "who makes an Incident does not say how far it is"
    ref, version = place.ref(thing), thing["metadata"]["resourceVersion"]
    one = await place.cluster.patch_status(ref, {"observedGeneration": 1, "id": "one"}, resource_version=version)
    assert one["status"] == {"observedGeneration": 1, "id": "one"}
    assert one["metadata"]["generation"] == 1
    with pytest.raises(Conflict):
        await place.cluster.patch_status(ref, {"id": "two"}, resource_version=version)
    version = one["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        await place.cluster.patch_status(Ref(ref.kind, ref.name, ref.namespace, "u"), {}, resource_version=version)
    same = await place.cluster.patch_status(ref, one["status"], resource_version=version)
    assert same["metadata"]["resourceVersion"] == version
    two = await place.cluster.patch_status(ref, {"phase": "Triage"}, resource_version=version)
    assert two["status"].get("id") is None, "what is absent from a status is removed"
    with pytest.raises(NotFound):
        await place.cluster.patch_status(Ref("Incident", "no", ref.namespace, "u"), {}, resource_version="1")


async def test_the_lock_on_a_status_may_be_the_status_itself(place: Place) -> None:
    thing = await incident(place)
    ref, first = place.ref(thing), thing["status"]
    await place.merge(thing, {"metadata": {"finalizers": ["a.b/c"]}})
    one = await place.cluster.patch_status(ref, {"observedGeneration": 1, "id": "one"}, was=first)
    assert (one["status"]["id"], one["metadata"]["finalizers"]) == ("one", ["a.b/c"])
    with pytest.raises(Conflict):
        await place.cluster.patch_status(ref, {"id": "two"}, was=first)
    with pytest.raises(Conflict):
        await place.cluster.patch_status(ref, {"id": "two"}, was={})
    gone = await place.patch(thing, [{"op": "remove", "path": "/status"}], "status")
    assert gone["status"] == first, "without one it is as it was at first"
    await place.merge(thing, {"metadata": {"finalizers": None}})


async def test_spec_and_status_are_written_apart(place: Place) -> None:
    thing = await incident(place)
    by_main = await place.merge(thing, {"spec": {"title": "new"}, "status": {"id": "no"}})
    assert (by_main["spec"]["title"], (by_main.get("status") or {}).get("id")) == ("new", None)
    by_status = await place.merge(
        thing, {"spec": {"title": "no"}, "metadata": {"labels": {"l": "1"}}, "status": {"id": "yes"}}, "status"
    )
    assert (by_status["spec"]["title"], by_status["status"]["id"]) == ("new", "yes")
    assert "labels" not in by_status["metadata"]
    assert by_status["metadata"]["generation"] == 2
