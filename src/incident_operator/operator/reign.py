"""What the replica that acts does: watch, queue, work; put together anew each time it becomes the one."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
from collections.abc import Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.checks.promql import PromQL
from incident_operator.cluster.connection import load
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.engine.clockwork import Clockwork
from incident_operator.engine.confirming import Confirmer
from incident_operator.engine.cycle import Engine
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings, protecting_itself
from incident_operator.engine.triaging import Triager
from incident_operator.engine.unchanged import Unchanged
from incident_operator.engine.waking import Waker
from incident_operator.monitoring.prometheus import Servers
from incident_operator.notify.counting import Counted
from incident_operator.notify.hooks import Hooks
from incident_operator.operator import closed, ears
from incident_operator.operator.ear import Ear
from incident_operator.operator.health import Health
from incident_operator.operator.leader import Office
from incident_operator.operator.marks import Marker
from incident_operator.operator.options import RunOptions
from incident_operator.operator.queue import Urgency, WorkQueue
from incident_operator.operator.relist import Relist
from incident_operator.operator.supervisor import supervise
from incident_operator.operator.work import Crew
from incident_operator.planning.plan import Manifest
from incident_operator.telemetry.metrics import Metrics

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.run")

FINISH = timedelta(seconds=10)
"""How long the steps in hand may take at the end; kubelet gives 30 s."""
BACKLOG_SECONDS = 3.0
"""How long the watch waits for the Incidents that were there at the start."""
FINISH_DEPOSED = timedelta(seconds=1)
"""How long where the Lease is lost: nothing can be written any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """What runs for as long as this replica acts."""

    queue: WorkQueue
    engine: Engine
    crew: Crew
    relist: Relist
    marker: Marker
    health: Health
    ear: Ear
    metrics: Metrics
    waker: Waker
    unchanged: Unchanged
    cluster: ClusterGateway
    servers: Servers
    clockwork: Clockwork


def assemble(cluster: ClusterGateway, options: RunOptions, metrics: Metrics, servers: Servers) -> Parts:
    """Make everything, and begin nothing."""
    queue = WorkQueue()
    waker = Waker(queue.put, lambda space, account, kind: cluster.acting_as(space, account).changes(kind, space))
    unchanged = Unchanged(
        lambda space, account, kind, *, begun: cluster.acting_as(space, account).changes(kind, space, begun)
    )
    hooks = Counted(Hooks(options.configuration.hooks), [each.name for each in options.configuration.hooks], metrics)
    clockwork = Clockwork(options.configuration, hooks, _utc_now, queue.put)
    engine = Engine(
        cluster,
        actions=ACTIONS,
        checks={**CHECKS, PromQL.name: PromQL(servers)},
        settings=_settings(options),
        clock=_utc_now,
        metrics=metrics,
        wake=queue.put,
        is_busy=queue.is_pressed,
        follow=waker.follow,
        namespaces=options.namespaces,
        triager=Triager(servers),
        confirmer=Confirmer(servers),
        clockwork=clockwork,
        unchanged=unchanged,
    )
    crew = Crew(queue, engine, size=options.workers)
    relist = Relist(
        cluster, queue, metrics, every=options.resync, namespaces=options.namespaces, is_due=clockwork.is_due
    )
    marker = Marker(
        cluster, metrics, verified_after=options.verified_after, clock=_utc_now, namespaces=options.namespaces
    )
    ear = Ear()
    metrics.ask_watch(ear.age_seconds)
    metrics.ask_queue(queue.depth, queue.oldest_seconds, queue.longest_work_seconds)
    health = Health(queue, crew, relist)
    return Parts(
        queue,
        engine,
        crew,
        relist,
        marker,
        health,
        ear,
        metrics,
        waker,
        unchanged,
        cluster,
        servers,
        clockwork,
    )


def _settings(options: RunOptions) -> EngineSettings:
    """The engine's own, and what it must leave alone: the pod that it runs in, if it is of the cluster it acts on."""
    home = "" if options.kubeconfig else ears.own_namespace()
    own = protecting_itself(home, os.environ.get("POD_NAME", ""), options.namespaces)
    return EngineSettings(always_protected=own)


def _utc_now() -> datetime:
    return datetime.now(UTC)


async def act(stop: asyncio.Event, parts: Parts, options: RunOptions, office: Office) -> bool:
    """Act until asked to stop, or until the office is lost; whether every part did what it should."""
    parts.crew.start()
    tasks = [
        asyncio.create_task(part, name=name)
        for name, part in _loops(parts, options, asyncio.get_running_loop()).items()
    ]
    asked = asyncio.create_task(stop.wait(), name="stop")
    lost = asyncio.create_task(office.keep(), name="office")
    await asyncio.wait([asked, lost, *tasks], return_when=asyncio.FIRST_COMPLETED)
    is_well = asked.done() or lost.done()
    if asked.done():
        log.info("Stopping")
    for task in tasks:
        if task.done():
            log.error("A part ended that never ends", part=task.get_name(), exc_info=task.exception())
        task.cancel()
    asked.cancel()
    within = FINISH_DEPOSED if lost.done() else FINISH
    if not await parts.crew.close(within=within):
        log.warning("Cut off steps that did not end in time", within_seconds=within.total_seconds())
    await parts.waker.close()
    await parts.unchanged.close()
    await parts.clockwork.close()
    lost.cancel()  # the office was kept while steps were finished
    await asyncio.gather(asked, lost, *tasks, return_exceptions=True)
    return is_well


def _loops(
    parts: Parts, options: RunOptions, loop: asyncio.AbstractEventLoop
) -> Mapping[str, Coroutine[Any, Any, None]]:
    """Everything that goes on for ever beside the workers, by name."""

    def put(key: Key, urgency: Urgency | None, seen: Manifest | None) -> None:
        if parts.engine.is_news(key, seen):
            parts.queue.put(key, urgency=urgency)

    def notice(key: Key, urgency: Urgency | None, seen: Manifest | None) -> None:
        """Called in kopf's thread; at the very end our loop may be gone already."""
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(functools.partial(put, key, urgency, seen))

    async def watching(stop: asyncio.Event) -> None:
        from incident_operator.operator import watch  # in kopf's thread: its import takes half a second

        watch.quieten()
        await watch.watch(
            notice, lambda: load(options.kubeconfig, options.context), parts.ear, options.namespaces, stop
        )

    async def watching_approvals(stop: asyncio.Event) -> None:
        from incident_operator.operator import watch

        await watch.watch(
            notice,
            lambda: load(options.kubeconfig, options.context),
            Ear(),
            options.namespaces,
            stop,
            what=watch.approvals,
        )

    async def prepare() -> None:
        """What the list has found is begun before kopf reads all Incidents once more, closed ones included."""
        await parts.relist.fresh()
        async with asyncio.timeout(BACKLOG_SECONDS):
            while parts.queue.is_pressed():  # noqa: ASYNC110 - the queue tells nobody when it is empty
                await asyncio.sleep(0.05)

    async def prepare_watch() -> None:
        with contextlib.suppress(TimeoutError):
            await prepare()

    return {
        **ears.loops(parts.cluster, parts.servers, options, parts.metrics),
        "heart": parts.health.beat(),
        "re-list": parts.relist.run(),
        "marks": parts.marker.run(),
        "watch": supervise(watching, prepare=prepare_watch, metrics=parts.metrics),
        "watch of closed ones": closed.watch(parts.cluster, parts.queue.put, options.namespaces),
        "watch of approvals": supervise(watching_approvals, prepare=parts.relist.ready, metrics=parts.metrics),
    }
