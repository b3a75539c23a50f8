"""``incident-operator run``: the operator in the foreground."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click

MOST_PORT = 65535
NO_CLUSTER = (
    "no cluster: this does not run in a pod, so say which cluster to act on: --kubeconfig FILE, and --context NAME"
    " if it is not the file's current one. KUBECONFIG and ~/.kube/config are not looked at: nothing happens to a"
    " cluster that was not named."
)


def duration(value: str | timedelta) -> timedelta:
    """A time like 500ms, 90s, 5m or 1h30m; what is not one is a usage error."""
    if isinstance(value, timedelta):
        return value
    from incident_operator.api.schema import parse_duration

    try:
        found = parse_duration(value)
    except ValueError as cause:
        raise click.BadParameter(str(cause)) from cause
    if found <= timedelta(0):
        raise click.BadParameter(f"{value!r} must be longer than nothing")
    return found


def address(value: str | tuple[str, int]) -> tuple[str, int]:
    """HOST:PORT, or :PORT for every interface; what is not one is a usage error."""
    if isinstance(value, tuple):
        return value
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdecimal()) or int(port) > MOST_PORT:
        raise click.BadParameter(f"{value!r} is not HOST:PORT: write it as 127.0.0.1:8080, [::]:8080 or :8080")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - asked for


def lease(value: str | tuple[str, str]) -> tuple[str, str]:
    """NAMESPACE/NAME; what is not one is a usage error."""
    if isinstance(value, tuple):
        return value
    namespace, _, name = value.partition("/")
    if not namespace or not name or "/" in name:
        raise click.BadParameter(f"{value!r} is not NAMESPACE/NAME: write it as incident-operator/incident-operator")
    return namespace, name


def _return_memory() -> None:
    """Have glibc keep two heaps, not eight a core, so that what threads let go is used again; elsewhere do nothing."""
    import contextlib
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(-8, 2)  # M_ARENA_MAX (mallopt(3))


def _env(name: str) -> dict[str, Any]:
    """The variable of an option, shown in its help."""
    return {"envvar": f"INCIDENT_OPERATOR_{name}", "show_envvar": True}


def _configuration(path: Path | None) -> Any:
    """What a file of configuration says, or all defaults; one that cannot be understood ends the program."""
    from incident_operator.api import configuration
    from incident_operator.faults import Stalled

    if path is None:
        return configuration.Configuration()
    try:
        return configuration.load(path)
    except Stalled as fault:
        raise click.ClickException(fault.message) from fault


EPILOG = """\b
Examples:
  incident-operator run
      in a pod: as the pod's ServiceAccount, on all namespaces
  incident-operator run --kubeconfig ~/clusters/test.yaml --context test --listen 127.0.0.1:8080
      on this machine, on a cluster that is named
  incident-operator run --kubeconfig ./kubeconfig --namespace shop --namespace web
      with rights in two namespaces only
"""


@click.command(epilog=EPILOG)
@click.option(
    "--kubeconfig",
    type=click.Path(path_type=Path),
    help="File that says how to reach the cluster. Without it: the ServiceAccount of the pod this runs in."
    " KUBECONFIG and ~/.kube/config are never looked at.",
    **_env("KUBECONFIG"),
)
@click.option("--context", help="Context of that file; without it, the file's current one.", **_env("CONTEXT"))
@click.option(
    "--namespace",
    "namespaces",
    multiple=True,
    help="Look after this namespace only; may be repeated. Without it: all. In the variable, separated by spaces.",
    **_env("NAMESPACE"),
)
@click.option(
    "--log-format",
    type=click.Choice(["json", "text"]),
    help="Form of the log on standard error. Without it: text on a terminal, else json.",
    **_env("LOG_FORMAT"),
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="The least important lines that are logged; debug shows what kopf and aiohttp say, too.",
    **_env("LOG_LEVEL"),
)
@click.option(
    "--listen",
    type=address,
    metavar="HOST:PORT",
    default="0.0.0.0:8080",
    show_default=True,
    help="Where /healthz, /readyz and /metrics are; port 0 takes a free one and logs it.",
    **_env("LISTEN"),
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=8,
    show_default=True,
    help="How many Incidents are worked on at once.",
    **_env("WORKERS"),
)
@click.option(
    "--resync",
    type=duration,
    metavar="DURATION",
    default="30s",
    show_default=True,
    help="How often all open Incidents are looked at, whatever the watch says.",
    **_env("RESYNC"),
)
@click.option(
    "--verified-after",
    type=duration,
    metavar="DURATION",
    default="10m",
    show_default=True,
    help="How long a revision must have been available, without an Incident, to be marked as good. Only in"
    " namespaces and on workloads labelled incident-operator.dev/mark-revisions=true.",
    **_env("VERIFIED_AFTER"),
)
@click.option(
    "--lease",
    type=lease,
    metavar="NAMESPACE/NAME",
    help="Lease by which several replicas agree on the one that acts. Without it this one takes itself for the only"
    " one.",
    **_env("LEASE"),
)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file with Prometheus servers, the receiver of alerts, clocks and hooks (docs/alerts.md). Without it no"
    " alerts are taken in.",
    **_env("CONFIG"),
)
def run(
    *,
    kubeconfig: Path | None,
    context: str | None,
    namespaces: tuple[str, ...],
    log_format: str | None,
    log_level: str,
    listen: tuple[str, int],
    workers: int,
    resync: timedelta,
    verified_after: timedelta,
    lease: tuple[str, str] | None,
    config: Path | None,
) -> None:
    """Run the operator until it gets SIGTERM or SIGINT.

    It finishes the steps in hand before it ends; what it did not get to, the next one goes on with.
    """
    if kubeconfig is None:
        if context is not None:
            raise click.UsageError("--context names a context of a file: say which with --kubeconfig FILE")
        if not os.environ.get("KUBERNETES_SERVICE_HOST"):
            raise click.ClickException(NO_CLUSTER)

    import asyncio
    import signal

    # The first process of a container ignores SIGTERM until it says otherwise, and the imports take a second.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    _return_memory()
    # Two threads take turns: with the default of 5 ms a burst in kopf's would hold up each write of ours.
    sys.setswitchinterval(0.0005)
    from incident_operator.telemetry import logs

    logs.configure(logs.form_for(log_format, sys.stderr), log_level, sys.stderr)
    from incident_operator.operator import run as operator

    options = operator.RunOptions(
        kubeconfig=kubeconfig,
        context=context,
        namespaces=tuple(dict.fromkeys(namespaces)),
        host=listen[0],
        port=listen[1],
        workers=workers,
        resync=resync,
        verified_after=verified_after,
        lease=lease,
        configuration=_configuration(config),
        is_configured=config is not None,
    )
    sys.exit(asyncio.run(operator.run(options)))
