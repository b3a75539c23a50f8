"""A RecoveryPlan, and an Incident that follows one, give nobody more rights than they have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from security.people import INCIDENTS, RESPONDER, Person, accepted, may, person, refused
from tests_support.cluster import Kubectl, Namespace, incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster

GROUP = "incident-operator.dev"
PLANS = {"apiGroups": [GROUP], "resources": ["recoveryplans"], "verbs": ["get", "create", "update", "patch"]}
SCALES = (may("patch", "deployments/scale", "apps"), may("patch", "statefulsets/scale", "apps"))
AUTOSCALERS = may("patch", "horizontalpodautoscalers", "autoscaling")
CRON_JOBS = may("patch", "cronjobs", "batch")
UNDO = [{"name": "undo", "rolloutUndo": {}}]


def plan(name: str, *tiers: dict[str, Any]) -> dict[str, Any]:
    found = list(tiers) or [{"name": "database"}, {"name": "api"}]
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "RecoveryPlan",
        "metadata": {"name": name},
        "spec": {"tiers": found},
    }


def outage(name: str) -> dict[str, Any]:
    return incident(name, targets=[{"kind": "StatefulSet", "name": "db"}], recovery={})


@pytest.fixture(scope="module")
def place(kubectl: Kubectl) -> Iterator[Namespace]:
    """A namespace in which the admission policies are known to hold."""
    made = Namespace.create(kubectl)
    made.responder()
    probe = person(made, "probe", PLANS)
    bad = plan("probe", {"name": "api", "workloads": [{"kind": "Deployment", "name": "a"}], "steps": UNDO})
    eventually(
        lambda: "ValidatingAdmissionPolicy" in probe.run("create", "--dry-run=server", "-f", "-", given=bad).stderr,
        within=30,
        what="the admission policies to hold",
    )
    yield made
    made.delete()


@pytest.fixture(scope="module")
def writer(place: Namespace) -> Person:
    """May write RecoveryPlans, and nothing else."""
    return person(place, "writer", PLANS)


def test_a_plan_that_only_stops_and_starts_needs_no_rights_but_to_write_it(writer: Person) -> None:
    accepted(writer.create(plan("plain")))


@pytest.mark.parametrize(
    "tier",
    [
        {"workloads": [{"kind": "Deployment", "name": "api"}], "steps": UNDO},
        {"selector": {"app": "api"}, "steps": UNDO},
        {"steps": UNDO},
        {
            "workloads": [{"kind": "StatefulSet", "name": "db"}],
            "steps": [{**UNDO[0], "targets": [{"kind": "Deployment", "name": "api"}]}],
        },
    ],
    ids=["by-name", "by-selector", "by-label", "own-targets"],
)
def test_what_a_step_of_a_tier_does_its_author_must_be_allowed(writer: Person, tier: dict[str, Any]) -> None:
    refused(
        writer.create(plan("grab", {"name": "api", **tier})), "may not patch deployments", "rolloutUndo", writer.name
    )


def test_what_a_gate_asks_its_author_must_be_allowed(writer: Person) -> None:
    gate = {"name": "up", "http": {"service": "api", "port": "http"}}
    refused(writer.create(plan("ask", {"name": "api", "gates": [gate]})), "may not get services/proxy", "http")


def test_a_changed_plan_is_looked_at_like_a_new_one(writer: Person) -> None:
    accepted(writer.create(plan("turned")))
    change = '{"spec":{"tiers":[{"name":"api","steps":[{"name":"undo","rolloutUndo":{}}]}]}}'
    refused(writer.run("patch", "recoveryplan", "turned", "--type=merge", "-p", change), "may not patch deployments")


def test_who_asks_for_a_recovery_must_be_allowed_to_stop_and_start_workloads(place: Namespace) -> None:
    some = person(place, "some", INCIDENTS, RESPONDER, SCALES[0], AUTOSCALERS, CRON_JOBS)
    refused(some.create(outage("half")), "may not patch statefulsets/scale", "recovery")
    every = person(place, "every", INCIDENTS, RESPONDER, *SCALES, AUTOSCALERS, CRON_JOBS)
    accepted(every.create(outage("whole")))


def test_a_recovery_that_is_added_later_is_looked_at_too(place: Namespace) -> None:
    cuts = may("create", "networkpolicies", "networking.k8s.io")
    net = person(place, "net", INCIDENTS, RESPONDER, cuts)
    cut = incident("later", targets=[{"kind": "StatefulSet", "name": "db"}], containment=[{"name": "c", "isolate": {}}])
    accepted(net.create(cut))
    refused(net.patch("later", {"recovery": {}}), "may not patch", "recovery")


BAD = {
    "no-tiers": ({"tiers": []}, ["spec.tiers", "at least 1"]),
    "twice": ({"tiers": [{"name": "api"}, {"name": "api"}]}, ["spec.tiers[1]", "Duplicate value"]),
    "upper-case": ({"tiers": [{"name": "API"}]}, ["spec.tiers[0].name", "should match"]),
    "long-name": ({"tiers": [{"name": "x" * 33}]}, ["spec.tiers[0].name", "32"]),
    "both": (
        {"tiers": [{"name": "api", "selector": {"a": "b"}, "workloads": [{"kind": "Deployment", "name": "a"}]}]},
        ["give workloads or selector, not both"],
    ),
    "itself": (
        {"tiers": [{"name": "api", "workloads": [{"kind": "Deployment", "name": "a", "after": ["a"]}]}]},
        ["cannot come after itself"],
    ),
    "kind": ({"tiers": [{"name": "api", "workloads": [{"kind": "Pod", "name": "a"}]}]}, ["kind", "Unsupported value"]),
    "no-replicas": (
        {"tiers": [{"name": "api", "workloads": [{"kind": "Deployment", "name": "a", "replicas": 0}]}]},
        ["replicas", "greater than or equal to 1"],
    ),
    "unknown-field": ({"tiers": [{"name": "api", "gate": []}]}, ["unknown field", "gate"]),
    "no-check": ({"tiers": [{"name": "api", "gates": [{"name": "up"}]}]}, ["exactly one of"]),
    "no-action": ({"tiers": [{"name": "api", "steps": [{"name": "x"}]}]}, ["exactly one of"]),
    "step-failure": (
        {"tiers": [{"name": "api", "steps": [{"name": "x", "rolloutUndo": {}, "onFailure": "Continue"}]}]},
        ["steps[0].onFailure", "onFailure belongs to the tier"],
    ),
    "timeout": ({"tiers": [{"name": "api", "timeout": "25h"}]}, ["timeout must be between 1s and 24h"]),
    "on-failure": ({"tiers": [{"name": "api", "onFailure": "Release"}]}, ["onFailure", "Unsupported value"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_plan_that_means_nothing_is_refused_with_the_field_and_the_remedy(place: Namespace, name: str) -> None:
    spec, words = BAD[name]
    made = {**plan("bad"), "spec": spec}
    done = place.run("create", "--validate=strict", "-f", "-", given=json.dumps(made))
    refused(done, *words)
    assert place.get("recoveryplan", "bad") is None
