"""What annotated workloads tell of themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.signals import vocabulary, workloads

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
STUCK = {
    "type": "Progressing",
    "status": "False",
    "reason": "ProgressDeadlineExceeded",
    "message": 'ReplicaSet "web-2" has timed out progressing. $(rm -rf /) {{ x }}\n<b>',
    "lastTransitionTime": "2026-11-24T03:50:00Z",
}


def deployment(*conditions: dict[str, Any], **annotations: str) -> dict[str, Any]:
    meta = {"name": "web", "namespace": "shop", "uid": "u1", "creationTimestamp": "2026-11-01T00:00:00Z"}
    return {
        "kind": "Deployment",
        "metadata": {**meta, "annotations": annotations},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"conditions": list(conditions)},
    }


def pod(name: str, restarts: int, state: dict[str, Any], ended: timedelta | None = None) -> dict[str, Any]:
    last = {"terminated": {"finishedAt": f"{NOW - ended:%Y-%m-%dT%H:%M:%SZ}"}} if ended is not None else {}
    status = {"name": "app", "restartCount": restarts, "state": state, "lastState": last}
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-11-24T03:00:00Z"},
        "status": {"startTime": "2026-11-24T03:00:01Z", "containerStatuses": [status]},
    }


WAITS = {"waiting": {"reason": "CrashLoopBackOff"}}
RUNS = {"running": {}}


def test_a_rollout_that_does_not_get_on_is_a_signal_for_the_workload_that_asks_for_it() -> None:
    asks = {names.ON_ROLLOUT_FAILURE: "ClusterRunbook/undo"}
    found = workloads.rollout_failed(deployment(STUCK, **asks))
    assert found is not None
    assert (found.name, found.starts_at) == ("RolloutFailed", datetime(2026, 11, 24, 3, 50, tzinfo=UTC))
    meaning = vocabulary.read(found)
    assert meaning.targets == (("Deployment", "web"),)
    assert meaning.runbook == vocabulary.Runbook("undo", "ClusterRunbook")
    assert "$(rm -rf /) {{ x }} <b>" in meaning.title
    assert meaning.problems == ()
    again = workloads.rollout_failed(deployment(STUCK, **asks))
    assert again == found


def test_others_and_those_that_get_on_are_left_alone() -> None:
    assert workloads.rollout_failed(deployment(STUCK)) is None
    fine = {**STUCK, "status": "True", "reason": "NewReplicaSetAvailable"}
    assert workloads.rollout_failed(deployment(fine, **{names.ON_ROLLOUT_FAILURE: "undo"})) is None
    assert workloads.crash_looping(deployment(), [pod("a", 9, WAITS)], NOW) is None


@pytest.mark.parametrize(
    ("restarts", "state", "ended", "is_one"),
    [
        (3, WAITS, None, True),
        (2, WAITS, None, False),
        (3, {"waiting": {"reason": "ImagePullBackOff"}}, None, False),
        (5, RUNS, timedelta(minutes=1), True),
        (5, RUNS, timedelta(minutes=11), False),
        (5, RUNS, None, False),
    ],
)
def test_a_crash_loop_is_told_by_restarts_and_how_long_ago_the_last_was(
    restarts: int, state: dict[str, Any], ended: timedelta | None, is_one: bool
) -> None:
    asks = deployment(**{names.ON_CRASHLOOP: "restart"})
    found = workloads.crash_looping(asks, [pod("a", restarts, state, ended)], NOW)
    assert (found is not None) is is_one


def test_a_crash_loop_is_the_same_signal_however_often_it_crashes() -> None:
    asks = deployment(**{names.ON_CRASHLOOP: "restart"})
    first = workloads.crash_looping(asks, [pod("a", 3, WAITS)], NOW)
    later = workloads.crash_looping(asks, [pod("a", 7, RUNS, timedelta(seconds=5))], NOW)
    assert first is not None
    assert later is not None
    assert (first.fingerprint, first.starts_at) == (later.fingerprint, later.starts_at)
