"""From a bad deploy to Resolved with no human hand: a real Prometheus, a real Alertmanager, real pods."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from incident_operator.demo.alert_course import Course
from incident_operator.demo.alert_monitoring import Monitoring
from incident_operator.demo.api import Api
from incident_operator.demo.client import OK, Client
from tests_support.alerting import INCIDENTS
from tests_support.cluster import ROOT, Namespace, OperatorProcess
from tests_support.waiting import eventually
from tests_support.workloads import images_env, rollout

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]
SLACK = 0.1
"""Seconds by which what is told by one program may seem to be before what another has told."""


def example(file: str) -> list[dict[str, Any]]:
    """Objects of examples/alerts-demo, for whichever namespace they are put into."""
    found = list(yaml.safe_load_all((ROOT / "examples/alerts-demo" / file).read_text()))
    for each in found:
        each["metadata"].pop("namespace", None)
    return [each for each in found if each["kind"] != "Namespace"]


@pytest.fixture
def checkout(namespace: Namespace) -> Namespace:
    """The application and its Runbook."""
    namespace.apply(*example("application.yaml"), *example("runbook.yaml"))
    for workload in ("statefulset/database", "deployment/api"):
        rollout(namespace, workload)
    return namespace


@pytest.fixture
def monitoring(checkout: Namespace, tmp_path: Path) -> Iterator[Monitoring]:
    made = Monitoring(tmp_path / "alerting", checkout.kubectl.kubeconfig, checkout.name)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def alerted(checkout: Namespace, monitoring: Monitoring, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that takes alerts in, and marks no revision as good."""
    options = ("--config", str(monitoring.configuration), "--verified-after", "1h")
    made = OperatorProcess(checkout.kubectl.kubeconfig, checkout.name, tmp_path / "operator.log", *options)
    made.start()
    yield made
    checkout("delete", INCIDENTS, "--all", "--timeout=30s")
    made.stop()
    assert "Traceback" not in made.log.read_text()


@pytest.fixture
def api(checkout: Namespace) -> Iterator[Api]:
    made = Api(checkout.kubectl.kubeconfig)
    yield made
    made.close()


@pytest.fixture
def client(checkout: Namespace) -> Iterator[Client]:
    made = Client(checkout.kubectl.kubeconfig, checkout.name, "api:http", "/orders")
    eventually(lambda: made.good_from(0), within=30, what="good answers")
    yield made
    made.close()


def serving(namespace: Namespace) -> list[str]:
    """The versions of the ReplicaSets of the api that have pods."""
    found = namespace.list("replicasets", "app=api")
    return [images_env(each)["VERSION"] for each in found if each["status"].get("replicas")]


def test_from_a_bad_deploy_to_resolved_with_no_human_hand(
    checkout: Namespace, monitoring: Monitoring, alerted: OperatorProcess, client: Client, api: Api
) -> None:
    good = 'sum(rate(http_requests_total{code="200"}[5s])) > 5'
    eventually(lambda: monitoring.query(good), within=30, what="Prometheus to see good answers")
    course = Course(api, monitoring, client)
    checkout("set", "env", "deployment/api", "VERSION=2", "BREAK=errors")
    course.deployed()
    moments = list(course.follow())
    for moment in moments:
        print(f"{course.times[moment.name] - course.times['answered']:6.2f} s  {moment.text}")
    for spent, seconds in course.shares():
        print(f"{seconds:6.2f} s  {spent}")
    (incident,) = checkout.list(INCIDENTS)
    spec, status = incident["spec"], incident["status"]
    assert status["phase"] == "Resolved"
    assert (spec["source"], spec["severity"]) == ("Alertmanager", "SEV-1")
    assert spec["runbookRef"] == {"kind": "Runbook", "name": "bad-deploy"}
    assert spec["targets"] == [{"kind": "Deployment", "name": "api"}]
    (signal,) = spec["signals"]
    assert signal["name"] == "HighErrorRate"
    assert signal["startsAt"] < signal["endsAt"]
    assert [(entry["state"], entry["release"]) for entry in status["ledger"]] == [("Kept", "Never")], "one write"
    assert [check["verdict"] for check in status["verification"]] == ["Pass"] * 3
    assert images_env(checkout.get("deployment", "api"))["VERSION"] == "1"
    assert serving(checkout) == ["1"]
    for before, after in itertools.pairwise(moments):
        told = f"{after.text}, before that {before.text}"
        assert course.times[after.name] >= course.times[before.name] - SLACK, told
    since = client.good_from(course.times["rolled"])
    assert since is not None
    assert set(client.between(since, course.times["resolved"])) == {OK}
    assert monitoring.alerts() == []
