"""Gives each Incident the number that people say on the phone: ``INC-2026-1123-001``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import datetime

from incident_operator.cluster.port import Cluster

SHAPE = re.compile(r"^INC-(\d{4}-\d{4})-(\d+)$")


class IdBook:
    """The last number given on each day; read from the cluster once, then kept.

    Two Incidents get the same number only if two operators number at once, which the Lease rules out.
    """

    def __init__(self, cluster: Cluster, namespaces: Sequence[str] = ()) -> None:
        """Remember nothing yet; an operator that looks after some namespaces only counts in these."""
        self._cluster = cluster
        self._namespaces = namespaces or ("",)
        self._last: dict[str, int] | None = None
        self._reading = asyncio.Lock()

    def next_known(self, now: datetime) -> str:
        """The next number, or nothing as long as it would take a list of all Incidents to know it."""
        return "" if self._last is None else self._give(now)

    async def next(self, now: datetime) -> str:
        """The next number of the day, in UTC."""
        async with self._reading:
            if self._last is None:
                self._last = await self._read()
        return self._give(now)

    def _give(self, now: datetime) -> str:
        last, day = self._last or {}, f"{now:%Y-%m%d}"
        last[day] = last.get(day, 0) + 1
        self._last = last
        return f"INC-{day}-{last[day]:03}"

    async def _read(self) -> dict[str, int]:
        """The numbers that were given; only the columns of the table are asked for, as there may be thousands."""
        last: dict[str, int] = {}
        for namespace in self._namespaces:
            for text in await self._cluster.column("Incident", "ID", namespace):
                found = SHAPE.match(text)
                if found:
                    last[found[1]] = max(last.get(found[1], 0), int(found[2]))
        return last
