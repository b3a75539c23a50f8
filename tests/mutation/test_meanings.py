"""Recipe R8, the other half: what is valid by the schema and makes no sense, or comes at a bad moment."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mutation.conftest import Stage
from mutation.running import rest, until
from mutation.workloads import pod, target, workload
from tests_support.cluster import incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster

WEB, API = target("web"), target("api")
CUT = {"name": "cut", "isolate": {}}
HALF = {"name": "half", "scale": {"replicas": 1}}
NONE = {"name": "none", "scale": {"replicas": 0}}
UNSETTLED = {"name": "never", "scale": {"replicas": 3}, "timeout": "1h"}
"""Waits for pods that no node takes."""


def change(stage: Stage, name: str, **spec: Any) -> None:
    stage.namespace("patch", "incident", name, "--type=merge", "-p", json.dumps({"spec": spec}))


def replicas(stage: Stage, name: str = "web") -> int:
    found: int = stage.namespace.get("deployment", name)["spec"]["replicas"]
    return found


@pytest.mark.parametrize("step", [CUT, HALF, {"name": "undo", "rolloutUndo": {}}], ids=lambda each: str(each["name"]))
def test_a_target_that_is_not_there_is_named_and_nothing_is_done(stage: Stage, step: dict[str, Any]) -> None:
    stage.namespace.apply(incident("lost", targets=[target("nobody"), WEB], containment=[step]))
    found = rest(stage.namespace, "lost")
    assert found["Stalled"][1] == "NotFound"
    assert "nobody" in found["Stalled"][2]
    assert replicas(stage) == 2
    assert stage.namespace.list("networkpolicies") == []
    stage.goes_back("lost")


def test_a_pod_without_any_label_is_isolated_alone_and_gets_its_labels_back(stage: Stage) -> None:
    stage.namespace.apply(incident("bare", targets=[target("bare", "Pod")], containment=[CUT]))
    rest(stage.namespace, "bare")
    (policy,) = stage.namespace.list("networkpolicies")
    assert list(policy["spec"]["podSelector"]["matchLabels"]) == ["incident-operator.dev/isolated"]
    stage.goes_back("bare")


def test_a_workload_without_pods_is_isolated_before_it_has_any(stage: Stage) -> None:
    stage.namespace.apply(workload("empty", replicas=0))
    stage.namespace.apply(incident("empty", targets=[target("empty")], containment=[CUT]))
    rest(stage.namespace, "empty")
    (policy,) = stage.namespace.list("networkpolicies")
    assert policy["spec"]["podSelector"] == {"matchLabels": {"app": "empty"}}
    stage.namespace("delete", "deployment", "empty")
    stage.goes_back("empty")


def test_no_replicas_and_back(stage: Stage) -> None:
    stage.namespace.apply(incident("off", targets=[WEB, target("db", "StatefulSet")], containment=[NONE]))
    assert rest(stage.namespace, "off")["Contained"][0] == "True"
    assert replicas(stage) == 0
    stage.goes_back("off")


@pytest.mark.slow
def test_ten_thousand_replicas_run_into_the_quota_and_time_out(stage: Stage) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few"},
        "spec": {"hard": {"count/pods": "6"}},
    }
    stage.namespace.apply(quota)
    eventually(lambda: stage.namespace.get("resourcequota", "few").get("status"), within=20, what="the quota to count")
    many = {"name": "many", "scale": {"replicas": 10000}, "timeout": "2s"}
    stage.namespace.apply(incident("many", targets=[WEB], containment=[many]))
    assert rest(stage.namespace, "many")["Stalled"][1] == "TimedOut"
    stage.namespace("delete", "incident", "many", "--timeout=40s")
    stage.namespace("delete", "resourcequota", "few")
    stage.goes_back()


def test_a_revision_that_is_not_there_is_named_and_nothing_is_done(stage: Stage) -> None:
    undo = {"name": "undo", "rolloutUndo": {"toRevision": 99}}
    stage.namespace.apply(incident("back", targets=[WEB], containment=[undo]))
    found = rest(stage.namespace, "back")
    assert "99" in found["Stalled"][2], found
    stage.goes_back("back")


def test_a_stage_that_comes_twice_runs_as_two_stages(stage: Stage) -> None:
    steps = [{**HALF, "stage": "one"}, {**CUT, "stage": "two"}, {**NONE, "stage": "one", "targets": [API]}]
    steps = [{**each, "onFailure": "Continue", "timeout": "1s"} for each in steps]
    stage.namespace.apply(incident("twice", targets=[WEB], containment=steps))
    rest(stage.namespace, "twice")
    begun = {each["name"]: each["startedAt"] for each in stage.namespace.incident("twice")["status"]["steps"]}
    assert begun["half"] <= begun["cut"] <= begun["none"]
    assert replicas(stage, "api") == 0
    stage.goes_back("twice")


def test_one_thing_asked_for_twice_in_one_incident_goes_back_to_what_was_first(stage: Stage) -> None:
    steps = [NONE, {"name": "again", "scale": {"replicas": 1}, "timeout": "1s"}]
    stage.namespace.apply(incident("both", targets=[WEB], containment=steps))
    rest(stage.namespace, "both")
    stage.goes_back("both")


@pytest.mark.parametrize("mode", ["Observe", pytest.param("Propose", marks=pytest.mark.slow)])
def test_a_mode_that_is_lowered_and_raised_mid_flight_ends_where_it_began(stage: Stage, mode: str) -> None:
    stage.namespace.apply(incident("mode", targets=[WEB], containment=[UNSETTLED]))
    until(stage.namespace, "mode", lambda each: replicas(stage) == 3, "to have scaled")
    change(stage, "mode", mode=mode)
    until(
        stage.namespace,
        "mode",
        lambda each: each["status"]["observedGeneration"] == each["metadata"]["generation"],
        "to see the new mode",
    )
    change(stage, "mode", mode="Enforce")
    stage.goes_back("mode")


def test_new_targets_mid_flight_leave_the_old_ones_on_record(stage: Stage) -> None:
    stage.namespace.apply(incident("move", targets=[WEB], containment=[UNSETTLED]))
    until(stage.namespace, "move", lambda each: replicas(stage) == 3, "to have scaled web")
    change(stage, "move", targets=[API])
    until(stage.namespace, "move", lambda each: replicas(stage, "api") == 3, "to have scaled api")
    stage.goes_back("move")


def test_another_number_mid_flight_keeps_the_first_before(stage: Stage) -> None:
    stage.namespace.apply(incident("more", targets=[WEB], containment=[UNSETTLED]))
    for number in (4, 5, 1):
        change(stage, "more", containment=[{**UNSETTLED, "scale": {"replicas": number}}])
        until(stage.namespace, "more", lambda each, wanted=number: replicas(stage) == wanted, f"to scale to {number}")
    stage.goes_back("more")


def test_another_action_under_the_same_name_mid_flight(stage: Stage) -> None:
    stage.namespace.apply(incident("swap", targets=[WEB], containment=[UNSETTLED]))
    until(stage.namespace, "swap", lambda each: replicas(stage) == 3, "to have scaled")
    change(stage, "swap", containment=[{"name": "never", "isolate": {}}])
    eventually(lambda: stage.namespace.list("networkpolicies"), within=20, what="the NetworkPolicy")
    rest(stage.namespace, "swap")
    stage.goes_back("swap")


@pytest.mark.parametrize("moment", ["at once", "fastened", "acted"])
def test_deletion_mid_flight_puts_back_whatever_was_done(stage: Stage, moment: str) -> None:
    steps = [{**CUT, "stage": "all"}, {**UNSETTLED, "stage": "all"}]
    stage.namespace.apply(incident("short", targets=[WEB, API], containment=steps))
    if moment == "fastened":
        until(stage.namespace, "short", lambda each: each["metadata"].get("finalizers"), "to have its finalizer")
    if moment == "acted":
        until(stage.namespace, "short", lambda each: replicas(stage, "api") == 3, "to have scaled")
    stage.goes_back("short")


def test_the_same_name_again_while_the_first_one_goes(stage: Stage) -> None:
    made = incident("again", targets=[WEB], containment=[HALF])
    for _ in range(3):
        stage.namespace.apply(made)
        stage.namespace("delete", "incident", "again", "--wait=false", "--ignore-not-found")
        eventually(lambda: stage.namespace.incident("again") is None, within=40, what="the Incident to go")
    stage.goes_back("again")


def test_two_incidents_on_one_target_take_turns_and_leave_it_as_it_was(stage: Stage) -> None:
    stage.namespace.apply(incident("one", targets=[WEB], containment=[NONE]))
    rest(stage.namespace, "one")
    stage.namespace.apply(incident("two", targets=[WEB], containment=[{**HALF, "timeout": "1s"}]))
    found = rest(stage.namespace, "two")
    assert found["Ready"][1] == "TargetBusy"
    assert "one" in found["Ready"][2]
    assert replicas(stage) == 0
    stage.namespace("delete", "incident", "one", "--timeout=40s")
    until(stage.namespace, "two", lambda each: replicas(stage) == 1, "to take its turn")
    stage.goes_back("two")


def test_a_failed_step_that_is_to_release_does(stage: Stage) -> None:
    step = {**UNSETTLED, "timeout": "1s", "onFailure": "Release"}
    stage.namespace.apply(incident("fall", targets=[WEB, API], containment=[step]))
    assert rest(stage.namespace, "fall")["Stalled"][1] == "TimedOut"
    assert (replicas(stage), replicas(stage, "api")) == (2, 2)
    stage.goes_back("fall")


def test_text_that_looks_like_code_is_only_text(stage: Stage) -> None:
    hostile = "{{ 7000001 * 7000001 }} $(reboot) `id` \u202e ../../etc %s\n---\nkind: Secret"
    stage.namespace.apply(incident("text", title=hostile, description=hostile, targets=[WEB], containment=[NONE]))
    assert rest(stage.namespace, "text")["Ready"][1] == "Contained"
    assert stage.namespace.incident("text")["spec"]["title"] == hostile
    assert str(7000001 * 7000001) not in json.dumps(stage.namespace.incident("text")["status"]["timeline"])
    stage.goes_back("text")


def test_the_longest_names_and_the_most_steps_still_fit_into_status(stage: Stage) -> None:
    long = "n" * 253
    steps: list[dict[str, Any]] = [{**CUT, "name": f"{each:02}{'s' * 61}"} for each in range(32)]
    stage.namespace.apply(pod(long))
    made = incident("i" * 253, title="t" * 200, targets=[target(long, "Pod")], containment=steps)
    stage.namespace.apply(made)
    rest(stage.namespace, "i" * 253)
    stage.namespace("delete", "pod", long, "--now")
    stage.goes_back("i" * 253)


@pytest.mark.slow
def test_five_hundred_targets_of_which_none_is_there(stage: Stage) -> None:
    targets = [target(f"web-{each}") for each in range(500)]
    stage.namespace.apply(incident("crowd", targets=targets, containment=[CUT]))
    assert rest(stage.namespace, "crowd")["Stalled"][1] == "NotFound"
    stage.goes_back("crowd")


def test_a_protected_target_is_left_alone(stage: Stage) -> None:
    annotations = {"incident-operator.dev/protected": "true"}
    stage.namespace.apply(workload("safe", annotations=annotations))
    stage.namespace.apply(incident("safe", targets=[target("safe")], containment=[NONE]))
    assert rest(stage.namespace, "safe")["Stalled"][1] == "Protected"
    assert replicas(stage, "safe") == 2
    stage.namespace("delete", "deployment", "safe")
    stage.goes_back("safe")


def test_an_identity_that_is_not_there_can_do_nothing(stage: Stage) -> None:
    made = incident("ghost", serviceAccountName="nobody", targets=[WEB], containment=[NONE])
    stage.namespace.apply(made)
    found = rest(stage.namespace, "ghost")
    assert found["Stalled"][1] == "Forbidden"
    assert "nobody" in found["Stalled"][2]
    stage.goes_back("ghost")


@pytest.mark.parametrize(
    "times",
    [{"cooldown": "9999999999999999999999999999h"}, {"storm": {"incidents": 9, "within": "99999999h"}}],
    ids=["cooldown", "storm"],
)
def test_a_policy_with_endless_times_is_refused_or_means_what_it_says(stage: Stage, times: dict[str, Any]) -> None:
    name = f"endless-{stage.namespace.name}"
    spec = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace.name}}, **times}
    policy = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "ResponsePolicy", "metadata": {"name": name}}
    done = stage.namespace.run("create", "-f", "-", given=json.dumps({**policy, "spec": spec}))
    if done.returncode:
        assert next(iter(times)) in done.stderr
        return
    try:
        stage.namespace.apply(incident("slow", targets=[WEB], containment=[NONE]))
        rest(stage.namespace, "slow")
        stage.goes_back("slow")
    finally:
        stage.namespace("delete", "responsepolicy", name)
