from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from incident_operator.faults import Waiting
from incident_operator.operator import supervisor
from incident_operator.operator.supervisor import run_apart, supervise
from incident_operator.telemetry.metrics import Metrics


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(supervisor, "MOST_SECONDS", 0.02)


async def nothing() -> None:
    """Prepares nothing."""


@contextlib.asynccontextmanager
async def supervised(main: Any, metrics: Metrics, prepare: Any = nothing) -> Any:
    task = asyncio.create_task(supervise(main, prepare=prepare, metrics=metrics))
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def restarts(metrics: Metrics) -> float | None:
    return metrics.registry.get_sample_value("incident_operator_kopf_restarts_total")


async def test_what_runs_apart_has_a_thread_and_tasks_of_its_own() -> None:
    seen: list[Any] = []

    async def main(_stop: asyncio.Event) -> None:
        seen.append((threading.current_thread().name, len(asyncio.all_tasks())))

    await run_apart(main, name="kopf")
    assert seen == [("kopf", 1)]


async def test_what_it_raises_is_raised_here() -> None:
    async def main(_stop: asyncio.Event) -> None:
        raise RuntimeError("the watch broke")

    with pytest.raises(RuntimeError, match="the watch broke"):
        await run_apart(main, name="kopf")


async def test_cancelled_it_is_asked_to_stop_and_waited_for(until: Callable[..., Any]) -> None:
    stopped, running = threading.Event(), threading.Event()

    async def main(stop: asyncio.Event) -> None:
        running.set()
        await stop.wait()
        stopped.set()

    task = asyncio.create_task(run_apart(main, name="kopf"))
    await until(running.is_set)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped.is_set()


async def test_it_is_started_again_whether_it_ends_or_raises_and_that_is_counted(until: Callable[..., Any]) -> None:
    metrics, starts = Metrics(), []

    async def main(stop: asyncio.Event) -> None:
        starts.append(1)
        if len(starts) == 1:
            return
        if len(starts) == 2:
            raise RuntimeError("HTTP 410")
        await stop.wait()

    async with supervised(main, metrics):
        await until(lambda: len(starts) == 3)
        assert restarts(metrics) == 2


async def test_it_is_not_started_until_the_incidents_can_be_listed(until: Callable[..., Any]) -> None:
    metrics, starts, asked = Metrics(), [], []

    async def prepare() -> None:
        asked.append(1)
        if len(asked) < 4:
            raise Waiting("ApiUnreachable", "the API server is away")

    async def main(stop: asyncio.Event) -> None:
        starts.append(len(asked))
        await stop.wait()

    async with supervised(main, metrics, prepare):
        await until(lambda: starts == [4])
        assert restarts(metrics) == 0
