"""A real Prometheus that has no Alertmanager: the operator asks it itself which alerts fire, and which do no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from incident_operator.lab.monitoring import Running, start_prometheus
from incident_operator.operator.polling import GONE_SECONDS
from tests_support.alerting import INCIDENTS, waiting
from tests_support.cluster import Namespace, OperatorProcess
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster
CONFIG = "global: {scrape_interval: 1s, evaluation_interval: 500ms}\n"
FIRES, SILENT = "vector(1)", "vector(1) < 0"


def rules(namespace: Namespace, query: str) -> str:
    """One alert of ours about the Deployment ``web``, and one that is nobody's."""
    labels = {"incident": "true", "namespace": namespace.name, "deployment": "web", "severity": "critical"}
    said = {"summary": "web is slow", "incident_runbook": "wait"}
    ours = {"alert": "Slow", "expr": query, "labels": labels, "annotations": said}
    other = {"alert": "NotOurs", "expr": FIRES, "labels": {"namespace": namespace.name}}
    return json.dumps({"groups": [{"name": "demo", "rules": [ours, other]}]})


@pytest.fixture
def shop(namespace: Namespace) -> Namespace:
    """A Deployment, and a Runbook that counts users and waits for the alert's end."""
    runbook = waiting(namespace)
    runbook["spec"]["impact"] = {"users": {"query": "vector(40) + 2", "server": "main"}}
    namespace.apply(plain("web"), runbook)
    return namespace


@pytest.fixture
def prometheus(shop: Namespace, tmp_path: Path) -> Iterator[Running]:
    if not shutil.which("apt-get"):
        pytest.skip("needs apt-get, for Debian's packages")
    running = start_prometheus(tmp_path / "prometheus", CONFIG, {"rules.yml": rules(shop, FIRES)})
    yield running
    running.stop()


@pytest.fixture
def operator(shop: Namespace, prometheus: Running, lab_kubeconfig: Path, tmp_path: Path) -> Iterator[OperatorProcess]:
    """One that polls every second."""
    server = {"name": "main", "url": prometheus.url, "pollAlerts": "1s"}
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"prometheus": [server], "receiver": {"listen": "127.0.0.1:0"}}))
    made = OperatorProcess(lab_kubeconfig, shop.name, tmp_path / "operator.log", "--config", str(config))
    made.start()
    yield made
    shop("delete", INCIDENTS, "--all", "--timeout=30s")
    assert made.stop() == 0
    assert "Traceback" not in made.log.read_text()


def firing(namespace: Namespace) -> Any:
    """The Incident, once it is there and waits for the end of its alert."""
    (found,) = eventually(lambda: namespace.list(INCIDENTS), within=60, what="an Incident")
    return namespace.await_condition(found["metadata"]["name"], "SignalResolved", "False", within=30)


def silence(namespace: Namespace, prometheus: Running) -> None:
    """The rule is no longer true; return once Prometheus says so."""
    (prometheus.folder / "rules/rules.yml").write_text(rules(namespace, SILENT))
    prometheus.reload()

    def is_gone() -> bool:
        told = json.loads(prometheus.ask("/api/v1/alerts")[1])["data"]["alerts"]
        return [each["labels"]["alertname"] for each in told] == ["NotOurs"]

    eventually(is_gone, within=30, what="the alert to be gone")


def ends(namespace: Namespace, incident: Any) -> None:
    """The one Incident that there was is Resolved, because its alert has ended."""
    name = incident["metadata"]["name"]
    done = namespace.await_condition(name, "Ready", within=GONE_SECONDS + 60)
    assert done["status"]["phase"] == "Resolved"
    assert "endsAt" in done["spec"]["signals"][0]
    assert [each["metadata"]["name"] for each in namespace.list(INCIDENTS)] == [name]


def test_an_alert_that_is_polled_begins_an_incident_and_its_end_resolves_it(
    shop: Namespace, prometheus: Running, operator: OperatorProcess
) -> None:
    incident = firing(shop)
    spec = incident["spec"]
    assert (spec["source"], spec["severity"]) == ("Prometheus", "SEV-1")
    assert spec["targets"] == [{"kind": "Deployment", "name": "web"}]
    assert spec["runbookRef"] == {"kind": "Runbook", "name": "wait"}
    assert [each["name"] for each in spec["signals"]] == ["Slow"]
    triage = eventually(
        lambda: shop.incident(incident["metadata"]["name"])["status"].get("triage"), within=30, what="the triage"
    )
    assert triage["users"] == "42", "as this Prometheus counts them"
    silence(shop, prometheus)
    ends(shop, incident)


def test_an_alert_that_ends_while_the_operator_is_down_resolves_its_incident_when_it_is_back(
    shop: Namespace, prometheus: Running, operator: OperatorProcess
) -> None:
    incident = firing(shop)
    operator.kill()
    silence(shop, prometheus)
    operator.start()
    ends(shop, incident)
