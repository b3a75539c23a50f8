"""What the tests of isolate share."""

from __future__ import annotations

import copy
from typing import Any

from incident_operator.actions.isolate import Isolate
from incident_operator.cluster.fake import FakeCluster
from incident_operator.planning.plan import Change, Release, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, created, done, later, target

ISOLATE = Isolate()


def policy(name: str, selector: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop", "uid": f"{name}-uid"},
        "spec": {"podSelector": selector, **spec},
    }


async def plan(fake: FakeCluster, thing: dict[str, Any], **params: Any) -> tuple[Change, ...]:
    return await ISOLATE.plan(fake, OCCASION, target(thing), params)


async def make(fake: FakeCluster, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    made = []
    for change in changes:
        assert change.request is not None
        answer = await fake.send(change.request)
        made.append(created(change, answer) if change.request.verb == "create" else change)
    return tuple(made)


async def put_back(fake: FakeCluster, changes: tuple[Change, ...]) -> None:
    for change in reversed(changes):
        current = fake.at(change.target.kind, change.target.name)
        assert ISOLATE.standing(change, current) is Standing.AFTER
        request = ISOLATE.undo(change, current)
        assert request is not None
        await fake.send(request)


async def settle(fake: FakeCluster, changes: tuple[Change, ...], *, after: float = 1) -> Settlement:
    entries = done(changes, release=Release.ON_RESOLVE)
    return await ISOLATE.settle(fake, entries, since=SINCE, now=later(after))


def said(fake: FakeCluster) -> dict[Any, Any]:
    """All objects, but for their versions: what is put back is another version of the same."""
    found = {key: copy.deepcopy(each) for key, each in fake.objects.items()}
    for each in found.values():
        del each["metadata"]["resourceVersion"]
    return found
