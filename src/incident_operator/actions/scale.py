"""``scale``: a number of replicas that sticks, whoever else would set it, and goes back exactly.

Replicas are written to the ``scale`` subresource, so that the identity that may scale need not
be one that may change what runs. Its ``spec.replicas`` is absent at 0 (``omitempty``), which
is why the precondition for 0 is a test against null.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import autoscalers, guards
from incident_operator.actions.contract import Occasion
from incident_operator.actions.patches import is_there, patch, ref_of, swap
from incident_operator.actions.settling import LIVE, combined, who
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Entry,
    Manifest,
    Ref,
    Release,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.reach import Reach
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import replicas_of, troubles, unmade
from incident_operator.planning.selectors import pods_of

VERB = "scale"
WORKLOADS = frozenset({"Deployment", "StatefulSet"})
CHOOSES = "its autoscaler chooses the number from then on"
AUTOSCALER = Rule("autoscaling", ("horizontalpodautoscalers",), ("patch",))


class Scale:
    """Sets the number of replicas of a Deployment or StatefulSet."""

    name: ClassVar[str] = "scale"
    kinds: ClassVar[frozenset[str]] = WORKLOADS
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets"), ("get",), "read the replicas"),
        Rule("apps", ("deployments/scale", "statefulsets/scale"), ("patch",), "set the replicas, and nothing else"),
        Rule("autoscaling", ("horizontalpodautoscalers",), ("get", "list", "patch"), "hold an HPA to the number"),
        Rule("keda.sh", ("scaledobjects",), ("get", "list", "patch"), "hold KEDA to the number, where it is there"),
        Rule("", ("pods",), ("list",), "see the last pod go, or why one does not get ready"),
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "Deployment": (Rule("apps", ("deployments/scale",), ("patch",)), AUTOSCALER),
        "StatefulSet": (Rule("apps", ("statefulsets/scale",), ("patch",)), AUTOSCALER),
    }
    release: ClassVar[Release] = Release.ON_RESOLVE
    reversible: ClassVar[bool] = True
    destructive: ClassVar[bool] = False

    async def plan(
        self,
        reader: Reader,
        occasion: Occasion,  # noqa: ARG002 - part of the contract
        target: Ref,
        params: Mapping[str, Any],
    ) -> tuple[Change, ...]:
        """The replicas, and what keeps an autoscaler from setting them again."""
        wanted = guards.whole(params, "replicas", least=0)
        workload = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, workload)
        guards.refuse_controlled(VERB, workload)
        _refuse_losing_volumes(workload, wanted)
        found = await autoscalers.of(reader, workload)
        return (_replicas(workload, wanted, found), *autoscalers.hold(found, wanted))

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the replicas, or the autoscaler's settings.

        Replicas that an autoscaler moves are never somebody else's change: they are its to choose again,
        from the moment on that they are given back.
        """
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        if change.target.kind not in WORKLOADS:
            return autoscalers.standing(change, current)
        now = replicas_of(current["spec"])
        if now == change.after["replicas"]:
            return Standing.AFTER
        if now == change.before["replicas"]:
            return Standing.BEFORE
        if not change.after["autoscaled"]:
            return Standing.OTHER
        return Standing.AFTER if change.after.get("given_back") else Standing.BEFORE

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """The old bounds, and the old replicas where no autoscaler is left to find its own."""
        if change.target.kind not in WORKLOADS:
            return autoscalers.undo(change, current)
        old, new = change.before["replicas"], change.after["replicas"]
        if change.after["autoscaled"] and 0 not in (old, new):
            return None
        now = replicas_of(current["spec"])  # another number than ours is its autoscaler's choice since
        return patch(change.target, _set(now, old), "scale")

    def back(self, change: Change) -> Change | None:
        """From the number that was planned to the one before; an autoscaler then chooses its own again."""
        if change.request is None:
            return None
        if change.target.kind not in WORKLOADS:
            return autoscalers.back(change)
        old, new = change.before["replicas"], change.after["replicas"]
        name, after = change.target.name, {**change.after, "replicas": old, "given_back": True}
        return Change(
            key=change.key,
            target=change.target,
            request=patch(change.target, _set(new, old), "scale"),
            before={"replicas": new},
            after=after,
            summary=f"{name}: {new} -> {old} replicas, as before",
            notes=(CHOOSES,) if after["autoscaled"] else (),
        )

    async def settle(
        self,
        reader: Reader,
        entries: tuple[Entry, ...],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
        now: datetime,  # noqa: ARG002 - part of the contract
    ) -> Settlement:
        """As many pods as asked for are there and ready; at 0, the last one has really gone."""
        live = [entry for entry in entries if entry.state in LIVE and entry.change.target.kind in WORKLOADS]
        return combined(await asyncio.gather(*(self._one(reader, entry.change) for entry in live)))

    async def _one(self, reader: Reader, change: Change) -> Settlement:
        """One workload."""
        target, wanted = change.target, change.after["replicas"]
        current = await reader.find(target.kind, target.namespace, target.name)
        if not is_there(target, current) or current is None:
            return failed("TargetGone", f"{target} was deleted or replaced after it was scaled")
        asked = replicas_of(current["spec"])
        if change.after.get("given_back") and change.after["autoscaled"] and (asked or change.after.get("may_idle")):
            wanted = asked  # the number is its autoscaler's choice again
        if asked != wanted:
            return _overruled(current, change, asked)
        status, seen = current.get("status") or {}, _seen(current)
        total, ready = (status.get(key) or 0 for key in ("replicas", "readyReplicas"))
        if seen and total == ready == wanted and wanted:
            return settled(f"{target.name}: {ready} of {wanted} replicas are ready")
        pods = pods_of(current, await reader.list("Pod", target.namespace, current["spec"].get("selector") or {}))
        if seen and wanted == 0 and total == 0 and not pods:
            return settled(f"{target.name}: the last pod has gone")
        if seen and wanted == 0:
            return pending(f"{target.name}: {len(pods)} pods are still terminating")
        why = unmade(status) + troubles(pods)
        return pending(f"{target.name}: {ready} of {wanted} replicas are ready, {total} are there{why}")


def _seen(workload: Manifest) -> bool:
    """Whether the controller has seen the newest spec."""
    seen = (workload.get("status") or {}).get("observedGeneration") or 0
    return bool(seen >= (workload["metadata"].get("generation") or 0))


def _set(old: int, new: int) -> list[dict[str, Any]]:
    """Replicas in a Scale, where 0 is written as nothing."""
    there = old or None
    return swap("/spec/replicas", there, new)


def _loses_volumes(workload: Manifest) -> bool:
    """Whether volumes go with pods (StatefulSet documentation, "PersistentVolumeClaim retention")."""
    policy = workload["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return bool(policy.get("whenScaled") == "Delete")


def _volumes_going(workload: Manifest, wanted: int) -> tuple[str, ...]:
    """What a person should know before more pods are made, whose volumes go with them when that is put back."""
    if not _loses_volumes(workload) or wanted <= replicas_of(workload["spec"]):
        return ()
    said = "persistentVolumeClaimRetentionPolicy.whenScaled is Delete"
    return (f"{said}: put back, it deletes the volumes of the pods that are made now; release: Never keeps them",)


def _refuse_losing_volumes(workload: Manifest, wanted: int) -> None:
    """Scaling down must not delete data."""
    if _loses_volumes(workload) and wanted < replicas_of(workload["spec"]):
        raise Refused(
            "WouldDeleteVolumes",
            f"could not {VERB} {guards.named(workload)} to {wanted}: its "
            "persistentVolumeClaimRetentionPolicy.whenScaled is Delete, so the volumes would go with the pods; "
            "set it to Retain first",
        )


def _replicas(workload: Manifest, wanted: int, found: autoscalers.Autoscalers) -> Change:
    """The write of the replicas."""
    ref, now = ref_of(workload), replicas_of(workload["spec"])
    # With an autoscaler the number read here may be another one by the time it is written,
    # and nobody's decision: there is nothing to guard but the object itself.
    operations = [{"op": "add", "path": "/spec/replicas", "value": wanted}] if found else _set(now, wanted)
    return Change(
        key=f"{ref.kind}/{ref.name}",
        target=ref,
        request=None if now == wanted else patch(ref, operations, "scale"),
        before={"replicas": now},
        after={"replicas": wanted, "autoscaled": bool(found)} | ({"may_idle": True} if found.may_idle else {}),
        summary=f"{ref.name}: has {wanted} replicas already"
        if now == wanted
        else f"{ref.name}: {now} -> {wanted} replicas",
        notes=(*_volumes_going(workload, wanted), *autoscalers.notes(found, wanted), *guards.gitops_notes(workload)),
        reach=Reach(f"{ref.kind}/{ref.name}", workload["spec"].get("selector") or {}, "removed", now - wanted)
        if wanted < now
        else None,
    )


def _overruled(current: Manifest, change: Change, asked: int) -> Settlement:
    """Somebody set other replicas after us: an autoscaler that is held comes round by itself."""
    wanted = change.after["replicas"]
    told = f"{guards.named(current)} was set to {asked} replicas after it was scaled to {wanted}"
    if change.after["autoscaled"] and change.after.get("given_back"):
        again = f"kubectl scale {guards.resource(current)} --replicas={wanted}"
        return pending(f"{told}; an HPA does not start it from there, KEDA does in its time: {again}")
    if change.after["autoscaled"] and wanted:
        return pending(f"{told}; its autoscaler is held to {wanted} and brings it there")
    return failed("Reverted", f"{told}, {who(current)}")
