"""Asks one Prometheus again and again which alerts fire, where no Alertmanager tells.

What is gone from its answers has resolved. It must be gone from all of them for a while: a Prometheus that
was restarted lists no alert before it has evaluated its rules, and then as pending until its ``for`` is over.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from incident_operator.faults import Fault
from incident_operator.signals.signal import Notification, Signal

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.polling")

AGAIN_SECONDS = 300.0
"""How often everything that fires is told once more, should an Incident have been lost."""
GONE_SECONDS = 120.0
"""For how long every answer must lack an alert for it to have resolved: two evaluation intervals of 1m, which is
Prometheus' default. So it takes two answers at least."""
Key = tuple[str, datetime]
"""A firing of an alert: its fingerprint, and since when."""


class Intake(Protocol):
    """Makes Incidents of signals."""

    async def take(self, notification: Notification) -> Sequence[str]:
        """Names of the Incidents, once they are in etcd; Waiting where the API server is away."""
        ...


async def take_each(intake: Intake, notification: Notification) -> tuple[Sequence[Signal], Sequence[BaseException]]:
    """Have signals taken in; those that were, and what kept the others: one that cannot be harms only itself."""
    if not notification.signals:
        return (), ()
    try:
        await intake.take(notification)
    except Exception as fault:  # noqa: BLE001 - handed back, for the caller to raise
        if len(notification.signals) == 1:
            return (), (fault,)
    else:
        return notification.signals, ()
    # Which one it was is not said. So each is told by itself: what is in etcd by now is known there.
    alone = [dataclasses.replace(notification, signals=(each,)) for each in notification.signals]
    done = await asyncio.gather(*(intake.take(each) for each in alone), return_exceptions=True)
    told = list(zip(notification.signals, done, strict=True))
    taken = [each for each, outcome in told if not isinstance(outcome, BaseException)]
    return taken, [outcome for _, outcome in told if isinstance(outcome, BaseException)]


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
        self._told: dict[Key, Signal] | None = None
        """What fires as far as was told; None: not recalled yet."""
        self._owed: set[Key] = set()
        """What could not be taken in when it was to be told last."""
        self._missed: dict[Key, float] = {}
        """For how many seconds every answer has lacked what was told."""
        self._answered_at = self._all_at = float("-inf")
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
        """Ask once, and tell what is new and what is over; raises the first fault if not all of it could be done."""
        if self._told is None:
            # What ends while nobody asks has ended all the same: its Incident must not wait for it for ever.
            self._told = {_key(each): each for each in await self._recalled()}
        told, answer, now = self._told, self._read(await self._ask()), self._elapsed()
        self._count(answer.truncated)
        firing = {_key(each): each for each in answer.signals}
        self._miss({*(fingerprint for fingerprint, _ in firing), *answer.pending}, now)
        ends = [key for key, seconds in self._missed.items() if seconds >= GONE_SECONDS]
        over = [dataclasses.replace(told[key], ends_at=self._clock()) for key in ends]
        is_all = now - self._all_at >= AGAIN_SECONDS
        new = [each for key, each in firing.items() if is_all or key in self._owed or key not in told]
        if is_all:
            self._all_at = now
        begun, cannot_begin = await take_each(self._intake, Notification(tuple(new), answer.truncated))
        ended, cannot_end = await take_each(self._intake, Notification(tuple(over), answer.truncated))
        self._owed = {_key(each) for each in new} - {_key(each) for each in begun}
        self._told = self._known(firing, {_key(each) for each in ended})
        for fault in (*cannot_begin, *cannot_end):
            raise fault

    def _miss(self, listed: Collection[str], now: float) -> None:
        """Count for how long what was told is in no answer any more.

        The time in which nobody answers does not count, or an answer before a restart and one after it would do.
        """
        passed = min(now - self._answered_at, self._every.total_seconds())
        self._answered_at = now
        self._missed = {
            key: self._missed[key] + passed if key in self._missed else 0.0
            for key in self._told or ()
            if key[0] not in listed
        }

    def _known(self, firing: Mapping[Key, Signal], ended: Collection[Key]) -> dict[Key, Signal]:
        """What fires as far as was told by now: of one alert the latest firing that was taken in."""
        told = self._told or {}
        fires = {key: each for key, each in firing.items() if key in told or key not in self._owed}
        latest = {fingerprint for fingerprint, _ in fires}
        return {key: each for key, each in told.items() if key not in ended and key[0] not in latest} | fires

    async def _recalled(self) -> Sequence[Signal]:
        """What this server was said to tell, when it was asked last."""
        return [each for each in await self._recall() if each.group == self._server]

    def _count(self, unread: int) -> None:
        """Tell how many alerts of an answer could not be read; in the log when that changes."""
        self._left_out(unread)
        if unread > self._unread:
            log.warning("Could not read some alerts", server=self._server, alerts=unread)
        self._unread = unread


def _key(signal: Signal) -> Key:
    return signal.fingerprint, signal.starts_at
