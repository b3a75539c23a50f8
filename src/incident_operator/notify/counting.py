"""Counts what came of each message to a hook."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from incident_operator.faults import Fault
from incident_operator.telemetry.metrics import Metrics

UNKNOWN = "unknown"
"""Stands for every hook that an Incident names and nobody has configured, so that the number of series is bounded."""


class Posts(Protocol):
    """What tells people."""

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        """Have the hook take a message, or raise why not."""
        ...


class Counted:
    """Hooks whose posts are counted."""

    def __init__(self, hooks: Posts, known: Collection[str], metrics: Metrics) -> None:
        """Count the posts to these hooks, of which the names are known."""
        self._hooks = hooks
        self._known = frozenset(known)
        self._metrics = metrics

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        """As the hooks do."""
        sink = name if name in self._known else UNKNOWN
        try:
            await self._hooks.post(name, message)
        except Fault as fault:
            self._metrics.notified(sink, fault.reason)
            raise
        self._metrics.notified(sink, "Delivered")
