"""What ``incident-operator run`` was asked for."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

from incident_operator.api.configuration import Configuration


@dataclasses.dataclass(frozen=True, slots=True)
class RunOptions:
    """The options of the operator."""

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
    configuration: Configuration = dataclasses.field(default_factory=Configuration)
    is_configured: bool = False
    """Whether there is a file of configuration: without one no alerts are taken in."""
    lease: tuple[str, str] | None = None
    """Namespace and name of the Lease by which replicas agree on who acts; None: this is the only one."""
