"""Whether the program is alive and ready, in words that a person finds in ``kubectl describe pod``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from incident_operator.operator.queue import WorkQueue
from incident_operator.operator.relist import Relist
from incident_operator.operator.work import Crew

STUCK_SECONDS = 300.0
"""No step takes this long: every call of one has a deadline of seconds."""
STALE_BEAT_SECONDS = 15.0
READY_SECONDS = 90.0
"""Three re-lists at their default; older than that, the API server is not to be reached."""
BEAT_SECONDS = 1.0


class Health:
    """Looks at the loop, the workers and the re-list."""

    def __init__(
        self, queue: WorkQueue, crew: Crew, relist: Relist, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the heart to be beating now."""
        self._queue = queue
        self._crew = crew
        self._relist = relist
        self._clock = clock
        self._beaten = clock()

    async def beat(self) -> None:
        """Beat for ever: that the loop gets to it shows that the loop moves."""
        while True:
            self._beaten = self._clock()
            await asyncio.sleep(BEAT_SECONDS)

    def trouble_alive(self) -> str:
        """Why a restart is called for; empty if none is."""
        stale = self._clock() - self._beaten
        if stale > STALE_BEAT_SECONDS:
            return f"the event loop has not moved for {stale:.0f} s"
        longest = self._queue.longest_work_seconds()
        if longest > STUCK_SECONDS:
            return f"one step has been going on for {longest:.0f} s, which is longer than any takes"
        return "" if self._crew.is_whole() else "a worker has ended"

    def trouble_ready(self) -> str:
        """Why Incidents may not be seen now; empty if they are."""
        if not self._relist.has_succeeded:
            return f"no list of Incidents has succeeded yet: {self._relist.trouble}"
        age = self._relist.age_seconds()
        if age > READY_SECONDS:
            return f"the last list of Incidents succeeded {age:.0f} s ago: {self._relist.trouble}"
        return ""
