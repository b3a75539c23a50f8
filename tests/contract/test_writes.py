"""What is made, made twice, tried only, and taken away."""

from __future__ import annotations

import pytest

from contract.conftest import MERGE_PATCH, Place
from incident_operator.faults import Conflict, Fault, NotFound, Stalled, Waiting
from incident_operator.planning.plan import Ref, Request

WORDS = r'deployments\.apps "nobody" not found'


async def test_what_is_made_gets_an_identity_of_its_own_and_is_read_back(place: Place) -> None:
    forged = {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "labels": {"l": "1"}}
    made = await place.make("ConfigMap", "thing", meta=forged, data={"a": "b"})
    meta = made["metadata"]
    assert meta["uid"] not in ("", "mine")
    assert not meta["creationTimestamp"].startswith("2001")
    assert meta["namespace"] == place.namespace
    assert (made["apiVersion"], made["kind"], made["data"], meta["labels"]) == (
        "v1",
        "ConfigMap",
        {"a": "b"},
        {"l": "1"},
    )
    again = await place.now(made)
    assert again == made


async def test_versions_only_ever_grow(place: Place) -> None:
    one = await place.make("ConfigMap", "one")
    two = await place.make("ConfigMap", "two")
    three = await place.merge(one, {"data": {"a": "1"}})
    versions = [int(each["metadata"]["resourceVersion"]) for each in (one, two, three)]
    assert versions == sorted(set(versions))


async def test_made_twice_is_said_to_be_there_already(place: Place) -> None:
    await place.make("ConfigMap", "thing")
    for dry_run in (False, True):
        with pytest.raises(Stalled, match='configmaps "thing" already exists') as fault:
            await place.cluster.send(place.creation("ConfigMap", "thing"), dry_run=dry_run)
        assert fault.value.reason == "AlreadyExists"


async def test_nothing_is_made_in_a_namespace_that_is_not_there(place: Place) -> None:
    request = place.creation("ConfigMap", "thing")
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await place.cluster.send(Request("create", Ref("ConfigMap", "thing", "nowhere"), request.body))


async def test_an_object_of_another_namespace_is_refused(place: Place) -> None:
    with pytest.raises(Stalled, match="does not match the namespace") as fault:
        await place.make("ConfigMap", "thing", meta={"namespace": "elsewhere"})
    assert fault.value.reason == "Rejected"


async def test_a_version_on_what_is_to_be_made_is_refused(place: Place) -> None:
    with pytest.raises(Waiting, match="resourceVersion should not be set") as fault:
        await place.make("ConfigMap", "thing", meta={"resourceVersion": "5"})
    assert fault.value.reason == "ApiServerError"


async def test_an_unknown_kind_is_not_asked_for(place: Place) -> None:
    with pytest.raises(Stalled, match="kind Gadget is not known"):
        await place.cluster.get("Gadget", place.namespace, "precious")


async def test_what_is_in_a_secret_is_not_asked_for(place: Place) -> None:
    with pytest.raises(Stalled, match="nothing but the metadata"):
        await place.cluster.get("Secret", place.namespace, "precious")


async def test_making_is_tried_without_being_done(place: Place) -> None:
    made = await place.cluster.send(place.creation("ConfigMap", "thing", data={"a": "b"}), dry_run=True)
    assert made["data"] == {"a": "b"}
    assert made["metadata"]["uid"]
    assert "resourceVersion" not in made["metadata"]
    assert await place.is_gone(made)


async def test_a_patch_is_tried_without_being_done(place: Place) -> None:
    made = await place.make("ConfigMap", "thing", data={"a": "b"})
    tried = await place.merge(made, {"data": {"a": "c"}}, dry_run=True)
    assert tried["data"] == {"a": "c"}
    assert tried["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert await place.now(made) == made


async def test_a_deletion_is_tried_without_being_done(place: Place) -> None:
    made = await place.make("ConfigMap", "thing")
    answer = await place.cluster.send(Request("delete", place.ref(made)), dry_run=True)
    assert answer["kind"] == "Status"
    assert await place.now(made) == made


async def test_what_is_deleted_is_gone_and_its_status_names_it(place: Place) -> None:
    made = await place.make("ConfigMap", "thing")
    answer = await place.cluster.send(Request("delete", place.ref(made)))
    uid = made["metadata"]["uid"]
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "thing", "kind": "configmaps", "uid": uid}
    assert await place.is_gone(made)
    with pytest.raises(NotFound, match='configmaps "thing" not found'):
        await place.cluster.send(Request("delete", place.ref(made)))


@pytest.mark.parametrize("uid", ["another", ""])
async def test_another_one_of_the_same_name_is_not_deleted(place: Place, uid: str) -> None:
    made = await place.make("ConfigMap", "thing")
    with pytest.raises(Conflict, match="UID in the precondition"):
        await place.cluster.send(Request("delete", Ref("ConfigMap", "thing", place.namespace, uid)))
    assert await place.now(made) == made


async def test_what_is_made_again_under_the_name_is_another_one(place: Place) -> None:
    one = await place.make("ConfigMap", "thing")
    await place.cluster.send(Request("delete", place.ref(one)))
    two = await place.make("ConfigMap", "thing")
    assert one["metadata"]["uid"] != two["metadata"]["uid"]
    with pytest.raises(Conflict):
        await place.cluster.send(Request("delete", place.ref(one)))


async def test_what_is_not_there_is_not_found(place: Place) -> None:
    ref = Ref("Deployment", "nobody", place.namespace, "uid")
    assert await place.cluster.find(ref.kind, ref.namespace, ref.name) is None
    with pytest.raises(NotFound, match=WORDS):
        await place.cluster.get(ref.kind, ref.namespace, ref.name)
    with pytest.raises(NotFound, match=WORDS):
        await place.cluster.send(Request("delete", ref))
    with pytest.raises(NotFound, match=WORDS):
        await place.cluster.send(Request("patch", ref, {"metadata": {"labels": {}}}, MERGE_PATCH))


async def test_a_group_that_is_not_served_is_known_from_the_groups_and_no_list_of_it_is_empty(place: Place) -> None:
    assert "keda.sh" not in await place.cluster.groups()
    assert "apps" in await place.cluster.groups()
    # The API server answers with a bare page, as anything in between would: that says nothing about what there is.
    with pytest.raises(Fault) as fault:
        await place.cluster.list("ScaledObject", place.namespace)
    assert fault.value.reason == "ApiServerError"
