"""What the tests of isolate share."""

from __future__ import annotations

from typing import Any

from incident_operator.actions.isolate import Isolate
from incident_operator.planning.plan import Change, Release, Settlement, Standing
from unit.actions.memory import Memory
from unit.actions.objects import OCCASION, SINCE, created, done, later, target

ISOLATE = Isolate()


def policy(name: str, selector: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop", "uid": f"{name}-uid"},
        "spec": {"podSelector": selector, **spec},
    }


async def plan(memory: Memory, thing: dict[str, Any], **params: Any) -> tuple[Change, ...]:
    return await ISOLATE.plan(memory, OCCASION, target(thing), params)


async def make(memory: Memory, changes: tuple[Change, ...]) -> tuple[Change, ...]:
    made = []
    for change in changes:
        assert change.request is not None
        answer = await memory.send(change.request)
        made.append(created(change, answer) if change.request.verb == "create" else change)
    return tuple(made)


async def put_back(memory: Memory, changes: tuple[Change, ...]) -> None:
    for change in reversed(changes):
        current = memory.at(change.target.kind, change.target.name)
        assert ISOLATE.standing(change, current) is Standing.AFTER
        request = ISOLATE.undo(change, current)
        assert request is not None
        await memory.send(request)


async def settle(memory: Memory, changes: tuple[Change, ...], *, after: float = 1) -> Settlement:
    entries = done(changes, release=Release.ON_RESOLVE)
    return await ISOLATE.settle(memory, entries, since=SINCE, now=later(after))
