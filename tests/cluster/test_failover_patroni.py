"""failover.patroni on a real API server: its objects are made and changed there as Patroni reads and cleans them.

Patroni itself is not run: its annotations are written as ``patroni/dcs/kubernetes.py`` writes them.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from incident_operator.actions.failover import Failover
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.faults import Conflict, Fault, Stalled
from incident_operator.planning.plan import Standing
from tests_support.cluster import Namespace
from tests_support.waiting import eventually

from .test_data_actions import Stage

pytestmark = pytest.mark.cluster
LABELS = {"application": "spilo", "cluster-name": "shop-db"}
LOCKS = {"Endpoints": "shop-db", "ConfigMap": "shop-db-leader"}
ASKED = "shop-db-failover"
FORM = {"patroni": {"scope": "shop-db"}}


def patroni(namespace: Namespace, kind: str) -> None:
    """A StatefulSet of two, whose pods say what members say, and who leads."""
    container = {"name": "main", "image": "localhost/none:1"}
    # Scheduled by nobody, so that no kubelet says anything else of them than the test does.
    pod = {"containers": [container], "schedulerName": "nobody"}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": pod}
    spec = {"serviceName": "db", "replicas": 2, "podManagementPolicy": "Parallel", "template": template}
    whole = {**spec, "selector": {"matchLabels": {"app": "db"}}}
    meta = {"name": LOCKS[kind], "labels": LABELS, "annotations": {"leader": "db-0", "renewTime": "x"}}
    namespace.apply({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": whole})
    namespace.apply({"apiVersion": "v1", "kind": kind, "metadata": meta})
    eventually(lambda: len(namespace("get", "pods", "-o", "name").split()) == 2, within=30, what="both pods")
    for number, role in enumerate(("primary", "replica")):
        says(namespace, number, role)


def says(namespace: Namespace, number: int, role: str) -> None:
    said = json.dumps({"state": "running", "role": role, "xlog_location": 100, "timeline": 1})
    annotate(namespace, "pod", f"db-{number}", status=said)
    running = json.dumps({"status": {"phase": "Running"}})
    namespace("patch", "pod", f"db-{number}", "--subresource=status", "--type=merge", "-p", running)


def annotate(namespace: Namespace, kind: str, name: str, **values: Any) -> None:
    namespace("patch", kind, name, "--type=merge", "-p", json.dumps({"metadata": {"annotations": values}}))


@pytest.mark.parametrize("kind", sorted(LOCKS))
async def test_another_leader_is_asked_for_followed_and_asked_for_again(
    cluster: ClusterGateway, namespace: Namespace, kind: str
) -> None:
    patroni(namespace, kind)
    stage = Stage(cluster, namespace, Failover())
    plan = await stage.plan("StatefulSet", "db", FORM)
    entries = await stage.make(plan)
    meta = namespace.get(kind, ASKED)["metadata"]
    assert LABELS.items() <= meta["labels"].items()
    assert {"leader": "db-0", "member": "db-1"}.items() <= meta["annotations"].items()
    assert (await stage.settle(entries)).state == "Pending"
    with pytest.raises(Stalled):
        await cluster.send(plan[0].request)
    annotate(namespace, kind, LOCKS[kind], leader="db-1")
    annotate(namespace, kind, ASKED, leader=None, member=None, scheduled_at=None)
    for number, role in enumerate(("replica", "primary")):
        says(namespace, number, role)
    assert (await stage.settle(entries)).state == "Settled"
    assert await stage.standing(entries[0].change) is Standing.AFTER
    again = await stage.plan("StatefulSet", "db", FORM)
    back = await stage.make(again)
    assert namespace.get(kind, ASKED)["metadata"]["annotations"]["member"] == "db-0"
    with pytest.raises(Conflict):
        await cluster.send(again[0].request)
    withdrawn = stage.action.undo(back[0].change, namespace.get(kind, ASKED))
    assert withdrawn is not None
    await cluster.send(withdrawn)
    assert "member" not in namespace.get(kind, ASKED)["metadata"]["annotations"]


async def test_a_request_of_somebody_else_is_not_overwritten(cluster: ClusterGateway, namespace: Namespace) -> None:
    patroni(namespace, "Endpoints")
    namespace.apply({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": ASKED, "labels": LABELS}})
    stage = Stage(cluster, namespace, Failover())
    (change,) = await stage.plan("StatefulSet", "db", FORM)
    annotate(namespace, "endpoints", ASKED, scheduled_at="2030-01-01T00:00:00")
    assert change.request is not None
    with pytest.raises(Fault):
        await cluster.send(change.request)
    assert "member" not in namespace.get("endpoints", ASKED)["metadata"]["annotations"]
    assert await stage.standing(change) is Standing.OTHER
