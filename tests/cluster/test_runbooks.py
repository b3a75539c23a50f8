"""Incidents that take their steps from a runbook, and what their alerts do to them: never more than end them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests_support.cluster import Namespace, OperatorProcess, incident
from tests_support.people import hire
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster
WEB = [{"kind": "Deployment", "name": "web"}]
LESS = {"name": "less", "scale": {"replicas": 1}, "timeout": "1s", "onFailure": "Continue"}


def runbook(name: str = "less", kind: str = "Runbook", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "incident-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def firing(name: str = "Slow", fingerprint: str = "aa", **more: str) -> dict[str, Any]:
    return {"name": name, "fingerprint": fingerprint, "startsAt": "2026-11-24T03:00:00Z", **more}


def follows(name: str = "follows", **spec: Any) -> dict[str, Any]:
    return incident(name, **{"targets": WEB, "runbookRef": {"kind": "Runbook", "name": "less"}, **spec})


def replicas(namespace: Namespace, name: str = "web") -> int:
    found: int = namespace.get("deployment", name)["spec"]["replicas"]
    return found


def says(namespace: Namespace, name: str, kind: str, reason: str) -> str:
    """Waits until a condition has this reason; its message."""

    def look() -> Any:
        found = ((namespace.incident(name) or {}).get("status") or {}).get("conditions", [])
        return next((each for each in found if (each["type"], each["reason"]) == (kind, reason)), None)

    try:
        message: str = eventually(look, within=30, what=f"{name} {kind} {reason}")["message"]
    except AssertionError as fault:
        raise AssertionError(f"{fault}: {namespace.conditions(name)}") from None
    return message


def patch(namespace: Namespace, name: str, spec: dict[str, Any]) -> None:
    namespace("patch", "incident", name, "--type", "merge", "-p", json.dumps({"spec": spec}))


class Hook:
    """Somebody who wants to be told."""

    def __init__(self) -> None:
        told = self.told = list[Any]()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hooks/s3cr3t"


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    threading.Thread(target=made.server.serve_forever, daemon=True).start()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def shop(namespace: Namespace, operator: OperatorProcess) -> Namespace:
    namespace.apply(plain("web", replicas=3))
    return namespace


def test_its_steps_are_carried_out_and_the_copy_is_in_the_plan_whatever_becomes_of_the_runbook(
    shop: Namespace,
) -> None:
    shop.apply(runbook(remediation=[LESS]))
    shop.apply(follows())
    eventually(lambda: replicas(shop) == 1, within=30, what="the runbook's step")
    shop.apply(runbook(remediation=[{**LESS, "scale": {"replicas": 0}}]))
    shop("annotate", "incident", "follows", "note=looked")
    says(shop, "follows", "Ready", "Contained")
    resolved = shop.incident("follows")["status"]["plan"]["resolved"]
    assert resolved["runbook"] == "Runbook/less"
    assert json.loads(resolved["spec"])["remediation"][0]["scale"] == {"replicas": 1}
    assert replicas(shop) == 1


def test_a_runbook_of_the_cluster_and_what_the_incident_says_itself_comes_first(shop: Namespace) -> None:
    name = f"less-{shop.name}"
    asks = [{"name": "x", "confirm": {"question": "?"}}]
    both = runbook(name, "ClusterRunbook", remediation=[LESS], verification=asks)
    shop.kubectl("apply", "-f", "-", given=json.dumps(both))
    try:
        own = [{**LESS, "name": "own", "scale": {"replicas": 2}}]
        shop.apply(follows(runbookRef={"kind": "ClusterRunbook", "name": name}, remediation=own))
        eventually(lambda: replicas(shop) == 2, within=30, what="the Incident's own step")
        found = eventually(lambda: shop.incident("follows")["status"].get("verification"), within=30, what="its checks")
        assert found[0]["name"] == "x"
    finally:
        shop.kubectl("delete", "clusterrunbook", name)


def test_a_runbook_that_is_not_there_is_said_with_those_that_are_and_can_be_put_right(shop: Namespace) -> None:
    shop.apply(runbook("other", containment=[LESS]))
    shop.apply(follows())
    assert "those that are there: other" in says(shop, "follows", "Stalled", "RunbookNotFound")
    shop.apply(runbook(containment=[LESS]))
    shop("annotate", "incident", "follows", "incident-operator.dev/requested-at=now")
    eventually(lambda: replicas(shop) == 1, within=30, what="the runbook's step")


UNCLEAR = {
    "targetless": ({"targets": None}, "TargetNotFound", "pod web-1 is gone"),
    "unclear": ({}, "SignalUnclear", "pod web-1 is gone"),
    "no-runbook": ({"runbookRef": None, "signals": [firing()]}, "NoRunbook", "incident_runbook"),
}


def test_what_an_alert_leaves_open_waits_for_a_person_and_nothing_is_done(shop: Namespace) -> None:
    shop.apply(runbook(containment=[LESS]))
    for name, (spec, reason, said) in UNCLEAR.items():
        told = {"source": "Alertmanager", "signals": [firing(problem="pod web-1 is gone")], **spec}
        made = follows(name, **told)
        made["spec"] = {key: value for key, value in made["spec"].items() if value is not None}
        shop.apply(made)
        message = says(shop, name, "Stalled", reason)
        assert said in message
        assert "Slow" in message
    assert replicas(shop) == 3


def test_nothing_is_begun_for_an_alert_that_is_over(shop: Namespace) -> None:
    shop.apply(runbook(containment=[LESS]))
    shop.apply(follows(source="Alertmanager", signals=[firing(endsAt="2026-11-24T03:01:00Z")]))
    says(shop, "follows", "Ready", "Resolved")
    assert replicas(shop) == 3
    found = shop.incident("follows")
    assert found["status"].get("ledger", []) == []
    assert "AlertResolved" in {each["reason"] for each in found["status"]["timeline"]}


def test_an_alert_that_resolves_while_it_waits_ends_the_incident_and_acts_on_nothing(shop: Namespace) -> None:
    shop.apply(runbook(containment=[LESS]))
    shop.apply(follows(mode="Propose", source="Alertmanager", signals=[firing()]))
    says(shop, "follows", "SignalResolved", "AlertFiring")
    says(shop, "follows", "Ready", "AwaitingApproval")
    patch(shop, "follows", {"signals": [firing(endsAt="2026-11-24T03:01:00Z")]})
    says(shop, "follows", "Ready", "Resolved")
    assert replicas(shop) == 3


def test_an_alert_that_resolves_is_what_verification_waits_for(shop: Namespace) -> None:
    shop.apply(runbook(containment=[LESS]))
    shop.apply(follows(source="Alertmanager", signals=[firing(), firing("Slow", "bb")]))
    eventually(lambda: replicas(shop) == 1, within=30, what="the runbook's step")
    says(shop, "follows", "SignalResolved", "AlertFiring")
    done = firing(endsAt="2026-11-24T03:01:00Z")
    patch(shop, "follows", {"signals": [done, firing("Slow", "bb")]})
    assert shop.conditions("follows")["Ready"][0] == "Unknown"
    patch(shop, "follows", {"signals": [done, {**done, "fingerprint": "bb"}]})
    says(shop, "follows", "Ready", "Resolved")
    says(shop, "follows", "SignalResolved", "AlertResolved")
    assert replicas(shop) == 3


def test_a_resolved_alert_never_has_a_halted_incident_go_on(shop: Namespace) -> None:
    halts = {**LESS, "name": "halts", "onFailure": "Halt", "scale": {"replicas": 2}}
    more = {"name": "more", "isolate": {}}
    shop.apply(runbook(containment=[halts], remediation=[more]))
    shop.apply(follows(source="Alertmanager", signals=[firing()]))
    says(shop, "follows", "Stalled", "TimedOut")
    patch(shop, "follows", {"signals": [firing(endsAt="2026-11-24T03:01:00Z")]})
    says(shop, "follows", "SignalResolved", "AlertResolved")
    assert shop.conditions("follows")["Stalled"][1] == "TimedOut"
    assert (replicas(shop), shop.list("networkpolicies")) == (2, [])


def test_hold_for_waits_and_says_until_when(shop: Namespace) -> None:
    shop.apply(runbook(containment=[LESS], holdFor="4s"))
    shop.apply(follows(source="Alertmanager", signals=[firing()]))
    says(shop, "follows", "Ready", "HoldingFor")
    assert replicas(shop) == 3
    eventually(lambda: replicas(shop) == 1, within=30, what="the runbook's step")


def test_who_takes_it_on_is_on_record_and_disturbs_nothing(shop: Namespace) -> None:
    shop.apply(runbook(remediation=[LESS]))
    shop.apply(follows())
    says(shop, "follows", "Ready", "Contained")
    hash_ = shop.incident("follows")["status"]["plan"]["hash"]
    patch(shop, "follows", {"acknowledgedBy": "alice"})
    eventually(lambda: shop.incident("follows")["status"]["timers"].get("acknowledged"), within=20, what="the timer")
    assert shop.incident("follows")["status"]["plan"]["hash"] == hash_
    assert shop.conditions("follows")["Ready"] == ("True", "Contained")


def test_a_severity_is_raised_freely_and_lowered_with_a_reason(shop: Namespace) -> None:
    shop.apply(follows(mode="Observe", severity="SEV-2"))
    patch(shop, "follows", {"severity": "SEV-1"})
    refused = shop.run("patch", "incident", "follows", "--type", "merge", "-p", '{"spec":{"severity":"SEV-3"}}')
    assert refused.returncode == 1
    assert "severityReason" in refused.stderr
    patch(shop, "follows", {"severity": "SEV-3", "severityReason": "two users only"})


def test_nobody_writes_a_runbook_that_does_what_they_may_not(shop: Namespace) -> None:
    carol = hire(shop, "carol", roles=("incident-operator-editor", "incident-operator-viewer"))
    refused = carol.apply(runbook(containment=[LESS]))
    assert refused.returncode == 1
    assert "may not patch deployments/scale" in refused.stderr
    stopped = carol.apply(runbook("all", recovery={}))
    assert (stopped.returncode, "which the recovery here does" in stopped.stderr) == (1, True)
    assert carol.apply(runbook("told", diagnosis=["look"])).returncode == 0


def test_a_rollback_says_why_it_believes_in_its_revision_and_triage_who_is_affected(shop: Namespace) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "front"}}
    shop.apply({**service, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}})
    eventually(lambda: len(shop.list("replicasets")) == 1, within=20, what="the first revision")
    shop("set", "env", "deployment/web", "VERSION=2")
    eventually(lambda: len(shop.list("replicasets")) == 2, within=20, what="the second revision")
    impact = {"data": "orders of the last minutes", "users": {"query": "users"}}
    shop.apply(runbook(remediation=[{"name": "undo", "rolloutUndo": {}}], impact=impact))
    shop.apply(follows(mode="Observe"))
    says(shop, "follows", "Ready", "Planned")
    status = shop.incident("follows")["status"]
    best = status["triage"]["changes"][0]
    assert (best["what"], best["why"].split(",")[1]) == ("Deployment/web", " on the target itself")
    assert status["triage"]["affected"] == ["Service front: no pod is ready"]
    assert status["triage"]["data"] == "orders of the last minutes"
    assert any("Prometheus" in each for each in status["triage"]["unknown"])
    (change,) = status["plan"]["steps"][0]["changes"]
    assert any("its rollout" in note for note in change["notes"]), change["notes"]


def test_clocks_that_are_overdue_are_a_condition_until_somebody_takes_it_on_and_hooks_are_told_of_halts_too(
    namespace: Namespace, lab_kubeconfig: Path, tmp_path: Path, hook: Hook
) -> None:
    (tmp_path / "url").write_text(hook.url)
    config = tmp_path / "config.yaml"
    given = {
        "receiver": {"listen": "127.0.0.1:0"},
        "clocks": {"SEV-2": {"acknowledge": "1s"}},
        "hooks": [{"name": "pager", "urlFile": str(tmp_path / "url")}],
    }
    config.write_text(json.dumps(given))
    log = tmp_path / "operator.log"
    operator = OperatorProcess(lab_kubeconfig, namespace.name, log, "--config", str(config))
    operator.start()
    try:
        namespace.apply(plain("web", replicas=3))
        namespace.apply(runbook(remediation=[LESS], escalation=[{"after": "2s", "hook": "pager"}]))
        namespace.apply(follows())
        says(namespace, "follows", "Overdue", "AcknowledgeOverdue")
        told = lambda: namespace.incident("follows")["status"].get("escalated", [])  # noqa: E731
        eventually(lambda: set(told()) == {"acknowledge", "0"}, within=20, what="the hook to be told of both")
        assert [each["reason"] for each in hook.told] == ["AcknowledgeOverdue", "Escalation"]
        assert {each["incident"]["name"] for each in hook.told} == {"follows"}
        patch(namespace, "follows", {"acknowledgedBy": "alice"})
        eventually(lambda: "Overdue" not in namespace.conditions("follows"), within=20, what="the condition to go")
        halts = {**LESS, "name": "halts", "onFailure": "Halt"}
        patch(namespace, "follows", {"remediation": [halts]})
        says(namespace, "follows", "Stalled", "TimedOut")
        eventually(lambda: len(hook.told) == 3, within=20, what="who has taken it on to be told that it halted")
        assert (hook.told[2]["reason"], "step halts: " in hook.told[2]["text"]) == ("Halted", True)
        assert "requested-at" in hook.told[2]["text"]
        assert hook.url not in log.read_text()
    finally:
        namespace("delete", "incident", "follows", "--ignore-not-found", "--timeout=30s")
        assert operator.stop() == 0
