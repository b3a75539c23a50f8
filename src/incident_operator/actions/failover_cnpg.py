"""A CloudNativePG Cluster promotes an instance: its operator does it, once the status names another primary.

Sources: cloudnative-pg ``internal/cmd/plugin/promote`` (what is written), documentation "Fencing" and
"Declarative hibernation" (why it would not be done).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from incident_operator.actions.patches import patch, ref_of, test
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Manifest, Settlement, Standing, failed, pending, settled
from incident_operator.planning.selectors import annotations_of

KIND = "Cluster"
HEALTHY = "Cluster in healthy state"
SWITCHING = "Switchover in progress"
FENCED = "cnpg.io/fencedInstances"
OFF = {"cnpg.io/hibernation": "on", "cnpg.io/reconciliationLoop": "disabled"}


def promotion(cluster: Manifest, to: str, now: datetime) -> Change:
    """The write that names another primary; Refused where nobody can take over, or CloudNativePG would not do it."""
    ref, status = ref_of(cluster, KIND), cluster.get("status") or {}
    primary = str(status.get("currentPrimary") or "")
    _refuse_idle(cluster)
    chosen = to or _replica(cluster, primary)
    if to and to not in (status.get("instanceNames") or ()):
        known = ", ".join(status.get("instanceNames") or ()) or "none"
        raise Refused("NoReplica", f"Cluster {ref.name} has no instance {to}; there are {known}")
    already = chosen == primary
    written = {
        "targetPrimary": chosen,
        "targetPrimaryTimestamp": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "phase": SWITCHING,
        "phaseReason": f"Switching over to {chosen}",
    }
    operations = [
        test("/status/currentPrimary", primary),
        *({"op": "add", "path": f"/status/{key}", "value": value} for key, value in written.items()),
    ]
    return Change(
        key=f"{KIND}/{ref.name}",
        target=ref,
        request=None if already else patch(ref, operations, "status"),
        before={"primary": primary},
        after={"primary": chosen},
        summary=f"Cluster {ref.name}: {chosen} is the primary already"
        if already
        else f"Cluster {ref.name}: primary {primary or 'unknown'} -> {chosen}",
        notes=() if already else ("what the replica has not received yet is lost", _why(cluster, to)),
        traits=() if already else ("Destructive",),
    )


def _healthy(cluster: Manifest) -> list[str]:
    found = ((cluster.get("status") or {}).get("instancesStatus") or {}).get("healthy") or ()
    return sorted(str(each) for each in found)


def _replica(cluster: Manifest, primary: str) -> str:
    """The first healthy instance that is not the primary: CloudNativePG lets the status tell no positions."""
    found = [each for each in _healthy(cluster) if each != primary]
    if not found:
        raise Refused(
            "NoReplica",
            f"Cluster {cluster['metadata']['name']} has no healthy replica that could take over from "
            f"{primary or 'its primary'}; name one in failover.cloudNativePG.to if you know better, or restore",
        )
    return found[0]


def _why(cluster: Manifest, to: str) -> str:
    healthy = ", ".join(_healthy(cluster)) or "none"
    return f"chosen by {'the Incident' if to else 'its health'}; healthy instances are {healthy}"


def _refuse_idle(cluster: Manifest) -> None:
    """A Cluster that is fenced, hibernated or left alone by its operator promotes nobody."""
    annotations, name = annotations_of(cluster), cluster["metadata"]["name"]
    reasons = [f"{key}={value}" for key, value in OFF.items() if annotations.get(key) == value]
    if annotations.get(FENCED) not in (None, "", "[]"):
        reasons.append(f"{FENCED}={annotations[FENCED]}")
    if reasons:
        raise Refused(
            "ClusterIdle",
            f"Cluster {name} is annotated {', '.join(reasons)}: CloudNativePG promotes nobody then; remove it first",
        )


def standing(change: Change, current: Mapping[str, Any]) -> Standing:
    """By who is, or is to become, the primary."""
    status = current.get("status") or {}
    if change.after["primary"] in (status.get("targetPrimary"), status.get("currentPrimary")):
        return Standing.AFTER
    return Standing.BEFORE if status.get("currentPrimary") == change.before["primary"] else Standing.OTHER


def settlement(change: Change, current: Manifest | None) -> Settlement:
    """The chosen one is the primary, and the Cluster is well."""
    name, wanted = change.target.name, change.after["primary"]
    if current is None or current["metadata"].get("uid") != change.target.uid:
        return failed("TargetGone", f"Cluster {name} was deleted or replaced after it was told to promote {wanted}")
    status = current.get("status") or {}
    primary, target, phase = (status.get(key) for key in ("currentPrimary", "targetPrimary", "phase"))
    if primary == wanted and phase == HEALTHY:
        return settled(f"Cluster {name}: {wanted} is the primary, and all is well", {"primary": wanted})
    if wanted not in (primary, target):
        return failed("Reverted", f"Cluster {name} was to promote {wanted}, and by now promotes {target or 'nobody'}")
    return pending(f"Cluster {name}: primary {primary}, to be {wanted}; {phase or 'no phase'}")
