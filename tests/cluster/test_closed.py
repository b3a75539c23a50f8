"""A closed Incident that is deleted or edited is told of at once by a real API server, and what is open is not."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.engine.keys import Key
from incident_operator.operator import closed
from tests_support.cluster import Namespace

pytestmark = pytest.mark.cluster
WITHIN = 20
CUT = {"name": "cut", "isolate": {}}


def declare(namespace: Namespace, name: str, phase: str) -> None:
    spec = {"title": name, "type": "Outage", "severity": "SEV-3", "targets": [{"kind": "Deployment", "name": "web"}]}
    meta = {"name": name, "finalizers": ["incident-operator.dev/test"]}
    api = "incident-operator.dev/v1alpha1"
    namespace.apply({"apiVersion": api, "kind": "Incident", "metadata": meta, "spec": {**spec, "containment": [CUT]}})
    status = json.dumps({"status": {"phase": phase}})
    namespace("patch", "incident", name, "--subresource=status", "--type=merge", "-p", status)


def change(namespace: Namespace, name: str, **spec: str) -> None:
    namespace("patch", "incident", name, "--type=merge", "-p", json.dumps({"spec": spec}))


async def test_a_closed_incident_that_is_edited_or_deleted_is_told_of(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    for name, phase in (("open", "Containment"), ("edited", "Resolved"), ("deleted", "Cancelled")):
        declare(namespace, name, phase)
    told: asyncio.Queue[Key] = asyncio.Queue()
    task = asyncio.create_task(closed.watch(cluster, told.put_nowait, [namespace.name]))
    try:
        await _until_begun(told, namespace)
        change(namespace, "open", title="another title")
        change(namespace, "edited", title="another title")
        assert (await asyncio.wait_for(told.get(), WITHIN)).name == "edited"
        namespace("delete", "incident", "deleted", "--wait=false")
        assert (await asyncio.wait_for(told.get(), WITHIN)).name == "deleted"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for name in ("open", "edited", "deleted", "first"):
            namespace("patch", "incident", name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')


async def _until_begun(told: asyncio.Queue[Key], namespace: Namespace) -> None:
    """One that was being deleted before is told of when the watch begins."""
    declare(namespace, "first", "Resolved")
    namespace("delete", "incident", "first", "--wait=false")
    assert (await asyncio.wait_for(told.get(), WITHIN)).name == "first"
    while not told.empty():
        told.get_nowait()
