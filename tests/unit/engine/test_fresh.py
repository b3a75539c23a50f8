"""What is read is shared for a moment, kept while it is known to hold, and not left in memory after that."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from incident_operator.engine import fresh
from incident_operator.engine.fresh import Fresh


class Value:
    """Something that can be seen to be gone."""


async def test_many_who_ask_at_once_cause_one_read_and_a_fault_is_not_kept() -> None:
    reads = 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        if reads == 1:
            raise ValueError("away")
        return reads

    values: Fresh[str, int] = Fresh(60)
    first = await asyncio.gather(*(values.get("k", read) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(each, ValueError) for each in first)
    assert await asyncio.gather(*(values.get("k", read) for _ in range(5))) == [2] * 5


async def test_what_takes_long_to_read_is_kept_for_longer_but_not_for_ever() -> None:
    now = 100.0

    async def slow() -> float:
        nonlocal now
        now += 0.4
        return now

    values: Fresh[str, float] = Fresh(0.2, lambda: now)
    first = await values.get("k", slow)
    now += 1.0
    assert await values.get("k", slow) == first
    now += 0.5
    assert await values.get("k", slow) != first


async def test_a_value_that_nobody_asks_for_again_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fresh, "LEFT_SECONDS", 0.0)
    values: Fresh[str, Value] = Fresh(0.01)
    gone = asyncio.Event()

    async def read() -> Value:
        value = Value()
        weakref.finalize(value, gone.set)
        return value

    await values.get("k", read)
    async with asyncio.timeout(5):
        while not gone.is_set():
            gc.collect()
            await asyncio.sleep(0.01)
    assert isinstance(await values.get("k", read), Value)


async def test_a_read_that_was_cancelled_before_it_began_is_made_again() -> None:
    values: Fresh[str, int] = Fresh(60)

    async def read() -> int:
        return 7

    asking = asyncio.create_task(values.get("a", read))
    await asyncio.sleep(0)  # it has asked, and its read has not begun
    own = {asyncio.current_task(), asking}
    for each in asyncio.all_tasks() - own:
        each.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await values.get("a", read) == 7
