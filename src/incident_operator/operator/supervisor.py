"""Keeps the watch going: starts kopf, and starts it again whenever it ends.

kopf runs in a thread and an event loop of its own. In ours it would take over the signals of
the process, and at its end cancel every task that began after it, whoever began it
(``kopf.reactor.running.run_tasks``): a watch that breaks would break a step in hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
from collections.abc import Awaitable, Callable

import structlog

from incident_operator.faults import Fault
from incident_operator.telemetry.metrics import Metrics

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.supervisor")

FIRST_SECONDS = 0.1
MOST_SECONDS = 5.0
STEADY_SECONDS = 30.0
"""A run this long was a good one: the next back-off begins small again."""
STOP_SECONDS = 5.0
"""How long kopf may take to end when asked to; its thread does not keep the process from ending."""
MOST_CAUSE = 300
"""Characters of what kopf raised that are logged; it puts whole answers into its messages."""

Main = Callable[[asyncio.Event], Awaitable[None]]
"""Runs until it ends by itself or the event is set."""


@dataclasses.dataclass(slots=True)
class _Apart:
    """A coroutine in a thread and loop of its own, and what both threads know of each other."""

    main: Main
    ours: asyncio.AbstractEventLoop
    ended: asyncio.Future[None]
    """In our loop: that it has ended, and with what."""
    theirs: asyncio.AbstractEventLoop | None = None
    stop: asyncio.Event | None = None
    is_stopped: bool = False

    def body(self) -> None:
        """What the thread does."""
        failure: BaseException | None = None
        try:
            asyncio.run(self._inner())
        except asyncio.CancelledError:
            failure = RuntimeError("it was cancelled from within")
        except BaseException as caught:  # noqa: BLE001 - raised again in the loop that waits for it
            failure = caught
        with contextlib.suppress(RuntimeError):  # our loop is closed: nobody waits any more
            self.ours.call_soon_threadsafe(self._tell, failure)

    async def _inner(self) -> None:
        self.stop = asyncio.Event()
        self.theirs = asyncio.get_running_loop()
        if not self.is_stopped:
            await self.main(self.stop)

    def _tell(self, failure: BaseException | None) -> None:
        if failure is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)

    def ask_to_stop(self) -> None:
        """Set the event in its own loop; one that has not begun yet sees that when it does."""
        self.is_stopped = True
        if self.theirs is not None and self.stop is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed: it has ended
                self.theirs.call_soon_threadsafe(self.stop.set)


async def run_apart(main: Main, *, name: str) -> None:
    """Run a coroutine in a thread and loop of its own; what it raises is raised here.

    When cancelled it is asked to stop, and given a while to do so.
    """
    loop = asyncio.get_running_loop()
    apart = _Apart(main, loop, loop.create_future())
    threading.Thread(target=apart.body, name=name, daemon=True).start()
    try:
        await asyncio.shield(apart.ended)
    except asyncio.CancelledError:
        apart.ask_to_stop()
        await asyncio.wait({apart.ended}, timeout=STOP_SECONDS)
        if apart.ended.done():
            apart.ended.exception()  # it was asked to end: how it did is of no interest
        raise


async def supervise(main: Main, *, prepare: Callable[[], Awaitable[None]], metrics: Metrics) -> None:
    """Run the watch again and again until cancelled.

    Before each start all Incidents are listed (``prepare``): it finds what the watch has missed, and
    says whether the CRD is there at all. kopf would start without it, and never notice it come.
    """
    loop = asyncio.get_running_loop()
    backoff, has_run = FIRST_SECONDS, False
    while True:
        begun = loop.time()
        try:
            await prepare()
        except Fault as fault:  # the re-list says so in the log
            log.debug("Watch is not started yet", cause=fault.message, after_seconds=backoff)
        else:
            if has_run:
                metrics.kopf_restarted()
            has_run = True
            cause = await _ended(main)
            backoff = FIRST_SECONDS if loop.time() - begun > STEADY_SECONDS else backoff
            log.warning("Watch ended and is started again", cause=cause, after_seconds=backoff)
        await asyncio.sleep(backoff)
        backoff = min(backoff * 2, MOST_SECONDS)


async def _ended(main: Main) -> str:
    """Run the watch; why it ended."""
    try:
        await run_apart(main, name="kopf")
    except Exception as failure:  # noqa: BLE001 - whatever ends the watch, the answer is to start it again
        return f"{type(failure).__name__}: {failure}"[:MOST_CAUSE]
    return "it ended by itself"
