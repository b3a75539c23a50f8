"""A full outage on real pods: stopped from the top down, brought back from the database up, gate by gate."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests_support.cluster import ROOT, Namespace, OperatorProcess, incident
from tests_support.waiting import eventually
from tests_support.workloads import rollout

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]

DATABASE = [{"kind": "StatefulSet", "name": "database"}]
UNDO = [{"name": "undo", "rolloutUndo": {"toRevision": 1}, "targets": DATABASE}]
ORDER = ["database", "api", "bot", "frontend", "auxiliary"]
ABOVE = {
    "deployment/api": 2,
    "statefulset/bot": 1,
    "deployment/frontend": 1,
    "deployment/exporter": 1,
}
ANSWERS = [{"name": "answers", "http": {"service": "frontend", "port": "http", "path": "/"}, "for": "1s"}]


def application() -> list[dict[str, Any]]:
    """The application of the examples, in whichever namespace it is put."""
    found = [each for each in yaml.safe_load_all((ROOT / "examples/application.yaml").read_text()) if each]
    for each in found:
        each["metadata"].pop("namespace", None)
    return [each for each in found if each["kind"] != "Namespace"]


def bring_up(namespace: Namespace) -> None:
    namespace.apply(*application())
    for what in ("statefulset/database", *ABOVE):
        rollout(namespace, what)


def break_the_database(namespace: Namespace) -> None:
    """Its new version ends after a second; everything above it has nothing to ask."""
    namespace("set", "env", "statefulset/database", "BREAK=crash")
    eventually(lambda: restarts(namespace, "database-0"), within=60, what="the database to crash")


def restarts(namespace: Namespace, pod: str) -> int:
    found = namespace.get("pod", pod) or {}
    return sum(each["restartCount"] for each in found.get("status", {}).get("containerStatuses", []))


def asked_for(namespace: Namespace, what: str) -> int:
    kind, name = what.split("/")
    found: int = namespace.get(kind, name)["spec"]["replicas"]
    return found


def tiers(namespace: Namespace, name: str = "all-down") -> dict[str, Any]:
    status = (namespace.incident(name) or {}).get("status", {})
    return {tier["name"]: tier for tier in status.get("recovery", {}).get("tiers", [])}


def began(namespace: Namespace, app: str) -> datetime:
    """When the first of the pods that run now was made."""
    pods = namespace.list("pods", f"app={app}")
    return min(datetime.fromisoformat(pod["metadata"]["creationTimestamp"]) for pod in pods)


def ready(namespace: Namespace, app: str) -> datetime:
    """When the last of its pods became ready."""
    return max(
        datetime.fromisoformat(condition["lastTransitionTime"])
        for pod in namespace.list("pods", f"app={app}")
        for condition in pod["status"]["conditions"]
        if condition["type"] == "Ready"
    )


def outage(**more: Any) -> dict[str, Any]:
    spec = {"targets": DATABASE, "severity": "SEV-1", "remediation": UNDO, "recovery": {}, **more}
    return incident("all-down", **spec)


def test_labels_alone_bring_everything_back_from_the_database_up(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    bring_up(namespace)
    break_the_database(namespace)
    namespace.apply(outage(verification=ANSWERS))
    done = namespace.await_condition("all-down", "Ready", within=180)
    assert done["status"]["phase"] == "Resolved"
    assert [(tier["name"], tier["phase"]) for tier in tiers(namespace).values()] == [(name, "Up") for name in ORDER]
    assert {what: asked_for(namespace, what) for what in ABOVE} == ABOVE
    for below, above in (("database", "api"), ("api", "bot"), ("bot", "frontend"), ("frontend", "exporter")):
        assert ready(namespace, below) <= began(namespace, above), f"{above} was started before {below} was ready"
    reasons = [event["reason"] for event in namespace.list("events.events.k8s.io")]
    assert reasons.count("TierRecovered") == len(ORDER)
    assert reasons.count("RecoveryDone") == 1


def test_an_operator_killed_in_each_tier_stops_and_starts_everything_once(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    bring_up(namespace)
    break_the_database(namespace)
    before = {what: namespace.get(*what.split("/"))["metadata"]["generation"] for what in ABOVE}
    namespace.apply(outage())
    for name in ORDER:
        eventually(
            lambda name=name: tiers(namespace).get(name, {}).get("phase") in ("Restoring", "Checking", "Up"),
            within=90,
            what=f"tier {name} to be brought back",
        )
        operator.kill()
        operator.start()
    done = namespace.await_condition("all-down", "Ready", within=120)
    assert done["status"]["phase"] == "Resolved"
    assert {what: asked_for(namespace, what) for what in ABOVE} == ABOVE
    changed = {what: namespace.get(*what.split("/"))["metadata"]["generation"] - before[what] for what in ABOVE}
    assert changed == dict.fromkeys(ABOVE, 2), "each was stopped once and started once"


def test_a_tier_that_never_gets_ready_halts_and_goes_on_when_a_person_has_put_it_right(
    namespace: Namespace, operator: OperatorProcess, tmp_path: Path
) -> None:
    bring_up(namespace)
    namespace("set", "env", "deployment/api", "BREAK=crash")
    plan = {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "RecoveryPlan",
        "metadata": {"name": "short"},
        "spec": {
            "tiers": [
                {"name": "database"},
                {"name": "api", "timeout": "15s"},
                {"name": "bot"},
                {"name": "frontend"},
                {"name": "auxiliary"},
            ]
        },
    }
    namespace.apply(plan)
    namespace.apply(outage(remediation=[], recovery={"planRef": {"name": "short"}}))
    halted = namespace.await_condition("all-down", "Stalled", within=120)
    said = next(each["message"] for each in halted["status"]["conditions"] if each["type"] == "Ready")
    assert "tier" in said or "start-api" in said
    assert "kubectl annotate incident/all-down" in said, "what a person can do"
    assert tiers(namespace)["database"]["phase"] == "Up"
    assert tiers(namespace)["api"]["phase"] == "Failed"
    untouched = {"statefulset/bot", "deployment/frontend", "deployment/exporter"}
    assert {asked_for(namespace, what) for what in untouched} == {0}
    namespace("set", "env", "deployment/api", "BREAK-")
    again = "incident-operator.dev/requested-at=2026-11-24T01:00:00Z"
    namespace("annotate", "incident/all-down", again, "--overwrite")
    done = namespace.await_condition("all-down", "Ready", within=120)
    assert done["status"]["phase"] == "Resolved"
    assert {what: asked_for(namespace, what) for what in ABOVE} == ABOVE
