"""How signals reach this replica: the receiver listens on every one, the scouts look on the one that acts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from incident_operator.api.configuration import Configuration
from incident_operator.api.schema import parse_duration
from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.cluster.port import Cluster
from incident_operator.engine import recalling
from incident_operator.engine.calls import Caller
from incident_operator.engine.intake import Intake, whoami
from incident_operator.faults import Stalled
from incident_operator.monitoring.prometheus import Servers
from incident_operator.operator.options import RunOptions
from incident_operator.operator.polling import Poller
from incident_operator.operator.scouts import Scouts
from incident_operator.signals import prometheus
from incident_operator.telemetry.metrics import Metrics
from incident_operator.web import receiver

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.run")

OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
SCOUT_EVERY = timedelta(seconds=30)
"""How often annotated workloads are looked at: a rollout has minutes to make progress."""


def home(options: RunOptions) -> str:
    """The namespace of Incidents whose alert names none that is there."""
    if options.configuration.receiver.namespace:
        return options.configuration.receiver.namespace
    return own_namespace() or next(iter(options.namespaces), "default")


def own_namespace() -> str:
    """The namespace that this runs in; empty outside of a pod."""
    with contextlib.suppress(OSError):
        return OWN_NAMESPACE.read_text().strip()
    return ""


def intake(cluster: Cluster, options: RunOptions, metrics: Metrics) -> Intake:
    """What makes Incidents of signals."""
    known: list[str] = []

    async def user() -> str:
        """Asked once: nobody becomes somebody else while they run."""
        if not known:
            known.append(await whoami(cluster))
        return known[0]

    caller = Caller(cluster, home=home(options), namespaces=options.namespaces)
    return Intake(cluster, caller, namespaces=options.namespaces, user=user, said=metrics.signal_taken)


@contextlib.asynccontextmanager
async def receiving(options: RunOptions, instance: str, metrics: Metrics) -> Any:
    """Take alerts in over HTTP meanwhile; Stalled with the remedy where the address is taken.

    Over a connection of its own: it makes Incidents whether this replica acts or stands by, so no Lease
    fences it.
    """
    if not options.is_configured:
        yield ""
        return
    connection = Connection(await load(options.kubeconfig, options.context), metrics.api_request)
    try:
        cluster = ClusterGateway(connection, instance=instance)
        configured = options.configuration.receiver
        app = receiver.application(
            configured, intake(cluster, options, metrics), metrics.notification_received, metrics.alerts_left_out
        )
        try:
            server = await receiver.listen(configured, app)
        except OSError as cause:
            text = f"could not listen on {configured.listen}: {cause.strerror or cause}; choose another receiver.listen"
            raise Stalled("AddressTaken", text) from cause
        log.info("Takes alerts in", listen=server.url)
        try:
            yield server.url
        finally:
            await server.close()
    finally:
        await connection.close()


def loops(
    cluster: Cluster, servers: Servers, options: RunOptions, metrics: Metrics
) -> Mapping[str, Coroutine[Any, Any, None]]:
    """What looks for signals for ever, by name."""
    takes = intake(cluster, options, metrics)
    clock: Callable[[], datetime] = functools.partial(datetime.now, UTC)
    configured: Configuration = options.configuration
    scouts = Scouts(
        cluster,
        takes,
        every=SCOUT_EVERY,
        namespaces=options.namespaces,
        clock=clock,
        recall=functools.partial(recalling.firing, cluster, options.namespaces, "Workload"),
        trivy_threshold=configured.trivy_threshold,
    )
    found: dict[str, Coroutine[Any, Any, None]] = {"scouts": scouts.run()}
    for each in configured.prometheus:
        if each.poll_alerts:
            ask: Callable[[], Awaitable[Any]] = functools.partial(servers.alerts, each.name)
            read = functools.partial(prometheus.read, server=each.name)
            every = parse_duration(each.poll_alerts)
            poller = Poller(
                each.name,
                ask,
                read,
                takes,
                every=every,
                clock=clock,
                recall=functools.partial(recalling.firing, cluster, options.namespaces, "Prometheus"),
                left_out=functools.partial(metrics.alerts_left_out, "prometheus"),
            )
            found[f"alerts of {each.name}"] = poller.run()
    return found
