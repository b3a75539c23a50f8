"""Knows of lists that were read whether anything has changed in them since, by a watch that is not even parsed.

Where many Incidents are planned in one namespace, the same dozen lists are read again and again, and hardly
ever is anything else in them. A watch of metadata alone costs nothing while nothing moves, and when something
does, the list is read anew. Where there is no such watch (yet, any more, or by right) nothing is taken for granted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import structlog

from incident_operator.faults import Fault, Waiting
from incident_operator.planning.rights import Rule

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.engine")

WORTH_ASKS = 3
"""So often within ``WORTH_SECONDS`` a list must be asked for to be worth a watch: one Incident alone begins none."""
WORTH_SECONDS = 5.0
TRUSTED_SECONDS = 10.0
"""How old a list may get however quiet its watch is: a connection may be dead, and nobody has noticed."""
IDLE_SECONDS = 20.0
"""How long a list must not have been asked for to be watched no longer."""
AGAIN_SECONDS = 2.0
REFUSED_SECONDS = 300.0
"""How long a ServiceAccount that may not watch is not asked to again."""
MOST = 64
"""Watches at the same time; what is beyond that is read as often as it is asked for."""

Place = tuple[str, str, str]
"""Namespace, ServiceAccount and kind."""

RULES = (
    Rule("", ("pods", "services"), ("watch",), "read a list again only when something in it has changed"),
    Rule("apps", ("deployments", "statefulsets", "replicasets", "controllerrevisions"), ("watch",), "as above"),
    Rule("policy", ("poddisruptionbudgets",), ("watch",), "as above"),
    Rule("autoscaling", ("horizontalpodautoscalers",), ("watch",), "as above"),
    Rule("networking.k8s.io", ("networkpolicies",), ("watch",), "as above"),
)
"""Not needed: without it lists are read more often."""


class Watch(Protocol):
    """A watch of one kind in one namespace as one ServiceAccount."""

    def __call__(self, namespace: str, account: str, kind: str, *, begun: Callable[[], None]) -> AsyncIterator[object]:
        """Yield whenever something arrives; ``begun`` is told once that nothing is missed any more."""
        ...


@dataclasses.dataclass(slots=True)
class _Seen:
    """One list that was asked for."""

    asked: list[float] = dataclasses.field(default_factory=list)
    """When, the last few times."""
    watched_since: float = 0.0
    """Zero: it is not watched."""
    changed: float = 0.0
    refused_until: float = 0.0
    task: asyncio.Task[None] | None = None


class Unchanged:
    """Watches lists that are asked for often, and says which are still as they were."""

    def __init__(self, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch nothing yet."""
        self._watch = watch
        self._clock = clock
        self._places: dict[Place, _Seen] = {}

    def holds(self, place: Place, read_at: float) -> bool:
        """Whether a list whose read began then (by the clock) is known to be what a read of now would give."""
        seen = self._places.get(place)
        if seen is None or not seen.watched_since or self._clock() - read_at > TRUSTED_SECONDS:
            return False
        return seen.watched_since < read_at and seen.changed < read_at

    def asked(self, place: Place) -> None:
        """Take note that a list is asked for; those that are asked for often are watched."""
        now = self._clock()
        seen = self._places.setdefault(place, _Seen())
        seen.asked = [*seen.asked[1 - WORTH_ASKS :], now]
        is_often = len(seen.asked) == WORTH_ASKS and now - seen.asked[0] < WORTH_SECONDS
        if is_often and seen.task is None and now >= seen.refused_until and self._has_room():
            seen.task = asyncio.create_task(self._follow(place, seen), name=f"unchanged {place[2]}")
            seen.task.add_done_callback(lambda _: self._ended(place, seen))

    async def close(self) -> None:
        """End every watch."""
        tasks = [seen.task for seen in self._places.values() if seen.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _has_room(self) -> bool:
        return sum(seen.task is not None for seen in self._places.values()) < MOST

    def _ended(self, place: Place, seen: _Seen) -> None:
        seen.task, seen.watched_since = None, 0.0
        if not seen.refused_until and self._places.get(place) is seen:
            del self._places[place]

    async def _follow(self, place: Place, seen: _Seen) -> None:
        """Watch for as long as it is worth it, and begin again where a watch ends."""

        def begun() -> None:
            seen.watched_since = self._clock()

        while self._clock() - seen.asked[-1] < IDLE_SECONDS:
            try:
                async for _ in self._watch(*place, begun=begun):
                    seen.changed = self._clock()
            except Waiting as fault:
                log.debug("A watch broke", kind=place[2], cause=fault.message)
                seen.watched_since = 0.0
                await asyncio.sleep(AGAIN_SECONDS)
            except Fault as fault:
                log.debug("Reads lists anew instead of watching them", kind=place[2], cause=fault.message)
                seen.refused_until = self._clock() + REFUSED_SECONDS
                return
            seen.watched_since = 0.0
