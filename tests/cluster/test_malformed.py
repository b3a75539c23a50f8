"""Bad Incidents are refused with a message that names the field and the remedy, and change nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests_support.cluster import Kubectl, Namespace, OperatorProcess, incident
from tests_support.waiting import eventually
from tests_support.workloads import stateful, web

pytestmark = pytest.mark.cluster
GOOD = incident(
    "probe",
    targets=[{"kind": "Deployment", "name": "web"}],
    containment=[{"name": "undo", "rolloutUndo": {}}],
    verification=[{"name": "up", "http": {"service": "web", "port": "http"}}],
)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set a field by its path; a part that is a number is a place in a list."""

    def change(made: dict[str, Any]) -> None:
        *parts, last = path.split(".")
        here: Any = made
        for part in parts:
            here = here[int(part)] if part.isdecimal() else here[part]
        here[last] = value

    return change


def drop(path: str) -> Callable[[dict[str, Any]], None]:
    """Leave a field out."""

    def change(made: dict[str, Any]) -> None:
        *parts, last = path.split(".")
        here: Any = made
        for part in parts:
            here = here[part]
        del here[last]

    return change


STEP = "spec.containment.0"
CHECK = "spec.verification.0"
TARGET = {"kind": "Deployment", "name": "web"}
REFUSED = {
    "no-spec": (drop("spec"), ["spec", "Required"]),
    "no-title": (drop("spec.title"), ["spec.title", "Required"]),
    "empty-title": (put("spec.title", ""), ["spec.title", "at least 1"]),
    "long-title": (put("spec.title", "x" * 201), ["spec.title", "200"]),
    "title-is-a-number": (put("spec.title", 7), ["spec.title", "string"]),
    "long-description": (put("spec.description", "x" * 4097), ["spec.description", "4096"]),
    "no-type": (drop("spec.type"), ["spec.type", "Required"]),
    "unknown-type": (put("spec.type", "Fire"), ["spec.type", '"Security", "Outage"']),
    "no-severity": (drop("spec.severity"), ["spec.severity", "Required"]),
    "unknown-severity": (put("spec.severity", "SEV-0"), ["spec.severity", '"SEV-1"']),
    "unknown-mode": (put("spec.mode", "Force"), ["spec.mode", '"Observe", "Propose", "Enforce"']),
    "unknown-field": (put("spec.tragets", []), ["spec.tragets", "unknown field"]),
    "unknown-field-in-a-step": (put(f"{STEP}.force", True), ["force", "unknown field"]),
    "unknown-parameter": (put(f"{STEP}.rolloutUndo", {"revision": 1}), ["revision", "unknown field"]),
    "a-namespace-in-a-target": (put("spec.targets.0.namespace", "kube-system"), ["namespace", "unknown field"]),
    "no-targets": (drop("spec.targets"), ["targets: give at least one"]),
    "empty-targets": (put("spec.targets", []), ["spec.targets", "at least 1"]),
    "too-many-targets": (
        put("spec.targets", [{"kind": "Deployment", "name": f"d{n}"} for n in range(501)]),
        ["spec.targets", "at most 500"],
    ),
    "the-same-target-twice": (put("spec.targets", [TARGET, TARGET]), ["spec.targets[1]", "Duplicate"]),
    "target-of-a-wrong-kind": (put("spec.targets.0.kind", "Service"), ["spec.targets[0].kind", '"Deployment"']),
    "target-without-a-name": (put("spec.targets", [{"kind": "Pod"}]), ["spec.targets[0].name", "Required"]),
    "target-name-with-a-slash": (put("spec.targets.0.name", "a/b"), ["spec.targets[0].name", "should match"]),
    "target-name-with-a-shell-in-it": (put("spec.targets.0.name", "$(reboot)"), ["spec.targets[0].name", "match"]),
    "nothing-to-do": (put("spec.containment", []), ["nothing to do", "containment or remediation"]),
    "no-action": (put("spec.containment", [{"name": "x"}]), ["exactly one of rolloutUndo, scale, isolate"]),
    "two-actions": (put(f"{STEP}.isolate", {}), ["spec.containment[0]", "exactly one of rolloutUndo"]),
    "step-without-a-name": (put("spec.containment", [{"isolate": {}}]), ["containment[0].name", "Required"]),
    "step-name-in-capitals": (put(f"{STEP}.name", "Undo"), ["spec.containment[0].name", "should match"]),
    "two-steps-of-one-name": (
        put("spec.containment", [{"name": "x", "isolate": {}}, {"name": "x", "rolloutUndo": {}}]),
        ["spec.containment[1]", "Duplicate"],
    ),
    "one-name-in-both-lists": (
        put("spec.remediation", [{"name": "undo", "rolloutUndo": {}}]),
        ["unique across containment and remediation"],
    ),
    "undo-of-a-pod": (
        put("spec.targets", [{"kind": "Pod", "name": "web-0"}]),
        ["spec.containment", "rolloutUndo works on Deployment"],
    ),
    "scale-of-a-daemon-set": (
        put(
            "spec.containment",
            [{"name": "x", "scale": {"replicas": 1}, "targets": [{"kind": "DaemonSet", "name": "d"}]}],
        ),
        ["spec.containment", "scale works on Deployment, StatefulSet"],
    ),
    "scale-without-replicas": (
        put("spec.containment", [{"name": "x", "scale": {}}]),
        ["spec.containment[0].scale.replicas", "Required"],
    ),
    "fewer-than-no-replicas": (
        put("spec.containment", [{"name": "x", "scale": {"replicas": -1}}]),
        ["scale.replicas", "greater than or equal to 0"],
    ),
    "half-a-replica": (put("spec.containment", [{"name": "x", "scale": {"replicas": 1.5}}]), ["replicas", "integer"]),
    "revision-zero": (put(f"{STEP}.rolloutUndo", {"toRevision": 0}), ["toRevision", "greater than or equal to 1"]),
    "unknown-direction": (
        put("spec.containment", [{"name": "x", "isolate": {"direction": "Up"}}]),
        ["isolate.direction", '"Both", "Ingress", "Egress"'],
    ),
    "timeout-without-a-unit": (put(f"{STEP}.timeout", "10"), ["spec.containment[0].timeout", "should match"]),
    "timeout-of-a-week": (put(f"{STEP}.timeout", "168h"), ["timeout must be between 1s and 24h"]),
    "unknown-on-failure": (put(f"{STEP}.onFailure", "Retry"), ["onFailure", '"Halt", "Continue", "Release"']),
    "unknown-release": (put(f"{STEP}.release", "Always"), ["release", '"OnResolve", "Manual", "Never"']),
    "no-check": (put("spec.verification", [{"name": "x"}]), ["exactly one of rollout, podsReady, http"]),
    "two-checks": (put(f"{CHECK}.rollout", {}), ["spec.verification[0]", "exactly one of rollout"]),
    "path-without-a-slash": (put(f"{CHECK}.http.path", "healthz"), ["http.path", "should match"]),
    "path-with-a-line-break": (put(f"{CHECK}.http.path", "/a\nHost: b"), ["http.path", "should match"]),
    "a-url-for-a-service": (put(f"{CHECK}.http.service", "http://evil"), ["http.service", "should match"]),
    "status-of-no-http": (put(f"{CHECK}.http.status", 42), ["http.status", "greater than or equal to 100"]),
    "longer-for-than-timeout": (put(f"{CHECK}.for", "1h"), ["timeout must be at least as long as for"]),
    "no-minimum": (
        put("spec.verification", [{"name": "x", "podsReady": {"minimum": 0}}]),
        ["minimum", "or equal to 1"],
    ),
    "account-of-another-namespace": (put("spec.serviceAccountName", "other/admin"), ["serviceAccountName", "match"]),
    "release-is-a-word": (put("spec.release", "yes"), ["spec.release", "boolean"]),
}


@pytest.fixture(scope="module")
def space(kubectl: Kubectl) -> Iterator[Namespace]:
    made = Namespace.create(kubectl)
    made.responder()
    yield made
    made.delete()


@pytest.fixture(scope="module")
def running(
    lab_kubeconfig: Path, space: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OperatorProcess]:
    process = OperatorProcess(lab_kubeconfig, space.name, tmp_path_factory.mktemp("operator") / "operator.log")
    process.start()
    yield process
    space("delete", "incidents.incident-operator.dev", "--all", "--timeout=30s")
    process.stop()


def test_the_one_they_are_all_made_from_is_accepted(space: Namespace) -> None:
    done = space.run("apply", "--dry-run=server", "-f", "-", given=yaml.safe_dump(GOOD))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("case", REFUSED)
def test_refused_when_applied(space: Namespace, case: str) -> None:
    change, words = REFUSED[case]
    made = copy.deepcopy(GOOD)
    made["metadata"]["name"] = f"bad-{case}"
    change(made)
    done = space.run("apply", "-f", "-", given=yaml.safe_dump(made))
    assert done.returncode != 0, "it was accepted"
    assert all(word in done.stderr for word in words), done.stderr
    assert space.incident(f"bad-{case}") is None


def stalls(space: Namespace, name: str, **spec: Any) -> tuple[str, str]:
    """Apply an Incident and wait until it stops for a person; reason and message."""
    space.apply(incident(name, **({"targets": [TARGET], "containment": [{"name": "do", "rolloutUndo": {}}]} | spec)))
    found = space.await_condition(name, "Stalled", within=20)
    assert [entry["state"] for entry in found["status"].get("ledger", []) if entry["state"] != "Failed"] == []
    stalled = next(each for each in found["status"]["conditions"] if each["type"] == "Stalled")
    assert "kubectl annotate" in stalled["message"], "it says how to try again"
    return stalled["reason"], stalled["message"]


def unchanged(space: Namespace, kind: str, name: str, act: Callable[[], Any]) -> Any:
    """What an act returns, given that it left the spec of an object as it was."""
    before = space.get(kind, name)
    found = act()
    after = space.get(kind, name)
    assert (before["metadata"]["uid"], before["spec"]) == (after["metadata"]["uid"], after["spec"])
    return found


@pytest.mark.usefixtures("running")
class TestRefusedByWhatIsThere:
    """What only the cluster shows: the Incident stalls, names the object and the remedy, and writes nothing."""

    def test_missing_target(self, space: Namespace) -> None:
        reason, message = stalls(space, "missing", targets=[{"kind": "Deployment", "name": "nobody"}])
        assert reason == "NotFound"
        assert "nobody" in message

    def test_absent_service_account(self, space: Namespace) -> None:
        space.apply(*web("1"))
        act = lambda: stalls(space, "no-account", serviceAccountName="nobody")  # noqa: E731
        reason, message = unchanged(space, "deployment", "web", act)
        assert reason == "Forbidden"
        assert "nobody" in message

    def test_missing_right(self, space: Namespace, kubectl: Kubectl) -> None:
        space.apply(*web("1"))
        role = space.get("role", "incident-responder")
        without = copy.deepcopy(role)
        without["rules"] = [rule for rule in role["rules"] if "replicasets" not in rule["resources"]]
        kubectl("replace", "-f", "-", given=yaml.safe_dump(without))
        try:
            reason, message = unchanged(space, "deployment", "web", lambda: stalls(space, "no-right"))
        finally:
            role["metadata"].pop("resourceVersion")
            kubectl("replace", "-f", "-", given=yaml.safe_dump(role))
        assert reason == "Forbidden"
        assert "replicasets" in message
        assert f"ServiceAccount {space.name}/incident-responder" in message

    def test_paused_deployment(self, space: Namespace) -> None:
        space.apply(*web("1"))
        space("rollout", "pause", "deployment/web")
        try:
            reason, message = unchanged(space, "deployment", "web", lambda: stalls(space, "paused"))
        finally:
            space("rollout", "resume", "deployment/web")
        assert reason == "Paused"
        assert "kubectl rollout resume" in message

    def test_no_earlier_revision(self, space: Namespace) -> None:
        space.apply(*stateful("1"))
        eventually(lambda: space.list("controllerrevisions"), within=20, what="the first revision")
        only = {"targets": [{"kind": "StatefulSet", "name": "db"}]}
        reason, message = unchanged(space, "statefulset", "db", lambda: stalls(space, "first", **only))
        assert reason == "NoEarlierRevision"
        assert "revisionHistoryLimit" in message

    def test_revision_that_is_not_there(self, space: Namespace) -> None:
        space.apply(*web("1"))
        eventually(lambda: space.list("replicasets"), within=20, what="the first revision")
        step = [{"name": "do", "rolloutUndo": {"toRevision": 99}}]
        reason, message = unchanged(space, "deployment", "web", lambda: stalls(space, "revision", containment=step))
        assert reason == "RevisionNotFound"
        assert "99" in message

    def test_protected_target(self, space: Namespace) -> None:
        space.apply(*web("1"))
        space("annotate", "deployment/web", "incident-operator.dev/protected=true", "--overwrite")
        try:
            reason, message = unchanged(space, "deployment", "web", lambda: stalls(space, "protected"))
        finally:
            space("annotate", "deployment/web", "incident-operator.dev/protected-")
        assert reason == "Protected"
        assert "incident-operator.dev/protected" in message

    def test_controller_owned_target(self, space: Namespace) -> None:
        deployment, service = web("1")
        space.apply(service)
        owner = space.get("service", "web")["metadata"]
        owned = copy.deepcopy(deployment)
        owned["metadata"] |= {"name": "owned"}
        reference = {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": owner["uid"], "controller": True}
        owned["metadata"]["ownerReferences"] = [reference]
        space.apply(owned)
        target = [{"kind": "Deployment", "name": "owned"}]
        reason, message = unchanged(space, "deployment", "owned", lambda: stalls(space, "owned", targets=target))
        assert reason == "ControllerOwned"
        assert "Service web" in message or "Service/web" in message

    def test_volumes_that_would_be_deleted(self, space: Namespace) -> None:
        (database,) = stateful("1")
        database = copy.deepcopy(database)
        database["metadata"]["name"] = "careless"
        database["spec"]["persistentVolumeClaimRetentionPolicy"] = {"whenScaled": "Delete", "whenDeleted": "Retain"}
        space.apply(database)
        spec = {
            "targets": [{"kind": "StatefulSet", "name": "careless"}],
            "containment": [{"name": "do", "scale": {"replicas": 0}}],
        }
        reason, message = unchanged(space, "statefulset", "careless", lambda: stalls(space, "careless", **spec))
        assert reason == "WouldDeleteVolumes"
        assert "whenScaled" in message

    def test_asked_again_after_the_cause_is_gone(self, space: Namespace) -> None:
        space.apply(incident("again", targets=[{"kind": "StatefulSet", "name": "late"}],
                             containment=[{"name": "do", "scale": {"replicas": 0}}]))  # fmt: skip
        space.await_condition("again", "Stalled", within=20)
        (late,) = stateful("1")
        late["metadata"]["name"] = "late"
        space.apply(late)
        space("annotate", "incident/again", "incident-operator.dev/requested-at=now")
        eventually(lambda: space.get("statefulset", "late")["spec"]["replicas"] == 0, within=20, what="scaled to 0")


def test_there_are_enough_of_them() -> None:
    assert len(REFUSED) >= 30
