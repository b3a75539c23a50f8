"""Whose a change is that stands as it was planned: what the API server keeps of who set which field tells it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from cluster.rights_world import autoscaler, batch, workload
from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.actions.contract import Occasion
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.engine.acting import Attempt, act
from incident_operator.planning.plan import Change, Entry, EntryState, Ref, Release
from tests_support.cluster import Namespace
from tests_support.waiting import listed

pytestmark = pytest.mark.cluster
NOW = "2026-11-27T03:00:00Z"


CASES: dict[str, tuple[str, tuple[str, str], dict[str, Any]]] = {
    "scaled": ("scale", ("Deployment", "api"), {"replicas": 5}),
    "scaled to nought": ("scale", ("Deployment", "api"), {"replicas": 0}),
    "suspended": ("suspend", ("CronJob", "nightly"), {}),
    "held by its autoscaler": ("pauseAutoscaling", ("Deployment", "web"), {}),
}
TOLD = [name for name in CASES if name != "scaled to nought"]


async def planned(cluster: ClusterGateway, namespace: Namespace, case: str) -> list[Attempt]:
    """The writes that one action would make, intended before this process; pods do not come into it."""
    name, target, params = CASES[case]
    api, web = workload("Deployment", "api", "1", replicas=2), workload("Deployment", "web", "1", replicas=2)
    namespace.apply(*({**each, "spec": {**each["spec"], "paused": True}} for each in (api, web)))
    hpa = autoscaler("HorizontalPodAutoscaler", "autoscaling/v2", "Deployment", "web")
    namespace.apply(batch("CronJob", "nightly"), hpa)
    await listed(cluster, await cluster.get("HorizontalPodAutoscaler", namespace.name, "web"))
    occasion = Occasion(namespace.name, "i", "uid-of-the-incident", "step")
    changes = await ACTIONS[name].plan(cluster, occasion, Ref(*target, namespace.name), params)
    assert changes
    entries = [Entry("step", name, each, Release.ON_RESOLVE, EntryState.INTENDED, intended_at=NOW) for each in changes]
    return [Attempt(ACTIONS[name], entry) for entry in entries]


def by_hand(namespace: Namespace, change: Change) -> None:
    """Somebody makes exactly what was planned."""
    assert change.request is not None
    over = [f"--subresource={change.request.subresource}"] if change.request.subresource else []
    target = f"{change.target.kind}/{change.target.name}"
    namespace("patch", target, "--type=json", "-p", json.dumps(change.request.body), *over)


@pytest.mark.parametrize("case", TOLD)
async def test_what_somebody_made_as_it_was_planned_is_theirs(
    cluster: ClusterGateway, namespace: Namespace, case: str
) -> None:
    for attempt in await planned(cluster, namespace, case):
        by_hand(namespace, attempt.entry.change)
        found = await act(cluster, attempt, NOW)
        assert (found.state, found.message[:27]) == (EntryState.SKIPPED, "somebody else made it so af")


@pytest.mark.parametrize("case", TOLD)
async def test_what_a_process_before_this_one_made_is_ours(
    cluster: ClusterGateway, namespace: Namespace, case: str
) -> None:
    for attempt in await planned(cluster, namespace, case):
        assert (await act(cluster, attempt, NOW)).state is EntryState.DONE
        assert (await act(cluster, attempt, NOW)).state is EntryState.DONE


async def test_of_nought_replicas_nobody_is_kept_and_so_only_the_first_try_knows(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    (attempt,) = await planned(cluster, namespace, "scaled to nought")
    namespace("scale", "deployment/api", "--replicas=0")
    kept = (await cluster.get("Deployment", namespace.name, "api"))["metadata"]["managedFields"]
    assert not [each for each in kept if "f:replicas" in each["fieldsV1"].get("f:spec", {})]
    first = dataclasses.replace(attempt, is_first=True)
    assert (await act(cluster, first, NOW)).state is EntryState.SKIPPED
    assert (await act(cluster, attempt, NOW)).state is EntryState.DONE
