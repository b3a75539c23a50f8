from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.engine.keys import Key
from incident_operator.faults import Stalled, Waiting
from incident_operator.operator.queue import WorkQueue
from incident_operator.operator.work import Crew

A, B = Key("shop", "a"), Key("shop", "b")


class Stepper:
    """Steps as it is told, and remembers who was stepped and how many at once."""

    def __init__(self, *answers: timedelta | Exception | None) -> None:
        self.answers = list(answers)
        self.stepped: list[Key] = []
        self.now: list[Key] = []
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def step(self, key: Key) -> timedelta | None:
        self.stepped.append(key)
        assert key not in self.now, "one key, two workers"
        self.now.append(key)
        self.most = max(self.most, len(self.now))
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.now.remove(key)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def queue() -> WorkQueue:
    return WorkQueue(chance=lambda: 0.0)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Waiting("ApiUnreachable", "away", delay=timedelta(milliseconds=10)), id="waiting"),
        pytest.param(Stalled("Forbidden", "no"), id="fault"),
        pytest.param(KeyError("bug"), id="bug"),
        pytest.param(timedelta(milliseconds=10), id="again"),
    ],
)
async def test_whatever_a_step_comes_to_its_incident_gets_another_turn(
    queue: WorkQueue, until: Callable[..., Any], answer: timedelta | Exception
) -> None:
    stepper = Stepper(answer)
    crew = Crew(queue, stepper, size=2)
    crew.start()
    queue.put(A)
    await until(lambda: stepper.stepped == [A, A])
    assert crew.is_whole()
    assert await crew.close(within=timedelta(seconds=5))


async def test_a_bug_is_logged_with_its_traceback(
    queue: WorkQueue, until: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    stepper = Stepper(KeyError("the-bug"))
    crew = Crew(queue, stepper, size=1)
    crew.start()
    queue.put(A)
    await until(lambda: len(stepper.stepped) == 2)
    await crew.close(within=timedelta(seconds=5))
    said = "".join(capsys.readouterr())
    assert "Could not step the Incident" in said
    assert "the-bug" in said


async def test_many_incidents_are_worked_on_at_once_but_not_more_than_there_are_workers(
    queue: WorkQueue, until: Callable[..., Any]
) -> None:
    stepper = Stepper()
    stepper.gate.clear()
    crew = Crew(queue, stepper, size=3)
    crew.start()
    for number in range(10):
        queue.put(Key("shop", f"i{number}"))
        queue.put(Key("shop", "i0"))
    await until(lambda: len(stepper.now) == 3)
    stepper.gate.set()
    await until(lambda: len(set(stepper.stepped)) == 10)
    assert stepper.most == 3
    await crew.close(within=timedelta(seconds=5))


async def test_closing_finishes_the_step_in_hand_and_begins_no_other(
    queue: WorkQueue, until: Callable[..., Any]
) -> None:
    stepper = Stepper()
    stepper.gate.clear()
    crew = Crew(queue, stepper, size=1)
    crew.start()
    queue.put(A)
    queue.put(B)
    await until(lambda: len(stepper.now) == 1)
    closing = asyncio.create_task(crew.close(within=timedelta(seconds=5)))
    await asyncio.sleep(0)
    stepper.gate.set()
    assert await closing
    assert len(stepper.stepped) == 1
    assert not crew.is_whole()


async def test_closing_cuts_off_a_step_that_takes_too_long(queue: WorkQueue, until: Callable[..., Any]) -> None:
    stepper = Stepper()
    stepper.gate.clear()
    crew = Crew(queue, stepper, size=1)
    crew.start()
    queue.put(A)
    await until(lambda: stepper.now == [A])
    assert not await crew.close(within=timedelta(milliseconds=20))
    assert stepper.now == []
