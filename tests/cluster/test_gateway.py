"""The gateway on a real API server: what is refused, and what a refusal means."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from incident_operator.cluster.connection import load
from incident_operator.cluster.gateway import ClusterGateway, Gateway
from incident_operator.faults import Conflict, NotFound, Refused, Stalled, Waiting
from incident_operator.planning.plan import Ref, Request
from tests_support.cluster import Namespace
from tests_support.waiting import listed
from tests_support.workloads import web

pytestmark = pytest.mark.cluster
JSON_PATCH = "application/json-patch+json"


def config_map(namespace: Namespace, name: str = "thing", **data: str) -> Request:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"l": name}}, "data": data}
    return Request("create", Ref("ConfigMap", name, namespace.name), body)


async def test_what_is_made_is_read_back_and_found_by_its_labels(cluster: ClusterGateway, namespace: Namespace) -> None:
    made = await cluster.send(config_map(namespace, a="b"))
    assert (await cluster.get("ConfigMap", namespace.name, "thing"))["data"] == {"a": "b"}
    assert made["metadata"]["managedFields"][0]["manager"] == "incident-operator"
    selector = {"matchExpressions": [{"key": "l", "operator": "In", "values": ["thing", "other"]}]}
    await listed(cluster, made)
    found = await cluster.list("ConfigMap", namespace.name, selector)
    assert [(each["kind"], each["metadata"]["name"]) for each in found] == [("ConfigMap", "thing")]
    assert await cluster.find("ConfigMap", namespace.name, "nobody") is None


async def test_made_twice_is_said_to_be_there_already(cluster: ClusterGateway, namespace: Namespace) -> None:
    await cluster.send(config_map(namespace))
    with pytest.raises(Stalled) as fault:
        await cluster.send(config_map(namespace))
    assert fault.value.reason == "AlreadyExists"


async def test_an_unknown_field_is_refused_by_name(cluster: ClusterGateway, namespace: Namespace) -> None:
    request = config_map(namespace)
    request.body["dtaa"] = {}
    with pytest.raises(Stalled, match="dtaa"):
        await cluster.send(request)


async def test_a_dry_run_changes_nothing(cluster: ClusterGateway, namespace: Namespace) -> None:
    made = await cluster.send(config_map(namespace), dry_run=True)
    assert made["metadata"]["name"] == "thing"
    with pytest.raises(NotFound):
        await cluster.get("ConfigMap", namespace.name, "thing")


@pytest.mark.parametrize(
    ("operation", "is_conflict"),
    [
        ({"op": "test", "path": "/data/a", "value": "z"}, True),
        ({"op": "test", "path": "/metadata/uid", "value": "z"}, True),
        ({"op": "replace", "path": "/metadata/labels", "value": {"not a label!": "x"}}, False),
    ],
)
async def test_a_failed_test_is_a_conflict_and_a_bad_value_is_not(
    cluster: ClusterGateway, namespace: Namespace, operation: dict[str, Any], is_conflict: bool
) -> None:
    made = await cluster.send(config_map(namespace, a="b"))
    ref = Ref("ConfigMap", "thing", namespace.name, made["metadata"]["uid"])
    with pytest.raises(Conflict if is_conflict else Stalled) as fault:
        await cluster.send(Request("patch", ref, [operation], JSON_PATCH))
    assert is_conflict or fault.value.reason == "Invalid"


async def test_deletion_of_another_one_of_the_same_name_is_refused(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    made = await cluster.send(config_map(namespace))
    with pytest.raises(Conflict):
        await cluster.send(Request("delete", Ref("ConfigMap", "thing", namespace.name, "another-uid")))
    ref = Ref("ConfigMap", "thing", namespace.name, made["metadata"]["uid"])
    await cluster.send(Request("delete", ref))
    with pytest.raises(NotFound):
        await cluster.send(Request("delete", ref))


async def test_acting_as_a_service_account_is_limited_to_its_rights(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    responder = cluster.acting_as(namespace.name, "incident-responder")
    assert await responder.list("Pod", namespace.name) == []
    made = await cluster.send(config_map(namespace))
    with pytest.raises(Stalled) as fault:  # it may make one, for a failover, and delete none
        await responder.send(Request("delete", Ref("ConfigMap", "thing", namespace.name, made["metadata"]["uid"])))
    assert fault.value.reason == "Forbidden"
    assert f"ServiceAccount {namespace.name}/incident-responder" in fault.value.message
    assert "configmaps" in fault.value.message
    with pytest.raises(Stalled, match="forbidden"):
        await responder.list("Pod", "kube-system")


async def test_what_is_in_a_secret_is_out_of_reach_and_only_its_metadata_is_listed(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    namespace("create", "secret", "generic", "precious", f"--from-literal=p={base64.b64encode(b'x').decode()}")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "applied"}, "stringData": {"p": "sesame"}}
    namespace("apply", "-f", "-", given=json.dumps(secret))
    await listed(cluster, namespace.get("secret", "applied"))
    found = await cluster.list("Secret", namespace.name)
    assert {each["metadata"]["name"] for each in found} >= {"precious", "applied"}
    assert all(set(each) <= {"apiVersion", "kind", "metadata"} for each in found)
    assert "sesame" not in json.dumps(found)
    with pytest.raises(Stalled, match="nothing but the metadata"):
        await cluster.get("Secret", namespace.name, "precious")
    made = {**secret, "metadata": {"name": "new", "namespace": namespace.name}}
    with pytest.raises(Stalled, match="nothing is written"):
        await cluster.send(Request("create", Ref("Secret", "new", namespace.name), made))


async def test_status_is_replaced_whole_under_a_lock(cluster: ClusterGateway, namespace: Namespace) -> None:
    spec = {"title": "t", "type": "Outage", "severity": "SEV-4", "targets": [{"kind": "Pod", "name": "p"}]}
    spec["containment"] = [{"name": "x", "isolate": {}}]
    body = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "Incident", "metadata": {"name": "i"}, "spec": spec}
    made = await cluster.send(Request("create", Ref("Incident", "i", namespace.name), body))
    ref = Ref("Incident", "i", namespace.name, made["metadata"]["uid"])
    version = made["metadata"]["resourceVersion"]
    one = await cluster.patch_status(ref, {"observedGeneration": 1, "id": "one"}, resource_version=version)
    assert one["status"] == {"observedGeneration": 1, "id": "one"}
    with pytest.raises(Conflict):
        await cluster.patch_status(ref, {"id": "two"}, resource_version=version)
    two = await cluster.patch_status(ref, {"phase": "Triage"}, resource_version=one["metadata"]["resourceVersion"])
    assert "id" not in two["status"], "what is absent from a status is removed"


async def test_a_service_without_endpoints_is_unreachable_and_not_an_answer(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    _, service = web("1")
    namespace.apply(service)
    responder = cluster.acting_as(namespace.name, "incident-responder")
    await known_to_the_proxy(responder, namespace, "web")
    with pytest.raises(Waiting) as fault:
        await responder.through_service(namespace.name, "web", "http", "/", timeout_seconds=5)
    assert fault.value.reason == "ServiceUnreachable"
    with pytest.raises(NotFound):
        await responder.through_service(namespace.name, "nobody", "http", "/", timeout_seconds=5)
    for path in ("/../../secrets", "/%2e%2e/secrets", "secrets"):
        with pytest.raises(Refused, match=r"\.\."):
            await responder.through_service(namespace.name, "web", "http", path, timeout_seconds=5)


async def known_to_the_proxy(hands: Gateway, namespace: Namespace, service: str) -> None:
    """The API server's proxy knows Services from a cache of its own, a moment later than they are there."""
    async with asyncio.timeout(15):
        while True:
            try:
                await hands.through_service(namespace.name, service, "http", "/", timeout_seconds=5)
            except NotFound:
                await asyncio.sleep(0.1)
            except Waiting:
                return


async def test_nothing_is_tried_from_outside_of_the_cluster(cluster: ClusterGateway) -> None:
    assert await cluster.connects("198.18.0.1", 80, timeout_seconds=1) is None


async def test_without_a_named_cluster_there_is_none(monkeypatch: pytest.MonkeyPatch, lab_kubeconfig: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(lab_kubeconfig))
    with pytest.raises(Stalled, match="--kubeconfig"):
        await load(None, None)
