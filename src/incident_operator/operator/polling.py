"""Asks one Prometheus again and again which alerts fire, where no Alertmanager tells.

What is gone from its answers has resolved; it must be gone from two, for a Prometheus that was
restarted has forgotten its alerts until the next evaluation.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from incident_operator.faults import Fault
from incident_operator.signals.signal import Notification, Signal

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.polling")

AGAIN_SECONDS = 300.0
"""How often everything that fires is told once more, should an Incident have been lost."""
GONE_POLLS = 2
"""In how many answers an alert must be missing to have resolved."""


class Intake(Protocol):
    """Makes Incidents of signals."""

    async def take(self, notification: Notification) -> Sequence[str]:
        """Names of the Incidents, once they are in etcd; Waiting where the API server is away."""
        ...


class Poller:
    """Polls one server."""

    def __init__(
        self,
        server: str,
        ask: Callable[[], Awaitable[Sequence[Mapping[str, Any]]]],
        read: Callable[[Sequence[Mapping[str, Any]]], Notification],
        intake: Intake,
        *,
        every: timedelta,
        clock: Callable[[], datetime],
        recall: Callable[[], Awaitable[Sequence[Signal]]],
        left_out: Callable[[int], None] = lambda _: None,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet; ``recall`` tells what fires as far as was told before, ``left_out`` is told what is not."""
        self._server = server
        self._ask = ask
        self._read = read
        self._intake = intake
        self._every = every
        self._clock = clock
        self._recall = recall
        self._left_out = left_out
        self._elapsed = elapsed
        self._told: dict[tuple[str, datetime], Signal] | None = None
        """What fires as far as was told, by fingerprint and since when; None: not recalled yet."""
        self._missed: dict[tuple[str, datetime], int] = {}
        self._all_at = float("-inf")
        self._is_down = False
        self._unread = 0

    async def run(self) -> None:
        """Poll for ever; a failure is logged once, and told again when it is over."""
        while True:
            try:
                await self.once()
            except Fault as fault:
                if not self._is_down:
                    log.warning("Could not poll alerts", server=self._server, cause=fault.message)
                self._is_down = True
            except Exception:  # what a server says must not end the operator
                log.exception("Could not poll alerts", server=self._server)
            else:
                if self._is_down:
                    log.info("Polls alerts again", server=self._server)
                self._is_down = False
            await asyncio.sleep(self._every.total_seconds())

    async def once(self) -> None:
        """Ask once, and tell what is new and what is over; raises the fault if either could not be done."""
        if self._told is None:
            # What ends while nobody asks has ended all the same: its Incident must not wait for it for ever.
            self._told = {(each.fingerprint, each.starts_at): each for each in await self._recalled()}
        told = self._told
        notification = self._read(await self._ask())
        self._count(notification.truncated)
        firing = {(each.fingerprint, each.starts_at): each for each in notification.signals}
        for key in firing:
            self._missed.pop(key, None)
        fires = {fingerprint for fingerprint, _ in firing}
        gone = {key: self._missed.get(key, 0) + 1 for key in told if key[0] not in fires}
        over = [
            dataclasses.replace(told[key], ends_at=self._clock())
            for key, missed in gone.items()
            if missed >= GONE_POLLS
        ]
        now = self._elapsed()
        is_all = now - self._all_at >= AGAIN_SECONDS
        new = [each for key, each in firing.items() if is_all or key not in told]
        if new or over:
            await self._intake.take(Notification((*new, *over), notification.truncated))
        if is_all:
            self._all_at = now
        self._missed = {key: missed for key, missed in gone.items() if missed < GONE_POLLS}
        self._told = {**{key: told[key] for key in self._missed}, **firing}

    async def _recalled(self) -> Sequence[Signal]:
        """What this server was said to tell, when it was asked last."""
        return [each for each in await self._recall() if each.group == self._server]

    def _count(self, unread: int) -> None:
        """Tell how many alerts of an answer could not be read; in the log when that changes."""
        self._left_out(unread)
        if unread > self._unread:
            log.warning("Could not read some alerts", server=self._server, alerts=unread)
        self._unread = unread
