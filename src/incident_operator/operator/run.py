"""Runs the operator until it is told to stop: it answers probes, and acts while it holds the Lease."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable

import structlog

from incident_operator import __version__
from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.faults import Stalled
from incident_operator.monitoring.prometheus import Servers
from incident_operator.operator import ears
from incident_operator.operator.leader import Alone, Leader, Office
from incident_operator.operator.options import RunOptions
from incident_operator.operator.reign import Parts, act, assemble
from incident_operator.telemetry import metrics as telemetry
from incident_operator.telemetry.metrics import Metrics
from incident_operator.web import probes

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.run")

OK, FAILED = 0, 1


class _Now:
    """What the probes ask: the parts as long as this replica acts, nothing while it stands by."""

    parts: Parts | None = None

    def trouble_alive(self) -> str:
        """Why a restart is called for; a standby that answers is alive."""
        return self.parts.health.trouble_alive() if self.parts else ""

    def trouble_ready(self) -> str:
        """Why Incidents may not be seen now; a standby is ready to take over."""
        return self.parts.health.trouble_ready() if self.parts else ""


async def run(options: RunOptions) -> int:
    """Run until SIGTERM or SIGINT; the exit status.

    Raises Stalled with the remedy where there is no cluster, or the address is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    metrics, now = Metrics(), _Now()
    instance = os.environ.get("POD_NAME") or socket.gethostname()
    async with contextlib.AsyncExitStack() as closing:
        office, fence = await _office(options, instance, closing)
        configuration = await load(options.kubeconfig, options.context)
        connection = Connection(
            configuration, metrics.api_request, on_pod_network=options.kubeconfig is None, fence=fence
        )
        closing.push_async_callback(connection.close)
        metrics.leads(office.is_held)
        cluster = ClusterGateway(connection, instance=instance)
        url = await closing.enter_async_context(_listening(options, now, metrics))
        servers = Servers(options.configuration.prometheus)
        closing.push_async_callback(servers.close)
        await closing.enter_async_context(ears.receiving(options, instance, metrics))
        where = ", ".join(options.namespaces) or "all namespaces"
        log.info("Started", version=__version__, cluster=configuration.host, namespaces=where, listen=url)
        status = await _terms(stop, office, now, lambda: assemble(cluster, options, metrics, servers), options)
        log.info("Stopped")
        return status


async def _office(
    options: RunOptions, instance: str, closing: contextlib.AsyncExitStack
) -> tuple[Office, Callable[[], None]]:
    """The Lease, over a connection of its own, so that no burst keeps it from being renewed."""
    if options.lease is None:
        return Alone(), lambda: None
    connection = Connection(await load(options.kubeconfig, options.context))
    closing.push_async_callback(connection.close)
    hands = ClusterGateway(connection, instance=instance)
    leader = Leader(hands, *options.lease, f"{instance}_{secrets.token_hex(4)}")
    return leader, leader.guard


async def _terms(stop: asyncio.Event, office: Office, now: _Now, make: Callable[[], Parts], options: RunOptions) -> int:
    """One term of office after the other, until asked to stop or a part fails."""
    asked = asyncio.create_task(stop.wait(), name="stop")
    try:
        while True:
            campaign = asyncio.create_task(office.campaign(), name="campaign")
            await asyncio.wait([asked, campaign], return_when=asyncio.FIRST_COMPLETED)
            if asked.done() and not campaign.done():
                campaign.cancel()
                await asyncio.gather(campaign, return_exceptions=True)
                return OK
            now.parts = make()
            is_well = await act(stop, now.parts, options, office)
            now.parts = None
            await office.resign()
            if not is_well or stop.is_set():
                return OK if is_well else FAILED
    finally:
        asked.cancel()


@contextlib.asynccontextmanager
async def _listening(options: RunOptions, now: _Now, metrics: Metrics) -> AsyncIterator[str]:
    """Answer probes and scrapes meanwhile."""
    sources = probes.Sources(now.trouble_alive, now.trouble_ready, metrics.exposition, telemetry.CONTENT_TYPE)
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


__all__ = ["RunOptions", "run"]
