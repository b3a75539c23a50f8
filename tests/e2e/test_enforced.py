"""Isolation on a network that enforces NetworkPolicy, with the operator as a pod, proved by real connections.

``INCIDENT_TEST_ENFORCING_KUBECONFIG`` names such a cluster, ``INCIDENT_TEST_ENFORCING_IMPORT`` a command
that brings an image tarball to its nodes.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_support.cluster import Kubectl, Namespace, incident
from tests_support.waiting import eventually
from tests_support.workloads import rollout, web

pytestmark = pytest.mark.enforced
ROOT = Path(__file__).resolve().parent.parent.parent
TARGET = [{"kind": "Deployment", "name": "web"}]
CUT = [{"name": "cut", "isolate": {}}]


@pytest.fixture(scope="module")
def enforcing(tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    named = os.environ.get("INCIDENT_TEST_ENFORCING_KUBECONFIG")
    if not named:
        pytest.skip("INCIDENT_TEST_ENFORCING_KUBECONFIG names no cluster that enforces NetworkPolicy")
    from incident_operator.lab import app_image
    from incident_operator.lab.operator_image import operator_image

    found = Kubectl(Path(named), tmp_path_factory.mktemp("kubectl"))
    command = os.environ.get("INCIDENT_TEST_ENFORCING_IMPORT")
    for image in (app_image(), operator_image()) if command else ():
        subprocess.run([*shlex.split(str(command)), str(image)], check=True, capture_output=True)
    found("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "manifests/install.yaml"))
    found("rollout", "status", "-n", "incident-operator", "deployment/incident-operator", "--timeout=90s")
    return found


@pytest.fixture
def space(enforcing: Kubectl) -> Iterator[Namespace]:
    made = Namespace.create(enforcing)
    made.responder()
    made.apply(*web("1"))
    client, _ = web("1", replicas=1)
    client["metadata"]["name"] = "client"
    for labels in (client["spec"]["selector"]["matchLabels"], client["spec"]["template"]["metadata"]["labels"]):
        labels["app"] = "client"
    made.apply(client)
    rollout(made)
    rollout(made, "deployment/client")
    yield made
    made.delete()


def reaches(space: Namespace) -> bool:
    """Whether the client's pod can connect to a pod of web."""
    address = space.list("pods", "app=web")[0]["status"]["podIP"]
    ask = f"printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 8080"
    return "ok" in space.run("exec", "deployment/client", "--", "sh", "-c", ask).stdout


def test_an_isolated_workload_is_cut_off_and_comes_back(space: Namespace) -> None:
    assert reaches(space)
    space.apply(incident("cut", targets=TARGET, containment=CUT))
    found = space.await_condition("cut", "Ready", within=30)
    assert found["status"]["steps"][0]["facts"]["isolation"] == "Full"
    assert space.conditions("cut")["Contained"] == ("True", "Contained")
    assert not reaches(space)
    space("delete", "incident/cut", "--timeout=30s")
    eventually(lambda: reaches(space), within=10, what="the client to get through again")


def test_where_another_policy_lets_the_client_in_it_says_so_and_it_is_true(space: Namespace) -> None:
    allow = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "allow-client"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "web"}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}],
            "egress": [{}],
        },
    }
    space.apply(allow)
    space.apply(incident("cut", targets=TARGET, containment=CUT))
    found = space.await_condition("cut", "Stalled", within=30)
    assert found["status"]["steps"][0]["facts"]["isolation"] == "Partial"
    assert "allow-client" in found["status"]["steps"][0]["message"]
    assert reaches(space), "NetworkPolicies only add up: the client still gets through"
