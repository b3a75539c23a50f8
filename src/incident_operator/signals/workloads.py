"""What workloads that ask for it tell of themselves: a rollout that does not get on, pods that crash again and again.

The annotation names the runbook; a workload without it is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from incident_operator.api import names
from incident_operator.signals import reading
from incident_operator.signals.signal import Signal, bounded

RESTARTS = 3
"""From so many restarts on a container that crashes is said to be in a crash loop."""
QUIET = timedelta(minutes=10)
"""A container that has run for so long is out of it: kubelet resets its back-off then (Pod Lifecycle)."""
SUMMARY = 500

Manifest = Mapping[str, Any]


def rollout_failed(workload: Manifest) -> Signal | None:
    """The signal of a Deployment whose rollout exceeds its progress deadline, if it asks for one.

    Only Deployments have a progress deadline (apps/v1 ``progressDeadlineSeconds``). It begins when the
    controller says so, and stays the same signal until the condition changes.
    """
    runbook = _annotation(workload, names.ON_ROLLOUT_FAILURE)
    if not runbook:
        return None
    for each in (workload.get("status") or {}).get("conditions") or ():
        if each["type"] == "Progressing" and each.get("reason") == "ProgressDeadlineExceeded":
            return _signal(workload, "RolloutFailed", runbook, each.get("lastTransitionTime"), each.get("message", ""))
    return None


def crash_looping(workload: Manifest, pods: Sequence[Manifest], now: datetime) -> Signal | None:
    """The signal of a workload of which a container crashes again and again, if it asks for one.

    It begins with the first such pod: when a container crashed last moves with every crash, and each would
    be a new signal.
    """
    runbook = _annotation(workload, names.ON_CRASHLOOP)
    if not runbook:
        return None
    found = []
    for pod in pods:
        status = pod.get("status") or {}
        for each in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            if each.get("restartCount", 0) >= RESTARTS and _crashes(each, now):
                since = status.get("startTime") or pod["metadata"].get("creationTimestamp")
                found.append((str(since), pod["metadata"]["name"], each["name"], each["restartCount"]))
    if not found:
        return None
    since, pod_name, container, restarts = min(found)
    text = f"container {container} of pod {pod_name} has crashed {restarts} times"
    return _signal(workload, "CrashLooping", runbook, since, text)


def _crashes(status: Manifest, now: datetime) -> bool:
    """Whether a container waits to be started again, or was started too lately to be out of it."""
    if ((status.get("state") or {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff":
        return True
    ended = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt")
    return ended is not None and now - datetime.fromisoformat(ended) < QUIET


def _annotation(workload: Manifest, name: str) -> str:
    found = (workload["metadata"].get("annotations") or {}).get(name, "")
    return str(found).strip()


def _signal(workload: Manifest, name: str, runbook: str, since: str | None, text: str) -> Signal:
    meta = workload["metadata"]
    kind = workload["kind"].lower()
    labels = {
        "alertname": name,
        "incident": "true",
        "namespace": meta["namespace"],
        kind: meta["name"],
    }
    said = reading.clean(" ".join(text.split()))[:SUMMARY]
    annotations = {
        "incident_runbook": reading.clean(runbook),
        "incident_target": f"{kind}/{meta['name']}",
        "summary": f"{workload['kind']} {meta['name']}: {said}",
    }
    begun = reading.moment(since, "since") or datetime.fromisoformat(meta["creationTimestamp"])
    return Signal(
        source="Workload",
        name=name,
        fingerprint=reading.fingerprint([name, workload["kind"], meta["namespace"], meta["name"], meta.get("uid", "")]),
        starts_at=begun,
        labels=bounded(labels),
        annotations=bounded(annotations),
    )
