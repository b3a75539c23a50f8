"""An Incident gives nobody more rights than they have: what the API server refuses at ``kubectl apply``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from security.people import (
    APPROVALS,
    DEPLOYMENTS,
    INCIDENTS,
    POLICIES,
    RESPONDER,
    Person,
    accepted,
    may,
    person,
    refused,
)
from tests_support.cluster import Kubectl, Namespace, incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
WEB = [{"kind": "Deployment", "name": "web"}]
UNDO = [{"name": "undo", "rolloutUndo": {}}]
CUT = [{"name": "cut", "isolate": {}}]
NONE = [{"name": "none", "scale": {"replicas": 0}}]


def asks(name: str, steps: list[dict[str, Any]], **spec: Any) -> dict[str, Any]:
    return incident(name, targets=WEB, containment=steps, **spec)


@pytest.fixture(scope="module")
def place(kubectl: Kubectl) -> Iterator[Namespace]:
    """A namespace in which the admission policies are known to hold."""
    made = Namespace.create(kubectl)
    made.responder()
    probe = person(made, "probe", INCIDENTS)
    eventually(
        lambda: (
            "ValidatingAdmissionPolicy"
            in probe.run("create", "--dry-run=server", "-f", "-", given=asks("probe", CUT)).stderr
        ),
        within=30,
        what="the admission policies to hold",
    )
    yield made
    made.delete()


@pytest.fixture(scope="module")
def bob(place: Namespace) -> Person:
    """May declare Incidents, and nothing else."""
    return person(place, "bob", INCIDENTS)


@pytest.fixture(scope="module")
def net(place: Namespace) -> Person:
    """May cut off pods by hand, and use the responder."""
    return person(place, "net", INCIDENTS, RESPONDER, POLICIES)


@pytest.fixture(scope="module")
def ops(place: Namespace) -> Person:
    """May do all that a rollback and an isolation need."""
    return person(place, "ops", INCIDENTS, RESPONDER, POLICIES, DEPLOYMENTS)


@pytest.mark.parametrize("steps", [UNDO, CUT, NONE], ids=["rolloutUndo", "isolate", "scale"])
@pytest.mark.parametrize("mode", ["Observe", "Enforce"])
def test_who_may_only_declare_incidents_gets_nothing_done(bob: Person, steps: list[Any], mode: str) -> None:
    refused(bob.create(asks("grab", steps, mode=mode)), "may not", "incident-responder", bob.name)


def test_an_action_needs_the_rights_to_do_it_by_hand(net: Person, ops: Person) -> None:
    refused(net.create(asks("net-undo", UNDO)), "may not patch deployments", "rolloutUndo", net.name)
    refused(net.create(asks("net-none", NONE)), "may not patch deployments/scale", "scale")
    accepted(net.create(asks("net-cut", CUT)))
    accepted(ops.create(asks("ops-undo", UNDO)))


def test_one_step_that_may_not_be_asked_for_is_enough(net: Person) -> None:
    both = incident("net-both", targets=WEB, containment=CUT, remediation=UNDO)
    refused(net.create(both), "may not patch deployments")


def test_a_step_with_targets_of_its_own_is_looked_at_too(net: Person) -> None:
    pod = [{"kind": "Pod", "name": "web-1"}]
    hidden = incident("net-own", targets=pod, containment=[{**UNDO[0], "targets": WEB}])
    refused(net.create(hidden), "may not patch deployments")


def test_a_check_needs_its_rights_too(net: Person) -> None:
    check = [{"name": "up", "http": {"service": "web", "port": "80"}}]
    refused(net.create(asks("net-http", CUT, verification=check)), "may not get services/proxy")


def test_a_change_of_what_is_asked_for_is_looked_at_like_a_new_incident(net: Person) -> None:
    accepted(net.create(asks("net-change", CUT)))
    refused(net.patch("net-change", {"containment": UNDO}), "may not patch deployments")
    refused(net.patch("net-change", {"remediation": NONE}), "may not patch deployments/scale")
    accepted(net.patch("net-change", {"title": "another title"}))


def test_who_may_do_nothing_may_stop_an_incident_and_not_turn_it(bob: Person, ops: Person) -> None:
    accepted(ops.create(asks("ops-turn", UNDO, mode="Propose")))
    refused(bob.patch("ops-turn", {"targets": [{"kind": "Deployment", "name": "other"}]}), "may not")
    refused(bob.patch("ops-turn", {"mode": "Enforce"}), "may not")
    refused(bob.patch("ops-turn", {"serviceAccountName": "default"}), "may not")
    accepted(bob.patch("ops-turn", {"suspend": True}))
    accepted(bob.patch("ops-turn", {"cancel": True}))


def test_the_account_that_acts_is_one_that_the_creator_may_use(place: Namespace, ops: Person) -> None:
    place.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mighty"}})
    refused(ops.create(asks("as-mighty", CUT, serviceAccountName="mighty")), "may not impersonate", "/mighty")
    refused(ops.create(asks("as-default", CUT, serviceAccountName="default")), "may not impersonate", "/default")
    accepted(ops.create(asks("as-responder", CUT, serviceAccountName="incident-responder")))
    refused(ops.patch("as-responder", {"serviceAccountName": "mighty"}), "may not impersonate")


@pytest.mark.parametrize(
    "name",
    ["kube-system/default", "system:serviceaccount:kube-system:default"],
)
def test_an_account_of_another_namespace_cannot_even_be_named(ops: Person, name: str) -> None:
    refused(ops.create(asks("foreign", CUT, serviceAccountName=name)), "spec.serviceAccountName")


def test_an_account_of_the_same_name_elsewhere_is_not_enough(kubectl: Kubectl, place: Namespace) -> None:
    other = Namespace.create(kubectl)
    try:
        rights = (INCIDENTS, RESPONDER, POLICIES)
        person(other, "eve", *rights)
        eve = person(place, "eve", INCIDENTS, POLICIES)
        there = Person(f"eve@{other.name}", place)
        refused(eve.create(asks("eve", CUT)), "may not impersonate")
        refused(there.create(asks("eve", CUT)), "forbidden")
    finally:
        other.delete()


def test_nobody_declares_an_incident_in_the_name_of_somebody_else(ops: Person, bob: Person) -> None:
    refused(ops.create(asks("framed", CUT, reportedBy=bob.name)), "spec.reportedBy", ops.name)
    accepted(ops.create(asks("mine", CUT, reportedBy=ops.name)))
    refused(ops.patch("mine", {"reportedBy": bob.name}), "reportedBy")
    refused(ops.patch("mine", {"reportedBy": None}), "reportedBy")
    accepted(ops.create(asks("nobody", CUT)))
    refused(ops.patch("nobody", {"reportedBy": ops.name}), "reportedBy")


def test_who_changes_the_plan_of_another_says_so_and_does_not_approve_it(place: Namespace, ops: Person) -> None:
    peer = person(place, "peer", INCIDENTS, RESPONDER, POLICIES, DEPLOYMENTS)
    accepted(ops.create(asks("theirs", CUT, reportedBy=ops.name, mode="Propose")))
    for change in ({"containment": UNDO}, {"severity": "SEV-1"}, {"targets": [{"kind": "Deployment", "name": "x"}]}):
        refused(peer.patch("theirs", change), "spec.changedBy", peer.name)
        refused(peer.patch("theirs", {**change, "changedBy": [ops.name]}), "spec.changedBy")
    refused(peer.patch("theirs", {"containment": UNDO, "changedBy": [peer.name, ops.name]}), "only your own user name")
    accepted(peer.patch("theirs", {"title": "another title", "mode": "Enforce", "suspend": True}))
    accepted(peer.patch("theirs", {"containment": UNDO, "changedBy": [peer.name]}))
    refused(ops.patch("theirs", {"changedBy": None}), "never taken away")
    refused(ops.patch("theirs", {"changedBy": []}), "never taken away")
    accepted(ops.patch("theirs", {"containment": CUT}))


def test_whose_incident_it_is_need_not_say_so_again_and_without_a_maker_nobody_need(ops: Person, net: Person) -> None:
    accepted(ops.create(asks("own", CUT, reportedBy=ops.name)))
    accepted(ops.patch("own", {"containment": UNDO}))
    accepted(ops.create(asks("nobodys", UNDO)))
    accepted(net.patch("nobodys", {"containment": CUT}))


def approval(name: str, approver: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "IncidentApproval",
        "metadata": {"name": name},
        "spec": {
            "incident": "x",
            "planHash": "0123456789abcdef",
            "decision": "Approved",
            "approver": approver,
            **spec,
        },
    }


def test_nobody_approves_as_somebody_else_or_for_a_group_they_are_not_in(place: Namespace) -> None:
    ann = person(place, "ann", APPROVALS, groups=("sre",))
    refused(ann.create(approval("forged", "boss")), "spec.approver", ann.name)
    refused(ann.create(approval("grouped", ann.name, groups=["sre", "directors"])), "spec.groups", "sre")
    accepted(ann.create(approval("good", ann.name, groups=["sre"])))


def test_an_approval_never_changes(place: Namespace) -> None:
    change = {**APPROVALS, "verbs": ["create", "get", "patch", "update"]}
    joe = person(place, "joe", change)
    accepted(joe.create(approval("joes", joe.name, decision="Rejected")))
    for field, value in (("decision", "Approved"), ("planHash", "f" * 16), ("approver", "boss"), ("incident", "y")):
        done = joe.run("patch", "incidentapproval", "joes", "--type=merge", "-p", f'{{"spec":{{"{field}":"{value}"}}}}')
        refused(done, "cannot be changed")


def test_a_status_that_comes_with_a_new_incident_is_dropped(place: Namespace, ops: Person) -> None:
    forged = {
        "observedGeneration": 1,
        "phase": "Resolved",
        "plan": {"hash": "0123456789abcdef", "steps": []},
        "ledger": [{"key": "Deployment/web", "step": "undo", "action": "rolloutUndo", "state": "Done"}],
    }
    accepted(ops.create({**asks("forged", CUT), "status": forged}))
    assert place.incident("forged")["status"] == {"observedGeneration": -1}


def test_people_who_declare_incidents_cannot_write_their_status(ops: Person) -> None:
    accepted(ops.create(asks("fixed", CUT)))
    done = ops.run("patch", "incident", "fixed", "--subresource=status", "--type=merge", "-p", '{"status":{"id":"x"}}')
    refused(done, "forbidden")


def test_the_roles_for_people_read_no_ledgers_and_grant_nothing_but_ours() -> None:
    found = [each for each in yaml.safe_load_all((ROOT / "manifests/base/rbac.yaml").read_text()) if each]
    people = [
        each for each in found if each["kind"] == "ClusterRole" and each["metadata"]["name"] != "incident-operator"
    ]
    assert people
    for role in people:
        for rule in role["rules"]:
            assert rule["apiGroups"] == ["incident-operator.dev"], role["metadata"]["name"]
            assert "incidentledgers" not in rule["resources"], role["metadata"]["name"]
            assert not [each for each in rule["resources"] if "/" in each or each == "*"], role["metadata"]["name"]


def test_the_operators_own_role_reads_no_secrets_and_writes_no_workloads() -> None:
    found = [each for each in yaml.safe_load_all((ROOT / "manifests/base/rbac.yaml").read_text()) if each]
    (role,) = [
        each for each in found if each["kind"] == "ClusterRole" and each["metadata"]["name"] == "incident-operator"
    ]
    for rule in role["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], rule
        assert "secrets" not in rule["resources"], rule
        assert "pods/exec" not in rule["resources"], rule
        if "impersonate" in rule["verbs"]:
            assert rule["resources"] == ["serviceaccounts"], rule
        if set(rule["resources"]) & {"deployments", "statefulsets", "daemonsets", "networkpolicies", "pods"}:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}, rule


def test_rights_on_incidents_alone_are_rights_to_nothing_else(bob: Person) -> None:
    for verb, resource in (
        ("get", "secrets"),
        ("patch", "deployments.apps"),
        ("create", "networkpolicies.networking.k8s.io"),
        ("get", "incidentledgers.incident-operator.dev"),
        ("create", "incidentledgers.incident-operator.dev"),
        ("create", "incidentapprovals.incident-operator.dev"),
    ):
        assert not bob.can(verb, resource), f"{verb} {resource}"


def test_the_right_to_one_action_is_not_the_right_to_another(place: Namespace) -> None:
    kim = person(
        place, "kim", INCIDENTS, RESPONDER, may("patch", "deployments/scale", "apps"),
        may("patch", "horizontalpodautoscalers", "autoscaling"),
    )  # fmt: skip
    accepted(kim.create(asks("kim-none", NONE)))
    refused(kim.create(asks("kim-undo", UNDO)), "may not patch deployments")
    refused(kim.create(asks("kim-cut", CUT)), "may not create networkpolicies")
