"""The workers: each takes an Incident from the queue, has it stepped, and says when it is due again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Protocol

import structlog

from incident_operator.engine.keys import Behind, Key
from incident_operator.faults import Fault, Waiting
from incident_operator.operator.queue import WorkQueue

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.work")


class Stepper(Protocol):
    """What the workers drive: the engine, or a stand-in for it."""

    async def step(self, key: Key) -> timedelta | None:
        """One look at one Incident; when to look again, None: only when it changes. Waiting: try again."""
        ...


class Crew:
    """A fixed number of workers on one queue."""

    def __init__(self, queue: WorkQueue, stepper: Stepper, *, size: int) -> None:
        """Do not begin yet."""
        self._queue = queue
        self._stepper = stepper
        self._size = size
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to work."""
        for number in range(self._size):
            self._tasks.add(asyncio.create_task(work(self._queue, self._stepper), name=f"worker {number}"))

    async def close(self, *, within: timedelta) -> bool:
        """Take nothing more and finish what is in hand; whether that was possible in time.

        What is cut off is no harm: its intent is on record, and the next process goes on from there.
        """
        self._queue.close()
        if not self._tasks:
            return True
        _, late = await asyncio.wait(self._tasks, timeout=within.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        return not late

    def is_whole(self) -> bool:
        """Whether every worker is still there."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)


async def work(queue: WorkQueue, stepper: Stepper) -> None:
    """Step one Incident at a time until the queue is closed."""
    while (key := await queue.get()) is not None:
        with structlog.contextvars.bound_contextvars(incident=str(key)):
            await _step(queue, stepper, key)


async def _step(queue: WorkQueue, stepper: Stepper, key: Key) -> None:
    """One step; whatever it raises costs that Incident a delay, never its turn."""
    try:
        again = await stepper.step(key)
    except Waiting as fault:
        log.debug("Waited", reason=fault.reason, cause=fault.message)
        queue.retry(key, after=fault.delay)
    except Fault as fault:
        log.warning("Could not look at the Incident", reason=fault.reason, cause=fault.message)
        queue.retry(key)
    except Exception:
        log.exception("Could not step the Incident: this is a bug")
        queue.retry(key)
    else:
        queue.done(key, again, behind=isinstance(again, Behind))
