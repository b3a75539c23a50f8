from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.engine.claims import OPEN
from incident_operator.engine.keys import Key
from incident_operator.faults import Stalled, Waiting
from incident_operator.operator import relist as module
from incident_operator.operator.queue import WorkQueue
from incident_operator.operator.relist import WHOLE_EVERY, WHOLE_FIRST, Relist
from incident_operator.telemetry.metrics import Metrics


def incident(name: str, phase: str = "", **meta: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "generation": 1, "creationTimestamp": "2026-11-23T10:00:00Z", **meta}
    status = {"phase": phase, "observedGeneration": 1} if phase else {}
    return {"metadata": metadata, "spec": {"severity": "SEV-1"}, "status": status}


class Cluster:
    """Answers lists of Incidents, as told."""

    def __init__(self, *incidents: dict[str, Any]) -> None:
        self.incidents = incidents
        self.faults: list[Exception] = []
        self.asked: list[tuple[str, str]] = []

    async def list_all(
        self, kind: str, *, namespace: str, field_selector: str = "", metadata_only: bool = False, **_: Any
    ) -> Sequence[Any]:
        assert kind == "Incident"
        self.asked.append((f"metadata {namespace}".strip() if metadata_only else namespace, field_selector))
        if self.faults:
            raise self.faults.pop(0)
        return [each for each in self.incidents if namespace in ("", each["metadata"]["namespace"])]


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue(clock=lambda: 0.0)


def made(cluster: Cluster, queue: WorkQueue, **more: Any) -> tuple[Relist, Metrics]:
    metrics = Metrics()
    every = more.pop("every", timedelta(seconds=30))
    return Relist(cluster, queue, metrics, every=every, **more), metrics  # type: ignore[arg-type]


def taken(queue: WorkQueue) -> set[str]:
    found = set()
    while (key := queue.take()) is not None:
        found.add(key.name)
    return found


async def test_every_open_incident_is_put_on_the_queue_and_no_closed_one(queue: WorkQueue) -> None:
    closed = [incident("done", "Resolved"), incident("closed", "Closed"), incident("stopped", "Cancelled")]
    relist, _ = made(Cluster(incident("new"), incident("halted", "Halted"), *closed), queue)
    await relist.once()
    assert taken(queue) == {"new", "halted"}


async def test_a_closed_incident_that_is_being_deleted_or_was_changed_is_looked_at(queue: WorkQueue) -> None:
    leaving = incident("leaving", "Resolved", deletionTimestamp="2026-11-23T11:00:00Z")
    changed = incident("changed", "Resolved", generation=2)
    relist, _ = made(Cluster(leaving, changed, incident("done", "Resolved")), queue)
    await relist.once()
    assert taken(queue) == {"leaving", "changed"}


async def test_closed_ones_are_left_out_by_the_server_and_now_and_then_only_their_metadata_is_asked_for(
    queue: WorkQueue,
) -> None:
    leaving = incident("leaving", "Resolved", deletionTimestamp="2026-11-23T11:00:00Z")
    cluster = Cluster(incident("done", "Resolved"), leaving)
    relist, _ = made(cluster, queue)
    for _ in range(WHOLE_FIRST + WHOLE_EVERY + 1):
        await relist.once()
    whole = [number for number, (what, _) in enumerate(cluster.asked) if what == "metadata"]
    assert whole == [WHOLE_FIRST + 1, WHOLE_FIRST + WHOLE_EVERY + 2]
    assert cluster.asked[0][1] == "status.phase!=Resolved,status.phase!=Closed,status.phase!=Cancelled"


async def test_with_namespaces_only_those_are_asked_for(queue: WorkQueue) -> None:
    cluster = Cluster(incident("mine"), incident("theirs", namespace="other"))
    relist, _ = made(cluster, queue, namespaces=("shop", "web"))
    await relist.once()
    assert cluster.asked == [("shop", OPEN), ("web", OPEN)], "and no closed one of them"
    assert queue.take() == Key("shop", "mine")
    assert queue.take() is None


async def test_open_incidents_are_counted_and_those_that_are_gone_are_not_counted_any_more(queue: WorkQueue) -> None:
    cluster = Cluster(incident("a"), incident("b"), incident("c", "Halted"), incident("d", "Resolved"))
    relist, metrics = made(cluster, queue)
    await relist.once()

    def count(phase: str) -> float | None:
        labels = {"namespace": "shop", "severity": "SEV-1", "phase": phase}
        return metrics.registry.get_sample_value("incident_operator_incidents", labels)

    assert (count("Detected"), count("Halted"), count("Resolved")) == (2, 1, None)
    cluster.incidents = ()
    await relist.once()
    assert (count("Detected"), count("Halted")) == (None, None)


async def test_a_failure_is_told_waits_and_never_ends_the_loop(
    queue: WorkQueue, monkeypatch: pytest.MonkeyPatch, until: Callable[..., Any]
) -> None:
    monkeypatch.setattr(module, "FIRST_SECONDS", 0.01)
    cluster = Cluster(incident("new"))
    cluster.faults = [Waiting("ApiUnreachable", "the API server is away"), Stalled("NotFound", "there is no CRD")]
    relist, metrics = made(cluster, queue, every=timedelta(milliseconds=20))
    assert not relist.has_succeeded
    loop = asyncio.create_task(relist.run())
    await until(lambda: relist.has_succeeded)
    await until(lambda: len(cluster.asked) >= 5)
    assert not loop.done()
    assert relist.trouble == ""
    assert taken(queue) == {"new"}
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    failures = metrics.registry.get_sample_value("incident_operator_relists_total", {"outcome": "failure"})
    assert failures == 2
