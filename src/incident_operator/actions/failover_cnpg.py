"""A CloudNativePG Cluster promotes an instance: its operator does it, once the status names another primary.

Sources: cloudnative-pg ``internal/cmd/plugin/promote`` (what is written), ``internal/controller/replicas.go`` (what
it does by itself), documentation "Fencing" and "Declarative hibernation" (why it would not be done).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from incident_operator.actions.patches import patch, ref_of, test
from incident_operator.faults import Refused
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
from incident_operator.planning.selectors import annotations_of

KIND = "Cluster"
HEALTHY = "Cluster in healthy state"
SWITCHING = "Switchover in progress"
FENCED = "cnpg.io/fencedInstances"
PENDING = "pending"
"""Its target while it fails over by itself, and waits for the replicas to receive what is under way."""
OFF = {"cnpg.io/hibernation": "on", "cnpg.io/reconciliationLoop": "disabled"}


def promotion(cluster: Manifest, to: str, now: datetime) -> Change:
    """The write that names another primary; Refused where nobody can take over, or CloudNativePG would not do it."""
    ref, status = ref_of(cluster, KIND), cluster.get("status") or {}
    primary, target = _primaries(status)
    _refuse_idle(cluster)
    if to and to not in (status.get("instanceNames") or ()):
        known = ", ".join(status.get("instanceNames") or ()) or "none"
        raise Refused("NoReplica", f"Cluster {ref.name} has no instance {to}; there are {known}")
    is_under_way = target not in ("", primary)
    if is_under_way:
        _refuse_overtaking(cluster, to, target)
    chosen = target if is_under_way else to or _replica(cluster, primary)
    already = is_under_way or chosen == primary
    return Change(
        key=f"{KIND}/{ref.name}",
        target=ref,
        request=None if already else _request(ref, (primary, target), chosen, now),
        before={"primary": primary, "target": target},
        after={"primary": chosen},
        summary=_summary(ref.name, primary, chosen, is_under_way=is_under_way),
        notes=() if already else ("what the replica has not received yet is lost", _why(cluster, to)),
        traits=() if already else ("Destructive",),
    )


def _primaries(status: Mapping[str, Any]) -> tuple[str, str]:
    """Who is the primary, and who is to be; the API leaves out what is empty."""
    return str(status.get("currentPrimary") or ""), str(status.get("targetPrimary") or "")


def _request(ref: Ref, seen: tuple[str, str], chosen: str, now: datetime) -> Request:
    """What ``kubectl cnpg promote`` writes, unless another primary is, or is to be, by now."""
    written = {
        "targetPrimary": chosen,
        "targetPrimaryTimestamp": f"{now:%Y-%m-%dT%H:%M:%S.%fZ}",
        "phase": SWITCHING,
        "phaseReason": f"Switching over to {chosen}",
    }
    operations = [
        test("/status/currentPrimary", seen[0] or None),
        test("/status/targetPrimary", seen[1] or None),
        *({"op": "add", "path": f"/status/{key}", "value": value} for key, value in written.items()),
    ]
    return patch(ref, operations, "status")


def _summary(name: str, primary: str, chosen: str, *, is_under_way: bool) -> str:
    if is_under_way:
        return f"Cluster {name}: CloudNativePG promotes {chosen} already"
    if chosen == primary:
        return f"Cluster {name}: {chosen} is the primary already"
    return f"Cluster {name}: primary {primary or 'unknown'} -> {chosen}"


def _refuse_overtaking(cluster: Manifest, to: str, target: str) -> None:
    """It waits until no replica receives anything any more, and promotes one: two must not be told to."""
    if target != PENDING and to in ("", target):
        return
    name = cluster["metadata"]["name"]
    doing = "fails over by itself" if target == PENDING else f"promotes {target}"
    raise Refused(
        "FailoverUnderWay",
        f"Cluster {name}: CloudNativePG {doing} already, and to overtake it may lose what replicas still receive; wait "
        f"until its phase is {HEALTHY!r}, or, if it is stuck: kubectl cnpg promote {name} INSTANCE "
        f"-n {cluster['metadata']['namespace']}",
    )


def _healthy(cluster: Manifest) -> list[str]:
    found = ((cluster.get("status") or {}).get("instancesStatus") or {}).get("healthy") or ()
    return sorted(str(each) for each in found)


def _replica(cluster: Manifest, primary: str) -> str:
    """The healthy instance that is on the newest timeline, by name: the status tells no positions."""
    found = [each for each in _healthy(cluster) if each != primary]
    if not found:
        raise Refused(
            "NoReplica",
            f"Cluster {cluster['metadata']['name']} has no healthy replica that could take over from "
            f"{primary or 'its primary'}; name one in failover.cloudNativePG.to if you know better, or restore",
        )
    told = (cluster.get("status") or {}).get("instancesReportedState") or {}
    return min(found, key=lambda each: (-((told.get(each) or {}).get("timeLineID") or 0), each))


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
    primary, target = _primaries(current.get("status") or {})
    if (target or primary) == change.after["primary"]:
        return Standing.AFTER
    seen = change.before["primary"], change.before["target"]
    return Standing.BEFORE if (primary, target) == seen else Standing.OTHER


def settlement(change: Change, current: Manifest | None) -> Settlement:
    """The chosen one is the primary, and the Cluster is well."""
    name, wanted = change.target.name, change.after["primary"]
    if current is None or current["metadata"].get("uid") != change.target.uid:
        return failed("TargetGone", f"Cluster {name} was deleted or replaced after it was told to promote {wanted}")
    status = current.get("status") or {}
    (primary, target), phase = _primaries(status), status.get("phase")
    if (target or primary) != wanted:
        return failed("Reverted", f"Cluster {name} was to promote {wanted}, and by now promotes {target or 'nobody'}")
    if primary == wanted and phase == HEALTHY:
        return settled(f"Cluster {name}: {wanted} is the primary, and all is well", {"primary": wanted})
    return pending(f"Cluster {name}: primary {primary or 'unknown'}, to be {wanted}; {phase or 'no phase'}")
