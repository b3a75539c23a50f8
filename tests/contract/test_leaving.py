"""How objects go: finalizers, what they owned, pods on nodes, whole namespaces."""

from __future__ import annotations

import pytest

from contract.conftest import Place
from incident_operator.faults import Stalled
from incident_operator.planning.plan import Manifest, Request
from tests_support.waiting import seen

FINALIZER = "a.b/c"


async def test_a_finalizer_keeps_what_is_deleted_until_it_is_taken_off(place: Place) -> None:
    made = await place.make("ConfigMap", "thing", meta={"finalizers": [FINALIZER]})
    delete = Request("delete", place.ref(made))
    leaving = await place.cluster.send(delete)
    assert leaving["kind"] == "ConfigMap"
    assert leaving["metadata"]["deletionTimestamp"]
    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 0
    assert leaving["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert await place.cluster.send(delete) == leaving, "deleted twice is deleted once"
    with pytest.raises(Stalled, match="object is being deleted") as there:
        await place.make("ConfigMap", "thing")
    assert there.value.reason == "AlreadyExists"
    with pytest.raises(Stalled, match="no new finalizers") as fault:
        await place.patch(made, [{"op": "add", "path": "/metadata/finalizers/-", "value": "x.y/z"}])
    assert fault.value.reason == "Invalid"
    edited = await place.merge(made, {"data": {"a": "b"}})
    assert edited["data"] == {"a": "b"}, "it can still be written to"
    last = await place.merge(made, {"metadata": {"finalizers": []}})
    assert last["metadata"]["deletionTimestamp"]
    assert await place.is_gone(made)


async def test_a_deletion_that_waits_is_a_new_generation(place: Place) -> None:
    targets = [{"kind": "Pod", "name": "p"}]
    spec = {"title": "t", "type": "Outage", "severity": "SEV-4", "targets": targets}
    spec |= {"containment": [{"name": "x", "isolate": {}}]}
    made = await place.make("Incident", "i", meta={"finalizers": [FINALIZER]}, spec=spec)
    leaving = await place.cluster.send(Request("delete", place.ref(made)))
    again = await place.now(made)
    assert again["metadata"]["generation"] == leaving["metadata"]["generation"] == 2
    version = again["metadata"]["resourceVersion"]
    told = await place.cluster.patch_status(place.ref(made), {"id": "one"}, resource_version=version)
    assert told["status"]["id"] == "one"
    await place.merge(made, {"metadata": {"finalizers": None, "resourceVersion": told["metadata"]["resourceVersion"]}})
    assert await place.is_gone(made)


def owner(thing: Manifest) -> dict[str, str]:
    meta = thing["metadata"]
    return {"apiVersion": thing["apiVersion"], "kind": thing["kind"], "name": meta["name"], "uid": meta["uid"]}


async def test_what_it_alone_owned_goes_with_it(place: Place) -> None:
    one, two = await place.make("ConfigMap", "one"), await place.make("ConfigMap", "two")
    mine = await place.make("ConfigMap", "mine", meta={"ownerReferences": [owner(one)]})
    below = await place.make("ConfigMap", "below", meta={"ownerReferences": [owner(mine)]})
    shared = await place.make("ConfigMap", "shared", meta={"ownerReferences": [owner(one), owner(two)]})
    await place.cluster.send(Request("delete", place.ref(one)))
    await seen(lambda: place.is_gone(mine), "what it alone owned is gone")
    await seen(lambda: place.is_gone(below), "and what that owned")

    async def is_of_two_only() -> bool:
        return (await place.now(shared))["metadata"]["ownerReferences"] == [owner(two)]

    await seen(is_of_two_only, "the reference to what is gone is taken off")


async def test_a_pod_of_no_node_goes_at_once_and_the_answer_is_the_pod(place: Place) -> None:
    await place.pods_can_be_made()
    spec = {"schedulerName": "nobody", "containers": [{"name": "c", "image": "i"}]}
    pod = await place.make("Pod", "p", spec=spec)
    answer = await place.cluster.send(Request("delete", place.ref(pod)))
    assert answer["kind"] == "Pod"
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 0
    assert await place.is_gone(pod)


async def test_a_pod_on_a_node_waits_for_its_kubelet(place: Place) -> None:
    await place.pods_can_be_made()
    spec = {"nodeName": "nowhere", "terminationGracePeriodSeconds": 600, "containers": [{"name": "c", "image": "i"}]}
    pod = await place.make("Pod", "p", spec=spec)
    answer = await place.cluster.send(Request("delete", place.ref(pod)))
    assert answer["metadata"]["deletionGracePeriodSeconds"] == 600
    assert (await place.now(pod))["metadata"]["deletionTimestamp"]


async def test_nothing_new_is_made_in_a_namespace_that_goes(place: Place) -> None:
    held = await place.make("ConfigMap", "held", meta={"finalizers": [FINALIZER]})
    free = await place.make("ConfigMap", "free")
    namespace = await place.cluster.get("Namespace", "", place.namespace)
    await place.cluster.send(Request("delete", place.ref(namespace)))
    for name in ("late", "held"):
        with pytest.raises(Stalled, match="because it is being terminated") as fault:
            await place.make("ConfigMap", name)
        assert fault.value.reason == "Forbidden"
    await seen(lambda: place.is_gone(free), "the rest of it is deleted")
    assert not await place.is_gone(namespace)
    await place.merge(held, {"metadata": {"finalizers": None}})
    await seen(lambda: place.is_gone(held), "its last object is gone")
    await seen(lambda: place.is_gone(namespace), "and then itself", within=40)
