"""Who made an object as a patch wants it, by managedFields as a Kubernetes 1.34 keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from incident_operator.planning.authorship import is_of_another
from incident_operator.planning.plan import Ref, Request

OURS = "incident-operator"
REF = Ref("Deployment", "api", "shop", "u")
TEST = {"op": "test", "path": "/metadata/uid", "value": "u"}
REPLICAS = {"f:spec": {"f:replicas": {}}}
HPA = [{"op": "replace", "path": f"/spec/{each}", "value": 3} for each in ("minReplicas", "maxReplicas")]
TEMPLATE = [{"op": "replace", "path": "/spec/template", "value": {"spec": {"containers": [{"name": "c"}]}}}]
IMAGE = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"c"}': {"f:image": {}}}}}}}


def thing(*entries: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    kept = [{"manager": manager, "operation": "Update", "fieldsV1": fields} for manager, fields in entries]
    return {"kind": "Deployment", "metadata": {"name": "api", "managedFields": kept}}


def patch(*operations: Mapping[str, Any]) -> Request:
    return Request("patch", REF, [TEST, *operations], "application/json-patch+json")


def sets(path: str, value: Any) -> Mapping[str, Any]:
    return {"op": "add", "path": path, "value": value}


def annotated(key: str) -> Mapping[str, Any]:
    return {"f:metadata": {"f:annotations": {".": {}, f"f:{key}": {}}}}


@pytest.mark.parametrize(
    ("operations", "entries", "is_so"),
    [
        pytest.param([sets("/spec/replicas", 5)], [("kubectl", REPLICAS)], True, id="scaled by kubectl"),
        pytest.param([sets("/spec/replicas", 5)], [(OURS, REPLICAS)], False, id="scaled by us"),
        pytest.param([sets("/spec/replicas", 5)], [("flux", REPLICAS), (OURS, REPLICAS)], False, id="by both"),
        pytest.param([sets("/spec/replicas", 0)], [("kubectl", {"f:spec": {}})], False, id="nobody is kept"),
        pytest.param([sets("/spec/replicas", 5)], [], False, id="nothing is kept"),
        pytest.param(HPA, [("a", {"f:spec": {"f:minReplicas": {}}}), (OURS, {"f:spec": {"f:maxReplicas": {}}})], False),
        pytest.param([sets("/metadata/annotations/x.y~1z", "1")], [("a", annotated("x.y/z"))], True, id="escaped"),
        pytest.param([sets("/metadata/annotations", {"x.y/z": "1"})], [("a", annotated("other"))], False, id="map"),
        pytest.param([sets("/metadata/annotations", {"x.y/z": "1"})], [("a", annotated("x.y/z"))], True, id="map, too"),
        pytest.param(TEMPLATE, [("argocd", IMAGE)], True, id="a list by another"),
        pytest.param(TEMPLATE, [("argocd", IMAGE), (OURS, IMAGE)], False, id="a list in part by us"),
        pytest.param([{"op": "remove", "path": "/spec/suspend"}], [("a", {"f:spec": {"f:suspend": {}}})], False),
    ],
)
def test_of_another_is_what_another_set_and_we_did_not(
    operations: Sequence[Mapping[str, Any]], entries: Sequence[tuple[str, Mapping[str, Any]]], is_so: bool
) -> None:
    assert is_of_another(thing(*entries), patch(*operations), OURS) is is_so


def test_of_another_kind_of_write_nothing_is_told() -> None:
    kept = thing(("kubectl", REPLICAS))
    merge = Request("patch", REF, {"spec": {"replicas": 5}}, "application/merge-patch+json")
    assert not is_of_another(kept, merge, OURS)
    assert not is_of_another(kept, Request("delete", REF), OURS)
