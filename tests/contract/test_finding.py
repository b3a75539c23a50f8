"""What is found by which selector, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from contract.conftest import Place
from contract.test_subresources import incident
from incident_operator.faults import Stalled
from tests_support.waiting import listed, seen


@pytest.fixture
async def labelled(place: Place) -> Place:
    for name, labels in (("c", {"t": "1", "x": "y"}), ("a", {"t": "1", "x": "z"}), ("b", {"t": "1"})):
        made = await place.make("ConfigMap", name, meta={"labels": labels})
    await listed(place.cluster, made)
    return place


def expression(operator: str, *values: str) -> dict[str, Any]:
    more = {"values": list(values)} if values else {}
    return {"matchLabels": {"t": "1"}, "matchExpressions": [{"key": "x", "operator": operator, **more}]}


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ({"matchLabels": {"t": "1"}}, ["a", "b", "c"]),
        ({"matchLabels": {"t": "1", "x": "y"}}, ["c"]),
        (expression("In", "y", "q"), ["c"]),
        (expression("NotIn", "y"), ["a", "b"]),
        (expression("Exists"), ["a", "c"]),
        (expression("DoesNotExist"), ["b"]),
    ],
)
async def test_a_namespace_is_searched_by_labels(labelled: Place, selector: dict[str, Any], names: list[str]) -> None:
    found = await labelled.cluster.list("ConfigMap", labelled.namespace, selector)
    assert [each["metadata"]["name"] for each in found] == names
    assert {(each["apiVersion"], each["kind"]) for each in found} == {("v1", "ConfigMap")}


async def test_without_a_selector_everything_is_found_and_of_no_other_namespace(labelled: Place) -> None:
    for selector in (None, {}):
        found = await labelled.cluster.list("ConfigMap", labelled.namespace, selector)
        assert {"a", "b", "c"} <= {each["metadata"]["name"] for each in found}
    assert await labelled.cluster.list("ConfigMap", "nowhere") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("t=1", ["a", "b", "c"]),
        ("t==1,x=y", ["c"]),
        ("t=1,x!=y", ["a", "b"]),
        ("t=1,x in (y, z)", ["a", "c"]),
        ("x notin (y),t", ["a", "b"]),
        ("t=1,!x", ["b"]),
    ],
)
async def test_all_namespaces_are_searched_by_labels(labelled: Place, text: str, names: list[str]) -> None:
    here = f"metadata.namespace={labelled.namespace}"
    found = await labelled.cluster.list_all("ConfigMap", label_selector=text, field_selector=here)
    assert [each["metadata"]["name"] for each in found] == names
    found = await labelled.cluster.list_all("ConfigMap", namespace=labelled.namespace, label_selector=text)
    assert [each["metadata"]["name"] for each in found] == names


async def test_incidents_are_searched_by_phase_and_severity(place: Place) -> None:
    one, two = await incident(place, "one"), await incident(place, "two")
    version = one["metadata"]["resourceVersion"]
    await place.cluster.patch_status(place.ref(one), {"phase": "Triage"}, resource_version=version)

    async def found(text: str, *, metadata_only: bool = False) -> list[str]:
        listed = await place.cluster.list_all("Incident", field_selector=text, metadata_only=metadata_only)
        return [each["metadata"]["name"] for each in listed if each["metadata"]["namespace"] == place.namespace]

    async def is_seen() -> bool:
        return await found("status.phase=Triage") == ["one"]

    await seen(is_seen, "the watch cache to have the status")
    assert await found("status.phase!=Triage") == ["two"]
    assert await found("status.phase!=Triage", metadata_only=True) == ["two"], "by what is not sent, too"
    assert await found("spec.severity=SEV-4") == ["one", "two"]
    assert await found(f"metadata.name=={two['metadata']['name']},spec.severity!=SEV-1") == ["two"]


@pytest.mark.parametrize("more", [{"field_selector": "spec.title=t"}, {"label_selector": "a b"}])
async def test_what_cannot_be_selected_by_is_refused(place: Place, more: dict[str, str]) -> None:
    with pytest.raises(Stalled) as fault:
        await place.cluster.list_all("Incident", **more)
    assert fault.value.reason == "Rejected"


async def test_metadata_alone_can_be_listed_and_columns_of_the_table(place: Place) -> None:
    one = await incident(place, "one", meta={"labels": {"l": place.namespace}})
    version = one["metadata"]["resourceVersion"]
    await place.cluster.patch_status(place.ref(one), {"id": place.namespace}, resource_version=version)

    async def ids() -> list[str]:
        return [each for each in await place.cluster.column("Incident", "ID") if each == place.namespace]

    assert await seen(ids, "the watch cache to have the status") == [place.namespace]
    assert list(await place.cluster.column("Incident", "ID", place.namespace)) == [place.namespace]
    assert list(await place.cluster.column("Incident", "ID", "nowhere")) == []
    assert list(await place.cluster.column("Incident", "Nobody")) == []
    (found,) = await place.cluster.list_all("Incident", label_selector=f"l={place.namespace}", metadata_only=True)
    assert {"spec", "status"}.isdisjoint(found)
    assert found["metadata"]["uid"] == one["metadata"]["uid"]
    assert found["kind"] == "PartialObjectMetadata"
