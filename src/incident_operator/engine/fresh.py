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
MOST_SECONDS = 2.0
LEFT_SECONDS = 30.0
"""How long a value that is good no more is left lying about: the lists of a large namespace are many megabytes."""
SHARE = 4
"""What takes long to read is kept for so many times as long: reading takes a fifth of the time at most."""


class Fresh(Generic[Key, Value]):
    """Values by key, each read anew when it is older than so many seconds; a failed read is not kept."""

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        holds: Callable[[Key, float], bool] = lambda *_: False,
    ) -> None:
        """Keep nothing yet; ``holds`` may know that what was read at a time is still so, however old it is."""
        self._seconds = seconds
        self._clock = clock
        self._holds = holds
        self._found: dict[Key, tuple[float, float, Value]] = {}
        """When a read began, until when it is good, and what it gave."""
        self._reading: dict[Key, asyncio.Task[Value]] = {}

    async def get(self, key: Key, read: Callable[[], Awaitable[Value]]) -> Value:
        """The value as it was no longer ago than that; everybody who waits for a read gets its result or its fault."""
        found = self._found.get(key)
        if found is not None and (self._clock() < found[1] or self._holds(key, found[0])):
            return found[2]
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
        now = self._clock()
        if len(self._found) >= MOST:
            self._found = {k: v for k, v in self._found.items() if now < v[1]}
        until = begun + max(self._seconds, min(SHARE * (now - begun), MOST_SECONDS))
        self._found[key] = (begun, until, value)
        asyncio.get_running_loop().call_later(max(until - now, 0) + LEFT_SECONDS, self._drop, key, begun)
        return value

    def _drop(self, key: Key, begun: float) -> None:
        """Forget what was read then, unless it was read anew since."""
        found = self._found.get(key)
        if found is not None and found[0] == begun:
            del self._found[key]
