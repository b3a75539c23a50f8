"""A real Alertmanager that tests give alerts to, and the operator that it sends them on to."""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from incident_operator.demo.alert_monitoring import configuration, route
from incident_operator.lab.monitoring import Running, free_ports, start_alertmanager
from tests_support.cluster import Namespace, OperatorProcess

INCIDENTS = "incidents.incident-operator.dev"
Alert = Mapping[str, Any]


@dataclasses.dataclass
class Receiver:
    """Where one operator takes alerts in; the same before and after a restart."""

    folder: Path
    address: str
    token: Path

    @classmethod
    def made(cls, folder: Path) -> Receiver:
        """In an empty folder."""
        (port,) = free_ports(1)
        made = cls(folder, f"127.0.0.1:{port}", folder / "token")
        made.token.write_text(secrets.token_hex(16))
        (folder / "operator.yaml").write_text(configuration(made.address, made.token))
        return made

    def operator(self, kubeconfig: Path, namespace: str) -> OperatorProcess:
        """An operator that takes alerts in there, not yet started."""
        log = self.folder / "operator.log"
        return OperatorProcess(kubeconfig, namespace, log, "--config", str(self.folder / "operator.yaml"))

    def alertmanager(self, name: str, *, peers: Sequence[str] | None = None) -> Running:
        """An Alertmanager that sends there, at once."""
        return start_alertmanager(self.folder / name, route(self.address, self.token, wait="0s"), peers=peers)


def alert(namespace: str, **labels: str) -> dict[str, Any]:
    """One that fires since a moment ago, about the Deployment ``web`` of a namespace."""
    given = {"alertname": "Broken", "incident": "true", "severity": "critical", "deployment": "web"}
    started = datetime.now(UTC) - timedelta(seconds=5)
    return {
        "labels": {**given, "namespace": namespace, **labels},
        "annotations": {"summary": "web is broken", "incident_runbook": "wait"},
        "startsAt": started.isoformat(),
        "generatorURL": "http://prometheus.example/graph",
    }


def over(given: Alert) -> dict[str, Any]:
    """The same, resolved a moment ago."""
    return {**given, "endsAt": datetime.now(UTC).isoformat()}


def post(alertmanager: Running, *alerts: Alert) -> None:
    """Give alerts to an Alertmanager, as Prometheus does."""
    status, said = alertmanager.ask("/api/v2/alerts", method="POST", body=json.dumps(alerts).encode())
    assert status == 200, said


def requests(alertmanager: Running) -> tuple[int, int]:
    """How many requests an Alertmanager has made to the operator, and how many of them failed."""
    _, body = alertmanager.ask("/metrics")
    failed = _count(body, "alertmanager_notification_requests_failed_total")
    return _count(body, "alertmanager_notification_requests_total"), failed


def given_up(alertmanager: Running) -> int:
    """How many notifications an Alertmanager has given up on, after however many requests."""
    return _count(alertmanager.ask("/metrics")[1], "alertmanager_notifications_failed_total")


def _count(metrics: bytes, name: str) -> int:
    """The sum of a counter over whatever else its labels tell apart."""
    found = re.findall(rf'^{name}{{[^}}]*integration="webhook"[^}}]*}} (\d+)', metrics.decode(), re.MULTILINE)
    return sum(map(int, found))


def waiting(namespace: Namespace) -> dict[str, Any]:
    """A Runbook that does nothing and waits until the alert has resolved."""
    verification = [{"name": "alert", "alertResolved": {}}]
    return {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "Runbook",
        "metadata": {"name": "wait", "namespace": namespace.name},
        "spec": {"title": "Wait for it", "verification": verification},
    }
