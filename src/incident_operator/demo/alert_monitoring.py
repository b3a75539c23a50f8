"""Prometheus and Alertmanager for one application of a lab, and the files that bring them and the operator together.

All of them run on this machine and meet on its loopback. Pods are never connected to from here: Prometheus asks the
application through the API server's proxy.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

from incident_operator.demo.scene import shipped
from incident_operator.lab import LabError
from incident_operator.lab.monitoring import Running, free_ports, start_alertmanager, start_prometheus
from incident_operator.lab.processes import wait_for

RULES = "examples/alerts-demo/rules.yaml"
LATENCY = "alertmanager_notification_latency_seconds"
CREDENTIALS = {
    "ca.crt": "certificate-authority-data",
    "client.crt": "client-certificate-data",
    "client.key": "client-key-data",
}


class Monitoring:
    """A Prometheus with the rules of the demo, an Alertmanager, and the operator's configuration for both."""

    def __init__(self, folder: Path, kubeconfig: Path, namespace: str) -> None:
        """Write what the three need; start nothing yet."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.namespace = namespace
        (port,) = free_ports(1)
        self.receiver = f"127.0.0.1:{port}"
        self.token = _secret(folder / "token", secrets.token_hex(16).encode())
        self.configuration = folder / "operator.yaml"
        """What the operator is started with, as --config; complete once ``start`` is over."""
        told = json.loads(kubeconfig.read_text())
        cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
        self._server = urlsplit(cluster["server"]).netloc
        for name, key in CREDENTIALS.items():
            _secret(folder / name, base64.b64decode({**cluster, **user}[key]))
        self.alertmanager: Running
        self.prometheus: Running
        self._started: list[Running] = []

    def start(self) -> None:
        """Start both; wait until Prometheus knows the Alertmanager and has scraped the application."""
        self.alertmanager = start_alertmanager(self.folder / "alertmanager", self.route())
        self._started.append(self.alertmanager)
        self.prometheus = start_prometheus(self.folder / "prometheus", self._scrapes(), {"rules.yaml": self.rules()})
        self._started.append(self.prometheus)
        self.configuration.write_text(self.operator())
        wait_for(lambda: self.prometheus_says("alertmanagers")["activeAlertmanagers"], 30, "Prometheus to begin")
        wait_for(lambda: self.query("up == 1"), 30, "Prometheus to scrape the application; see its /targets")

    def rules(self) -> str:
        """The rules that Prometheus loads."""
        return shipped(RULES).read_text()

    def route(self) -> str:
        """Alertmanager's configuration."""
        return route(self.receiver, self.token)

    def operator(self) -> str:
        """The operator's configuration; Prometheus runs by then."""
        return configuration(self.receiver, self.token, self.prometheus.url)

    def _scrapes(self) -> str:
        files = {name: str(self.folder / file) for name, file in zip(("ca", "cert", "key"), CREDENTIALS, strict=True)}
        job = {
            "job_name": "api",
            "scheme": "https",
            "metrics_path": f"/api/v1/namespaces/{self.namespace}/services/http:api:http/proxy/metrics",
            "tls_config": {f"{name}_file": file for name, file in files.items()},
            "static_configs": [
                {
                    "targets": [self._server],
                    "labels": {"namespace": self.namespace, "deployment": "api", "service": "api"},
                }
            ],
        }
        told = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "alerting": {
                "alertmanagers": [{"static_configs": [{"targets": [urlsplit(self.alertmanager.url).netloc]}]}]
            },
            "scrape_configs": [job],
        }
        return yaml.safe_dump(told)

    def prometheus_says(self, path: str, **params: str) -> Any:
        """The data of one answer of Prometheus' API; LabError where it has none."""
        status, body = self.prometheus.ask(f"/api/v1/{path}?{urlencode(params)}")
        told = json.loads(body) if body else {}
        if told.get("status") != "success":
            raise LabError(f"Prometheus answered {path} with {status}: {body[:500].decode(errors='replace')}")
        return told["data"]

    def query(self, text: str) -> list[dict[str, Any]]:
        """What PromQL finds now."""
        found: list[dict[str, Any]] = self.prometheus_says("query", query=text)["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that Alertmanager has and that have not ended."""
        status, body = self.alertmanager.ask("/api/v2/alerts")
        found: list[dict[str, Any]] = json.loads(body) if status == 200 else []  # noqa: PLR2004 - HTTP's OK
        return found

    def request_seconds(self) -> float | None:
        """How long one request of Alertmanager to the operator takes, as it says itself; None before the first one."""
        _, body = self.alertmanager.ask("/metrics")
        found = re.findall(rf"^{LATENCY}_(sum|count){{.*webhook.*}} (\S+)$", body.decode(), re.MULTILINE)
        told = {name: float(value) for name, value in found}
        return told["sum"] / told["count"] if told.get("count") else None

    def stop(self) -> None:
        """End both."""
        while self._started:
            self._started.pop().stop()


def route(receiver: str, token: Path, *, wait: str = "1s") -> str:
    """An Alertmanager's configuration: alerts labelled incident="true" go to the operator, others nowhere."""
    webhook = {
        "url": f"http://{receiver}/alerts",
        "send_resolved": True,
        "http_config": {"authorization": {"credentials_file": str(token)}},
    }
    way = {
        "receiver": "incident-operator",
        "matchers": ['incident="true"'],
        "group_by": ["..."],  # each alert by itself: a second one does not wait for group_interval
        "group_wait": wait,
        "group_interval": "2s",
        "repeat_interval": "1h",
    }
    told = {
        "route": {"receiver": "nobody", "routes": [way]},
        "receivers": [{"name": "nobody"}, {"name": "incident-operator", "webhook_configs": [webhook]}],
    }
    return yaml.safe_dump(told)


def configuration(receiver: str, token: Path, prometheus: str = "") -> str:
    """The operator's: where it takes alerts in, and the Prometheus that its checks ask."""
    servers = [{"name": "prometheus", "url": prometheus}] if prometheus else []
    return yaml.safe_dump({"prometheus": servers, "receiver": {"listen": receiver, "tokenFile": str(token)}})


def _secret(path: Path, data: bytes) -> Path:
    path.touch(mode=0o600)
    path.write_bytes(data)
    return path
