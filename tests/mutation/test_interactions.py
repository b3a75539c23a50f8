"""Recipe R11: the rest of the cluster gets in the way, and the Incident says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mutation.conftest import Stage
from mutation.running import WRITES, is_at_rest, is_well, quiet, requests, rest, until
from mutation.workloads import pod, target, workload
from tests_support.cluster import Kubectl, Namespace, OperatorProcess, incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster

WEB, API = target("web"), target("api")
CUT = {"name": "cut", "isolate": {}}
NONE = {"name": "none", "scale": {"replicas": 0}}
FOREIGN = "example.com/hold"
REQUESTED = "incident-operator.dev/requested-at"


def finalizers(stage: Stage, what: str, *names: str) -> None:
    stage.namespace("patch", what, "--type=merge", "-p", json.dumps({"metadata": {"finalizers": list(names)}}))


def replicas(stage: Stage, name: str = "web") -> int:
    found: int = stage.namespace.get("deployment", name)["spec"]["replicas"]
    return found


def again(stage: Stage, name: str, word: str) -> None:
    """Ask for another try, as the message tells a person to."""
    stage.namespace("annotate", "incident", name, f"{REQUESTED}={word}", "--overwrite")
    until(stage.namespace, name, lambda each: each["status"].get("lastHandledRequest") == word, "to have tried again")


def test_an_incident_that_somebody_else_holds_is_put_back_once_and_costs_nothing_more(stage: Stage) -> None:
    stage.namespace.apply(incident("held", targets=[WEB], containment=[NONE]))
    rest(stage.namespace, "held")
    ours = stage.namespace.incident("held")["metadata"]["finalizers"]
    finalizers(stage, "incident/held", *ours, FOREIGN)
    stage.namespace("delete", "incident", "held", "--wait=false")
    until(stage.namespace, "held", lambda each: each["metadata"]["finalizers"] == [FOREIGN], "to be let go by us")
    assert replicas(stage) == 2
    quiet(stage.operator, seconds=2, within=30)
    finalizers(stage, "incident/held")
    stage.goes_back("held")


def test_a_policy_whose_deletion_is_blocked_does_not_block_the_incident(stage: Stage) -> None:
    stage.namespace.apply(incident("cut", targets=[WEB], containment=[CUT]))
    rest(stage.namespace, "cut")
    (policy,) = stage.namespace.list("networkpolicies")
    name = f"networkpolicy/{policy['metadata']['name']}"
    finalizers(stage, name, FOREIGN)
    stage.namespace("delete", "incident", "cut", "--timeout=40s")
    (left,) = stage.namespace.list("networkpolicies")
    assert "deletionTimestamp" in left["metadata"], "it is on its way out"
    finalizers(stage, name)
    stage.goes_back("cut")


def test_a_target_on_its_way_out_is_handled_and_let_go(stage: Stage) -> None:
    stage.namespace.apply(workload("going", finalizers=[FOREIGN]))
    stage.namespace("delete", "deployment", "going", "--wait=false")
    stage.namespace.apply(incident("late", targets=[target("going")], containment=[{**NONE, "timeout": "2s"}]))
    rest(stage.namespace, "late")
    stage.namespace("delete", "incident", "late", "--timeout=40s")
    finalizers(stage, "deployment/going")
    stage.goes_back("late")


def test_a_pod_that_goes_while_it_is_isolated_leaves_no_policy_behind(stage: Stage) -> None:
    stage.namespace.apply(pod("brief"))
    stage.namespace.apply(incident("brief", targets=[target("brief", "Pod")], containment=[CUT]))
    rest(stage.namespace, "brief")
    stage.namespace("delete", "pod", "brief", "--now")
    stage.goes_back("brief")


def test_a_quota_that_refuses_the_policy_is_named_and_a_new_try_succeeds_without_it(stage: Stage) -> None:
    hard = {"count/networkpolicies.networking.k8s.io": "0"}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "no-policies"}, "spec": {"hard": hard}}
    stage.namespace.apply(quota)
    eventually(
        lambda: stage.namespace.get("resourcequota", "no-policies").get("status"), within=20, what="the quota to count"
    )
    stage.namespace.apply(incident("cut", targets=[WEB], containment=[NONE, CUT]))
    found = rest(stage.namespace, "cut")
    assert "exceeded quota: no-policies" in found["Stalled"][2], found
    assert replicas(stage) == 2, "what cannot be done whole is not begun"
    stage.namespace("delete", "resourcequota", "no-policies")
    again(stage, "cut", "now")
    eventually(lambda: stage.namespace.list("networkpolicies"), within=20, what="the policy, without the quota")
    rest(stage.namespace, "cut")
    stage.goes_back("cut")


@contextmanager
def admission(kubectl: Kubectl, namespace: Namespace) -> Iterator[None]:
    """A policy of the users' own: Deployment web of this namespace is not to be scaled."""
    api, name = "admissionregistration.k8s.io/v1", f"users-own-{namespace.name}"
    scale = {"apiGroups": ["apps"], "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["deployments/scale"]}
    matched = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}}
    rule = {"expression": "object.metadata.name != 'web'", "message": "web is not to be scaled, ask the shop team"}
    spec = {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [scale], **matched}, "validations": [rule]}
    binding = {"policyName": name, "validationActions": ["Deny"]}
    meta = {"name": name}
    namespace.apply(
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": meta, "spec": spec},
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta, "spec": binding},
    )

    def holds() -> bool:
        return "shop team" in namespace.run("scale", "deployment/web", "--replicas=9", "--dry-run=server").stderr

    try:
        eventually(holds, within=30, what="the users' policy to hold")
        yield
    finally:
        kubectl("delete", f"validatingadmissionpolicy/{name}", f"validatingadmissionpolicybinding/{name}")
    eventually(lambda: not holds(), within=30, what="the users' policy to be forgotten")


def test_a_policy_of_the_users_that_refuses_one_write_stops_all_of_them(stage: Stage, kubectl: Kubectl) -> None:
    with admission(kubectl, stage.namespace):
        stage.namespace.apply(incident("no", targets=[API, WEB], containment=[NONE]))
        found = rest(stage.namespace, "no")
        assert "ask the shop team" in found["Stalled"][2], found
        assert (replicas(stage), replicas(stage, "api")) == (2, 2)
    stage.goes_back("no")


def test_a_policy_of_the_users_that_comes_later_blocks_the_release_and_says_so(stage: Stage, kubectl: Kubectl) -> None:
    stage.namespace.apply(incident("kept", targets=[API, WEB], containment=[NONE]))
    rest(stage.namespace, "kept")
    with admission(kubectl, stage.namespace):
        stage.namespace("patch", "incident", "kept", "--type=merge", "-p", '{"spec":{"release":true}}')
        found = until(stage.namespace, "kept", lambda each: "shop team" in json.dumps(each["status"]), "to say why")
        conditions = {each["type"]: each["status"] for each in found["status"]["conditions"]}
        assert conditions["Ready"] != "True", conditions
        assert replicas(stage) == 0
    stage.namespace("annotate", "incident", "kept", f"{REQUESTED}=now")
    eventually(lambda: replicas(stage) == 2, within=30, what="the release, without the policy")
    assert rest(stage.namespace, "kept")["Ready"][1] == "Resolved"
    stage.goes_back("kept")


def test_an_autoscaler_that_somebody_sets_again_is_said_to_be_and_left_to_them(stage: Stage) -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": reference, "minReplicas": 2, "maxReplicas": 4}
    stage.namespace.apply(
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"}, "spec": spec}
    )
    one = {"name": "one", "scale": {"replicas": 1}, "timeout": "3s"}
    stage.namespace.apply(incident("load", targets=[WEB], containment=[one]))
    eventually(lambda: replicas(stage) == 1, within=20, what="one replica")
    stage.namespace("patch", "hpa", "web", "--type=merge", "-p", '{"spec":{"minReplicas":3,"maxReplicas":5}}')
    found = rest(stage.namespace, "load")
    assert "Stalled" in found, found
    stage.namespace("patch", "incident", "load", "--type=merge", "-p", '{"spec":{"release":true}}')
    found = stage.namespace.await_condition("load", "ReleaseConflict", within=30)
    assert "HorizontalPodAutoscaler" in json.dumps(found["status"]["conditions"])
    held = stage.namespace.get("hpa", "web")["spec"]
    assert (held["minReplicas"], held["maxReplicas"]) == (3, 5), "somebody else's change stays"
    stage.namespace("delete", "incident", "load", "--timeout=40s")
    stage.namespace("delete", "hpa", "web")
    stage.namespace("scale", "deployment/web", "--replicas=2")
    stage.goes_back("load")


def test_somebody_who_sets_the_replicas_again_and_again_is_not_fought(stage: Stage) -> None:
    unsettled = {"name": "three", "scale": {"replicas": 3}, "timeout": "1h"}
    stage.namespace.apply(incident("load", targets=[WEB], containment=[unsettled]))
    eventually(lambda: replicas(stage) == 3, within=20, what="three replicas")
    stage.namespace("scale", "deployment/web", "--replicas=2")
    found = rest(stage.namespace, "load")
    assert found["Stalled"][1] == "Reverted", found
    assert replicas(stage) == 2
    stage.goes_back("load")


@contextmanager
def deleting_policies(namespace: Namespace) -> Iterator[list[str]]:
    """Somebody who deletes every NetworkPolicy as soon as it is there; what was deleted."""
    deleted: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            deleted.extend(namespace.run("delete", "networkpolicies", "--all", "-o", "name").stdout.split())

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield deleted
    finally:
        stop.set()
        thread.join(30)


def test_somebody_who_deletes_the_policy_each_time_ends_in_stalled_and_not_in_a_loop(stage: Stage) -> None:
    with deleting_policies(stage.namespace) as deleted:
        before = requests(stage.operator, only=WRITES)
        stage.namespace.apply(incident("cut", targets=[WEB], containment=[CUT]))
        for word in ("", "second", "third"):
            if word:
                again(stage, "cut", word)
            found = rest(stage.namespace, "cut")
            assert "Stalled" in found, found
        eventually(lambda: deleted, within=20, what="a policy to be deleted")
        quiet(stage.operator, seconds=2, within=30)
        assert requests(stage.operator, only=WRITES) - before < 60
    stage.goes_back("cut")


def test_an_isolation_that_somebody_lifted_is_not_called_contained_when_it_is_looked_at_again(stage: Stage) -> None:
    stage.namespace.apply(incident("cut", targets=[WEB], containment=[CUT]))
    rest(stage.namespace, "cut")
    stage.namespace("delete", "networkpolicies", "--all")
    again(stage, "cut", "look")
    rest(stage.namespace, "cut")
    is_made_again = bool(stage.namespace.list("networkpolicies"))
    found = rest(stage.namespace, "cut")
    assert is_made_again or found["Stalled"][1] == "Reverted", found
    stage.goes_back("cut")


@pytest.mark.slow
def test_a_namespace_that_goes_takes_its_incidents_with_it(
    kubectl: Kubectl, namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.apply(workload("web"))
    for number in range(3):
        namespace.apply(workload(f"web-{number}"))
        namespace.apply(incident(f"i-{number}", targets=[target(f"web-{number}")], containment=[NONE, CUT]))
    for number in range(3):
        until(namespace, f"i-{number}", is_at_rest, "to come to rest")
    kubectl("delete", "namespace", namespace.name, "--wait=false")

    def is_gone() -> bool:
        return kubectl.run("get", "namespace", namespace.name).returncode != 0

    eventually(is_gone, within=200, what="the namespace to be gone", every=1)
    is_well(operator)
