"""Wakes an Incident when something in its namespace moves, so that what it waits for is seen at once.

Only while an Incident waits for the world to follow: one watch for each kind, as its ServiceAccount. Where
it may not watch, or a watch breaks, it is looked at every few seconds all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable

import structlog

from incident_operator.engine.keys import Key
from incident_operator.faults import Fault, Waiting

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.engine")

KINDS = ("Pod", "Deployment", "StatefulSet", "DaemonSet", "Job")
"""What a step or a gate waits for is told by one of these."""
INTEREST_SECONDS = 10.0
"""How long one is told of changes after it said that it waits."""
MOST_WOKEN = 20
"""More than so many at once in one namespace look every few seconds instead: each change would wake them all."""
TOGETHER_SECONDS = 0.05
"""Changes so close to each other wake once."""
AGAIN_SECONDS = 2.0
"""How soon a watch that broke is begun again."""
REFUSED_SECONDS = 300.0
"""How long a ServiceAccount that may not watch is not asked to again."""

Watch = Callable[[str, str, str], AsyncIterator[object]]
"""Given namespace, ServiceAccount and kind: yields whenever something of that kind has changed there."""
Place = tuple[str, str]
"""Namespace and ServiceAccount."""


@dataclasses.dataclass(slots=True)
class _Interest:
    until: dict[Key, float] = dataclasses.field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = dataclasses.field(default_factory=set)
    refused_until: float = 0.0


class Waker:
    """Watches on behalf of those that wait."""

    def __init__(self, wake: Callable[[Key], None], watch: Watch) -> None:
        """Watch nothing yet."""
        self._wake = wake
        self._watch = watch
        self._places: dict[Place, _Interest] = {}
        self._due: set[Key] = set()

    def follow(self, key: Key, account: str) -> None:
        """Wake this one at the next change in its namespace; to be said again at each look."""
        now = asyncio.get_running_loop().time()
        place = (key.namespace, account)
        interest = self._places.setdefault(place, _Interest())
        interest.until[key] = now + INTEREST_SECONDS
        if not interest.tasks and now >= interest.refused_until:
            for kind in KINDS:
                task = asyncio.create_task(self._follow(place, interest, kind), name=f"follow {kind}")
                interest.tasks.add(task)
                task.add_done_callback(interest.tasks.discard)

    async def close(self) -> None:
        """End every watch."""
        tasks = [task for interest in self._places.values() for task in interest.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, place: Place, interest: _Interest, kind: str) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting(interest):
            try:
                async for _ in self._watch(*place, kind):
                    if not self._waiting(interest):
                        return
                    self._tell(interest)
            except Waiting as fault:
                log.debug("A watch broke", kind=kind, cause=fault.message)
            except Fault as fault:
                log.info("Looks every few seconds instead of watching", kind=kind, cause=fault.message)
                interest.refused_until = loop.time() + REFUSED_SECONDS
                return
            await asyncio.sleep(AGAIN_SECONDS)

    def _waiting(self, interest: _Interest) -> bool:
        """Whether anybody still waits; who has not said so for a while is forgotten."""
        now = asyncio.get_running_loop().time()
        for key in [key for key, until in interest.until.items() if until < now]:
            del interest.until[key]
        return bool(interest.until)

    def _tell(self, interest: _Interest) -> None:
        if len(interest.until) > MOST_WOKEN:
            return
        new = interest.until.keys() - self._due
        self._due |= new
        for key in new:
            asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._wake_one, key)

    def _wake_one(self, key: Key) -> None:
        self._due.discard(key)
        with contextlib.suppress(RuntimeError):  # the queue is closed: this process is ending
            self._wake(key)
