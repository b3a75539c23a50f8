from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.engine.keys import Key
from incident_operator.faults import Waiting
from incident_operator.operator.health import Health
from incident_operator.operator.queue import WorkQueue
from incident_operator.operator.relist import Relist
from incident_operator.operator.work import Crew
from incident_operator.telemetry.metrics import Metrics


class World:
    """A health with a clock that is set by hand, and a list that fails when it should."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fault: Exception | None = None
        self.queue = WorkQueue(clock=self.clock)
        self.crew = Crew(WorkQueue(), self, size=1)
        self.relist = Relist(self, self.queue, Metrics(), every=timedelta(seconds=30), clock=self.clock)  # type: ignore[arg-type]
        self.health = Health(self.queue, self.crew, self.relist, clock=self.clock)

    def clock(self) -> float:
        return self.now

    async def step(self, _key: Key) -> timedelta | None:
        return None

    async def list_all(self, _kind: str, **_: Any) -> list[Any]:
        if self.fault:
            raise self.fault
        return []

    async def beat_once(self) -> None:
        task = asyncio.create_task(self.health.beat())
        await asyncio.sleep(0)
        task.cancel()


@pytest.fixture
async def world() -> Any:
    made = World()
    made.crew.start()
    yield made
    await made.crew.close(within=timedelta(seconds=1))


async def test_alive_while_the_heart_beats(world: World) -> None:
    world.now = 14
    assert world.health.trouble_alive() == ""
    world.now = 20
    assert world.health.trouble_alive() == "the event loop has not moved for 20 s"
    await world.beat_once()
    assert world.health.trouble_alive() == ""


async def test_not_alive_when_one_step_takes_longer_than_any_can(world: World) -> None:
    world.queue.put(Key("shop", "a"))
    world.queue.take()
    world.now = 301
    await world.beat_once()
    assert "one step has been going on for 301 s" in world.health.trouble_alive()
    world.queue.done(Key("shop", "a"))
    assert world.health.trouble_alive() == ""


async def test_not_alive_when_a_worker_is_gone(world: World) -> None:
    await world.crew.close(within=timedelta(seconds=1))
    assert world.health.trouble_alive() == "a worker has ended"


async def test_ready_from_the_first_list_until_the_last_one_is_too_old(world: World) -> None:
    world.fault = Waiting("ApiUnreachable", "could not list Incident: connection refused")
    with contextlib.suppress(Waiting):
        await world.relist.once()
    assert "no list of Incidents has succeeded yet: could not list" in world.health.trouble_ready()
    world.fault = None
    await world.relist.once()
    assert world.health.trouble_ready() == ""
    world.now = 89
    assert world.health.trouble_ready() == ""
    world.now = 120
    assert "succeeded 120 s ago" in world.health.trouble_ready()
