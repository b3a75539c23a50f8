"""What the operator does it does as the Incident's ServiceAccount, whoever made the Incident."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mutation.running import rest
from mutation.workloads import target, workload
from security.conftest import House
from security.people import DEPLOYMENTS, INCIDENTS, POLICIES, RBAC, RESPONDER, Person, accepted, person, refused
from tests_support.cluster import Kubectl, Namespace, incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster

CUT = [{"name": "cut", "isolate": {}}]
NONE = [{"name": "none", "scale": {"replicas": 0}}]
WEB = [target("web")]


def only(namespace: Namespace, *rules: dict[str, Any]) -> None:
    """The responder may do this, and nothing else."""
    patch = json.dumps([{"op": "replace", "path": "/rules", "value": list(rules)}])
    namespace("patch", "role", "incident-responder", "--type=json", "-p", patch)


def replicas(namespace: Namespace) -> int:
    found: int = namespace.get("deployment", "web")["spec"]["replicas"]
    return found


def test_with_the_shipped_rights_alone_it_contains_and_puts_back(limited: House) -> None:
    namespace = limited.namespace
    namespace.apply(workload("web"))
    namespace.apply(incident("off", targets=WEB, containment=[*NONE, *CUT]))
    found = rest(namespace, "off")
    assert found["Contained"][1] in {"Contained", "IsolationUnverified"}, found
    assert replicas(namespace) == 0
    namespace("delete", "incident", "off", "--timeout=40s")
    assert replicas(namespace) == 2
    assert namespace.list("networkpolicies") == []


def test_what_the_responder_may_not_do_is_not_done_and_the_right_is_named(limited: House) -> None:
    namespace = limited.namespace
    only(
        namespace,
        {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["get", "list"]},
    )
    namespace.apply(workload("web"))
    namespace.apply(incident("off", targets=WEB, containment=NONE))
    found = rest(namespace, "off")
    assert found["Stalled"][1] == "Forbidden"
    assert "deployments/scale" in found["Stalled"][2]
    assert "incident-responder" in found["Stalled"][2]
    assert replicas(namespace) == 2


def test_one_right_missing_for_one_step_leaves_the_other_step_undone_too(limited: House) -> None:
    namespace = limited.namespace
    rules = namespace.get("role", "incident-responder")["rules"]
    only(namespace, *(each for each in rules if "networkpolicies" not in each["resources"]))
    namespace.apply(workload("web"))
    namespace.apply(incident("both", targets=WEB, containment=[*NONE, *CUT]))
    assert rest(namespace, "both")["Stalled"][1] == "Forbidden"
    assert replicas(namespace) == 2


def test_no_account_but_the_shipped_one_can_be_taken_on(limited: House) -> None:
    namespace = limited.namespace
    subject = {"kind": "ServiceAccount", "name": "mighty", "namespace": namespace.name}
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": "admin"}
    namespace.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mighty"}},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "mighty"},
            "roleRef": role,
            "subjects": [subject],
        },
        workload("web"),
    )
    namespace.apply(incident("off", serviceAccountName="mighty", targets=WEB, containment=NONE))
    found = rest(namespace, "off")
    assert found["Stalled"][1] == "Forbidden"
    assert "impersonate" in found["Stalled"][2]
    assert replicas(namespace) == 2


def test_a_policy_lends_its_account_to_nobody_who_may_not_use_it(limited: House, kubectl: Kubectl) -> None:
    namespace = limited.namespace
    ops: Person = person(namespace, "clerk", INCIDENTS, RESPONDER, POLICIES, DEPLOYMENTS)
    selects = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    spec = {"namespaceSelector": selects, "defaultServiceAccountName": "mighty"}
    policy = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "ResponsePolicy", "spec": spec}
    namespace.apply(workload("web"), {**policy, "metadata": {"name": f"lends-{namespace.name}"}})
    try:
        accepted(ops.create(incident("lent", targets=WEB, containment=CUT)))
        found = rest(namespace, "lent")
        assert found["Stalled"][1] == "AccountNotNamed", found
        refused(ops.patch("lent", {"serviceAccountName": "mighty"}), "may not impersonate", "/mighty")
        assert namespace.list("networkpolicies") == []
        accepted(ops.patch("lent", {"serviceAccountName": "incident-responder"}))
        eventually(lambda: namespace.list("networkpolicies"), within=20, what="the isolation, as the shipped account")
    finally:
        kubectl("delete", "responsepolicy", f"lends-{namespace.name}")


def test_an_incident_that_was_allowed_stops_when_its_account_loses_its_rights(limited: House) -> None:
    namespace = limited.namespace
    ops: Person = person(namespace, "ops", INCIDENTS, RESPONDER, POLICIES, DEPLOYMENTS)
    namespace.apply(workload("web"))
    accepted(ops.create(incident("cut", targets=WEB, containment=CUT, mode="Observe")))
    rest(namespace, "cut")
    only(namespace)
    accepted(ops.patch("cut", {"mode": "Enforce"}))
    found = rest(namespace, "cut")
    assert found["Stalled"][1] == "Forbidden", found
    assert namespace.list("networkpolicies") == []
