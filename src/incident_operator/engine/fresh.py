"""A value that is read at most once in a while, however many ask for it at the same time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
MOST = 1024
"""Keys that are kept; beyond that the stale ones go."""


class Fresh(Generic[Key, Value]):
    """Values by key, each read anew when it is older than so many seconds; a failed read is not kept."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Keep nothing yet."""
        self._seconds = seconds
        self._clock = clock
        self._found: dict[Key, tuple[float, Value]] = {}
        self._reading: dict[Key, asyncio.Task[Value]] = {}

    async def get(self, key: Key, read: Callable[[], Awaitable[Value]]) -> Value:
        """The value as it was no longer ago than that; everybody who waits for a read gets its result or its fault."""
        found = self._found.get(key)
        if found is not None and self._clock() - found[0] < self._seconds:
            return found[1]
        reading = self._reading.get(key)
        if reading is None or reading.done():  # one that was cancelled before it began is done and still here
            reading = self._reading[key] = asyncio.create_task(self._read(key, read))
            # Whoever waited may have been cancelled by then: that nobody heard of its fault is no error.
            reading.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(reading)

    async def _read(self, key: Key, read: Callable[[], Awaitable[Value]]) -> Value:
        begun = self._clock()
        try:
            value = await read()
        finally:
            self._reading.pop(key, None)
        if len(self._found) >= MOST:
            self._found = {k: v for k, v in self._found.items() if begun - v[0] < self._seconds}
        self._found[key] = (begun, value)
        return value
