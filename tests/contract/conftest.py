"""One suite, two clusters: the one in memory must do what the real API server does."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import pytest

from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.fake import FakeCluster
from incident_operator.cluster.fake_rights import Right
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.cluster.port import Cluster
from incident_operator.cluster.resources import resource
from incident_operator.faults import NotFound
from incident_operator.planning.plan import Manifest, Ref, Request
from tests_support.cluster import Kubectl
from tests_support.waiting import seen

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


@dataclasses.dataclass
class Place:
    """A cluster, and a namespace on it that is the test's own."""

    cluster: Cluster
    namespace: str
    kubectl: Kubectl | None

    @property
    def is_real(self) -> bool:
        return self.kubectl is not None

    def ref(self, thing: Manifest) -> Ref:
        meta = thing["metadata"]
        return Ref(thing["kind"], meta["name"], meta.get("namespace", ""), meta["uid"])

    def creation(self, kind: str, name: str, *, meta: Mapping[str, Any] | None = None, **body: Any) -> Request:
        found = resource(kind)
        thing = {"apiVersion": found.api_version, "kind": kind, "metadata": {"name": name, **(meta or {})}, **body}
        return Request("create", Ref(kind, name, self.namespace if found.namespaced else ""), thing)

    async def make(self, kind: str, name: str, *, meta: Mapping[str, Any] | None = None, **body: Any) -> Manifest:
        return await self.cluster.send(self.creation(kind, name, meta=meta, **body))

    async def patch(
        self, thing: Manifest, operations: list[Mapping[str, Any]], subresource: str = "", *, dry_run: bool = False
    ) -> Manifest:
        request = Request("patch", self.ref(thing), operations, JSON_PATCH, subresource)
        return await self.cluster.send(request, dry_run=dry_run)

    async def merge(self, thing: Manifest, body: Any, subresource: str = "", *, dry_run: bool = False) -> Manifest:
        request = Request("patch", self.ref(thing), body, MERGE_PATCH, subresource)
        return await self.cluster.send(request, dry_run=dry_run)

    async def now(self, thing: Manifest) -> Manifest:
        ref = self.ref(thing)
        return await self.cluster.get(ref.kind, ref.namespace, ref.name)

    async def is_gone(self, thing: Manifest) -> bool:
        ref = self.ref(thing)
        return await self.cluster.find(ref.kind, ref.namespace, ref.name) is None

    async def pods_can_be_made(self) -> None:
        """Wait for the ServiceAccount that every pod needs."""
        if self.is_real:
            await seen(
                lambda: self.cluster.find("ServiceAccount", self.namespace, "default"), "the default ServiceAccount"
            )

    def allow(self, service_account: str, rights: Iterable[Right]) -> None:
        """This ServiceAccount may do this, and nothing else."""
        listed = sorted(rights)
        if isinstance(self.cluster, FakeCluster):
            self.cluster.grant(self.namespace, service_account, listed)
            return
        assert self.kubectl is not None
        rules = [{"apiGroups": [group], "resources": [what], "verbs": [verb]} for group, what, verb in listed]
        api = "rbac.authorization.k8s.io"
        meta = {"name": service_account, "namespace": self.namespace}
        role = {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": rules}
        binding = {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": service_account},
            "subjects": [{"kind": "ServiceAccount", "name": service_account, "namespace": self.namespace}],
        }
        self.kubectl(
            "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": [role, binding]})
        )


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.cluster)])
def kind_of_cluster(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def place(request: pytest.FixtureRequest, kind_of_cluster: str) -> AsyncIterator[Place]:
    name = f"t-{secrets.token_hex(4)}"
    if kind_of_cluster == "fake":
        made = Place(FakeCluster(), name, None)
        await made.make("Namespace", name)
        yield made
        return
    kubectl: Kubectl = request.getfixturevalue("kubectl")
    connection = Connection(await load(request.getfixturevalue("lab_kubeconfig"), None))
    made = Place(ClusterGateway(connection, instance="test"), name, kubectl)
    namespace = await made.make("Namespace", name)
    yield made
    for each in await made.cluster.list("ConfigMap", name):
        if each["metadata"].get("finalizers"):
            await made.merge(each, {"metadata": {"finalizers": None}})
    with contextlib.suppress(NotFound):
        await made.cluster.send(Request("delete", made.ref(namespace)))
    await connection.close()
