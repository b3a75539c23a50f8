"""Whose a change is that stands as it was planned: what the API server keeps of who set which field tells it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cluster.rights_world import autoscaler, batch, workload
from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.actions.contract import Occasion
from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.engine.acting import Attempt, act
from incident_operator.planning.plan import Change, Entry, EntryState, Ref, Release
from tests_support.cluster import Namespace
from tests_support.waiting import listed

pytestmark = pytest.mark.cluster
NOW = "2026-11-27T03:00:00Z"


@pytest.fixture
async def cluster(lab_kubeconfig: Path) -> AsyncIterator[ClusterGateway]:
    connection = Connection(await load(lab_kubeconfig, None))
    yield ClusterGateway(connection, instance="test")
    await connection.close()


async def planned(
    cluster: ClusterGateway, namespace: Namespace, name: str, target: tuple[str, str], params: dict[str, Any]
) -> tuple[Change, ...]:
    """The changes that one action would make; pods do not come into it."""
    api, web = workload("Deployment", "api", "1", replicas=2), workload("Deployment", "web", "1", replicas=2)
    namespace.apply(*({**each, "spec": {**each["spec"], "paused": True}} for each in (api, web)))
    hpa = autoscaler("HorizontalPodAutoscaler", "autoscaling/v2", "Deployment", "web")
    namespace.apply(batch("CronJob", "nightly"), hpa)
    await listed(cluster, await cluster.get("HorizontalPodAutoscaler", namespace.name, "web"))
    occasion = Occasion(namespace.name, "i", "uid-of-the-incident", "step")
    return await ACTIONS[name].plan(cluster, occasion, Ref(*target, namespace.name), params)


def attempt(name: str, change: Change, *, is_first: bool = False) -> Attempt:
    entry = Entry("step", name, change, Release.ON_RESOLVE, EntryState.INTENDED, intended_at=NOW)
    return Attempt(ACTIONS[name], entry, is_first)


def by_hand(namespace: Namespace, change: Change) -> None:
    """Somebody makes exactly what was planned."""
    assert change.request is not None
    over = [f"--subresource={change.request.subresource}"] if change.request.subresource else []
    target = f"{change.target.kind}/{change.target.name}"
    namespace("patch", target, "--type=json", "-p", json.dumps(change.request.body), *over)


CASES: dict[str, tuple[str, tuple[str, str], dict[str, Any]]] = {
    "scaled": ("scale", ("Deployment", "api"), {"replicas": 5}),
    "suspended": ("suspend", ("CronJob", "nightly"), {}),
    "held by its autoscaler": ("pauseAutoscaling", ("Deployment", "web"), {}),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_somebody_made_as_it_was_planned_is_theirs(
    cluster: ClusterGateway, namespace: Namespace, name: str
) -> None:
    action, target, params = CASES[name]
    changes = await planned(cluster, namespace, action, target, params)
    assert changes
    for change in changes:
        by_hand(namespace, change)
        found = await act(cluster, attempt(action, change), NOW)
        assert (found.state, found.message[:27]) == (EntryState.SKIPPED, "somebody else made it so af")


@pytest.mark.parametrize("name", CASES)
async def test_what_a_process_before_this_one_made_is_ours(
    cluster: ClusterGateway, namespace: Namespace, name: str
) -> None:
    action, target, params = CASES[name]
    changes = await planned(cluster, namespace, action, target, params)
    assert changes
    for change in changes:
        assert (await act(cluster, attempt(action, change), NOW)).state is EntryState.DONE
        assert (await act(cluster, attempt(action, change), NOW)).state is EntryState.DONE


async def test_of_nought_replicas_nobody_is_kept_and_so_only_the_first_try_knows(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    (change,) = await planned(cluster, namespace, "scale", ("Deployment", "api"), {"replicas": 0})
    namespace("scale", "deployment/api", "--replicas=0")
    kept = (await cluster.get("Deployment", namespace.name, "api"))["metadata"]["managedFields"]
    assert not [each for each in kept if "f:replicas" in each["fieldsV1"].get("f:spec", {})]
    assert (await act(cluster, attempt("scale", change, is_first=True), NOW)).state is EntryState.SKIPPED
    assert (await act(cluster, attempt("scale", change), NOW)).state is EntryState.DONE
