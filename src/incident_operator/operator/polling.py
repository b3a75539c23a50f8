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
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know nothing yet."""
        self._server = server
        self._ask = ask
        self._read = read
        self._intake = intake
        self._every = every
        self._clock = clock
        self._elapsed = elapsed
        self._told: dict[tuple[str, datetime], Signal] = {}
        """What fires as far as was told, by fingerprint and since when."""
        self._missed: dict[tuple[str, datetime], int] = {}
        self._all_at = float("-inf")
        self._is_down = False

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
        notification = self._read(await self._ask())
        firing = {(each.fingerprint, each.starts_at): each for each in notification.signals}
        for key in firing:
            self._missed.pop(key, None)
        fires = {fingerprint for fingerprint, _ in firing}
        gone = {key: self._missed.get(key, 0) + 1 for key in self._told if key[0] not in fires}
        over = [
            dataclasses.replace(self._told[key], ends_at=self._clock())
            for key, missed in gone.items()
            if missed >= GONE_POLLS
        ]
        now = self._elapsed()
        is_all = now - self._all_at >= AGAIN_SECONDS
        new = [each for key, each in firing.items() if is_all or key not in self._told]
        if new or over:
            await self._intake.take(Notification((*new, *over), notification.truncated))
        if is_all:
            self._all_at = now
        self._missed = {key: missed for key, missed in gone.items() if missed < GONE_POLLS}
        self._told = {**{key: self._told[key] for key in self._missed}, **firing}
