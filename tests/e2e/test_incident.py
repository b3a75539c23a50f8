"""The course of an Incident as a user sees it: plan, wait, table, release."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from incident_operator.api.status import IncidentStatus
from tests_support.cluster import Kubectl, Namespace, OperatorProcess, incident
from tests_support.waiting import eventually
from tests_support.workloads import images_env, rollout, web

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]

TARGET = [{"kind": "Deployment", "name": "web"}]
DOWN = [{"name": "down", "scale": {"replicas": 0}}]
CUT = [{"name": "cut", "isolate": {}}]


def replicas(namespace: Namespace) -> int:
    found: int = namespace.get("deployment", "web")["spec"]["replicas"]
    return found


def states(found: Any) -> list[str]:
    return [entry["state"] for entry in found["status"]["ledger"]]


def test_kubectl_waits_prints_a_table_and_the_status_is_as_its_schema_says(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(*web("2"))
    rollout(namespace)
    check = [{"name": "up", "podsReady": {}, "for": "1s"}]
    made = incident("bad", targets=TARGET, containment=[{"name": "undo", "rolloutUndo": {}}], verification=check)
    namespace.apply(made)
    waited = namespace.run("wait", "--for=condition=Ready", "incident/bad", "--timeout=60s")
    assert waited.returncode == 0, waited.stderr
    table = namespace("get", "inc")
    head, row = table.splitlines()
    assert head.split() == ["NAME", "SEVERITY", "PHASE", "READY", "REASON", "TARGETS", "AGE"]
    assert row.split()[:6] == ["bad", "SEV-2", "Resolved", "True", "Resolved", "Deployment/web"]
    status = namespace.incident("bad")["status"]
    IncidentStatus.model_validate(status)
    assert status["id"].startswith("INC-20")
    assert status["observedGeneration"] == 1
    reasons = {
        event["reason"] for event in namespace.list("events.events.k8s.io") if event["regarding"]["name"] == "bad"
    }
    assert reasons == {"Resolved"}, "an Event for what a person may act on, and none for the rest"
    told = [item["reason"] for item in status["timeline"]]
    assert told == ["Planned", "Acted", "StepDone", "ContainmentDone", "VerificationPassed", "Resolved"]


def test_kubectl_explains_every_field(kubectl: Kubectl) -> None:
    text = kubectl("explain", "incident.spec", "--recursive=false")
    for field in (
        "title",
        "type",
        "severity",
        "mode",
        "targets",
        "containment",
        "remediation",
        "verification",
        "release",
    ):
        assert field in text
    assert "<no description>" not in text
    for path in ("incident.spec.containment.rolloutUndo", "incident.status.ledger", "incident.spec.verification.http"):
        assert "<no description>" not in kubectl("explain", path)


def test_observe_makes_the_plan_and_nothing_else(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    namespace.apply(incident("look", targets=TARGET, containment=DOWN, mode="Observe"))
    found = namespace.await_condition("look", "Ready", within=20)
    assert states(found) == ["Planned"]
    assert "0" in found["status"]["plan"]["steps"][0]["changes"][0]["summary"]
    assert "finalizers" not in found["metadata"]
    assert replicas(namespace) == 2


def test_propose_waits_until_the_mode_is_raised(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    namespace.apply(incident("ask", targets=TARGET, containment=DOWN, mode="Propose"))
    namespace.await_condition("ask", "Reconciling", within=20)
    eventually(
        lambda: namespace.conditions("ask")["Ready"][1] == "AwaitingApproval", within=20, what="the plan to wait"
    )
    assert replicas(namespace) == 2
    namespace("patch", "incident/ask", "--type=merge", "-p", json.dumps({"spec": {"mode": "Enforce"}}))
    namespace.await_condition("ask", "Contained", within=40)
    assert replicas(namespace) == 0


def test_what_is_held_goes_back_when_the_release_is_asked_for(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(incident("load", targets=TARGET, containment=DOWN))
    found = namespace.await_condition("load", "Ready", within=40)
    assert (namespace.conditions("load")["Ready"][1], replicas(namespace)) == ("Contained", 0)
    assert "release" in found["metadata"]["finalizers"][0]
    namespace("patch", "incident/load", "--type=merge", "-p", json.dumps({"spec": {"release": True}}))
    eventually(lambda: namespace.conditions("load")["Ready"][1] == "Resolved", within=20, what="Resolved")
    assert replicas(namespace) == 2
    assert states(namespace.incident("load")) == ["Released"]


def test_deletion_puts_back_what_it_did_but_never_a_rollback(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(*web("2"))
    rollout(namespace)
    steps = [
        {"name": "undo", "rolloutUndo": {}},
        {"name": "cut", "isolate": {}},
        {"name": "one", "scale": {"replicas": 1}},
    ]
    namespace.apply(incident("much", targets=TARGET, containment=steps))
    namespace.await_condition("much", "Contained", "Unknown", within=60)
    (policy,) = namespace.list("networkpolicies")
    assert policy["spec"] == {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress", "Egress"]}
    assert replicas(namespace) == 1
    namespace("delete", "incident/much", "--timeout=30s")
    assert namespace.list("networkpolicies") == []
    assert replicas(namespace) == 2
    assert images_env(namespace.get("deployment", "web"))["VERSION"] == "1"


def test_what_somebody_else_changed_since_is_left_to_a_person(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(incident("load", targets=TARGET, containment=DOWN))
    namespace.await_condition("load", "Ready", within=40)
    namespace("scale", "deployment/web", "--replicas=5")
    namespace("patch", "incident/load", "--type=merge", "-p", json.dumps({"spec": {"release": True}}))
    found = namespace.await_condition("load", "ReleaseConflict", within=20)
    assert states(found) == ["Conflict"]
    assert replicas(namespace) == 5


def test_an_isolation_nobody_could_see_is_not_called_a_success(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(incident("cut", targets=TARGET, containment=CUT))
    found = namespace.await_condition("cut", "Stalled", within=30)
    assert namespace.conditions("cut")["Contained"][0] == "Unknown"
    assert found["status"]["steps"][0]["facts"]["isolation"] == "Unverified"


def test_a_policy_that_still_allows_traffic_makes_the_isolation_partial(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    everyone = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "allow-same-namespace"},
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]},
    }
    namespace.apply(*web("1"), everyone)
    rollout(namespace)
    namespace.apply(incident("cut", targets=TARGET, containment=CUT))
    found = namespace.await_condition("cut", "Stalled", within=30)
    assert found["status"]["steps"][0]["facts"]["isolation"] == "Partial"
    assert "allow-same-namespace" in found["status"]["steps"][0]["message"]


def test_a_check_that_fails_halts_and_what_was_done_stays(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(*web("2"))
    rollout(namespace)
    check = [{"name": "teapot", "http": {"service": "web", "port": "http", "status": 418}, "timeout": "2s"}]
    steps = [{"name": "undo", "rolloutUndo": {}}]
    namespace.apply(incident("bad", targets=TARGET, containment=steps, verification=check))
    namespace.await_condition("bad", "Stalled", within=40)
    assert namespace.conditions("bad")["Ready"] == ("False", "VerificationFailed")
    assert images_env(namespace.get("deployment", "web"))["VERSION"] == "1"


def test_an_autoscaler_is_held_and_gets_its_bounds_back(namespace: Namespace, operator: OperatorProcess) -> None:
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 2,
            "maxReplicas": 4,
        },
    }
    namespace.apply(*web("1"), scaler)
    rollout(namespace)
    namespace.apply(incident("load", targets=TARGET, containment=[{"name": "one", "scale": {"replicas": 1}}]))
    namespace.await_condition("load", "Ready", within=40)
    held = namespace.get("hpa", "web")["spec"]
    assert (held["minReplicas"], held["maxReplicas"], replicas(namespace)) == (1, 1, 1)
    namespace("delete", "incident/load", "--timeout=30s")
    back = namespace.get("hpa", "web")["spec"]
    assert (back["minReplicas"], back["maxReplicas"]) == (2, 4)


def test_probes_and_metrics_answer(namespace: Namespace, operator: OperatorProcess) -> None:
    def ask(path: str) -> str:
        try:
            with urllib.request.urlopen(operator.url + path, timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError:
            return ""

    eventually(lambda: ask("/readyz"), within=20, what="readyz to answer 200")
    assert ask("/healthz")
    assert "incident_operator_build_info" in ask("/metrics")
