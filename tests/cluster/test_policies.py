"""The three worked policies of docs/policy.md, as they are written in examples/policies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests_support.cluster import ROOT, Kubectl, Namespace, OperatorProcess, incident
from tests_support.people import hire
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster
EXAMPLES = ROOT / "examples/policies"


@pytest.fixture
def policy(kubectl: Kubectl, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = EXAMPLES / request.param
    kubectl("apply", "-f", str(path))
    yield path
    kubectl("delete", "-f", str(path), "--ignore-not-found")


def scaled(name: str, target: str, replicas: int, **spec: Any) -> dict[str, Any]:
    targets = [{"kind": "Deployment", "name": target}]
    return incident(name, targets=targets, containment=[{"name": "less", "scale": {"replicas": replicas}}], **spec)


def isolated(name: str, target: str, **spec: Any) -> dict[str, Any]:
    targets = [{"kind": "Deployment", "name": target}]
    return incident(name, targets=targets, containment=[{"name": "cut", "isolate": {}}], **spec)


def replicas(namespace: Namespace, name: str) -> int:
    found: int = namespace.get("deployment", name)["spec"]["replicas"]
    return found


def says(namespace: Namespace, name: str, reason: str, *parts: str) -> None:
    """The Incident comes to be not Ready for this reason, with these words in its message."""

    def look() -> bool:
        conditions = (namespace.incident(name).get("status") or {}).get("conditions", [])
        ready = next((each for each in conditions if each["type"] == "Ready"), None)
        return bool(ready and ready["reason"] == reason and all(part in ready["message"] for part in parts))

    status = lambda: (namespace.incident(name).get("status") or {}).get("conditions")  # noqa: E731
    try:
        eventually(look, within=30, what=f"{name} says {reason}: {parts}")
    except AssertionError as fault:
        raise AssertionError(f"{fault}: {status()}") from None


def has_pods(namespace: Namespace, count: int) -> None:
    eventually(lambda: len(namespace.list("pods")) == count, within=30, what=f"{count} pods")


@pytest.mark.parametrize("policy", ["start-up.yaml"], indirect=True)
class TestStartUp:
    def test_it_acts_by_itself_within_the_budget_and_asks_beyond(
        self, namespace: Namespace, operator: OperatorProcess, policy: Path
    ) -> None:
        namespace.apply(plain("small", replicas=2), plain("large", replicas=21))
        has_pods(namespace, 23)
        bob = hire(namespace, "bob")
        bob.declares(scaled("small", "small", 1))
        eventually(lambda: replicas(namespace, "small") == 1, within=20, what="the small one to be scaled")
        bob.declares(scaled("large", "large", 0))
        says(namespace, "large", "AwaitingApproval", "allows 20 pods, the plan takes 21 (blastRadius.pods)")
        assert namespace.conditions("large")["BlastRadiusExceeded"] == ("True", "BlastRadiusExceeded")
        assert replicas(namespace, "large") == 21
        hire(namespace, "alice", roles=("incident-operator-approver",)).votes("large")
        eventually(lambda: replicas(namespace, "large") == 0, within=20, what="the approved plan to be carried out")

    def test_a_storm_makes_new_incidents_wait_for_a_person(
        self, namespace: Namespace, operator: OperatorProcess, policy: Path
    ) -> None:
        names = [f"app-{number}" for number in range(11)]
        namespace.apply(*(plain(name, replicas=0) for name in names))
        bob = hire(namespace, "bob")
        for name in names[:10]:
            bob.declares(isolated(name, name))
        eventually(lambda: len(namespace.list("networkpolicies")) == 10, within=60, what="ten isolations")
        bob.declares(isolated(names[10], names[10]))
        says(
            namespace,
            names[10],
            "AwaitingApproval",
            "storm: 10 Incidents were carried out within 10 min",
            "stops at 10",
        )
        assert len(namespace.list("networkpolicies")) == 10


@pytest.mark.parametrize("policy", ["bank.yaml"], indirect=True)
class TestBank:
    @pytest.fixture(autouse=True)
    def production(self, namespace: Namespace, kubectl: Kubectl) -> None:
        kubectl("label", "namespace", namespace.name, "environment=production")

    def test_two_others_must_agree_and_the_target_is_left_alone_afterwards(
        self, namespace: Namespace, operator: OperatorProcess, policy: Path
    ) -> None:
        namespace.apply(plain("api", replicas=2))
        has_pods(namespace, 2)
        bob = hire(namespace, "bob", "incident-approvers", roles=("admin", "incident-operator-approver"))
        bob.declares(scaled("load", "api", 1))
        says(namespace, "load", "AwaitingApproval", "0 of 2 from group incident-approvers", "rule four-eyes")
        bob.votes("load")
        says(namespace, "load", "AwaitingApproval", "that of bob does not count")
        for name in ("alice", "carol"):
            assert replicas(namespace, "api") == 2
            hire(namespace, name, "incident-approvers", roles=("incident-operator-approver",)).votes("load")
        eventually(lambda: replicas(namespace, "api") == 1, within=20, what="the approved plan to be carried out")
        assert namespace.incident("load")["status"]["policy"]["approvedBy"] == ["alice", "carol"]
        namespace("patch", "incident/load", "--type=merge", "-p", '{"spec":{"cancel":true}}')
        eventually(lambda: replicas(namespace, "api") == 2, within=20, what="it to be put back")
        bob.declares(scaled("again", "api", 1))
        for name in ("dave", "erin"):
            eventually(
                lambda: (namespace.incident("again").get("status") or {}).get("plan"), within=20, what="another plan"
            )
            hire(namespace, name, "incident-approvers", roles=("incident-operator-approver",)).votes("again")
        says(namespace, "again", "Cooldown", "was changed by another Incident", "a cooldown of 900 s")

    def test_too_much_is_refused_with_the_numbers(
        self, namespace: Namespace, operator: OperatorProcess, policy: Path
    ) -> None:
        namespace.apply(plain("api", replicas=3), plain("web", replicas=2))
        has_pods(namespace, 5)
        namespace.apply(scaled("all", "api", 0))
        says(
            namespace, "all", "BlastRadiusExceeded", "ResponsePolicy bank",
            "50 % of the namespace's 5 pods, rounded down 2, the plan takes 3", "nothing was changed",
        )  # fmt: skip
        assert namespace.conditions("all")["Stalled"] == ("True", "BlastRadiusExceeded")
        assert replicas(namespace, "api") == 3

    def test_databases_are_out_of_bounds(self, namespace: Namespace, operator: OperatorProcess, policy: Path) -> None:
        namespace.apply(plain("orders", labels={"incident-operator.dev/tier": "database"}))
        namespace.apply(scaled("stop", "orders", 0))
        says(namespace, "stop", "Protected", "is protected by ResponsePolicy bank (protected: databases)")
        assert replicas(namespace, "orders") == 1


@pytest.mark.parametrize("policy", ["security-team.yaml"], indirect=True)
class TestSecurityTeam:
    def test_isolation_runs_at_once_and_what_destroys_traces_waits_for_the_team(
        self, namespace: Namespace, operator: OperatorProcess, policy: Path
    ) -> None:
        namespace.apply(plain("bot", replicas=2), plain("api", replicas=2))
        bob = hire(namespace, "bob")
        bob.declares(isolated("cut", "bot", type="Security"))
        eventually(lambda: len(namespace.list("networkpolicies")) == 1, within=20, what="the isolation")
        bob.declares(scaled("stop", "api", 0, type="Security"))
        says(namespace, "stop", "AwaitingApproval", "1 from security-lead or group security-response")
        assert replicas(namespace, "api") == 2
        hire(namespace, "mallory", roles=("incident-operator-approver",)).votes("stop")
        says(namespace, "stop", "AwaitingApproval", "0 of 1 from security-lead or group security-response")
        hire(namespace, "security-lead", roles=("incident-operator-approver",)).votes("stop")
        eventually(lambda: replicas(namespace, "api") == 0, within=20, what="the approved plan to be carried out")

    def test_an_outage_needs_nobody(self, namespace: Namespace, operator: OperatorProcess, policy: Path) -> None:
        namespace.apply(plain("api", replicas=2))
        hire(namespace, "bob").declares(scaled("load", "api", 1, type="Outage"))
        eventually(lambda: replicas(namespace, "api") == 1, within=20, what="it to be scaled")

    def test_a_namespace_that_is_hands_off_is_only_planned_for(
        self, kubectl: Kubectl, lab_kubeconfig: Path, tmp_path: Path, policy: Path
    ) -> None:
        kubectl("create", "namespace", "forensics")
        space = Namespace("forensics", kubectl)
        running = OperatorProcess(lab_kubeconfig, "forensics", tmp_path / "operator.log")
        try:
            space.responder()
            running.start()
            space.apply(plain("disk"), isolated("cut", "disk"))
            found = space.await_condition("cut", "Ready", within=20)
            assert space.conditions("cut")["Ready"][1] == "Planned"
            (message,) = [c["message"] for c in found["status"]["conditions"] if c["type"] == "Ready"]
            assert "ResponsePolicy hands-off allows mode Observe at most" in message
            assert space.list("networkpolicies") == []
        finally:
            space.delete()
            running.stop()
            kubectl("wait", "--for=delete", "namespace/forensics", "--timeout=60s")


def test_what_a_policy_forbids_is_refused_when_it_is_applied(kubectl: Kubectl, namespace: Namespace) -> None:
    policy = {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "ResponsePolicy",
        "metadata": {"name": f"forbid-{namespace.name}"},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
            "actions": {"forbidden": ["isolate"]},
        },
    }
    namespace.apply(policy)
    try:

        def refused() -> str:
            done = namespace.run("create", "--dry-run=server", "-f", "-", given=_yaml(isolated("cut", "api")))
            return done.stderr if done.returncode else ""

        text = eventually(refused, within=30, what="the API server to know the policy")
        assert f"ResponsePolicy {policy['metadata']['name']} does not allow isolate here" in text
        fine = namespace.run("create", "--dry-run=server", "-f", "-", given=_yaml(scaled("less", "api", 1)))
        assert fine.returncode == 0, fine.stderr
    finally:
        kubectl("delete", "responsepolicy", policy["metadata"]["name"])


def _yaml(thing: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(thing)
