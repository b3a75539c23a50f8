"""How far a rollout is, and why it is not further; the rules of ``kubectl rollout status``.

Source: kubectl ``pkg/polymorphichelpers/rollout_status.go``, and for what it leaves out
(OnDelete, the pod that blocks an ordered StatefulSet) kubernetes issue 67250.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from incident_operator.planning.plan import Manifest
from incident_operator.planning.selectors import is_leaving

BAD_WAITING = frozenset(
    {
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
        "ErrImageNeverPull",
        "ErrImagePull",
        "ImageInspectError",
        "ImagePullBackOff",
        "InvalidImageName",
        "RunContainerError",
    }
)
MOST_SAID = 300
MOST_NAMED = 3
MOST_CHARACTERS = 160


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout is."""

    state: Literal["Going", "Done", "Failed"]
    message: str
    reason: str = ""


def going(message: str) -> Progress:
    """It is not there yet."""
    return Progress("Going", message)


def assess(workload: Manifest, *, begun: datetime | None = None) -> Progress:
    """How far the rollout of a Deployment, StatefulSet or DaemonSet is.

    ``begun``: a missed progress deadline that was said no later than this belongs to an
    earlier rollout and does not count; it stays in the conditions until there is progress.
    """
    status, metadata = workload.get("status") or {}, workload["metadata"]
    if (status.get("observedGeneration") or 0) < (metadata.get("generation") or 0):
        return going("the controller has not seen the change yet")
    match workload["kind"]:
        case "Deployment":
            return _deployment(workload["spec"], status, begun)
        case "StatefulSet":
            return _stateful_set(workload["spec"], status)
        case _:
            return _daemon_set(workload["spec"], status)


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any], begun: datetime | None) -> Progress:
    wanted = replicas_of(spec)
    total, updated, available = (status.get(key) or 0 for key in ("replicas", "updatedReplicas", "availableReplicas"))
    late = _missed_deadline(status, begun)
    if late is not None:
        return late
    if updated < wanted and spec.get("paused"):
        return going(f"{updated} of {wanted} replicas are new, and it is paused: kubectl rollout resume")
    if updated < wanted:
        return going(f"{updated} of {wanted} replicas are new{unmade(status)}")
    if total > updated:
        return going(f"{total - updated} old replicas are still there")
    if available < updated:
        return going(f"{available} of {updated} new replicas are available{unmade(status)}")
    return Progress("Done", f"{available} of {wanted} replicas are new and available")


def unmade(status: Mapping[str, Any]) -> str:
    """Why a Deployment gets no more pods: a quota, a LimitRange or an admission policy; begins with a semicolon."""
    conditions = status.get("conditions") or ()
    said = next((each for each in conditions if (each["type"], each["status"]) == ("ReplicaFailure", "True")), None)
    return f"; its pods are refused: {str(said.get('message', ''))[:MOST_SAID]}" if said else ""


def _missed_deadline(status: Mapping[str, Any], begun: datetime | None) -> Progress | None:
    for condition in status.get("conditions") or ():
        if condition.get("type") != "Progressing" or condition.get("reason") != "ProgressDeadlineExceeded":
            continue
        said = parsed(condition.get("lastUpdateTime") or condition.get("lastTransitionTime"))
        if begun is None or (said is not None and said > begun):
            return Progress(
                "Failed", "it made no progress within its progressDeadlineSeconds", "ProgressDeadlineExceeded"
            )
    return None


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    wanted, partition = replicas_of(spec), partition_of(spec)
    ready, updated = (status.get(key) or 0 for key in ("readyReplicas", "updatedReplicas"))
    # Back on the revision that the first pods never left, all of them are to be of it, and all such count as new.
    current = status.get("currentRevision")
    is_back = bool(current) and current == status.get("updateRevision")
    due = wanted if is_back else max(wanted - partition, 0)
    if updated < due:
        return going(f"{updated} of {due} pods are new")
    if ready < wanted:
        return going(f"{ready} of {wanted} pods are ready")
    if partition and not is_back:
        return Progress(
            "Done", f"{due} of {wanted} pods are new, partition {partition} keeps the others; all are ready"
        )
    if status.get("updateRevision") != status.get("currentRevision") and strategy_of(spec) != "OnDelete":
        return going("the controller has not finished the update yet")
    return Progress("Done", f"{updated} of {wanted} pods are new and ready")


def _daemon_set(_spec: Mapping[str, Any], status: Mapping[str, Any]) -> Progress:
    wanted, updated, available = (
        status.get(key) or 0 for key in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    )
    if updated < wanted:
        return going(f"{updated} of {wanted} pods are new")
    if available < wanted:
        return going(f"{available} of {wanted} pods are available")
    return Progress("Done", f"{updated} of {wanted} pods are new and available")


def replicas_of(spec: Mapping[str, Any]) -> int:
    """How many replicas are asked for; the API's default is one."""
    found = spec.get("replicas")
    return 1 if found is None else int(found)


def strategy_of(spec: Mapping[str, Any]) -> str:
    """The update strategy of a StatefulSet or DaemonSet."""
    return str((spec.get("updateStrategy") or {}).get("type") or "RollingUpdate")


def partition_of(spec: Mapping[str, Any]) -> int:
    """How many of a StatefulSet's first pods a rolling update leaves alone."""
    if strategy_of(spec) != "RollingUpdate":
        return 0
    return int(((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition") or 0)


def is_ready(pod: Manifest) -> bool:
    """Whether a pod is ready and stays: one that is being deleted is not."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return not is_leaving(pod) and any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def trouble(pod: Manifest) -> str:
    """Why a pod does not get ready, as far as it says; empty if it does not."""
    if is_leaving(pod):
        return ""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    for each in status.get("conditions") or ():
        if each["type"] == "PodScheduled" and each["status"] == "False" and each.get("reason") == "Unschedulable":
            return f"pod {name}: Unschedulable ({str(each.get('message', ''))[:MOST_CHARACTERS]})"
    for each in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        reason = ((each.get("state") or {}).get("waiting") or {}).get("reason", "")
        if reason in BAD_WAITING:
            return f"pod {name}: container {each['name']} {reason}"
    return ""


def troubles(pods: Iterable[Manifest]) -> str:
    """Why pods do not get ready, the first few of them; begins with a semicolon, empty if there is nothing to say."""
    found = sorted(text for text in map(trouble, pods) if text)
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"; {', '.join(found[:MOST_NAMED])}{more}" if found else ""


def image_ids(pods: Sequence[Manifest]) -> dict[str, list[str]]:
    """What each container really runs, by container name: a tag may have moved, an image ID cannot."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        for each in (pod.get("status") or {}).get("containerStatuses") or ():
            if each.get("imageID"):
                found.setdefault(each["name"], set()).add(each["imageID"])
    return {name: sorted(ids) for name, ids in sorted(found.items())}


def parsed(text: object) -> datetime | None:
    """A time of the API; None if there is none."""
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None
