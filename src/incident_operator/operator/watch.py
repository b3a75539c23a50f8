"""How kopf is used: it watches Incidents and tells their names, and writes nothing.

A conflict on a write of kopf's own, or an API server that takes no writes for a minute, and
kopf never handles the object again (measured on 1.45.2); our queue and the re-list cannot
lose one. So: ``on.event`` only, which makes kopf keep nothing on the object.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import kopf
from kopf._cogs.structs.references import Insights  # what kopf found to watch is told nowhere else

from incident_operator.api import names
from incident_operator.engine.claims import OPEN
from incident_operator.engine.keys import Key
from incident_operator.faults import Waiting
from incident_operator.operator.ear import Ear
from incident_operator.operator.login import Load, session_for
from incident_operator.operator.queue import Urgency, urgency_of
from incident_operator.operator.relist import key_of, may_need_work
from incident_operator.planning.plan import Manifest

Notice = Callable[[Key, Urgency | None, Manifest | None], None]
"""Told of each Incident that may need a look, how urgent it is and how it was seen, where that is known.

Called in kopf's thread.
"""

SAID_BETTER = ("OS signals are ignored", "has failed: ", "Connector is closed", "TCP closed; ", "Unresolved resources")
"""What kopf says of itself where we say it: who handles signals, that a watch ended (with two tracebacks), that
a request did not get its answer because kopf has closed its connections on its way out, and that a kind is not served.
"""
ATTEMPT, ATTEMPT_SECONDS = "Request attempt #", 30.0


Register = Callable[[kopf.OperatorRegistry, Notice], None]


def incidents(registry: kopf.OperatorRegistry, notice: Notice) -> None:
    """Have kopf tell of open Incidents; one that is closed is, for a watch of the open ones, gone."""

    @kopf.on.event(names.GROUP, names.VERSION, "incidents", registry=registry)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        """Put the Incident on the queue; what happened to it is found out by looking at it."""
        seen: Any = event["object"]
        if event["type"] == "DELETED":
            notice(key_of(seen), urgency_of(seen), None)
        elif may_need_work(seen):
            notice(key_of(seen), urgency_of(seen), seen)


def approvals(registry: kopf.OperatorRegistry, notice: Notice) -> None:
    """Have kopf tell of IncidentApprovals, in an operator of its own.

    One kopf operator with two watches can hang where one of them ends while the other waits for the
    headers of its answer: the callback that is to cancel that request fails (``clients/api.py``, ``stream``
    of 1.45.2: no task is current in a callback).
    """

    @kopf.on.event(names.GROUP, names.VERSION, "incidentapprovals", registry=registry)
    async def approved(body: kopf.Body, **_: Any) -> None:
        """Somebody has said yes or no: the Incident is looked at."""
        incident = (body.get("spec") or {}).get("incident")
        if incident:
            notice(Key(body["metadata"]["namespace"], incident), None, None)


class _NoDiff(kopf.AnnotationsDiffBaseStorage):
    """Compares nothing: kopf would copy each object at each event for handlers of changes, and there are none."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing of it."""
        return kopf.BodyEssence({})


def settings() -> kopf.OperatorSettings:
    """The settings of kopf, each with its reason."""
    found = kopf.OperatorSettings()
    found.peering.standalone = True  # equal peers would freeze each other
    found.scanning.disabled = True  # needs no rights on CRDs and Namespaces; the supervisor waits for our CRD
    found.posting.enabled = False  # Events are ours
    found.persistence.finalizer = f"{names.GROUP}/kopf"  # never put on; must not be ours, or kopf takes ours off
    found.persistence.diffbase_storage = _NoDiff()
    found.networking.request_timeout = 10  # the default of five minutes is an outage
    found.networking.connect_timeout = 3
    found.networking.error_backoffs = (0.1, 0.2, 0.5, 1)  # then it ends, and the supervisor looks each few seconds
    found.watching.connect_timeout = 3
    found.watching.inactivity_timeout = 70  # bookmarks come each 60 s
    found.watching.server_timeout = 600
    found.watching.client_timeout = 660
    found.watching.chunk_size = 500
    found.watching.field_selectors[names.GROUP, "incidents"] = OPEN  # of the closed ones ``closed`` tells
    found.queueing.worker_limit = None  # with a limit kopf can lock itself up at the start (kopf 1243)
    found.queueing.exit_timeout = 1
    found.process.ultimate_exiting_timeout = None  # would kill this whole process, for kopf runs in a thread of it
    found.background.cancellation_polling = 10
    return found


async def watch(
    notice: Notice, load: Load, ear: Ear, namespaces: Sequence[str], stop: asyncio.Event, what: Register = incidents
) -> None:
    """Watch until asked to stop; kopf also ends, or raises, where a watch fails in a way it does not know.

    Raises Waiting where the API server did not name what is to be watched.
    """
    registry = kopf.OperatorRegistry()
    what(registry, notice)

    @kopf.on.login(registry=registry, errors=kopf.ErrorsMode.TEMPORARY, backoff=1)
    async def login(**_: Any) -> kopf.AiohttpSession:
        """Load the credentials anew; kopf asks at the start and when they are refused."""
        return await session_for(await load(), ear)

    @kopf.on.cleanup(registry=registry)
    async def ending(**_: Any) -> None:
        """Raise the flag: kopf waits for 5 s at its end for the very task that waits for the flag."""
        stop.set()

    insights = Insights()
    discovery = asyncio.create_task(_discovery(insights, stop), name="discovery")
    try:
        await kopf.operator(
            registry=registry,
            settings=settings(),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            stop_flag=stop,
            insights=insights,
        )
    finally:
        discovery.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await discovery


async def _discovery(insights: Insights, stop: asyncio.Event) -> None:
    """End kopf where it found nothing to watch: it takes a 404 to its discovery for an answer, and never asks again.

    An API server gives one while its CRDs are being loaded, or where another replica has not heard of them yet.
    """
    await insights.ready_resources.wait()
    if not insights.watched_resources:
        stop.set()
        raise Waiting("NotServed", f"the API server named nothing of {names.GROUP}/{names.VERSION} that can be watched")


class _News(logging.Filter):
    """Leaves out what we say better, and of failing requests all but one in a while: kopf tells of each attempt."""

    heard_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is worth a line."""
        said = record.getMessage()
        if any(text in said for text in SAID_BETTER):
            return False
        if said.startswith(ATTEMPT):
            if record.created < self.heard_at + ATTEMPT_SECONDS:
                return False
            self.heard_at = record.created
        return True


def quieten() -> None:
    """Leave out of the log what kopf says too often, or what we say better."""
    news = _News()
    for module in (
        "_core.reactor.running",
        "_core.reactor.orchestration",
        "_core.reactor.observation",
        "_cogs.clients.watching",
        "_cogs.clients.fetching",
    ):
        logger = logging.getLogger(f"kopf.{module}")
        logger.filters[:] = [news]
