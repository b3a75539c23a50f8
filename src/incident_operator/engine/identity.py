"""Gives each Incident the number that people say on the phone: ``INC-2026-1123-001``."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime

from incident_operator.cluster.port import Cluster
from incident_operator.faults import Stalled

SHAPE = re.compile(r"^INC-(\d{4}-\d{4})-(\d+)$")


class IdBook:
    """The last number given on each day; read from the cluster once, then kept.

    Two Incidents get the same number only if two operators number at once, which the
    single replica of the Deployment rules out.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Remember nothing yet; the first number asked for reads what there is."""
        self._cluster = cluster
        self._last: dict[str, int] | None = None
        self._reading = asyncio.Lock()

    async def next(self, now: datetime, namespace: str) -> str:
        """The next number of the day, in UTC; an operator that may see some namespaces only counts in this one."""
        async with self._reading:
            if self._last is None:
                self._last = await self._read(namespace)
        day = f"{now:%Y-%m%d}"
        self._last[day] = self._last.get(day, 0) + 1
        return f"INC-{day}-{self._last[day]:03}"

    async def _read(self, namespace: str) -> dict[str, int]:
        last: dict[str, int] = {}
        try:
            incidents = await self._cluster.list_all("Incident")
        except Stalled:
            incidents = await self._cluster.list("Incident", namespace)
        for incident in incidents:
            found = SHAPE.match((incident.get("status") or {}).get("id", ""))
            if found:
                last[found[1]] = max(last.get(found[1], 0), int(found[2]))
        return last
