"""``snapshotVolumes``: a VolumeSnapshot of every volume of a workload or a pod, kept for ever.

What "ready" means: kubernetes-csi/external-snapshotter, the comments on VolumeSnapshotStatus. An error in it is
the last one seen and is tried again by its controller, so only the step's timeout ends the waiting.
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import backups, guards, making
from incident_operator.actions.contract import Occasion
from incident_operator.actions.settling import LIVE, combined
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
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import is_leaving, pods_of

VERB = "snapshot the volumes of"
KIND = "VolumeSnapshot"
CLAIM = "PersistentVolumeClaim"
CONSISTENCY = (
    "it is crash-consistent: as if the power had failed at that moment; several volumes are not of the same moment"
)
KEPT = "it is never deleted by an Incident; with deletionPolicy Delete in its class it goes with its namespace"
SNAPSHOT = Rule(backups.SNAPSHOTS, ("volumesnapshots",), ("create",))


class SnapshotVolumes:
    """Takes a VolumeSnapshot of each volume of the targets."""

    name: ClassVar[str] = "snapshotVolumes"
    kinds: ClassVar[frozenset[str]] = frozenset({"Deployment", "StatefulSet", "Pod"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets"), ("get",), "read which volumes a workload has"),
        Rule("", ("pods",), ("get", "list"), "read which volumes its pods have"),
        Rule("", ("persistentvolumeclaims",), ("list",), "tell which of them there are"),
        Rule(backups.SNAPSHOTS, ("volumesnapshots",), ("get", "create"), "take the snapshots, and see them be ready"),
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = dict.fromkeys(sorted(kinds), (SNAPSHOT,))
    release: ClassVar[Release] = Release.NEVER
    reversible: ClassVar[bool] = False
    destructive: ClassVar[bool] = False

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """A snapshot of each bound claim of the target; claims of a StatefulSet that has no pods now are found, too."""
        thing = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, thing)
        await backups.refuse_unserved(
            reader, VERB, guards.named(thing), backups.SNAPSHOTS, instead="take a dump by a Job (runJob)"
        )
        there = {each["metadata"]["name"]: each for each in await reader.list(CLAIM, target.namespace)}
        named = await _claims(reader, thing, there)
        bound = [name for name in named if name in there and _is_bound(there[name])]
        left = [name for name in named if name not in bound]
        if not bound:
            why = f"none of its claims is bound: {', '.join(left)}" if left else "it has no PersistentVolumeClaim"
            raise Refused("NoVolumes", f"could not {VERB} {guards.named(thing)}: {why}; leave it out of the step")
        more = (f"left out, as they are not bound: {', '.join(left)}",) if left else ()
        return tuple(_change(occasion, target, name, params.get("className"), more) for name in bound)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the snapshot's name and whose it is; its spec cannot be changed."""
        return making.standing(change.target.uid, change.after["incident"], current)

    def undo(self, change: Change, current: Manifest) -> Request | None:  # noqa: ARG002 - part of the contract
        """Nothing: a snapshot is kept."""
        return None

    async def settle(
        self,
        reader: Reader,
        entries: tuple[Entry, ...],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
        now: datetime,  # noqa: ARG002 - part of the contract
    ) -> Settlement:
        """Every snapshot is bound and ready to be restored from."""
        live = [entry.change for entry in entries if entry.state in LIVE]
        found = combined(await asyncio.gather(*(self._one(reader, change) for change in live)))
        names = ", ".join(change.target.name for change in live)
        return dataclasses.replace(found, facts={"snapshots": names}) if found.state == "Settled" and live else found

    async def _one(self, reader: Reader, change: Change) -> Settlement:
        """One snapshot."""
        target, claim = change.target, change.after["claim"]
        current = await reader.find(KIND, target.namespace, target.name)
        if self.standing(change, current) is not Standing.AFTER or current is None:
            return failed("SnapshotGone", f"{target} was deleted or replaced after it was asked for")
        status = current.get("status") or {}
        if is_ready(current):
            return settled(
                f"{claim}: VolumeSnapshot {target.name} is ready, taken at {status.get('creationTime', '?')}"
            )
        error = (status.get("error") or {}).get("message")
        why = f": {making.one_line(error)} (its controller tries again)" if error else ""
        step = "is bound, not ready yet" if status.get("boundVolumeSnapshotContentName") else "is not bound yet"
        return pending(f"{claim}: VolumeSnapshot {target.name} {step}{why}")


def is_ready(snapshot: Manifest) -> bool:
    """Whether a volume can be made from a snapshot; one without both is not known to be anything."""
    status = snapshot.get("status") or {}
    return status.get("readyToUse") is True and bool(status.get("boundVolumeSnapshotContentName"))


def _is_bound(claim: Manifest) -> bool:
    return (claim.get("status") or {}).get("phase") == "Bound" and not is_leaving(claim)


async def _claims(reader: Reader, thing: Manifest, there: Mapping[str, Manifest]) -> list[str]:
    """Names of all claims of a target: of its template, of its pods, and of its volumeClaimTemplates."""
    if thing["kind"] == "Pod":
        return sorted(set(claims_of(thing["spec"])))
    spec, meta = thing["spec"], thing["metadata"]
    found = set(claims_of(spec["template"].get("spec") or {}))
    pods = await reader.list("Pod", meta["namespace"], spec.get("selector") or {})
    found.update(claim for pod in pods_of(thing, pods) for claim in claims_of(pod["spec"]))
    found.update(name for name in there if own_template(thing, name))
    return sorted(found)


def claims_of(spec: Mapping[str, Any]) -> list[str]:
    """The claims that a pod's spec names; not those of ephemeral volumes, which go with their pod."""
    volumes = (each.get("persistentVolumeClaim") for each in spec.get("volumes") or ())
    return [each["claimName"] for each in volumes if each]


def own_template(workload: Manifest, claim: str) -> str:
    """The volumeClaimTemplate that a claim was made from, which is told by its name; empty if none was.

    ``<template>-<statefulset>-<ordinal>``: kubernetes ``pkg/controller/statefulset/stateful_set_utils.go``.
    """
    templates: Sequence[Manifest] = workload["spec"].get("volumeClaimTemplates") or ()
    for each in templates:
        head = f"{each['metadata']['name']}-{workload['metadata']['name']}"
        if re.fullmatch(rf"{re.escape(head)}-[0-9]+", claim):
            return str(each["metadata"]["name"])
    return ""


def _change(occasion: Occasion, target: Ref, claim: str, class_name: str | None, more: tuple[str, ...]) -> Change:
    """One snapshot; its name is the same whenever this step asks for it."""
    name = making.name_of(claim, occasion.uid, occasion.step, KIND, claim)
    ref = Ref(KIND, name, occasion.namespace)
    spec: dict[str, Any] = {"source": {"persistentVolumeClaimName": claim}}
    if class_name:
        spec["volumeSnapshotClassName"] = class_name
    body = {
        "apiVersion": f"{backups.SNAPSHOTS}/v1",
        "kind": KIND,
        "metadata": {"name": name, "namespace": ref.namespace, "labels": making.labels_for(occasion)},
        "spec": spec,
    }
    return Change(
        key=f"{KIND}/{name}",
        target=ref,
        request=Request("create", ref, body),
        before={},
        after={"incident": occasion.uid, "claim": claim},
        summary=f"{target.kind.lower()}/{target.name}: snapshot volume {claim} as VolumeSnapshot {name}",
        notes=(CONSISTENCY, KEPT, *more),
    )
