"""How far a workload has followed a rollback or a restart, and what still keeps it from it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from incident_operator.actions import guards
from incident_operator.actions.contract import Action
from incident_operator.actions.patches import ref_of
from incident_operator.actions.settling import LIVE, begun, combined, who
from incident_operator.cluster.port import Reader
from incident_operator.planning import revisions, rollouts
from incident_operator.planning.plan import (
    Change,
    Entry,
    Further,
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
"""How long a StatefulSet gets to replace a broken pod of an older revision by itself (kubernetes issue 67250).

And how long such a pod gets to be ready again: one that is unready for a moment is not broken.
"""

COMING = 3 * GRACE
"""How long a pod of the new revision that is not ready holds up the deletion of those that block it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rollout:
    """What was begun, in words, and how the pods that it makes are told from those before."""

    action: Action
    done: str
    """As in "after it was rolled back"."""
    reverted: str
    """As in "was put back to the revision that it was rolled back from"."""
    blocked: str
    """What a broken pod of an older revision blocks."""
    is_new: Callable[[Manifest, Change, Manifest], bool]
    """Whether a pod (last) of a workload was made by the change."""
    is_overtaken: bool = False
    """Whether somebody else's later template serves as well, because its pods are made later still."""


def may_delete(workload: Manifest) -> tuple[Further, ...]:
    """What settling a rollout may have to write: a broken pod of an ordered StatefulSet blocks it for ever."""
    spec = workload["spec"]
    is_ordered = workload["kind"] == "StatefulSet" and spec.get("podManagementPolicy") != "Parallel"
    return (Further("delete", "Pod"),) if is_ordered and rollouts.strategy_of(spec) != "OnDelete" else ()


def hash_of(pod: Manifest) -> str:
    """The revision that a pod was made from, as its controller labelled it."""
    labels = labels_of(pod)
    return labels.get(revisions.REVISION_LABEL) or labels.get(HASH_LABEL, "")


async def settle(
    reader: Reader, rollout: Rollout, entries: tuple[Entry, ...], *, since: datetime, now: datetime
) -> Settlement:
    """All workloads of the step together."""
    live = [entry for entry in entries if entry.state in LIVE]
    deleted = frozenset(entry.change.target.name for entry in live if entry.change.target.kind == "Pod")
    workloads = [entry for entry in live if entry.change.target.kind != "Pod"]
    parts = await asyncio.gather(*(_one(reader, rollout, entry, deleted, since, now) for entry in workloads))
    return combined(parts)


async def _one(
    reader: Reader, rollout: Rollout, entry: Entry, deleted: frozenset[str], since: datetime, now: datetime
) -> Settlement:
    """One workload: still as we left it, and how far its pods are."""
    target, change = entry.change.target, entry.change
    current = await reader.find(target.kind, target.namespace, target.name)
    standing = rollout.action.standing(change, current)
    if standing is Standing.GONE or current is None:
        return failed("TargetGone", f"{target} was deleted or replaced after it was {rollout.done}")
    if standing is Standing.BEFORE or (standing is Standing.OTHER and not rollout.is_overtaken):
        return _overruled(current, standing, rollout)
    made = begun(entry, since)
    progress = rollouts.assess(current, begun=made)
    pods = pods_of(current, await reader.list("Pod", target.namespace, current["spec"].get("selector") or {}))
    if progress.state == "Done":
        return _done(entry, current, progress.message, pods)
    why = rollouts.troubles(pod for pod in pods if rollout.is_new(current, change, pod))
    message = f"{target.name}: {progress.message}{why}"
    if progress.state == "Failed":
        return failed(progress.reason, message)
    if rollouts.strategy_of(current["spec"]) == "OnDelete":
        return pending(message + _by_hand(current, [pod for pod in pods if not _is_new(rollout, current, change, pod)]))
    stuck = _stuck(current, pods, now)
    again = [pod["metadata"]["name"] for pod in stuck if pod["metadata"]["name"] in deleted]
    if again:
        message += f"; {', '.join(again)} came back with the old revision: kubectl delete pod"
    # What was deleted once already is not deleted again; and one at a time, as the controller replaces them.
    due = [pod for pod in stuck if pod["metadata"]["name"] not in deleted] if now - made >= GRACE else []
    return pending(message, [_deletion(pod, rollout) for pod in due[:1]])


def _is_new(rollout: Rollout, workload: Manifest, change: Change, pod: Manifest) -> bool:
    """Whether a pod is as it should be; a StatefulSet's controller says itself which revision that is."""
    newest = (workload.get("status") or {}).get("updateRevision")
    return hash_of(pod) == newest if newest else rollout.is_new(workload, change, pod)


def _overruled(current: Manifest, standing: Standing, rollout: Rollout) -> Settlement:
    """Somebody changed the template after us; say who it probably was."""
    name = guards.named(current)
    if standing is Standing.BEFORE:
        return failed("Reverted", f"{name} was put back to {rollout.reverted}, {who(current)}")
    text = f"{name} was changed to another template after it was {rollout.done}, {who(current)}"
    return failed("ChangedSince", text)


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


def _stuck(workload: Manifest, pods: Sequence[Manifest], now: datetime) -> list[Manifest]:
    """The pods that block an ordered StatefulSet whose controller has seen the change; the one whose turn it is first.

    None as long as the controller replaces another one: a pod that leaves, or that is new and not ready yet. One that
    is not for long may need the others, as in a quorum.
    """
    status, spec = workload.get("status") or {}, workload["spec"]
    seen = (status.get("observedGeneration") or 0) >= (workload["metadata"].get("generation") or 0)
    if workload["kind"] != "StatefulSet" or spec.get("podManagementPolicy") == "Parallel" or not seen:
        return []
    new = status.get("updateRevision")
    if any(is_leaving(pod) or (hash_of(pod) == new and _is_coming(pod, now)) for pod in pods):
        return []
    stuck = [pod for pod in pods if is_stuck(workload, pod, now)]
    return sorted(stuck, key=lambda pod: int(_ordinal(pod)), reverse=True)


def _by_hand(workload: Manifest, old: Sequence[Manifest]) -> str:
    """Which pods an OnDelete strategy leaves to a person."""
    names = [pod["metadata"]["name"] for pod in old if not is_leaving(pod)]
    if not names:
        return ""
    return f"; updateStrategy is OnDelete: kubectl delete pod {' '.join(names)} -n {workload['metadata']['namespace']}"


def is_stuck(workload: Manifest, pod: Manifest, now: datetime) -> bool:
    """Whether a pod of an older revision keeps an ordered StatefulSet from going on: not ready for long, and its turn.

    Pods below the partition are not to be updated: deleting one would bring it back as it was.
    """
    new = (workload.get("status") or {}).get("updateRevision")
    if not new or is_leaving(pod) or rollouts.is_ready(pod) or hash_of(pod) in ("", new):
        return False
    since = _unready_since(pod)
    if since is None or now - since < GRACE:
        return False
    ordinal = _ordinal(pod)
    start = (workload["spec"].get("ordinals") or {}).get("start") or 0
    return ordinal.isdigit() and int(ordinal) - start >= rollouts.partition_of(workload["spec"])


def _is_coming(pod: Manifest, now: datetime) -> bool:
    """Whether a pod that is not ready yet still may be soon."""
    since = _unready_since(pod)
    return not rollouts.is_ready(pod) and (since is None or now - since < COMING)


def _unready_since(pod: Manifest) -> datetime | None:
    """Since when a pod that is not ready has not been; None where nothing says it."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    said = next((each.get("lastTransitionTime") for each in conditions if each["type"] == "Ready"), None)
    return rollouts.parsed(said or pod["metadata"].get("creationTimestamp"))


def _ordinal(pod: Manifest) -> str:
    """Which one of its StatefulSet a pod is, as its name ends."""
    return str(pod["metadata"]["name"]).rpartition("-")[2]


def _deletion(pod: Manifest, rollout: Rollout) -> Change:
    """The forced part of a forced rollback (StatefulSet documentation, "Forced rollback")."""
    ref = ref_of(pod, "Pod")
    guards.refuse_protected("delete", {**pod, "kind": "Pod"})
    return Change(
        key=f"Pod/{ref.name}",
        target=ref,
        request=Request("delete", ref),
        before={"revision": hash_of(pod)},
        after={"deleted": ref.uid},
        summary=f"{ref.name}: delete, it is not ready, is of revision {hash_of(pod)} and blocks the {rollout.blocked}",
    )
