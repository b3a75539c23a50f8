"""Puts the operator together, runs it until it is told to stop, and takes it apart again."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from incident_operator import __version__
from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.cluster.port import Cluster
from incident_operator.engine.cycle import Engine
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings
from incident_operator.faults import Stalled
from incident_operator.operator import watch
from incident_operator.operator.health import Health
from incident_operator.operator.login import Ear
from incident_operator.operator.marks import Marker
from incident_operator.operator.queue import Urgency, WorkQueue
from incident_operator.operator.relist import Relist
from incident_operator.operator.supervisor import supervise
from incident_operator.operator.work import Crew
from incident_operator.telemetry import metrics as telemetry
from incident_operator.telemetry.metrics import Metrics
from incident_operator.web import probes

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.run")

FINISH = timedelta(seconds=10)
"""How long the steps in hand may take at the end; kubelet gives 30 s."""
OK, FAILED = 0, 1


@dataclasses.dataclass(frozen=True, slots=True)
class RunOptions:
    """What ``incident-operator run`` was asked for."""

    kubeconfig: Path | None = None
    """None: the ServiceAccount of the pod this runs in."""
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    """None: all."""
    host: str = "0.0.0.0"  # noqa: S104 - kubelet and Prometheus come from outside the pod
    port: int = 8080
    """0: any free one."""
    workers: int = 8
    resync: timedelta = timedelta(seconds=30)
    verified_after: timedelta = timedelta(minutes=10)


@dataclasses.dataclass(frozen=True, slots=True)
class _Parts:
    """What runs for as long as the operator does."""

    queue: WorkQueue
    crew: Crew
    relist: Relist
    marker: Marker
    health: Health
    ear: Ear
    metrics: Metrics


async def run(options: RunOptions) -> int:
    """Run until SIGTERM or SIGINT; the exit status.

    Raises Stalled with the remedy where there is no cluster, or the address is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    configuration = await load(options.kubeconfig, options.context)
    metrics = Metrics()
    connection = Connection(configuration, metrics.api_request, on_pod_network=options.kubeconfig is None)
    try:
        cluster = ClusterGateway(connection, instance=os.environ.get("POD_NAME") or socket.gethostname())
        parts = assemble(cluster, options, metrics)
        async with _listening(options, parts) as url:
            where = ", ".join(options.namespaces) or "all namespaces"
            log.info("Started", version=__version__, cluster=configuration.host, namespaces=where, listen=url)
            return await _until(stop, parts, options)
    finally:
        await connection.close()


def assemble(cluster: Cluster, options: RunOptions, metrics: Metrics) -> _Parts:
    """Make everything, and begin nothing."""
    queue = WorkQueue()
    engine = Engine(cluster, actions=ACTIONS, checks=CHECKS, settings=EngineSettings(), clock=_utc_now, metrics=metrics)
    crew = Crew(queue, engine, size=options.workers)
    relist = Relist(cluster, queue, metrics, every=options.resync, namespaces=options.namespaces)
    marker = Marker(
        cluster, metrics, verified_after=options.verified_after, clock=_utc_now, namespaces=options.namespaces
    )
    ear = Ear()
    metrics.ask_watch(ear.age_seconds)
    metrics.ask_queue(queue.depth, queue.oldest_seconds, queue.longest_work_seconds)
    return _Parts(queue, crew, relist, marker, Health(queue, crew, relist), ear, metrics)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def _listening(options: RunOptions, parts: _Parts) -> AsyncIterator[str]:
    """Answer probes and scrapes meanwhile."""
    sources = probes.Sources(
        parts.health.trouble_alive, parts.health.trouble_ready, parts.metrics.exposition, telemetry.CONTENT_TYPE
    )
    try:
        server = await probes.serve(probes.application(sources), options.host, options.port)
    except OSError as cause:
        address = f"{options.host}:{options.port}"
        raise Stalled(
            "AddressTaken", f"could not listen on {address}: {cause.strerror or cause}; choose another with --listen"
        ) from cause
    try:
        yield server.url
    finally:
        await server.close()


async def _until(stop: asyncio.Event, parts: _Parts, options: RunOptions) -> int:
    """Run all parts until asked to stop, or until one ends, which none does by itself."""
    parts.crew.start()
    tasks = [
        asyncio.create_task(part, name=name)
        for name, part in _loops(parts, options, asyncio.get_running_loop()).items()
    ]
    asked = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([asked, *tasks], return_when=asyncio.FIRST_COMPLETED)
    status = OK
    if asked.done():
        log.info("Stopping")
    else:
        status = FAILED
        asked.cancel()
    for task in tasks:
        if task.done():
            log.error("A part ended that never ends", part=task.get_name(), exc_info=task.exception())
        task.cancel()
    finished = await parts.crew.close(within=FINISH)
    if not finished:
        log.warning("Cut off steps that did not end in time", within_seconds=FINISH.total_seconds())
    await asyncio.gather(*tasks, return_exceptions=True)
    log.info("Stopped")
    return status


def _loops(parts: _Parts, options: RunOptions, loop: asyncio.AbstractEventLoop) -> dict[str, Coroutine[Any, Any, None]]:
    """Everything that goes on for ever beside the workers, by name."""

    def notice(key: Key, urgency: Urgency) -> None:
        """Called in kopf's thread; at the very end our loop may be gone already."""
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(functools.partial(parts.queue.put, key, urgency=urgency))

    async def watching(stop: asyncio.Event) -> None:
        await watch.watch(
            notice, lambda: load(options.kubeconfig, options.context), parts.ear, options.namespaces, stop
        )

    watch.quieten()
    return {
        "heart": parts.health.beat(),
        "re-list": parts.relist.run(),
        "marks": parts.marker.run(),
        "watch": supervise(watching, prepare=parts.relist.once, metrics=parts.metrics),
    }
