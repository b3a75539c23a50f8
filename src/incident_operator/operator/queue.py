"""Whose turn it is: a work queue with one worker per Incident at a time, the most urgent first.

The rules are those of client-go's workqueue (``util/workqueue``): a key that is put while it
is being worked on is worked on again afterwards, never twice at once; a failure is retried
with exponential back-off until it succeeds. What differs is the order: by urgency, not by age.
"""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
import random
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from incident_operator.engine.keys import Key

NOW = timedelta(0)
FIRST_SECONDS = 0.1
MOST_SECONDS = 30.0
JITTER = 0.25
"""Up to this share is added to a back-off, so that what failed together does not come back together."""

SEVERITIES = ("SEV-1", "SEV-2", "SEV-3", "SEV-4")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Urgency:
    """Sorts the most urgent first: by severity, then the newest."""

    rank: int = len(SEVERITIES)
    """0 is SEV-1; what is not known comes last."""
    seconds_before_2100: float = float("inf")


LEAST = Urgency()
BOOKS = Urgency(len(SEVERITIES) + 1)
_ERA = datetime.fromisoformat("2100-01-01T00:00:00Z")


def urgency_of(incident: Mapping[str, Any]) -> Urgency:
    """How urgent an Incident is, told from its raw object."""
    severity = (incident.get("spec") or {}).get("severity", "")
    rank = SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
    try:
        created = datetime.fromisoformat(incident["metadata"]["creationTimestamp"])
        return Urgency(rank, (_ERA - created).total_seconds())
    except (KeyError, ValueError, TypeError):
        return Urgency(rank)


@dataclasses.dataclass(slots=True)
class _Item:
    """What is known about one key as long as it is on the queue or being worked on."""

    urgency: Urgency = LEAST
    due: float | None = None
    """When its turn comes, in seconds of the clock; None if it is only being worked on."""
    ready: bool = False
    """Its turn has come, and it stands in the heap of those."""
    working_since: float | None = None
    failures: int = 0
    behind: bool = False
    """What is left to do for it is book-keeping: it comes after all others, and no news of it changes that."""

    @property
    def rank(self) -> Urgency:
        """Where it stands among those whose turn has come."""
        return BOOKS if self.behind else self.urgency


class WorkQueue:
    """Keys whose turn comes now or later; used from one event loop only."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, chance: Callable[[], float] = random.random
    ) -> None:
        """Begin empty; ``chance`` gives the jitter, from 0 to 1."""
        self._clock = clock
        self._chance = chance
        self._items: dict[Key, _Item] = {}
        self._ready: list[tuple[Urgency, int, Key]] = []
        self._later: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, key: Key, *, after: timedelta = NOW, urgency: Urgency | None = None) -> None:
        """Have a key worked on after a while; if its turn comes earlier already, that stands."""
        if self._closed:
            return
        item = self._items.setdefault(key, _Item())
        if urgency is not None and urgency != item.urgency:
            item.urgency = urgency
            if item.ready:
                heapq.heappush(self._ready, (item.rank, next(self._order), key))
        due = self._clock() + after.total_seconds()
        if item.due is None or due < item.due:
            item.due = due
            self._schedule(key, item)
        self._changed.set()

    def _schedule(self, key: Key, item: _Item) -> None:
        """Line a key up for its due time, unless it is being worked on: then that follows when it is done."""
        if item.due is not None and item.working_since is None and not item.ready:
            heapq.heappush(self._later, (item.due, next(self._order), key))

    def take(self) -> Key | None:
        """The most urgent key whose turn has come, now being worked on; None if there is none."""
        self._promote()
        while self._ready:
            urgency, _, key = heapq.heappop(self._ready)
            item = self._items.get(key)
            if item is None or not item.ready or urgency != item.rank:
                continue  # lined up again since with another urgency, or taken already
            item.behind = False
            item.ready, item.due, item.working_since = False, None, self._clock()
            return key
        return None

    def _promote(self) -> None:
        """Move what has become due to the heap that is sorted by urgency."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            item = self._items.get(key)
            if item is None or item.ready or item.working_since is not None or item.due != due:
                continue  # lined up anew since
            item.ready = True
            heapq.heappush(self._ready, (item.rank, next(self._order), key))

    async def get(self) -> Key | None:
        """Wait for a key, and take it; None once the queue is closed."""
        while not self._closed:
            key = self.take()
            if key is not None:
                return key
            self._changed.clear()
            wait = max(self._later[0][0] - self._clock(), 0.0) if self._later else None
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    def done(self, key: Key, again: timedelta | None = None, *, behind: bool = False) -> None:
        """A key's work went well; look again after a while, or only when it is put again.

        ``behind``: after everybody whose turn has come, however urgent it was.
        """
        self._items[key].behind = behind
        self._finish(key, failed=False, again=again)

    def retry(self, key: Key, *, after: timedelta = NOW) -> None:
        """A key's work failed; have it again after its back-off, or ``after`` if that is longer."""
        item = self._items[key]
        backoff = min(FIRST_SECONDS * 2 ** min(item.failures, 20), MOST_SECONDS)
        wait = max(backoff, after.total_seconds()) * (1 + JITTER * self._chance())
        self._finish(key, failed=True, again=timedelta(seconds=wait))

    def _finish(self, key: Key, *, failed: bool, again: timedelta | None) -> None:
        item = self._items[key]
        item.working_since = None
        item.failures = item.failures + 1 if failed else 0
        if again is not None:
            due = self._clock() + again.total_seconds()
            item.due = due if item.due is None else min(item.due, due)
        if item.due is None:
            del self._items[key]
            return
        self._schedule(key, item)
        self._changed.set()

    def close(self) -> None:
        """Give out nothing more; what is being worked on may still be finished."""
        self._closed = True
        self._changed.set()

    def is_pressed(self) -> bool:
        """Whether anybody's turn has come whose work is more than book-keeping."""
        self._promote()
        while self._ready:
            rank, _, key = self._ready[0]
            item = self._items.get(key)
            if item is not None and item.ready and item.rank == rank:
                return rank != BOOKS
            heapq.heappop(self._ready)
        return False

    def depth(self) -> int:
        """How many keys' turn has come that nobody has taken."""
        self._promote()
        return sum(item.ready for item in self._items.values())

    def oldest_seconds(self) -> float:
        """How long the first of them has been waiting; 0 if there is none."""
        now = self._clock()
        return max(
            (now - item.due for item in self._items.values() if item.ready and item.due is not None), default=0.0
        )

    def longest_work_seconds(self) -> float:
        """How long the key that has been worked on longest has been so; 0 if none is."""
        now = self._clock()
        since = (item.working_since for item in self._items.values() if item.working_since is not None)
        return max((now - begun for begun in since), default=0.0)
