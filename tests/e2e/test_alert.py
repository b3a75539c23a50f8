"""From nothing to an automatic rollback, as docs/alerts.md has it: its commands, its Runbook, its rule and its route,
with a real Prometheus, a real Alertmanager and real pods, and no human hand after the bad deploy.

Only names of places are replaced: the namespace, and the addresses and files of programs that run beside the cluster.
"""

from __future__ import annotations

import base64
import itertools
import os
import shlex
import shutil
import subprocess
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
from tests_support.cluster import ROOT, Kubectl, Namespace, OperatorProcess
from tests_support.pages import blocks, put, the_one
from tests_support.waiting import eventually
from tests_support.workloads import images_env, rollout

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods"), pytest.mark.timeout(480)]
SLACK = 0.1
"""Seconds by which what is told by one program may seem to be before what another has told."""
SECTION = "From nothing to an automatic rollback in ten minutes"
YAML, SHELL = (blocks("alerts", language, section=SECTION) for language in ("yaml", "sh"))
PLACE = "spywatcher"
"""The namespace of the page's application."""
PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"
OPERATOR = "http://incident-operator.incident-operator.svc:8090"
SECRET = "/etc/alertmanager/secrets/incident-operator/token"
TOKEN = "/etc/incident-operator/secrets/token"


class Page(Monitoring):
    """Prometheus, Alertmanager and the operator with what the page, and the component that it installs, say."""

    def rules(self) -> str:
        """The page's rule for a plain Prometheus."""
        return put(the_one(YAML, "\n  rules:\n  - alert:"), **{PLACE: self.namespace})

    def route(self) -> str:
        """The page's route, with the token that its commands have put into Alertmanager's namespace."""
        places = {OPERATOR: f"http://{self.receiver}", SECRET: str(self.folder / "token-of-monitoring")}
        return put(the_one(YAML, "group_by:"), **places)

    def operator(self) -> str:
        """The component's configuration; it listens where there is room on this machine."""
        component = yaml.safe_load((ROOT / "manifests/components/monitoring/configuration.yaml").read_text())
        places = {PROMETHEUS: self.prometheus.url, TOKEN: str(self.folder / "token-of-incident-operator")}
        told = yaml.safe_load(put(component["data"]["config.yaml"], **places))
        told["receiver"]["listen"] = self.receiver
        return yaml.safe_dump(told)


class Terminal:
    """A shell in a checkout, in which a person pastes the page's blocks."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self._space = namespace.name
        self.folder = folder
        shutil.copytree(ROOT / "manifests", folder / "manifests")
        (folder / "bin").mkdir()
        kubectl = namespace.kubectl
        program = folder / "bin/kubectl"
        argv = [*kubectl._program, "--kubeconfig", str(kubectl.kubeconfig), "--cache-dir", str(folder / "cache")]
        program.write_text(f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n')
        program.chmod(0o755)

    def paste(self, text: str) -> str:
        """What a block says; every command of it must succeed."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        argv = ["bash", "-euo", "pipefail", "-c", text.replace(PLACE, self._space)]
        env = {"PATH": path, "HOME": str(self.folder)}
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout


def application() -> list[dict[str, Any]]:
    """The demo's application, which is what the page supposes: a Deployment api behind a Service of that name."""
    found = list(yaml.safe_load_all((ROOT / "examples/alerts-demo/application.yaml").read_text()))
    for each in found:
        each["metadata"].pop("namespace", None)
    return [each for each in found if each["kind"] != "Namespace"]


def line(block: str, having: str) -> str:
    """The one command of a block that has a text."""
    (only,) = [each for each in block.splitlines() if having in each]
    return only


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[Namespace]:
    """One without a responder: the page's commands give it that."""
    made = Namespace.create(kubectl)
    yield made
    made.delete()


@pytest.fixture
def terminal(namespace: Namespace, tmp_path: Path) -> Iterator[Terminal]:
    """Step 1 of the page, but for the operator's Deployment: here it runs beside the cluster."""
    made = Terminal(namespace, tmp_path)
    kubectl = namespace.kubectl
    try:
        made.paste(the_one(SHELL, "openssl rand"))
        (made.folder / "my-operator/kustomization.yaml").write_text(the_one(YAML, "kind: Kustomization"))
        assert "AlertmanagerConfig" in made.paste("kubectl kustomize my-operator")
        made.paste(line(the_one(SHELL, "manifests/responder"), "manifests/responder"))
        yield made
    finally:
        kubectl("delete", "secret", "incident-operator", "-n", "incident-operator", "--ignore-not-found")
        kubectl("delete", "namespace", "monitoring", "--ignore-not-found", "--wait=false")


@pytest.fixture
def checkout(namespace: Namespace, terminal: Terminal) -> Namespace:
    """The application, and step 2: the page's Runbook."""
    namespace.apply(*application())
    namespace.apply(yaml.safe_load(put(the_one(YAML, "kind: Runbook"), **{PLACE: namespace.name})))
    for workload in ("statefulset/database", "deployment/api"):
        rollout(namespace, workload)
    return namespace


@pytest.fixture
def monitoring(checkout: Namespace, tmp_path: Path) -> Iterator[Monitoring]:
    """Steps 3 and 4: the page's rule and route."""
    made = Page(tmp_path / "alerting", checkout.kubectl.kubeconfig, checkout.name)
    for place in ("monitoring", "incident-operator"):
        token = checkout.kubectl.json("get", "secret", "incident-operator", "-n", place)["data"]["token"]
        (made.folder / f"token-of-{place}").write_bytes(base64.b64decode(token))
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


def serving(namespace: Namespace) -> list[str | None]:
    """How each version of the api is broken that has pods; None: it is good."""
    found = namespace.list("replicasets", "app=api")
    return [images_env(each).get("BREAK") for each in found if each["status"].get("replicas")]


def test_from_a_bad_deploy_to_resolved_with_no_human_hand(
    checkout: Namespace, terminal: Terminal, monitoring: Monitoring, alerted: OperatorProcess, client: Client, api: Api
) -> None:
    good = 'sum(rate(http_requests_total{code="200"}[5s])) > 5'
    eventually(lambda: monitoring.query(good), within=30, what="Prometheus to see good answers")
    course = Course(api, monitoring, client, alert="ApiErrors", held="30 s")
    steps = the_one(SHELL, "kubectl set env")
    terminal.paste(line(steps, "kubectl set env"))
    course.deployed()
    moments = list(course.follow(seconds=300))
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
    assert signal["name"] == "ApiErrors"
    assert signal["startsAt"] < signal["endsAt"]
    assert [(entry["state"], entry["release"]) for entry in status["ledger"]] == [("Kept", "Never")], "one write"
    assert [check["verdict"] for check in status["verification"]] == ["Pass"] * 3
    assert "BREAK" not in images_env(checkout.get("deployment", "api"))
    assert serving(checkout) == [None], "only the version that was good"
    for before, after in itertools.pairwise(moments):
        told = f"{after.text}, before that {before.text}"
        assert course.times[after.name] >= course.times[before.name] - SLACK, told
    since = client.good_from(course.times["rolled"])
    assert since is not None
    assert set(client.between(since, course.times["resolved"])) == {OK}
    assert monitoring.alerts() == []
    assert incident["metadata"]["name"] in terminal.paste(line(steps, "get inc").replace(" -w", ""))
    assert "VerificationPassed" in terminal.paste(line(steps, "describe inc"))
