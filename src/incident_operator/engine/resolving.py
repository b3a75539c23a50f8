"""Takes over what an Incident's runbook says, once: the copy goes on record with the plan.

What the Incident says itself comes first. Later edits of the runbook do not reach it; a changed
spec, or being asked to look again, reads it anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from incident_operator.api.names import ON_ALERT
from incident_operator.cluster.port import Cluster
from incident_operator.faults import Stalled
from incident_operator.planning.plan import Manifest
from incident_operator.planning.record import Resolved

TAKEN = ("containment", "remediation", "recovery", "verification", "escalation", "holdFor", "impact")
"""Fields of a runbook that an Incident takes over where it has none itself."""
RESOLVES = frozenset({"Alertmanager", "Grafana", "Prometheus", "Workload"})
"""Sources that tell when an alert is over."""
UNTIL_RESOLVED = {"name": "alert-resolved", "alertResolved": {}, "timeout": "24h"}
"""The verification of an Incident made from an alert where nothing else is said."""
MOST_LISTED = 10


def merged(spec: Mapping[str, Any], resolved: Resolved | None) -> Mapping[str, Any]:
    """The spec with what was taken over, and what an alert's Incident is verified by."""
    found = {**(resolved.spec if resolved is not None else {}), **spec}
    if spec.get("source") in RESOLVES and "verification" not in found:
        found["verification"] = [UNTIL_RESOLVED]
    return found


async def taken(cluster: Cluster, incident: Manifest) -> Resolved | None:
    """What the Incident takes over from its runbook; None: it names none, or there is none of the name."""
    ref, namespace = incident["spec"].get("runbookRef"), incident["metadata"]["namespace"]
    if ref is None:
        return None
    found = await cluster.find(ref["kind"], namespace if ref["kind"] == "Runbook" else "", ref["name"])
    if found is None:
        return None
    told = {key: found["spec"][key] for key in TAKEN if found["spec"].get(key) is not None}
    return Resolved(f"{ref['kind']}/{ref['name']}", found["metadata"].get("generation", 0), told)


async def refuse_unclear(cluster: Cluster, incident: Manifest, resolved: Resolved | None) -> None:
    """Raise Stalled where an Incident says nothing that can be done, with what it has taken over.

    RunbookNotFound, NoRunbook, TargetNotFound, SignalUnclear, RunbookUnfit, each with the alert's own words.
    """
    spec = incident["spec"]
    _understood(spec)
    if resolved is not None:
        _unique(merged(spec, resolved), resolved.runbook)
    elif spec.get("runbookRef") is not None:
        of = f"alert {_names(spec)}: " if spec.get("signals") else ""
        text = await _not_found(cluster, spec["runbookRef"], incident["metadata"]["namespace"])
        raise Stalled("RunbookNotFound", of + text)


def _understood(spec: Mapping[str, Any]) -> None:
    """Raise Stalled unless the alerts say what to do, and to what."""
    problems = list(dict.fromkeys(each["problem"] for each in spec.get("signals") or () if each.get("problem")))
    names = _names(spec)
    if not spec.get("targets"):
        why = "; ".join(problems) or "it names no workload"
        text = f"alert {names}: {why}; give the Incident spec.targets, or the alert the annotation incident_target"
        raise Stalled("TargetNotFound", text)
    if problems:
        raise Stalled(
            "SignalUnclear", f"alert {names}: {'; '.join(problems)}; put it right in the alert and the Incident"
        )
    if not any(field in spec for field in ("containment", "remediation", "recovery", "runbookRef")):
        text = (
            f"alert {names} names no runbook, and none answers it; give the Incident spec.runbookRef or steps, the "
            f"alert the annotation incident_runbook, a Runbook a trigger, or the workload the annotation {ON_ALERT}"
        )
        raise Stalled("NoRunbook", text)


def _names(spec: Mapping[str, Any]) -> str:
    """What the alerts are called, or the Incident where there are none."""
    return ", ".join(dict.fromkeys(each["name"] for each in spec.get("signals") or ())) or str(spec.get("title", ""))


async def _not_found(cluster: Cluster, ref: Mapping[str, str], namespace: str) -> str:
    """Which runbooks there are instead."""
    if ref["kind"] == "Runbook":
        there = await cluster.list("Runbook", namespace)
        where = f" in namespace {namespace}"
    else:
        there, where = await cluster.list_all("ClusterRunbook"), ""
    known = sorted(each["metadata"]["name"] for each in there)
    listed = ", ".join(known[:MOST_LISTED]) + (" and others" if len(known) > MOST_LISTED else "")
    return f"there is no {ref['kind']} {ref['name']}{where}; those that are there: {listed or 'none'}"


def _unique(spec: Mapping[str, Any], runbook: str) -> None:
    """Raise Stalled where the Incident's own steps have the names of the runbook's."""
    steps = [each["name"] for field in ("containment", "remediation") for each in spec.get(field) or ()]
    double = sorted({name for name in steps if steps.count(name) > 1})
    if double:
        text = (
            f"{runbook} has steps of the same name as the Incident: {', '.join(double)}; rename those of the Incident"
        )
        raise Stalled("RunbookUnfit", text)


@dataclasses.dataclass(frozen=True, slots=True)
class Signals:
    """What the alerts of an Incident say."""

    known: int = 0
    firing: tuple[str, ...] = ()

    @property
    def are_over(self) -> bool:
        """Whether there were any, and none fires any more."""
        return bool(self.known) and not self.firing


def signals_of(spec: Mapping[str, Any]) -> Signals:
    """What the alerts of a raw spec say."""
    found = spec.get("signals") or ()
    return Signals(len(found), tuple(each["name"] for each in found if not each.get("endsAt")))
