"""What an Incident asks for, read from its raw spec; the API server has validated it before.

The models of ``api.incident`` are the source of the schema; here the raw object is read once
into what planning needs, so that an Incident made under an older schema is still understood.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from incident_operator.api.recovery import STEP_FAILURE
from incident_operator.api.schema import parse_duration
from incident_operator.engine import levels
from incident_operator.engine.resolving import Signals, merged, signals_of
from incident_operator.faults import Refused
from incident_operator.planning.plan import CheckWish, Manifest, Phase, Ref, Release, digest
from incident_operator.planning.record import Resolved


@dataclasses.dataclass(frozen=True, slots=True)
class StepWish:
    """One step as asked for."""

    name: str
    phase: Phase
    action: str
    params: Mapping[str, Any]
    targets: tuple[Ref, ...]
    release: Release | None
    stage: str
    timeout_seconds: float
    on_failure: Literal["Halt", "Continue", "Release", "Rollback"]
    expires_seconds: float
    approval: Literal["ByPolicy", "Required"]
    tier: str = ""
    """The tier of the recovery that it belongs to."""
    gates: tuple[CheckWish, ...] = ()
    brings_back: tuple[str, ...] = ()
    """The steps that it takes back, for its targets."""
    replicas: Mapping[Ref, int] = dataclasses.field(default_factory=dict)
    """What to bring a target back to that has no replicas at all."""
    expected_seconds: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """All that an Incident asks for."""

    mode: Literal["Observe", "Propose", "Enforce"]
    severity: str
    type: str
    reporter: str
    """Who declared it, as the API server has checked; empty if it was not said."""
    changers: frozenset[str]
    """Who has changed what the plan is made from, as the API server has checked."""
    service_account: str
    """Whom to act as; empty: whom the policy says."""
    targets: tuple[Ref, ...]
    steps: tuple[StepWish, ...]
    checks: tuple[CheckWish, ...]
    recovery: str | None
    """The RecoveryPlan to follow; empty: what labels tell; None: no recovery."""
    standard: bool
    """Whether the guide's list is looked at when all tiers are back."""
    performance: Mapping[str, Any] | None
    """What must be as it was before then, and when that was."""
    confirmed: frozenset[str]
    """What a person has confirmed."""
    signals: Signals
    """What its alerts say."""
    hold_seconds: float
    """How long they must fire before the first change."""
    acknowledged_by: str
    escalation: tuple[tuple[float, str], ...]
    """Seconds after detection, and the hook to tell."""
    impact: Mapping[str, Any]
    """What its runbook says about users, data and business."""
    asked: str
    """Digest of what the spec asks for, without what it only tells."""
    release: bool
    cancel: bool
    suspend: bool
    basis: str
    """Digest of what a plan is made from: as long as it stays the same, so does the plan."""


STEP_WORDS = frozenset({"name", "targets", "timeout", "onFailure", "release", "stage", "expiresAfter", "approval"})
BASIS = ("targets", "containment", "remediation", "recovery", "serviceAccountName", "expiresAfter")
TOLD = frozenset({"signals", "title", "description", "severityReason", "acknowledgedBy", "escalation", "changedBy"})
"""Fields that tell something and ask for nothing to be done."""
CHECK_WORDS = frozenset({"name", "targets", "for", "timeout"})


def _only_one(raw: Mapping[str, Any], words: frozenset[str], field: str) -> tuple[str, Mapping[str, Any]]:
    """The one member of a union that is set."""
    found = [(key, value) for key, value in raw.items() if key not in words]
    if len(found) != 1:
        listed = ", ".join(sorted(key for key, _ in found)) or "none"
        raise Refused("Invalid", f"{field} {raw.get('name', '')}: exactly one is to be set, found {listed}")
    return found[0]


def _seconds(text: str) -> float:
    return parse_duration(text).total_seconds()


def _refs(raw: Mapping[str, Any], namespace: str, targets: tuple[Ref, ...]) -> tuple[Ref, ...]:
    """The targets of a step or check: its own, else those it has from where it stands."""
    found = raw.get("targets")
    return tuple(Ref(target["kind"], target["name"], namespace) for target in found) if found else targets


def _escalation(spec: Mapping[str, Any]) -> tuple[tuple[float, str], ...]:
    return tuple((_seconds(each["after"]), each["hook"]) for each in spec.get("escalation") or ())


def to_tell(wished: Wishes, incident: Manifest, resolved: Resolved | None) -> Wishes:
    """The wishes with whom to tell as the runbook has it, whatever else of that may not be understood."""
    return dataclasses.replace(wished, escalation=_escalation(merged(incident["spec"], resolved)))


def _basis(spec: Mapping[str, Any]) -> str:
    """Digest of what of a spec a plan is made from; a field that an older version did not know counts where it is."""
    known = [spec.get(field) for field in BASIS]
    return digest([*known, spec["runbookRef"]] if "runbookRef" in spec else known)[:16]


def step_wish(
    raw: Mapping[str, Any],
    phase: Phase,
    namespace: str,
    targets: tuple[Ref, ...],
    *,
    lasting: str = "0s",
    tier: str = "",
    on_failure: Literal["Halt", "Continue", "Rollback"] = "Halt",
) -> StepWish:
    """One raw step; Refused("Invalid") unless it has exactly one action. A step of a tier fails as its tier does."""
    where = f"tier {tier}" if tier else f"spec.{phase.lower()}"
    if tier and raw.get("onFailure", "Halt") != "Halt":  # which an older schema has filled in by itself
        raise Refused("Invalid", f"{where}, step {raw['name']}: {STEP_FAILURE}")
    action, params = _only_one(raw, STEP_WORDS, where)
    return StepWish(
        raw["name"],
        phase,
        action,
        params or {},
        _refs(raw, namespace, targets),
        Release(raw["release"]) if raw.get("release") else None,
        raw.get("stage", ""),
        _seconds(raw.get("timeout", "10m")),
        on_failure if tier else raw.get("onFailure", "Halt"),
        _seconds(raw.get("expiresAfter", lasting)),
        raw.get("approval", "ByPolicy"),
        tier=tier,
    )


def check_wish(raw: Mapping[str, Any], namespace: str, targets: tuple[Ref, ...]) -> CheckWish:
    """One raw check; Refused("Invalid") unless it is of exactly one kind."""
    kind, params = _only_one(raw, CHECK_WORDS, "check")
    hold, timeout = _seconds(raw.get("for", "0s")), _seconds(raw.get("timeout", "5m"))
    return CheckWish(raw["name"], kind, params or {}, _refs(raw, namespace, targets), hold, timeout)


def read(incident: Manifest, resolved: Resolved | None = None) -> Wishes:
    """What an Incident asks for, with what it has taken over; Refused("Invalid") names the field at fault."""
    own, spec = incident["spec"], merged(incident["spec"], resolved)
    namespace = incident["metadata"]["namespace"]
    targets = _refs(spec, namespace, ())
    lasting = spec.get("expiresAfter", "0s")
    phases: tuple[Phase, ...] = ("Containment", "Remediation")
    steps = [
        step_wish(raw, phase, namespace, targets, lasting=lasting)
        for phase in phases
        for raw in spec.get(phase.lower()) or ()
    ]
    recovery = spec.get("recovery")
    return Wishes(
        mode=spec.get("mode", "Enforce"),
        severity=spec.get("severity", ""),
        type=spec.get("type", ""),
        reporter=spec.get("reportedBy", ""),
        changers=frozenset(own.get("changedBy") or ()),
        service_account=spec.get("serviceAccountName", ""),
        targets=targets,
        steps=tuple(steps),
        checks=tuple(check_wish(raw, namespace, targets) for raw in spec.get("verification") or ()),
        recovery=None if recovery is None else (recovery.get("planRef") or {}).get("name", ""),
        standard=(recovery or {}).get("verification") == "Standard",
        performance=levels.asked_of(spec, incident),
        confirmed=frozenset(spec.get("confirmed") or ()),
        signals=signals_of(own),
        hold_seconds=_seconds(spec.get("holdFor", "0s")),
        acknowledged_by=own.get("acknowledgedBy", ""),
        escalation=_escalation(spec),
        impact=spec.get("impact") or {},
        asked=digest({key: value for key, value in own.items() if key not in TOLD})[:16],
        release=bool(spec.get("release", False)),
        cancel=bool(spec.get("cancel", False)),
        suspend=bool(spec.get("suspend", False)),
        basis=_basis(own),
    )
