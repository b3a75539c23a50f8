"""Patches: when they apply, what they leave, and what a refusal means."""

from __future__ import annotations

from typing import Any

import pytest

from contract.conftest import Place
from incident_operator.faults import Conflict, Stalled

THERE = {"a": "b", "c": "d"}


def test(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


test.__test__ = False  # type: ignore[attr-defined]


async def made(place: Place) -> Any:
    return await place.make("ConfigMap", "thing", meta={"finalizers": ["x.y/1", "x.y/2"]}, data=THERE)


HOLDS: dict[str, tuple[list[dict[str, Any]], dict[str, str]]] = {
    "test of what is there": ([test("/data/a", "b")], THERE),
    "test of absence": ([test("/data/z", None)], THERE),
    "test of a list": ([test("/metadata/finalizers", ["x.y/1", "x.y/2"])], THERE),
    "test of an item": ([test("/metadata/finalizers/1", "x.y/2")], THERE),
    "add": ([{"op": "add", "path": "/data/z", "value": "1"}], {**THERE, "z": "1"}),
    "add over": ([{"op": "add", "path": "/data/a", "value": "1"}], {**THERE, "a": "1"}),
    "replace": ([{"op": "replace", "path": "/data/a", "value": "1"}], {**THERE, "a": "1"}),
    "replace of what is absent": ([{"op": "replace", "path": "/data/z", "value": "1"}], {**THERE, "z": "1"}),
    "remove": ([{"op": "remove", "path": "/data/a"}], {"c": "d"}),
    "move": ([{"op": "move", "from": "/data/a", "path": "/data/z"}], {"c": "d", "z": "b"}),
    "copy": ([{"op": "copy", "from": "/data/a", "path": "/data/z"}], {**THERE, "z": "b"}),
    "add, then test of it": (
        [{"op": "add", "path": "/data/z", "value": "1"}, test("/data/z", "1")],
        {**THERE, "z": "1"},
    ),
    "remove, then test of absence": ([{"op": "remove", "path": "/data/a"}, test("/data/a", None)], {"c": "d"}),
    "a whole map": ([{"op": "add", "path": "/data", "value": {"n": "1"}}], {"n": "1"}),
}


@pytest.mark.parametrize("name", HOLDS)
async def test_a_patch_that_fits_is_applied(place: Place, name: str) -> None:
    thing = await made(place)
    operations, wanted = HOLDS[name]
    new = await place.patch(thing, operations)
    assert new["data"] == wanted
    assert await place.now(thing) == new
    changed = new["metadata"]["resourceVersion"] != thing["metadata"]["resourceVersion"]
    assert changed is (wanted != THERE), "only what changes anything is a new version"


CONFLICTS: dict[str, dict[str, Any]] = {
    "test of another value": test("/data/a", "z"),
    "test of absence where it is there": test("/data/a", None),
    "test of a value where it is absent": test("/data/z", "1"),
    "test of absence where its parent is absent": test("/metadata/labels/z", None),
    "test below a text": test("/data/a/b", None),
    "test of another UID": test("/metadata/uid", "another"),
    "test of another version": test("/metadata/resourceVersion", "1"),
    "test of a list in another order": test("/metadata/finalizers", ["x.y/2", "x.y/1"]),
    "test beyond a list": test("/metadata/finalizers/9", None),
    "remove of what is absent": {"op": "remove", "path": "/data/z"},
    "remove where its parent is absent": {"op": "remove", "path": "/metadata/labels/z"},
    "remove beyond a list": {"op": "remove", "path": "/metadata/finalizers/9"},
    "add where its parent is absent": {"op": "add", "path": "/metadata/labels/z", "value": "1"},
    "add beyond a list": {"op": "add", "path": "/metadata/finalizers/9", "value": "x.y/3"},
    "replace beyond a list": {"op": "replace", "path": "/metadata/finalizers/9", "value": "x.y/3"},
    "no position in a list": {"op": "replace", "path": "/metadata/finalizers/x", "value": "x.y/3"},
    "move of what is absent": {"op": "move", "from": "/data/z", "path": "/data/y"},
    "an unknown operation": {"op": "frob", "path": "/data/a", "value": "1"},
    "another version written": {"op": "replace", "path": "/metadata/resourceVersion", "value": "1"},
}


@pytest.mark.parametrize("name", CONFLICTS)
async def test_a_patch_that_does_not_fit_is_a_conflict_and_nothing_of_it_is_applied(place: Place, name: str) -> None:
    thing = await made(place)
    with pytest.raises(Conflict):
        await place.patch(thing, [{"op": "add", "path": "/data/first", "value": "1"}, CONFLICTS[name]])
    assert await place.now(thing) == thing


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another name": ({"op": "replace", "path": "/metadata/name", "value": "other"}, "Rejected"),
    "another namespace": ({"op": "replace", "path": "/metadata/namespace", "value": "other"}, "Rejected"),
    "another UID": ({"op": "replace", "path": "/metadata/uid", "value": "other"}, "Invalid"),
    "another kind": ({"op": "replace", "path": "/kind", "value": "Service"}, "Invalid"),
    "a deletion": ({"op": "add", "path": "/metadata/deletionTimestamp", "value": "2026-01-01T00:00:00Z"}, "Invalid"),
    "no object": ({"op": "replace", "path": "", "value": {}}, "Rejected"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_changed_is_refused_for_good(place: Place, name: str) -> None:
    thing = await made(place)
    operation, reason = REFUSED[name]
    with pytest.raises(Stalled) as fault:
        await place.patch(thing, [operation])
    assert fault.value.reason == reason
    assert await place.now(thing) == thing


@pytest.mark.parametrize("field", ["creationTimestamp", "generation"])
async def test_what_the_server_keeps_is_kept(place: Place, field: str) -> None:
    value = 44 if field == "generation" else "2001-01-01T00:00:00Z"
    thing = await made(place)
    new = await place.patch(thing, [{"op": "add", "path": f"/metadata/{field}", "value": value}])
    assert new == thing


async def test_lists_are_edited_by_place_and_keys_escaped(place: Place) -> None:
    thing = await made(place)
    new = await place.patch(
        thing,
        [
            {"op": "add", "path": "/metadata/finalizers/-", "value": "x.y/last"},
            {"op": "add", "path": "/metadata/finalizers/0", "value": "x.y/first"},
            {"op": "remove", "path": "/metadata/finalizers/1"},
            {"op": "replace", "path": "/metadata/finalizers/1", "value": "x.y/changed"},
            test("/metadata/annotations", None),
            {"op": "add", "path": "/metadata/annotations", "value": {}},
            {"op": "add", "path": "/metadata/annotations/a.b~1c", "value": "1"},
        ],
    )
    assert new["metadata"]["finalizers"] == ["x.y/first", "x.y/changed", "x.y/last"]
    assert new["metadata"]["annotations"] == {"a.b/c": "1"}


async def test_a_merge_sets_takes_away_and_leaves_the_rest(place: Place) -> None:
    thing = await made(place)
    new = await place.merge(thing, {"data": {"a": None, "z": "1", "nobody": None}, "metadata": {"labels": {"l": "1"}}})
    assert new["data"] == {"c": "d", "z": "1"}
    assert new["metadata"]["labels"] == {"l": "1"}
    assert new["metadata"]["finalizers"] == ["x.y/1", "x.y/2"]
    new = await place.merge(thing, {"metadata": {"finalizers": ["x.y/3"], "labels": None}})
    assert new["metadata"]["finalizers"] == ["x.y/3"], "lists are replaced whole"
    assert "labels" not in new["metadata"]


async def test_what_comes_out_empty_is_left_out(place: Place) -> None:
    thing = await place.make("ConfigMap", "thing", meta={"labels": {"a": "b"}, "annotations": {"a": "b"}})
    new = await place.merge(thing, {"metadata": {"labels": {"a": None}, "annotations": {"a": None}}})
    assert {"labels", "annotations", "finalizers"}.isdisjoint(new["metadata"])


async def test_a_merge_that_changes_nothing_is_no_new_version(place: Place) -> None:
    thing = await made(place)
    assert await place.merge(thing, {"data": {"a": "b", "nobody": None}}) == thing


async def test_a_version_in_a_merge_is_a_lock(place: Place) -> None:
    thing = await made(place)
    old, uid = thing["metadata"]["resourceVersion"], thing["metadata"]["uid"]
    new = await place.merge(thing, {"metadata": {"resourceVersion": old, "uid": uid}, "data": {"a": "1"}})
    assert new["data"]["a"] == "1"
    for body in ({"data": {"a": "2"}}, {}):
        with pytest.raises(Conflict, match="the object has been modified"):
            await place.merge(thing, {"metadata": {"resourceVersion": old}, **body})
    with pytest.raises(Stalled, match="field is immutable") as fault:
        await place.merge(thing, {"metadata": {"uid": "another"}, "data": {"a": "2"}})
    assert fault.value.reason == "Invalid"
    assert await place.now(thing) == new


async def test_of_two_that_saw_the_same_version_one_wins(place: Place) -> None:
    thing = await made(place)
    lock = test("/metadata/resourceVersion", thing["metadata"]["resourceVersion"])
    await place.patch(thing, [lock, {"op": "add", "path": "/data/a", "value": "one"}])
    with pytest.raises(Conflict):
        await place.patch(thing, [lock, {"op": "add", "path": "/data/a", "value": "two"}])
    assert (await place.now(thing))["data"]["a"] == "one"
