"""Native sidecars run beside the containers of a pod, and are told of among its init containers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from incident_operator.checks.pods_ready import just_restarted
from incident_operator.planning.containers import containers_of, statuses_of

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)


def pod(**sidecar: Any) -> dict[str, Any]:
    """A pod with a sidecar, and an init container that has ended."""
    spec = {
        "containers": [{"name": "main"}],
        "initContainers": [{"name": "setup"}, {"name": "proxy", "restartPolicy": "Always"}],
    }
    ended = {"terminated": {"exitCode": 0}}
    told = [{"name": "setup", "restartCount": 9, "state": ended}, {"name": "proxy", **sidecar}]
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"initContainerStatuses": told}}


def test_what_goes_on_running_is_a_container_and_what_has_run_before_is_not() -> None:
    assert [each["name"] for each in containers_of(pod()["spec"])] == ["main", "proxy"]
    assert [each["name"] for each in statuses_of(pod())] == ["proxy"]


def test_a_sidecar_that_was_just_restarted_is_not_steady() -> None:
    started = {"running": {"startedAt": "2026-11-27T11:59:57Z"}}
    assert just_restarted(pod(restartCount=7, state=started), NOW)
    assert not just_restarted(pod(restartCount=0, state=started), NOW)
