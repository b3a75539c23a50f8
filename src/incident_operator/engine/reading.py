"""Reads for planning: whole lists of a namespace, a moment old at most, shared by all who plan there at the same time.

A burst of Incidents in one namespace asks for the same lists; each write carries its own
precondition, so a list that is a fifth of a second old can make a write fail, never wrong. One of which a
watch says that nothing has changed is as good as a new one.
Of what a step has led to only the other policies are read from here; the rest is read anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from incident_operator.cluster.port import Ran, Reader
from incident_operator.engine.fresh import Fresh
from incident_operator.engine.unchanged import Unchanged
from incident_operator.planning.plan import Manifest
from incident_operator.planning.selectors import labels_of, matches

LIST_SECONDS = 0.2
GROUPS_SECONDS = 60.0

ListKey = tuple[str, str, str]
"""Namespace, ServiceAccount and kind."""


class Lists:
    """Lists of a moment ago, by namespace, ServiceAccount and kind."""

    def __init__(self, unchanged: Unchanged | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """Have read nothing yet; ``unchanged`` knows which lists are still as they were, by the same clock."""
        self._unchanged = unchanged
        self._lists: Fresh[ListKey, Sequence[Manifest]] = Fresh(LIST_SECONDS, clock)
        if unchanged is not None:
            self._lists = Fresh(LIST_SECONDS, clock, unchanged.holds)
        self._groups: Fresh[str, frozenset[str]] = Fresh(GROUPS_SECONDS)

    def settling(self, reader: Reader, account: str) -> PlanningReader:
        """A reader that shares nothing but the lists of policies, which are long where many were isolated."""
        return PlanningReader(
            reader, account, self._lists, self._groups, shared=frozenset({"NetworkPolicy"}), asked=self._asked
        )

    def reader(self, reader: Reader, account: str) -> PlanningReader:
        """A reader that shares its lists with all others of this ServiceAccount."""
        return PlanningReader(reader, account, self._lists, self._groups, asked=self._asked)

    def _asked(self, key: ListKey) -> None:
        if self._unchanged is not None:
            self._unchanged.asked(key)


class PlanningReader:
    """Reads as one identity; implements ``port.Reader``."""

    def __init__(
        self,
        reader: Reader,
        account: str,
        lists: Fresh[ListKey, Sequence[Manifest]],
        groups: Fresh[str, frozenset[str]],
        shared: frozenset[str] | None = None,
        asked: Callable[[ListKey], None] = lambda _: None,
    ) -> None:
        """Read through this reader what is not known; ``shared`` are the kinds whose lists are, None: all."""
        self._shared = shared
        self._asked = asked
        self._reader = reader
        self._account = account
        self._lists = lists
        self._groups = groups

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """One object, read anew."""
        return await self._reader.get(kind, namespace, name)

    async def find(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object or None, read anew."""
        return await self._reader.find(kind, namespace, name)

    async def list(self, kind: str, namespace: str, selector: Mapping[str, Any] | None = None) -> Sequence[Manifest]:
        """The whole list of the namespace, and of it what the selector finds."""
        if self._shared is not None and kind not in self._shared:
            return await self._reader.list(kind, namespace, selector)
        key = (namespace, self._account, kind)
        self._asked(key)
        found = await self._lists.get(key, lambda: self._reader.list(kind, namespace))
        return found if selector is None else [each for each in found if matches(selector, labels_of(each))]

    async def groups(self) -> frozenset[str]:
        """The API groups, which change when something is installed."""
        return await self._groups.get("", self._reader.groups)

    async def through_service(
        self, namespace: str, service: str, port: str, path: str, *, timeout_seconds: float
    ) -> tuple[int, int]:
        """Ask a Service now."""
        return await self._reader.through_service(namespace, service, port, path, timeout_seconds=timeout_seconds)

    async def run_in_pod(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, timeout_seconds: float
    ) -> Ran:
        """Run it now."""
        return await self._reader.run_in_pod(namespace, pod, container, argv, timeout_seconds=timeout_seconds)

    async def log_text(
        self, namespace: str, pod: str, container: str, *, since: datetime, most_bytes: int, previous: bool = False
    ) -> str:
        """Read it now."""
        return await self._reader.log_text(
            namespace, pod, container, since=since, most_bytes=most_bytes, previous=previous
        )

    async def connects(self, address: str, port: int, *, timeout_seconds: float) -> bool | None:
        """Try a connection now."""
        return await self._reader.connects(address, port, timeout_seconds=timeout_seconds)
