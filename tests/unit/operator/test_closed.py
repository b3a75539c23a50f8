"""Of closed Incidents a deletion or an edit is told of, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from incident_operator.engine.claims import CLOSED, OPEN, OVER
from incident_operator.engine.keys import Key
from incident_operator.faults import Waiting
from incident_operator.operator import closed


def seen(name: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "shop", "name": name, **more}}


class Watched:
    """Two watches: one that breaks, and one that goes on."""

    def __init__(self, *first: tuple[str, dict[str, Any]]) -> None:
        self.first = first
        self.second = asyncio.Event()

    async def metadata_events(
        self, kind: str, namespace: str, *, field_selector: str, seconds: int
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        assert (kind, namespace, field_selector) == ("Incident", "", OVER)
        if not self.second.is_set():
            self.second.set()
            for each in self.first:
                yield each
            raise Waiting("ApiUnreachable", "it is away")
        yield "MODIFIED", seen("after")
        await asyncio.Event().wait()


async def test_what_is_deleted_or_edited_is_told_also_after_a_watch_that_broke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed, "FIRST_SECONDS", 0.0)
    told: asyncio.Queue[Key] = asyncio.Queue()
    first = (
        ("ADDED", seen("there-before")),
        ("ADDED", seen("leaving", deletionTimestamp="2026-11-26T10:00:00Z")),
        ("MODIFIED", seen("edited")),
        ("DELETED", seen("gone")),
    )
    task = asyncio.create_task(closed.watch(Watched(*first), told.put_nowait, ()))
    names = [(await asyncio.wait_for(told.get(), 5)).name for _ in range(4)]
    task.cancel()
    assert names == ["leaving", "edited", "gone", "after"]


def test_the_two_selectors_have_every_phase_between_them() -> None:
    shut_out = {part.removeprefix("status.phase!=") for part in OVER.split(",")}
    assert shut_out.isdisjoint(CLOSED)
    assert "" in shut_out
    assert {part.removeprefix("status.phase!=") for part in OPEN.split(",")} == set(CLOSED)
