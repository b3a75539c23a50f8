"""How far a workload has followed a rollback, and what still keeps it from it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from incident_operator.actions import guards
from incident_operator.actions.contract import Action
from incident_operator.actions.patches import ref_of
from incident_operator.actions.settling import LIVE, begun, combined
from incident_operator.cluster.port import Reader
from incident_operator.planning import revisions, rollouts
from incident_operator.planning.plan import (
    Change,
    Entry,
    Manifest,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.selectors import HASH_LABEL, is_leaving, labels_of, pods_of

GRACE = timedelta(seconds=20)
"""How long a StatefulSet gets to replace a broken pod of an older revision by itself (kubernetes issue 67250)."""


def hash_of(pod: Manifest) -> str:
    """The revision that a pod was made from, as its controller labelled it."""
    labels = labels_of(pod)
    return labels.get(revisions.REVISION_LABEL) or labels.get(HASH_LABEL, "")


async def settle(
    reader: Reader, action: Action, entries: tuple[Entry, ...], *, since: datetime, now: datetime
) -> Settlement:
    """All workloads of the step together."""
    live = [entry for entry in entries if entry.state in LIVE]
    deleted = frozenset(entry.change.target.name for entry in live if entry.change.target.kind == "Pod")
    workloads = [entry for entry in live if entry.change.target.kind != "Pod"]
    parts = await asyncio.gather(*(_one(reader, action, entry, deleted, since, now) for entry in workloads))
    return combined(parts)


async def _one(
    reader: Reader, action: Action, entry: Entry, deleted: frozenset[str], since: datetime, now: datetime
) -> Settlement:
    """One workload: still as we left it, and how far its pods are."""
    target, change = entry.change.target, entry.change
    current = await reader.find(target.kind, target.namespace, target.name)
    standing = action.standing(change, current)
    if standing is Standing.GONE or current is None:
        return failed("TargetGone", f"{target} was deleted or replaced after it was rolled back")
    if standing is not Standing.AFTER:
        return _overruled(current, standing)
    made = begun(entry, since)
    progress = rollouts.assess(current, begun=made)
    pods = pods_of(current, await reader.list("Pod", target.namespace, current["spec"].get("selector") or {}))
    if progress.state == "Done":
        return _done(entry, current, progress.message, pods)
    why = rollouts.troubles(_of_revision(current, change.after["name"], pods))
    message = f"{target.name}: {progress.message}{why}"
    if progress.state == "Failed":
        return failed(progress.reason, message)
    if rollouts.strategy_of(current["spec"]) == "OnDelete":
        return pending(message + _by_hand(current, change.after["name"], pods))
    return _unblocked(current, message, pods, deleted, grace_is_over=now - made >= GRACE)


def _overruled(current: Manifest, standing: Standing) -> Settlement:
    """Somebody changed the template after us; say who it probably was."""
    owner = guards.gitops_owner(current)
    who = f"probably by {owner}: pause it, and change Git" if owner else "by somebody else"
    if standing is Standing.BEFORE:
        return failed(
            "Reverted", f"{guards.named(current)} was put back to the revision that it was rolled back from, {who}"
        )
    return failed(
        "ChangedSince", f"{guards.named(current)} was changed to another template after it was rolled back, {who}"
    )


def _of_revision(workload: Manifest, name: str, pods: Sequence[Manifest]) -> list[Manifest]:
    known = revisions.pod_hashes(workload, name)
    return [pod for pod in pods if hash_of(pod) in known]


def _done(entry: Entry, workload: Manifest, message: str, pods: Sequence[Manifest]) -> Settlement:
    """It is there; but a rollback to the very same image is something to know.

    That is no failure by itself: what was wrong may have been in the rest of the template,
    and whether it helped is for the verification to say.
    """
    name, before = workload["metadata"]["name"], entry.change.before.get("imageIDs") or {}
    after = rollouts.image_ids([pod for pod in pods if not is_leaving(pod)])
    same = entry.change.request is not None and before and before == after
    if same:
        text = f"{name}: {message}; every container runs the same image as before (equal imageID): a tag may have moved"
        return settled(text, {"image": "Same"})
    return settled(f"{name}: {message}")


def _unblocked(
    workload: Manifest, message: str, pods: Sequence[Manifest], deleted: frozenset[str], *, grace_is_over: bool
) -> Settlement:
    """Going on; the pods that block an ordered StatefulSet are deleted once it had its time."""
    status, spec = workload.get("status") or {}, workload["spec"]
    seen = (status.get("observedGeneration") or 0) >= (workload["metadata"].get("generation") or 0)
    if workload["kind"] != "StatefulSet" or spec.get("podManagementPolicy") == "Parallel" or not seen:
        return pending(message)
    stuck = [pod for pod in pods if is_stuck(workload, pod)]
    again = [pod["metadata"]["name"] for pod in stuck if pod["metadata"]["name"] in deleted]
    if again:
        message += f"; {', '.join(again)} came back with the old revision: kubectl delete pod"
    if not grace_is_over:
        return pending(message)
    return pending(message, [_deletion(pod) for pod in stuck if pod["metadata"]["name"] not in deleted])


def _by_hand(workload: Manifest, revision: str, pods: Sequence[Manifest]) -> str:
    """Which pods an OnDelete strategy leaves to a person."""
    status = workload.get("status") or {}
    new = {status["updateRevision"]} if status.get("updateRevision") else revisions.pod_hashes(workload, revision)
    old = [pod["metadata"]["name"] for pod in pods if not is_leaving(pod) and hash_of(pod) not in new]
    if not old:
        return ""
    return f"; updateStrategy is OnDelete: kubectl delete pod {' '.join(old)} -n {workload['metadata']['namespace']}"


def is_stuck(workload: Manifest, pod: Manifest) -> bool:
    """Whether a pod of an older revision keeps an ordered StatefulSet from going on: not ready, and its turn.

    Pods below the partition are not to be updated: deleting one would bring it back as it was.
    """
    new = (workload.get("status") or {}).get("updateRevision")
    if not new or is_leaving(pod) or rollouts.is_ready(pod) or hash_of(pod) in ("", new):
        return False
    ordinal = pod["metadata"]["name"].rpartition("-")[2]
    start = (workload["spec"].get("ordinals") or {}).get("start") or 0
    return ordinal.isdigit() and int(ordinal) - start >= rollouts.partition_of(workload["spec"])


def _deletion(pod: Manifest) -> Change:
    """The forced part of a forced rollback (StatefulSet documentation, "Forced rollback")."""
    ref = ref_of(pod, "Pod")
    return Change(
        key=f"Pod/{ref.name}",
        target=ref,
        request=Request("delete", ref),
        before={"revision": hash_of(pod)},
        after={"deleted": ref.uid},
        summary=f"{ref.name}: delete, it is not ready, is of revision {hash_of(pod)} and blocks the rollback",
    )
