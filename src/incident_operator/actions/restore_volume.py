"""``restore.volume``: a new claim beside the broken one, and a workload that uses it instead.

Nothing is written to the old volume, and nothing is deleted: going back is pointing at the old claim again.
Source: kubernetes.io, "Persistent Volumes" (volumes from a snapshot, WaitForFirstConsumer).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from incident_operator.actions import backups, guards, making, undo_settling
from incident_operator.actions.contract import Occasion, plain
from incident_operator.actions.patches import Operation, patch, ref_of, test
from incident_operator.actions.rollout_undo import refuse_paused
from incident_operator.actions.snapshot_volumes import CLAIM, claims_of, is_ready, own_template
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning import rollouts
from incident_operator.planning.plan import (
    Change,
    Manifest,
    Ref,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.reach import Reach
from incident_operator.planning.selectors import is_leaving

VERB = "restore a volume of"
BLOCKED = "may also delete pods with the old volume that are not ready and block the change, after 20 s"
WORKLOADS = frozenset({"Deployment", "StatefulSet"})
VOLUMES = "/spec/template/spec/volumes"
SAME = ("accessModes", "storageClassName", "volumeMode", "volumeAttributesClassName", "selector")
"""What a new claim has from the old one; not its volumeName, which is the broken volume itself."""
RESTORED = re.compile(r"-restored-[0-9a-f]{8}$")
UNITS = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}  # fmt: skip


async def plan(
    reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any], now: datetime
) -> tuple[Change, ...]:
    """The new claim, and the workload's volumes from the old to the new one; what is so already is not written."""
    workload = await reader.get(target.kind, target.namespace, target.name)
    guards.refuse_protected(VERB, workload)
    guards.refuse_controlled(VERB, workload)
    refuse_paused(VERB, workload)
    claim, snapshot = backups.text_of(params, "volume", "claim"), params.get("snapshot")
    head = RESTORED.sub("", claim)
    new = making.name_of(f"{head}-restored", occasion.uid, occasion.step, CLAIM, claim, snapshot)
    _refuse_unnamed(workload, claim, new)
    old = await reader.get(CLAIM, target.namespace, claim)
    guards.refuse_protected(VERB, old)
    _refuse_leaving(workload, old)
    source, said, notes = (
        None,
        "empty",
        [f"the new claim {new} is empty: what is to be in it must be loaded afterwards"],
    )
    if snapshot:
        source, age = await usable(reader, target, params, now)
        notes = []
        of = (source["spec"].get("source") or {}).get("persistentVolumeClaimName")
        if of not in (None, claim):
            notes.append(f"VolumeSnapshot {snapshot} is of claim {of}, not of {claim}")
        said = f"from VolumeSnapshot {snapshot}, {age}"
    made = _claim(occasion, workload, old, source, new, said)
    notes += [f"claim {claim} keeps all that is in it, and is never deleted by an Incident", *_notes(workload)]
    return made, _repoint(workload, claim, new, tuple(notes))


def _refuse_unnamed(workload: Manifest, claim: str, new: str) -> None:
    """The claim must be one that the pod template names, or have been replaced by this step already."""
    there = claims_of(workload["spec"]["template"].get("spec") or {})
    if claim in there or new in there:
        return
    template = own_template(workload, claim)
    if template:
        raise Refused(
            "VolumeClaimTemplate",
            f"could not {VERB} {guards.named(workload)}: claim {claim} is of its volumeClaimTemplate {template}, "
            "which the API server lets nobody point elsewhere; restore into it by a Job (restore.job), or make a new "
            f"StatefulSet whose pod template names a claim of its own and move the clients there",
        )
    known = ", ".join(sorted(set(there))) or "none"
    raise Refused(
        "NoSuchClaim",
        f"could not {VERB} {guards.named(workload)}: its pod template names no claim {claim}; it names {known}",
    )


def _refuse_leaving(workload: Manifest, old: Manifest) -> None:
    """A claim that is being deleted is only kept by the pods that use it (kubernetes.io/pvc-protection)."""
    if is_leaving(old):
        name = old["metadata"]["name"]
        raise Refused(
            "ClaimIsLeaving",
            f"could not {VERB} {guards.named(workload)}: claim {name} is being deleted, and is gone with its data as "
            "soon as no pod uses it; first see to it that the PersistentVolume "
            f"{old['spec'].get('volumeName', 'behind it')} has persistentVolumeReclaimPolicy Retain, then make a claim "
            "for it",
        )


async def usable(reader: Reader, target: Ref, params: Mapping[str, Any], now: datetime) -> tuple[Manifest, str]:
    """The snapshot and its age; Refused unless a volume can be made from it and it is young enough."""
    await backups.refuse_unserved(reader, VERB, target, backups.SNAPSHOTS)
    name = backups.text_of(params, "volume", "snapshot")
    found = await reader.get("VolumeSnapshot", target.namespace, name)
    error = ((found.get("status") or {}).get("error") or {}).get("message")
    if not is_ready(found) or is_leaving(found):
        why = making.one_line(error) if error else "its status.readyToUse is not true, or it is not bound"
        raise Refused(
            "BackupIncomplete",
            f"could not {VERB} {target} from VolumeSnapshot {name}: it is not ready to use: "
            f"{'it is being deleted' if is_leaving(found) else why}; name another one: kubectl get volumesnapshot",
        )
    said = f"VolumeSnapshot {target.namespace}/{name}"
    return found, backups.aged(VERB, said, found["status"].get("creationTime"), params, now)


def _claim(
    occasion: Occasion, workload: Manifest, old: Manifest, source: Manifest | None, new: str, said: str
) -> Change:
    """The new claim, like the old one."""
    was = old["metadata"]["name"]
    ref = Ref(CLAIM, new, old["metadata"]["namespace"])
    spec = {field: plain(old["spec"][field]) for field in SAME if field in old["spec"]}
    size = old["spec"]["resources"]["requests"]["storage"]
    if source is not None:
        if spec.get("storageClassName") == "":
            raise Refused(
                "NoStorageClass",
                f"could not {VERB} {guards.named(workload)} from a snapshot: claim {was} has storageClassName "
                '"", and only a storage class with a CSI driver makes volumes from snapshots',
            )
        least = source["status"].get("restoreSize")
        size = least if least and quantity(least) > quantity(size) else size
        spec["dataSource"] = {
            "apiGroup": backups.SNAPSHOTS,
            "kind": "VolumeSnapshot",
            "name": source["metadata"]["name"],
        }
    spec["resources"] = {"requests": {"storage": size}}
    body = {
        "apiVersion": "v1",
        "kind": CLAIM,
        # No labels of the old one: they would make it part of what a GitOps controller prunes.
        "metadata": {"name": new, "namespace": ref.namespace, "labels": making.labels_for(occasion)},
        "spec": spec,
    }
    return Change(
        key=f"{CLAIM}/{new}",
        target=ref,
        request=Request("create", ref, body),
        before={},
        after={"incident": occasion.uid, "workload": [workload["kind"], workload["metadata"]["name"]]},
        summary=f"{new}: a new claim of {size} like {was}, {said}",
        notes=("the new claim is kept, also when the step is taken back",),
    )


def quantity(text: object) -> Decimal:
    """A quantity of the API as a number (apimachinery ``resource.Quantity``)."""
    found = re.fullmatch(r"([+-]?[0-9.]+)(?:[eE]([+-]?[0-9]+)|([A-Za-z]*))", str(text))
    if found is None or (found[3] or "") not in UNITS:
        raise Refused("Invalid", f"{text!r} is not a quantity such as 10Gi")
    power = Decimal(10) ** int(found[2]) if found[2] else UNITS[found[3] or ""]
    return Decimal(found[1]) * power


def _repoint(workload: Manifest, old: str, new: str, notes: tuple[str, ...]) -> Change:
    """The write that makes the workload use the new claim."""
    ref = ref_of(workload)
    volumes = workload["spec"]["template"]["spec"].get("volumes") or ()
    mine = [each["name"] for each in volumes if _claim_of(each) in (old, new)]
    operations, further = _swap(workload, mine, old, new), undo_settling.may_delete(workload)
    return Change(
        key=f"{ref.kind}/{ref.name}",
        target=ref,
        request=patch(ref, operations) if operations else None,
        before={"claims": dict.fromkeys(mine, old)},
        after={"claims": dict.fromkeys(mine, new)},
        summary=f"{ref.name}: volume {', '.join(mine)} from claim {old} to {new}"
        if operations
        else f"{ref.name}: uses claim {new} already",
        notes=(*notes, BLOCKED) if further else notes,
        reach=Reach(f"{ref.kind}/{ref.name}", workload["spec"].get("selector") or {}, "replaced"),
        further=further,
    )


def _claim_of(volume: Mapping[str, Any]) -> str | None:
    return (volume.get("persistentVolumeClaim") or {}).get("claimName")


def _swap(workload: Manifest, names: list[str], old: str, new: str) -> list[Operation]:
    """Every one of these volumes from exactly one claim to another, wherever in the list it stands."""
    found: list[Operation] = []
    for number, each in enumerate(workload["spec"]["template"]["spec"].get("volumes") or ()):
        if each["name"] in names and _claim_of(each) == old:
            path = f"{VOLUMES}/{number}"
            found += [
                test(f"{path}/name", each["name"]),
                test(f"{path}/persistentVolumeClaim/claimName", old),
                {"op": "replace", "path": f"{path}/persistentVolumeClaim/claimName", "value": new},
            ]
    return found


def _notes(workload: Manifest) -> tuple[str, ...]:
    """What a person should know before the workload is changed."""
    spec, notes = workload["spec"], []
    rolling = workload["kind"] == "Deployment" and (spec.get("strategy") or {}).get("type") != "Recreate"
    if rolling and rollouts.replicas_of(spec):
        notes.append(
            "until the rollout is finished, pods with the old volume and pods with the new one run side by side"
        )
    if workload["kind"] == "StatefulSet" and rollouts.strategy_of(spec) == "OnDelete":
        notes.append("its updateStrategy is OnDelete: a person must delete the pods for the new volume to be used")
    elif workload["kind"] == "StatefulSet" and spec.get("podManagementPolicy") != "Parallel":
        notes.append("a pod with the old volume that is not ready and blocks the rollout is deleted after 20 s")
    partition = rollouts.partition_of(spec) if workload["kind"] == "StatefulSet" else 0
    if partition:
        notes.append(f"its updateStrategy has partition {partition}: pods with a lower ordinal keep the old volume")
    return (*notes, *guards.gitops_notes(workload))


def standing(change: Change, current: Manifest) -> Standing:
    """By the claims of the volumes that were repointed; whatever else changed in the template does not matter."""
    now = {each["name"]: _claim_of(each) for each in current["spec"]["template"]["spec"].get("volumes") or ()}
    mine = {name: now.get(name) for name in change.after["claims"]}
    if mine == change.after["claims"]:
        return Standing.AFTER
    return Standing.BEFORE if mine == change.before["claims"] else Standing.OTHER


def undo(change: Change, current: Manifest) -> Request:
    """The volumes point at the old claim again, which was kept all the while."""
    operations = [
        operation
        for name, new in change.after["claims"].items()
        for operation in _swap(current, [name], new, change.before["claims"][name])
    ]
    return patch(change.target, operations)


def is_new(workload: Manifest, change: Change, pod: Manifest) -> bool:  # noqa: ARG001 - one of several ways to tell
    """Whether a pod uses the new claims."""
    return set(change.after["claims"].values()) <= set(claims_of(pod["spec"]))


async def settle_claim(reader: Reader, change: Change) -> Settlement:
    """The new claim is bound; one whose workload has no replicas may have to wait for its first pod."""
    target = change.target
    current = await reader.find(CLAIM, target.namespace, target.name)
    if making.standing(target.uid, change.after["incident"], current) is not Standing.AFTER or current is None:
        return failed("ClaimGone", f"{target} was deleted or replaced after it was made")
    phase = (current.get("status") or {}).get("phase") or "Pending"
    if phase == "Bound":
        return settled(f"claim {target.name} is Bound", {"claim": target.name})
    if phase == "Lost":
        return failed("ClaimLost", f"claim {target.name} has lost its volume {current['spec'].get('volumeName', '')}")
    kind, name = change.after["workload"]
    workload = await reader.find(kind, target.namespace, name)
    if workload is not None and rollouts.replicas_of(workload["spec"]) == 0:
        text = f"claim {target.name} is {phase}, and {name} has no replicas: it may be bound only when a pod needs it"
        return settled(text, {"claim": target.name})
    return pending(f"claim {target.name} is {phase}: kubectl describe pvc {target.name} -n {target.namespace}")
