"""The same patches on both clusters at once: whatever is tried, the one in memory does what the real one does."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.fake import FakeCluster
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.cluster.port import Cluster
from incident_operator.faults import Fault, NotFound
from incident_operator.planning.plan import Manifest, Ref, Request
from tests_support.cluster import Kubectl

pytestmark = pytest.mark.cluster
KEPT = ("name", "namespace", "labels", "annotations", "finalizers", "ownerReferences", "generation")
COUNTED = ("ConfigMap", "NetworkPolicy")

MAPS = [f"{path}" for path in ("/data", "/metadata/labels", "/metadata/annotations")]
LEAVES = [f"{path}/{key}" for path in MAPS for key in ("a", "b", "x~1y") if key.isalpha() or path != "/data"]
LIST = "/metadata/finalizers"
PLACES = [f"{LIST}/{place}" for place in ("0", "1", "5", "-", "x")]
TEXTS = st.sampled_from(["", "1", "2"])
NAMES = st.sampled_from(["f.g/1", "f.g/2"])


def operations(paths: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    # Only values of one type where one type may be: without a schema the fake takes any.
    at = st.sampled_from(paths)
    return st.one_of(
        st.fixed_dictionaries({"op": st.sampled_from(["add", "replace"]), "path": at, "value": values}),
        st.fixed_dictionaries({"op": st.just("test"), "path": at, "value": st.one_of(st.none(), values)}),
        st.fixed_dictionaries({"op": st.just("remove"), "path": at}),
        st.fixed_dictionaries({"op": st.sampled_from(["move", "copy"]), "path": at, "from": at}),
    )


OPERATIONS = st.one_of(
    operations(LEAVES, st.one_of(TEXTS, st.none())),
    operations(MAPS, st.dictionaries(st.sampled_from(["a", "b"]), TEXTS)),
    operations([LIST], st.lists(NAMES, unique=True)),
    operations(PLACES, NAMES),
    operations(["/metadata/uid", "/metadata/nobody/of/the/kind"], st.just("x")),
)
MAP = st.one_of(st.none(), st.dictionaries(st.sampled_from(["a", "b", "c"]), st.one_of(st.none(), TEXTS), max_size=3))
MERGES = st.fixed_dictionaries(
    {},
    optional={
        "data": MAP,
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "labels": MAP,
                "annotations": MAP,
                "finalizers": st.one_of(st.none(), st.lists(st.sampled_from(["f.g/1", "f.g/2"]), unique=True)),
                "resourceVersion": st.sampled_from(["1", ""]),
            },
        ),
    },
)
ACTS = st.one_of(
    st.tuples(st.just("json"), st.lists(OPERATIONS, min_size=1, max_size=4), st.booleans()),
    st.tuples(st.just("merge"), MERGES, st.booleans()),
    st.tuples(st.just("delete"), st.just(None), st.just(value=False)),
)


class Pair:
    """Both clusters, with a loop of their own that the examples share."""

    def __init__(self, kubeconfig: Path) -> None:
        self.runner = asyncio.Runner()
        self.connection = Connection(self.runner.run(load(kubeconfig, None)))
        self.clusters: tuple[Cluster, Cluster] = (FakeCluster(), ClusterGateway(self.connection, instance="test"))
        self.namespace = f"t-{secrets.token_hex(4)}"
        self.both(lambda cluster: cluster.send(creation("Namespace", self.namespace, "")))

    def both(self, act: Any) -> tuple[Any, Any]:
        """What an act comes to on either cluster, its fault if it is one."""

        async def one(cluster: Cluster) -> Any:
            try:
                return await act(cluster)
            except Fault as fault:
                return fault

        return self.runner.run(one(self.clusters[0])), self.runner.run(one(self.clusters[1]))

    def close(self) -> None:
        _, namespace = self.both(lambda cluster: cluster.get("Namespace", "", self.namespace))
        ref = Ref("Namespace", self.namespace, "", namespace["metadata"]["uid"])
        self.runner.run(self.clusters[1].send(Request("delete", ref)))
        self.runner.run(self.connection.close())
        self.runner.close()


def creation(kind: str, name: str, namespace: str) -> Request:
    meta = {"name": name, "finalizers": ["f.g/1"], "labels": {"a": "1"}} if kind == "ConfigMap" else {"name": name}
    body = {"apiVersion": "v1", "kind": kind, "metadata": meta}
    return Request("create", Ref(kind, name, namespace), {**body, "data": {"a": "1"}} if kind == "ConfigMap" else body)


@pytest.fixture(scope="module")
def pair(lab_kubeconfig: Path, kubectl: Kubectl) -> Iterator[Pair]:
    made = Pair(lab_kubeconfig)
    yield made
    made.close()


def seen(thing: Manifest | Fault | None) -> Any:
    """What the two must agree on: all but what a cluster makes up by itself."""
    if thing is None or isinstance(thing, Fault):
        return None if thing is None else (type(thing).__name__, thing.reason)
    if thing["kind"] == "Status":
        return "deleted"
    meta = {key: thing["metadata"][key] for key in KEPT if thing["metadata"].get(key)}
    return {"data": thing.get("data") or {}, "meta": meta, "leaving": "deletionTimestamp" in thing["metadata"]}


def request_of(act: tuple[str, Any, bool], ref: Ref) -> Request:
    how, body, _ = act
    if how == "delete":
        return Request("delete", ref)
    return Request("patch", ref, body, f"application/{how}-patch+json")  # type: ignore[arg-type]


def compared(pair: Pair, acts: list[tuple[str, Any, bool]]) -> None:
    name = f"n-{secrets.token_hex(5)}"
    made = pair.both(lambda cluster: cluster.send(creation("ConfigMap", name, pair.namespace)))
    refs = {
        id(c): Ref("ConfigMap", name, pair.namespace, m["metadata"]["uid"])
        for c, m in zip(pair.clusters, made, strict=True)
    }
    for act in acts:
        answers = pair.both(lambda c, act=act: c.send(request_of(act, refs[id(c)]), dry_run=act[2]))
        assert seen(answers[0]) == seen(answers[1]), f"{json.dumps(act)}: {answers}"
        there = pair.both(lambda c: c.find("ConfigMap", pair.namespace, name))
        assert seen(there[0]) == seen(there[1]), f"after {json.dumps(act)}"
    clear = {"metadata": {"finalizers": None}}
    pair.both(lambda c: c.send(Request("patch", refs[id(c)], clear, "application/merge-patch+json")))
    ends = pair.both(lambda c: c.send(Request("delete", refs[id(c)])))
    assert all(isinstance(end, (dict, NotFound)) for end in ends)


LISTS = st.lists(ACTS, min_size=1, max_size=5)
FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(acts=LISTS)
def test_patches_and_deletions_come_to_the_same_on_both(pair: Pair, acts: list[tuple[str, Any, bool]]) -> None:
    compared(pair, acts)


@pytest.mark.slow
@settings(FEW, max_examples=2000)
@given(acts=LISTS)
def test_many_patches_and_deletions_come_to_the_same(pair: Pair, acts: list[tuple[str, Any, bool]]) -> None:
    compared(pair, acts)
