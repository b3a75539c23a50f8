"""What an Incident asks for, read from its raw spec; the API server has validated it before.

The models of ``api.incident`` are the source of the schema; here the raw object is read once
into what planning needs, so that an Incident made under an older schema is still understood.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from incident_operator.api.schema import parse_duration
from incident_operator.faults import Refused
from incident_operator.planning.plan import Manifest, Ref, Release, digest


@dataclasses.dataclass(frozen=True, slots=True)
class StepWish:
    """One step as asked for."""

    name: str
    phase: Literal["Containment", "Remediation"]
    action: str
    params: Mapping[str, Any]
    targets: tuple[Ref, ...]
    release: Release | None
    stage: str
    timeout_seconds: float
    on_failure: Literal["Halt", "Continue", "Release"]
    expires_seconds: float
    approval: Literal["ByPolicy", "Required"]


@dataclasses.dataclass(frozen=True, slots=True)
class CheckWish:
    """One check as asked for."""

    name: str
    kind: str
    params: Mapping[str, Any]
    targets: tuple[Ref, ...]
    hold_seconds: float
    timeout_seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Wishes:
    """All that an Incident asks for."""

    mode: Literal["Observe", "Propose", "Enforce"]
    severity: str
    type: str
    reporter: str
    """Who declared it, as the API server has checked; empty if it was not said."""
    service_account: str
    """Whom to act as; empty: whom the policy says."""
    targets: tuple[Ref, ...]
    steps: tuple[StepWish, ...]
    checks: tuple[CheckWish, ...]
    release: bool
    cancel: bool
    suspend: bool
    basis: str
    """Digest of what a plan is made from: as long as it stays the same, so does the plan."""


STEP_WORDS = frozenset({"name", "targets", "timeout", "onFailure", "release", "stage", "expiresAfter", "approval"})
BASIS = ("targets", "containment", "remediation", "serviceAccountName", "expiresAfter")
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


def read(incident: Manifest) -> Wishes:
    """What an Incident asks for; Refused("Invalid") names the field that cannot be understood."""
    spec = incident["spec"]
    namespace = incident["metadata"]["namespace"]

    def refs(raw: Mapping[str, Any]) -> tuple[Ref, ...]:
        chosen = raw.get("targets") or spec["targets"]
        return tuple(Ref(target["kind"], target["name"], namespace) for target in chosen)

    lasting = spec.get("expiresAfter", "0s")
    steps: list[StepWish] = []
    phases: tuple[tuple[Literal["Containment", "Remediation"], str], ...]
    phases = (("Containment", "containment"), ("Remediation", "remediation"))
    for phase, field in phases:
        for raw in spec.get(field) or ():
            action, params = _only_one(raw, STEP_WORDS, f"spec.{field}")
            release = Release(raw["release"]) if raw.get("release") else None
            steps.append(
                StepWish(
                    raw["name"],
                    phase,
                    action,
                    params or {},
                    refs(raw),
                    release,
                    raw.get("stage", ""),
                    _seconds(raw.get("timeout", "10m")),
                    raw.get("onFailure", "Halt"),
                    _seconds(raw.get("expiresAfter", lasting)),
                    raw.get("approval", "ByPolicy"),
                )
            )
    checks = []
    for raw in spec.get("verification") or ():
        kind, params = _only_one(raw, CHECK_WORDS, "spec.verification")
        hold, timeout = _seconds(raw.get("for", "0s")), _seconds(raw.get("timeout", "5m"))
        checks.append(CheckWish(raw["name"], kind, params or {}, refs(raw), hold, timeout))
    return Wishes(
        mode=spec.get("mode", "Enforce"),
        severity=spec.get("severity", ""),
        type=spec.get("type", ""),
        reporter=spec.get("reportedBy", ""),
        service_account=spec.get("serviceAccountName", ""),
        targets=refs(spec),
        steps=tuple(steps),
        checks=tuple(checks),
        release=bool(spec.get("release", False)),
        cancel=bool(spec.get("cancel", False)),
        suspend=bool(spec.get("suspend", False)),
        basis=digest([spec.get(field) for field in BASIS])[:16],
    )
