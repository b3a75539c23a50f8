"""A bad deploy on real pods: it goes back to the last good revision, and stays there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests_support.cluster import Namespace, OperatorProcess, incident
from tests_support.waiting import eventually
from tests_support.workloads import good_revision_marked, images_env, rollout, stateful, web

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]

UNDO = [{"name": "undo", "rolloutUndo": {}}]
CHECKS = [
    {"name": "rollout", "rollout": {}},
    {"name": "answers", "http": {"service": "web", "port": "http", "path": "/"}, "for": "1s", "timeout": "60s"},
]


def undo(name: str, **more: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"targets": [{"kind": "Deployment", "name": "web"}], "containment": UNDO}
    return incident(name, **(spec | more))


def version(namespace: Namespace, kind: str = "deployment", name: str = "web") -> str:
    return images_env(namespace.get(kind, name))["VERSION"]


def test_a_crashing_release_is_undone_and_verified(namespace: Namespace, operator: OperatorProcess) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(*web("2", BREAK="crash"))
    namespace.apply(undo("bad", verification=CHECKS))
    done = namespace.await_condition("bad", "Ready", within=90)
    assert version(namespace) == "1"
    assert done["status"]["phase"] == "Resolved"
    assert done["status"]["timers"].keys() >= {"detected", "contained", "mitigated", "recovered", "resolved"}
    assert [(e["state"], e["release"]) for e in done["status"]["ledger"]] == [("Kept", "Never")]


def test_applied_twice_a_second_incident_and_a_restart_stay_on_the_good_revision(
    namespace: Namespace, operator: OperatorProcess, lab_kubeconfig: Path
) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(*web("2", BREAK="errors"))
    rollout(namespace)
    namespace.apply(undo("first"))
    eventually(
        lambda: (namespace.incident("first") or {}).get("status", {}).get("ledger"),
        within=20,
        what="an intent on record",
    )
    operator.kill()
    operator.start()
    namespace.apply(undo("first"))
    namespace.await_condition("first", "Ready", within=60)
    assert version(namespace) == "1"
    namespace.apply(undo("second"))
    second = namespace.await_condition("second", "Ready", within=60)
    assert version(namespace) == "1"
    assert [entry["state"] for entry in second["status"]["ledger"]] == ["Skipped"]
    assert "first" in second["status"]["ledger"][0]["summary"]
    operator.stop()
    operator.start()
    namespace.apply(undo("first"), undo("second"), undo("third"))
    namespace.await_condition("third", "Ready", within=60)
    assert version(namespace) == "1"
    revisions = {
        rs["metadata"]["annotations"]["deployment.kubernetes.io/revision"] for rs in namespace.list("replicasets")
    }
    assert revisions == {"2", "3"}, "one undo renumbers revision 1 to 3; a second one would make a 4"


def test_two_crashing_releases_in_a_row_go_back_to_the_one_that_still_runs(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.apply(*web("1"))
    rollout(namespace)
    namespace.apply(*web("2", BREAK="crash"))
    eventually(lambda: len(namespace.list("replicasets")) == 2, within=20, what="the second ReplicaSet")
    namespace.apply(*web("3", BREAK="crash"))
    eventually(lambda: len(namespace.list("replicasets")) == 3, within=20, what="the third ReplicaSet")
    namespace.apply(undo("bad"))
    namespace.await_condition("bad", "Ready", within=90)
    assert version(namespace) == "1"


def test_two_wrong_but_running_releases_in_a_row_go_back_to_the_verified_one(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace("label", "namespace", namespace.name, "incident-operator.dev/mark-revisions=true")
    namespace.apply(*web("1"))
    rollout(namespace)
    good_revision_marked(namespace, within=30)
    namespace("label", "namespace", namespace.name, "incident-operator.dev/mark-revisions-")
    for bad in ("2", "3"):
        namespace.apply(*web(bad, BREAK="errors"))
        rollout(namespace)
    namespace.apply(undo("bad", verification=CHECKS))
    done = namespace.await_condition("bad", "Ready", within=90)
    assert version(namespace) == "1"
    assert "verified" in done["status"]["ledger"][0]["summary"]


def test_a_stateful_set_is_undone_although_its_broken_pod_blocks_it(
    namespace: Namespace, operator: OperatorProcess
) -> None:
    namespace.apply(*stateful("1"))
    rollout(namespace, "statefulset/db")
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in namespace.list("pods")}
    (broken,) = stateful("2", BREAK="crash")
    broken["spec"]["minReadySeconds"] = 5  # it ends after a second, in which a probe may find it ready once
    namespace.apply(broken)
    eventually(
        lambda: any(images_env(pod)["VERSION"] == "2" for pod in namespace.list("pods")), within=60, what="a broken pod"
    )
    namespace.apply(undo("bad", targets=[{"kind": "StatefulSet", "name": "db"}]))
    namespace.await_condition("bad", "Ready", within=120)
    after = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in namespace.list("pods")}
    assert {images_env(pod)["VERSION"] for pod in namespace.list("pods")} == {"1"}
    assert after["db-0"] == before["db-0"], "the healthy pod was not touched"
