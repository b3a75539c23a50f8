"""Watches closed Incidents by their metadata: all there is to see of them is that somebody deletes or edits one.

There may be thousands, each with its whole story in its status. kopf keeps something of each object that it
watches, and is therefore shown the open ones only.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import structlog

from incident_operator.engine.claims import OVER
from incident_operator.engine.keys import Key
from incident_operator.faults import Fault
from incident_operator.operator.relist import key_of
from incident_operator.planning.plan import Manifest

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.closed")

WATCH_SECONDS = 600
FIRST_SECONDS, MOST_SECONDS = 0.5, 30.0
"""How soon a watch that broke is begun again, and how late at most."""


class Watching(Protocol):
    """What this needs of a cluster."""

    def metadata_events(
        self, kind: str, namespace: str, *, field_selector: str, seconds: int
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """Each event of a watch and the object's metadata."""
        ...


async def watch(cluster: Watching, notice: Callable[[Key], None], namespaces: Sequence[str]) -> None:
    """Watch for ever; ``notice`` is told of each closed Incident that is deleted or edited."""
    await asyncio.gather(*(_watch(cluster, notice, namespace) for namespace in namespaces or ("",)))


async def _watch(cluster: Watching, notice: Callable[[Key], None], namespace: str) -> None:
    loop = asyncio.get_running_loop()
    backoff = FIRST_SECONDS
    while True:
        begun = loop.time()
        try:
            events = cluster.metadata_events("Incident", namespace, field_selector=OVER, seconds=WATCH_SECONDS)
            async for kind, seen in events:
                if _is_news(kind, seen):
                    notice(key_of(seen))
        except Fault as fault:  # the re-list says in the log that there is nobody to ask
            log.debug("The watch of closed Incidents broke", cause=fault.message)
        backoff = FIRST_SECONDS if loop.time() - begun > MOST_SECONDS else min(backoff * 2, MOST_SECONDS)
        await asyncio.sleep(backoff)


def _is_news(kind: str, seen: Manifest) -> bool:
    """Whether there is something to do: one that was there before, or has just been closed, needs nothing more."""
    return kind != "ADDED" or bool(seen["metadata"].get("deletionTimestamp"))
