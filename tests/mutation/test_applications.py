"""Recipe R11: the application gets in the way: its probes, its budgets, its pods, and those who look after it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mutation.conftest import Stage
from mutation.running import WRITES, quiet, requests, rest
from mutation.test_interactions import API, FOREIGN, NONE, WEB, again, finalizers, replicas
from mutation.workloads import target, workload
from tests_support.cluster import Namespace, incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster


def pods(stage: Stage, app: str = "web") -> list[str]:
    return [each["metadata"]["name"] for each in stage.namespace.list("pods", f"app={app}")]


def probed(namespace: Namespace, names: list[str], *, ready: bool) -> None:
    """What kubelet says of pods after their probes; these have none, being on no node."""
    said = json.dumps({"status": {"conditions": [{"type": "Ready", "status": str(ready)}]}})
    for name in names:
        namespace.run("patch", "pod", name, "--subresource=status", "--type=merge", "-p", said)


@contextmanager
def again_and_again(act: Callable[[int], None]) -> Iterator[None]:
    """Somebody who does something all the while."""
    stop = threading.Event()

    def work() -> None:
        turn = 0
        while not stop.is_set():
            act(turn)
            turn += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)


def test_probes_that_flap_are_seen_to_and_are_never_taken_for_steady_ones(stage: Stage) -> None:
    names = pods(stage)
    ready = {"name": "ready", "podsReady": {}, "for": "30s", "timeout": "5m"}
    down = {**NONE, "targets": [API]}
    stage.namespace.apply(incident("flap", targets=[WEB], containment=[down], verification=[ready]))
    for is_ready in (False, True) * 3:
        probed(stage.namespace, names, ready=is_ready)

        def check(is_ready: bool = is_ready) -> Any:
            said = next(iter(stage.namespace.incident("flap")["status"].get("verification") or ()), {})
            return said if (said.get("verdict") == "Pass") is is_ready and said.get("verdict") else None

        found = eventually(check, within=25, what=f"the check to see that they are {'' if is_ready else 'not '}ready")
        assert not found["passed"]
    assert stage.namespace.incident("flap")["status"]["phase"] == "Verification"
    probed(stage.namespace, names, ready=False)
    stage.goes_back("flap")


def test_a_disruption_budget_is_named_in_the_plan_before_anything_is_done(stage: Stage) -> None:
    spec = {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "keep-two"}, "spec": spec}
    stage.namespace.apply(budget)
    stage.namespace.apply(incident("load", targets=[WEB], mode="Observe", containment=[NONE]))
    rest(stage.namespace, "load")
    (step,) = stage.namespace.incident("load")["status"]["plan"]["steps"]
    assert "keep-two" in json.dumps(step["changes"][0]["blast"]["disruptionBudgets"])
    assert replicas(stage) == 2
    stage.namespace("delete", "pdb", "keep-two")
    stage.goes_back("load")


def place(namespace: Namespace, name: str, node: str) -> None:
    """Put a pod on a node, as the scheduler does."""
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    path = f"/api/v1/namespaces/{namespace.name}/pods/{name}/binding"
    namespace("create", "--raw", path, "-f", "-", given=json.dumps(body))


def test_a_pod_that_never_ends_halts_the_step_and_is_counted(stage: Stage) -> None:
    """One on no node would be called Failed by the pod garbage collector each 20 s, and then it runs no more."""
    held, *_ = pods(stage)
    place(stage.namespace, held, "gone")
    finalizers(stage, f"pod/{held}", FOREIGN)
    stage.namespace.apply(incident("load", targets=[WEB], containment=[{**NONE, "timeout": "3s"}]))
    found = rest(stage.namespace, "load")
    assert found["Stalled"][1] == "TimedOut", found
    assert "1 pods are still terminating" in found["Stalled"][2]
    finalizers(stage, f"pod/{held}")
    again(stage, "load", "now")
    assert rest(stage.namespace, "load")["Ready"][1] == "Contained"
    stage.goes_back("load")


LIMITS = {"limits": [{"type": "Container", "max": {"cpu": "50m"}}]}
NO_PODS = {"hard": {"pods": "0"}}


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [("LimitRange", LIMITS, "maximum cpu usage per Container"), ("ResourceQuota", NO_PODS, "exceeded quota")],
)
def test_pods_that_are_refused_are_the_reason_that_is_given(
    stage: Stage, kind: str, spec: dict[str, Any], words: str
) -> None:
    limited = workload("limited", replicas=0)
    limited["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "100m"}}
    stage.namespace.apply(limited, {"apiVersion": "v1", "kind": kind, "metadata": {"name": "small"}, "spec": spec})
    if kind == "ResourceQuota":
        counted = lambda: stage.namespace.get("resourcequota", "small").get("status", {}).get("hard")  # noqa: E731
        eventually(counted, within=20, what="the quota to count")
    more = {"name": "more", "scale": {"replicas": 1}, "timeout": "5s"}
    stage.namespace.apply(incident("load", targets=[target("limited")], containment=[more]))
    found = rest(stage.namespace, "load")
    assert found["Stalled"][1] == "TimedOut", found
    assert words in found["Stalled"][2], found
    stage.namespace("delete", kind, "small")
    stage.namespace("delete", "incident", "load", "--timeout=40s")
    stage.namespace("delete", "deployment", "limited")
    stage.goes_back("load")


def test_a_controller_that_reverts_every_change_is_told_of_and_not_fought(stage: Stage) -> None:
    """As a GitOps controller does that heals what differs from Git."""
    heal = ("scale", "deployment/web", "--replicas=2")
    with again_and_again(lambda _: stage.namespace.run(*heal) and None):
        before = requests(stage.operator, only=WRITES)
        unsettled = {"name": "three", "scale": {"replicas": 3}, "timeout": "1h"}
        stage.namespace.apply(incident("load", targets=[WEB], containment=[unsettled]))
        for word in ("", "second", "third", "fourth"):
            if word:
                again(stage, "load", word)
            found = rest(stage.namespace, "load")
            assert found["Stalled"][1] == "Reverted", found
        quiet(stage.operator, seconds=3, within=30)
        assert requests(stage.operator, only=WRITES) - before < 60, "each try is one write, and what is said of it"
    assert replicas(stage) == 2
    stage.goes_back("load")
