"""How far a rollout is: kubectl's rules, kind by kind."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.planning.rollouts import assess, image_ids, is_ready, trouble, troubles
from unit.actions.objects import SINCE, later, pod, stamp, workload


def deployed(**status: Any) -> dict[str, Any]:
    found = workload()
    whole = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
    found["status"] |= whole | status
    return found


@pytest.mark.parametrize(
    ("status", "state", "says"),
    [
        pytest.param({}, "Done", "2 of 2", id="done"),
        pytest.param({"observedGeneration": 1}, "Going", "not seen", id="controller-behind"),
        pytest.param({"updatedReplicas": 1}, "Going", "1 of 2 replicas are new", id="updating"),
        pytest.param({"replicas": 3}, "Going", "1 old replicas", id="old-ones-left"),
        pytest.param({"availableReplicas": 0}, "Going", "0 of 2 new replicas are available", id="not-available"),
        pytest.param({"updatedReplicas": None}, "Going", "0 of 2", id="no-status-yet"),
    ],
)
def test_a_deployment(status: dict[str, Any], state: str, says: str) -> None:
    found = assess(deployed(**status))
    assert (found.state, says in found.message) == (state, True), found.message


def test_what_keeps_a_deployment_from_making_pods_is_said() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    said = assess(deployed(updatedReplicas=1, conditions=[refused])).message
    assert said == "1 of 2 replicas are new; its pods are refused: exceeded quota: small"
    assert "refused" not in assess(deployed(updatedReplicas=1, conditions=[refused | {"status": "False"}])).message


def test_a_deployment_without_replicas_is_done_at_zero_pods() -> None:
    api = deployed(replicas=0, updatedReplicas=0, availableReplicas=0)
    api["spec"]["replicas"] = 0
    assert assess(api).state == "Done"


def test_a_paused_deployment_says_how_to_resume_it() -> None:
    api = deployed(updatedReplicas=0)
    api["spec"]["paused"] = True
    assert "kubectl rollout resume" in assess(api).message


def late(seconds: float) -> dict[str, Any]:
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    return deployed(updatedReplicas=1, conditions=[condition | {"lastUpdateTime": stamp(later(seconds))}])


@pytest.mark.parametrize(("seconds", "state"), [(-60, "Going"), (0, "Going"), (1, "Failed"), (700, "Failed")], ids=str)
def test_a_missed_deadline_counts_only_if_it_was_said_after_we_began(seconds: float, state: str) -> None:
    assert assess(late(seconds), begun=SINCE).state == state


def test_a_missed_deadline_of_an_older_generation_does_not_count() -> None:
    api = late(60)
    api["metadata"]["generation"] = 3
    assert assess(api, begun=SINCE).state == "Going"


def test_without_a_beginning_any_missed_deadline_of_this_generation_counts() -> None:
    assert assess(late(-60)).reason == "ProgressDeadlineExceeded"


def stateful(spec: dict[str, Any], **status: Any) -> dict[str, Any]:
    found = workload("StatefulSet", "db", **({"replicas": 3} | spec))
    whole = {"readyReplicas": 3, "updatedReplicas": 3, "updateRevision": "db-h1", "currentRevision": "db-h1"}
    found["status"] |= whole | status
    return found


PARTITION = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


@pytest.mark.parametrize(
    ("spec", "status", "state"),
    [
        pytest.param({}, {}, "Done", id="done"),
        pytest.param({}, {"updatedReplicas": 2}, "Going", id="updating"),
        pytest.param({}, {"readyReplicas": 2}, "Going", id="not-ready"),
        pytest.param({}, {"currentRevision": "db-h2"}, "Going", id="revisions-differ"),
        pytest.param(PARTITION, {"updatedReplicas": 1, "currentRevision": "db-h2"}, "Done", id="partition-done"),
        pytest.param(PARTITION, {"updatedReplicas": 0}, "Going", id="partition-updating"),
        pytest.param(PARTITION, {"updatedReplicas": 1, "readyReplicas": 2}, "Going", id="partition-not-ready"),
        pytest.param(PARTITION, {"updatedReplicas": 2}, "Going", id="partition-back-with-one-still-new"),
        pytest.param(PARTITION, {}, "Done", id="partition-back"),
        pytest.param(ON_DELETE, {"updatedReplicas": 1}, "Going", id="on-delete-waits-for-a-person"),
        pytest.param(ON_DELETE, {"currentRevision": "db-h2"}, "Done", id="on-delete-done"),
    ],
)
def test_a_stateful_set(spec: dict[str, Any], status: dict[str, Any], state: str) -> None:
    assert assess(stateful(spec, **status)).state == state


@pytest.mark.parametrize(
    ("updated", "available", "state"), [(3, 3, "Done"), (2, 3, "Going"), (3, 2, "Going"), (0, 0, "Going")]
)
def test_a_daemon_set(updated: int, available: int, state: str) -> None:
    agent = workload("DaemonSet", "agent")
    agent["status"] |= {
        "desiredNumberScheduled": 3,
        "updatedNumberScheduled": updated,
        "numberAvailable": available,
    }
    assert assess(agent).state == state


def test_trouble_names_the_pod_and_what_is_wrong_with_it() -> None:
    api = workload()
    assert trouble(pod(api, "a", waiting="ImagePullBackOff", ready=False)) == "pod a: container web ImagePullBackOff"
    pending = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes: no memory"}
    assert "Unschedulable (0/3 nodes" in trouble(pod(api, "b", status={"conditions": [pending]}))
    assert trouble(pod(api, "c", waiting="ContainerCreating", ready=False)) == ""
    assert trouble(pod(api, "d", waiting="CrashLoopBackOff", metadata={"deletionTimestamp": "now"})) == ""


def test_troubles_stay_short_however_many_there_are() -> None:
    pods = [pod(workload(), f"p{number}", waiting="CrashLoopBackOff") for number in range(9)]
    assert troubles(pods).count("CrashLoopBackOff") == 3
    assert troubles(pods).endswith("and 6 more")
    assert troubles([]) == ""


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    assert is_ready(pod(workload(), "a"))
    assert not is_ready(pod(workload(), "a", metadata={"deletionTimestamp": "2026-11-23T10:00:00Z"}))


def test_image_ids_are_those_that_really_run() -> None:
    pods = [
        pod(workload(), "a", image_id="sha256:x"),
        pod(workload(), "b", image_id=""),
        pod(workload(), "c", image_id="w"),
    ]
    assert image_ids(pods) == {"web": ["sha256:x", "w"]}
