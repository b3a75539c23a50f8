"""How an Incident is held, stopped, limited in time and asked for again; and how two share a target."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest

from tests_support.cluster import ROOT, Namespace, OperatorProcess, incident
from tests_support.people import hire
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster


def scaled(name: str, target: str, replicas: int, **spec: Any) -> dict[str, Any]:
    targets = [{"kind": "Deployment", "name": target}]
    return incident(name, targets=targets, containment=[{"name": "less", "scale": {"replicas": replicas}}], **spec)


def isolated(name: str, *targets: str, **spec: Any) -> dict[str, Any]:
    found = [{"kind": "Deployment", "name": each} for each in targets]
    return incident(name, targets=found, containment=[{"name": "cut", "isolate": {}}], **spec)


def change(namespace: Namespace, name: str, **spec: Any) -> None:
    namespace("patch", f"incident/{name}", "--type=merge", "-p", json.dumps({"spec": spec}))


def replicas(namespace: Namespace, name: str = "api") -> int:
    found: int = namespace.get("deployment", name)["spec"]["replicas"]
    return found


def ready(namespace: Namespace, name: str, reason: str, within: float = 30) -> Any:
    def look() -> Any:
        found = namespace.conditions(name).get("Ready", ("", ""))[1]
        return namespace.incident(name) if found == reason else None

    try:
        return eventually(look, within=within, what=f"{name} to say {reason}")
    except AssertionError as fault:
        raise AssertionError(f"{fault}: {namespace.incident(name).get('status', {}).get('conditions')}") from None


def message(found: Any) -> str:
    (text,) = [each["message"] for each in found["status"]["conditions"] if each["type"] == "Ready"]
    return str(text)


def test_suspended_nothing_is_done_until_it_is_resumed(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(plain("api", replicas=3), scaled("load", "api", 0, suspend=True))
    ready(namespace, "load", "Suspended")
    assert namespace.conditions("load")["Paused"] == ("True", "Suspended")
    assert replicas(namespace) == 3
    change(namespace, "load", suspend=False)
    eventually(lambda: replicas(namespace) == 0, within=20, what="it to go on")
    assert "Paused" not in namespace.conditions("load")


def test_cancelled_it_puts_back_what_it_did_and_cannot_be_taken_back(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.apply(plain("api", replicas=3), scaled("load", "api", 0))
    ready(namespace, "load", "Contained")
    change(namespace, "load", cancel=True)
    found = ready(namespace, "load", "Cancelled")
    assert (found["status"]["phase"], replicas(namespace)) == ("Cancelled", 3)
    refused = namespace.run("patch", "incident/load", "--type=merge", "-p", '{"spec":{"cancel":false}}')
    assert "cancel cannot be taken back" in refused.stderr


def test_what_has_a_time_goes_back_when_it_is_over(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(plain("api", replicas=3), scaled("load", "api", 0, expiresAfter="12s"))
    ready(namespace, "load", "Contained")
    assert replicas(namespace) == 0
    found = ready(namespace, "load", "Expired", within=40)
    assert (found["status"]["phase"], replicas(namespace)) == ("Closed", 3)
    assert [entry["state"] for entry in found["status"]["ledger"]] == ["Released"]


def test_of_two_steps_one_may_expire_while_the_other_holds(namespace: Namespace, operator: OperatorProcess) -> None:
    steps = [{"name": "short", "scale": {"replicas": 0}, "expiresAfter": "3s"}, {"name": "long", "isolate": {}}]
    target = [{"kind": "Deployment", "name": "api"}]
    namespace.apply(plain("api", replicas=2), incident("both", targets=target, containment=steps))
    eventually(lambda: namespace.list("networkpolicies"), within=30, what="the isolation")
    eventually(lambda: replicas(namespace) == 2, within=20, what="the short one to expire")
    assert len(namespace.list("networkpolicies")) == 1


def test_the_second_on_a_target_waits_for_the_first_and_finds_what_was_there_before_it(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.apply(plain("api", replicas=3), scaled("first", "api", 0))
    ready(namespace, "first", "Contained")
    namespace.apply(scaled("second", "api", 1))
    found = ready(namespace, "second", "TargetBusy")
    assert f"is in the hands of Incident {namespace.name}/first" in message(found)
    assert replicas(namespace) == 0
    change(namespace, "first", release=True)
    eventually(lambda: replicas(namespace) == 1, within=20, what="the second one's turn")
    (entry,) = namespace.incident("second")["status"]["ledger"]
    assert json.loads(entry["before"])["replicas"] == 3
    namespace("delete", "incident/second", "--timeout=30s")
    assert replicas(namespace) == 3


def test_while_no_operator_runs_the_documented_command_lets_an_incident_go(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    text = (ROOT / "docs/guarantees.md").read_text()
    (told,) = re.findall(r"`kubectl (patch inc/NAME [^`]*finalizers[^`]*)`", text)
    assert told in (ROOT / "README.md").read_text(), "both say the same"
    namespace.apply(plain("api", replicas=3), isolated("cut", "api"))
    eventually(lambda: namespace.list("networkpolicies"), within=30, what="the isolation")
    (entry,) = eventually(lambda: done(namespace, "cut"), within=20, what="it to be on record as done")
    operator.stop()
    namespace("delete", "incident/cut", "--wait=false")
    held = namespace.incident("cut")["metadata"]
    assert held["deletionTimestamp"], held
    assert held["finalizers"], "nobody is there who could put it back"
    namespace(*shlex.split(told.replace("NAME", "cut")))
    eventually(lambda: namespace.incident("cut") is None, within=20, what="it to be gone")
    left = [each["metadata"]["name"] for each in namespace.list("networkpolicies")]
    assert left == [entry["target"]["name"]], "what it did stays"
    operator.start()
    namespace.apply(isolated("again", "api"))
    eventually(lambda: done(namespace, "again"), within=30, what="the next operator to go on with other work")
    assert len(namespace.list("networkpolicies")) == 2, "and to leave what is nobody's any more"
    namespace("delete", "networkpolicy", *left)


def done(namespace: Namespace, name: str) -> list[Any]:
    """The entries of an Incident that are on record as done."""
    entries = (namespace.incident(name).get("status") or {}).get("ledger") or []
    return [each for each in entries if each["state"] == "Done"]


def test_the_queue_outlives_a_crash(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(plain("api", replicas=3), scaled("first", "api", 0))
    ready(namespace, "first", "Contained")
    operator.kill()
    namespace.apply(scaled("second", "api", 1))
    operator.start()
    ready(namespace, "second", "TargetBusy")
    assert replicas(namespace) == 0
    namespace("delete", "incident/first", "--timeout=30s")
    eventually(lambda: replicas(namespace) == 1, within=20, what="the second one's turn")


def test_a_title_may_change_and_the_plan_stays_the_same(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(plain("api", replicas=3), scaled("load", "api", 0, mode="Observe"))
    before = ready(namespace, "load", "Planned")["status"]["plan"]
    change(namespace, "load", title="another title")
    eventually(
        lambda: namespace.incident("load")["status"]["observedGeneration"] == 2, within=20, what="the change to be seen"
    )
    assert namespace.incident("load")["status"]["plan"] == before


def test_what_is_planned_is_what_is_done_byte_for_byte(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(plain("api", replicas=3))
    eventually(lambda: len(namespace.list("pods")) == 3, within=30, what="three pods")
    namespace.apply(isolated("cut", "api", mode="Observe"))
    planned = ready(namespace, "cut", "Planned")["status"]
    (change_,) = planned["plan"]["steps"][0]["changes"]
    assert '+ spec.policyTypes[0]: "Ingress"' in change_["diff"]
    assert (change_["blast"]["pods"], change_["blast"]["how"]) == (3, "cut off")
    assert "create networkpolicies (networking.k8s.io)" in planned["plan"]["rights"]
    assert namespace.list("networkpolicies") == []
    change(namespace, "cut", mode="Enforce")
    (policy,) = eventually(lambda: namespace.list("networkpolicies"), within=20, what="the isolation")
    done = namespace.incident("cut")["status"]
    assert done["plan"]["hash"] == planned["plan"]["hash"]
    assert done["ledger"][0]["request"] == planned["ledger"][0]["request"]
    asked = json.loads(planned["ledger"][0]["request"])["body"]
    assert policy["spec"] == asked["spec"]
    assert policy["metadata"]["labels"] == asked["metadata"]["labels"]


UNDO = {"containment": [{"name": "undo", "rolloutUndo": {}}]}


@pytest.mark.parametrize(
    ("steps", "field", "after"),
    [
        ({"containment": [{"name": "less", "scale": {"replicas": 1}}]}, "replicas", 1),
        (UNDO, "template", "1"),
    ],
    ids=["scale", "rolloutUndo"],
)
def test_a_change_of_a_workload_is_what_was_planned_too(
    namespace: Namespace, operator: OperatorProcess, steps: dict[str, Any], field: str, after: Any
) -> None:
    for version in ("1", "2"):
        thing = plain("api", replicas=3)
        thing["spec"]["template"]["metadata"]["annotations"] = {"version": version}
        namespace.apply(thing)
        eventually(
            lambda wanted=version: len(namespace.list("replicasets")) == int(wanted), within=30, what="the revision"
        )
    targets = [{"kind": "Deployment", "name": "api"}]
    namespace.apply(incident("turn", targets=targets, mode="Observe", **steps))
    planned = ready(namespace, "turn", "Planned")["status"]
    before = namespace.get("deployment", "api")
    change(namespace, "turn", mode="Enforce")
    eventually(lambda: _value(namespace, field) == after, within=20, what="the change")
    done = namespace.incident("turn")["status"]
    assert done["plan"]["hash"] == planned["plan"]["hash"]
    assert [_written(namespace, each) for each in done["ledger"]] == [
        _written(namespace, each) for each in planned["ledger"]
    ]
    (asked,) = [_written(namespace, each) for each in planned["ledger"]]
    now = namespace.get("deployment", "api")
    for operation in asked["body"]:
        if operation["op"] != "test":
            assert _at(now, operation["path"]) == operation["value"], operation
    kept = {key: value for key, value in before["spec"].items() if key != field}
    assert {key: value for key, value in now["spec"].items() if key != field} == kept, "nothing else has changed"


def _value(namespace: Namespace, field: str) -> Any:
    spec = namespace.get("deployment", "api")["spec"]
    if field == "replicas":
        return spec["replicas"]
    return spec["template"]["metadata"]["annotations"]["version"]


def _written(namespace: Namespace, entry: dict[str, Any]) -> dict[str, Any]:
    """The request of a ledger entry, from its IncidentLedger where it is there."""
    text = entry.get("request")
    if entry.get("stored"):
        page = namespace.get("incidentledgers.incident-operator.dev", entry["stored"])["spec"]["entries"]
        content = next(each["content"] for each in page if each["key"] == f"{entry['step']}/{entry['key']}")
        text = json.loads(content)["request"]
    found: dict[str, Any] = json.loads(text or "{}")
    return found


def _at(thing: Any, path: str) -> Any:
    """What a JSON pointer finds."""
    for part in path.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        thing = thing[int(key)] if isinstance(thing, list) else thing[key]
    return thing


def test_a_right_that_is_missing_is_named_before_anything_is_written(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    role = namespace.get("role", "incident-responder")
    for rule in role["rules"]:
        if "networkpolicies" in rule["resources"]:
            rule["verbs"] = ["get", "list"]
    namespace("replace", "-f", "-", given=json.dumps(role))
    namespace.apply(plain("api", replicas=3))
    steps = [{"name": "less", "scale": {"replicas": 0}}, {"name": "cut", "isolate": {}}]
    namespace.apply(incident("both", targets=[{"kind": "Deployment", "name": "api"}], containment=steps))
    found = ready(namespace, "both", "Forbidden")
    assert "create networkpolicies (networking.k8s.io)" in message(found)
    assert replicas(namespace) == 3, "the first step was not made either"


def test_five_hundred_targets_fit_with_room_to_spare(namespace: Namespace, operator: OperatorProcess) -> None:
    names = [f"app-{number:03}" for number in range(500)]
    for begin in range(0, 500, 100):
        namespace.apply(*(plain(name, replicas=0) for name in names[begin : begin + 100]))
    policy = {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "ResponsePolicy",
        "metadata": {"name": f"large-{namespace.name}"},
        "spec": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}},
    }
    namespace.apply(policy)
    try:
        namespace.apply(isolated("all", *names))
        eventually(lambda: len(namespace.list("networkpolicies")) == 500, within=120, every=1, what="500 isolations")
        found = eventually(lambda: _all_done(namespace), within=60, what="500 entries to be done")
        size = len(json.dumps(found))
        assert size < 700_000, f"the Incident has {size} bytes"
        assert namespace.list("incidentledgers"), "long parts are kept elsewhere"
        change(namespace, "all", release=True)
        eventually(lambda: namespace.list("networkpolicies") == [], within=120, every=1, what="500 releases")
        ready(namespace, "all", "Resolved", within=60)
    finally:
        namespace.kubectl("delete", "responsepolicy", policy["metadata"]["name"])


def _all_done(namespace: Namespace) -> Any:
    found = namespace.incident("all")
    states = [entry["state"] for entry in found["status"].get("ledger", [])]
    return found if states == ["Done"] * 500 else None


class TestApproval:
    def test_an_approval_of_one_plan_never_lets_another_through(
        self, namespace: Namespace, operator: OperatorProcess
    ) -> None:
        namespace.apply(plain("api", replicas=5))
        bob, alice = hire(namespace, "bob"), hire(namespace, "alice", roles=("incident-operator-approver",))
        bob.declares(scaled("load", "api", 3, mode="Propose"))
        first = ready(namespace, "load", "AwaitingApproval")["status"]["plan"]["hash"]
        spec = {"containment": [{"name": "less", "scale": {"replicas": 1}}]}
        assert bob.run("patch", "incident/load", "--type=merge", "-p", json.dumps({"spec": spec})).returncode == 0
        eventually(
            lambda: namespace.incident("load")["status"]["plan"]["hash"] != first, within=20, what="another plan"
        )
        alice.votes("load", plan=first)
        alice.votes("load", plan="0" * 16)
        operator.stop()
        operator.start()
        found = ready(namespace, "load", "AwaitingApproval")
        assert "0 of 1" in message(found)
        assert replicas(namespace) == 5
        alice.votes("load")
        eventually(lambda: replicas(namespace) == 1, within=20, what="the approved plan to be carried out")

    def test_a_rejection_is_final_for_its_plan(self, namespace: Namespace, operator: OperatorProcess) -> None:
        namespace.apply(plain("api", replicas=5))
        bob, alice = hire(namespace, "bob"), hire(namespace, "alice", roles=("incident-operator-approver",))
        bob.declares(scaled("load", "api", 3, mode="Propose"))
        ready(namespace, "load", "AwaitingApproval")
        alice.votes("load", "Rejected", reason="not during the sale")
        found = ready(namespace, "load", "Rejected")
        assert "alice rejected plan" in message(found)
        assert "not during the sale" in message(found)
        alice.votes("load")
        change(namespace, "load", title="please")
        eventually(
            lambda: namespace.incident("load")["status"]["observedGeneration"] == 2, within=20, what="it to be seen"
        )
        ready(namespace, "load", "Rejected")
        assert replicas(namespace) == 5

    def test_without_a_maker_it_waits_and_says_why(self, namespace: Namespace, operator: OperatorProcess) -> None:
        step = [{"name": "less", "scale": {"replicas": 0}, "approval": "Required"}]
        target = [{"kind": "Deployment", "name": "api"}]
        namespace.apply(plain("api"), incident("load", targets=target, containment=step))
        found = ready(namespace, "load", "AwaitingApproval")
        assert "spec.reportedBy (your user name: kubectl auth whoami)" in message(found)
        added = namespace.run("patch", "incident/load", "--type=merge", "-p", '{"spec":{"reportedBy":"bob"}}')
        assert "reportedBy cannot be changed, nor added later" in added.stderr

    def test_no_approval_counts_where_nobody_compares_who_makes_it(
        self, namespace: Namespace, operator: OperatorProcess
    ) -> None:
        binding = "validatingadmissionpolicybinding/incident-operator-approver"
        namespace.apply(plain("api", replicas=5))
        bob, alice = hire(namespace, "bob"), hire(namespace, "alice", roles=("incident-operator-approver",))
        bob.declares(scaled("load", "api", 3, mode="Propose"))
        ready(namespace, "load", "AwaitingApproval")
        kept = namespace.kubectl("get", binding, "-o", "json")
        namespace.kubectl("delete", binding)
        try:
            alice.votes("load")
            found = ready(namespace, "load", "ApprovalsUnprotected")
            assert "apply manifests/base/admission.yaml" in message(found)
            assert replicas(namespace) == 5
        finally:
            clean = json.loads(kept)
            clean["metadata"] = {key: clean["metadata"][key] for key in ("name", "labels")}
            namespace.kubectl("create", "-f", "-", given=json.dumps(clean))
