"""The Incident as a person writes it: what is wrong, where, how bad, and what to do about it.

The docstring under each field is its description in the CRD, so ``kubectl explain`` prints it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from incident_operator.api.checks import Check, Query
from incident_operator.api.schema import (
    DAY_SECONDS,
    Duration,
    Label,
    Model,
    ObjectName,
    Rule,
    between,
    check_between,
    exactly_one,
    one_of,
    validated_by,
)
from incident_operator.api.signals import Escalations, RunbookRef, Signals, Source
from incident_operator.api.steps import ACTIONS, KINDS, Steps
from incident_operator.api.targets import MOST_TARGETS, Target

User = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Severity(StrEnum):
    """How bad it is, as the guide has it; unsure means the higher one."""

    SEV_1 = "SEV-1"
    SEV_2 = "SEV-2"
    SEV_3 = "SEV-3"
    SEV_4 = "SEV-4"


def _kinds_rule(action: str, field: str, kinds: tuple[str, ...]) -> Rule:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return Rule(
        rule=f"!has(self.{field}) || self.{field}.all(s, !has(s.{action}) || "
        f"(has(s.targets) ? s.targets.all(t, t.kind in [{listed}]) : "
        f"!has(self.targets) || self.targets.all(t, t.kind in [{listed}])))",
        message=f"{field}: {action} works on {', '.join(kinds)}; give the step targets of those kinds",
        field_path=f".{field}",
    )


class PlanRef(Model):
    """Names a RecoveryPlan."""

    name: ObjectName
    """Name of the RecoveryPlan, in the namespace of the Incident."""


RATIOS = ("maxRatio", "minRatio")
Ratio = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,6}(\.[0-9]{1,6})?$", max_length=13)]


def _above_zero(field: str) -> Rule:
    return Rule(
        rule=f"!has(self.{field}) || double(self.{field}) > 0.0",
        message=f'{field} must be more than 0, like "1.5"',
        field_path=f".{field}",
    )


class Performance(Model):
    """What a Prometheus measures is again as it was before the incident; no answer is Unknown."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            one_of(RATIOS), *(_above_zero(each) for each in RATIOS), between("before", "0s", "720h")
        )
    )

    query: Query
    """PromQL that gives exactly one number, such as a 95th percentile over all pods."""
    max_ratio: Ratio | None = None
    """The value may be at most so many times what it was, like "1.5": for what is better when it is lower."""
    min_ratio: Ratio | None = None
    """The value must be at least so many times what it was, like "0.8": for what is better when it is higher."""
    before: Duration = "10m"
    """How long before the detection it was still as it should be, up to 720h. The detection is when the first of its \
alerts began to fire, else when the Incident was made."""
    server: Label | None = None
    """The Prometheus to ask, by its name in the operator's configuration. Default: the first."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        exactly_one(self, RATIOS)
        check_between("before", self.before, 0, 30 * DAY_SECONDS)
        for name, ratio in zip(RATIOS, (self.max_ratio, self.min_ratio), strict=True):
            if ratio is not None and float(ratio) <= 0:
                raise ValueError(f"{name} must be more than 0")
        return self


class Recovery(Model):
    """Bring an application back tier by tier, from its database to its frontend."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(
                rule="!has(self.performance) || self.verification == 'Standard'",
                message="performance is part of the Standard verification: give verification: Standard, too",
                field_path=".performance",
            )
        )
    )

    plan_ref: PlanRef | None = None
    """The RecoveryPlan to follow. Default: the workloads that carry the label incident-operator.dev/tier, in the \
order database, api, bot, frontend, auxiliary."""
    verification: Literal["Gates", "Standard"] = "Gates"
    """What must be true in the end: the Gates of the tiers, or the guide's Standard list over all of them: health, \
key functionality (every http and sql gate once more), performance where that is given, few errors in logs, and a \
person's word that users are back."""
    performance: Performance | None = None
    """What must be again as it was before the incident; part of the Standard list."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        if self.performance and self.verification != "Standard":
            raise ValueError("performance is part of the Standard verification: give verification: Standard, too")
        return self


class IncidentSpec(Model):
    """What is wrong, where, how bad, and what to do about it."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            *[
                Rule(
                    rule="(has(self.containment) && self.containment.size() > 0) || "
                    "(has(self.remediation) && self.remediation.size() > 0) || has(self.recovery) || "
                    "has(self.runbookRef) || has(self.source)",
                    message="nothing to do: give at least one step under containment or remediation, or recovery, or "
                    "runbookRef",
                ),
                Rule(
                    rule="has(self.targets) || has(self.source)",
                    message="targets: give at least one; only an Incident with a source may lack them, and waits",
                ),
                Rule(
                    rule="self.severity <= oldSelf.severity || (has(self.severityReason) && "
                    "(!has(oldSelf.severityReason) || self.severityReason != oldSelf.severityReason))",
                    message="a severity is lowered only with a reason: say why in severityReason",
                    field_path=".severity",
                ),
                Rule(
                    rule="!has(self.containment) || !has(self.remediation) || "
                    "self.containment.all(c, !self.remediation.exists(r, r.name == c.name))",
                    message="the names of steps must be unique across containment and remediation",
                ),
                Rule(
                    rule="has(self.reportedBy) == has(oldSelf.reportedBy) && "
                    "(!has(self.reportedBy) || self.reportedBy == oldSelf.reportedBy)",
                    message="reportedBy cannot be changed, nor added later: delete the Incident and apply it again",
                    field_path=".reportedBy",
                ),
                Rule(
                    rule="!has(oldSelf.changedBy) || "
                    "(has(self.changedBy) && oldSelf.changedBy.all(u, u in self.changedBy))",
                    message="changedBy: names are added, and never taken away",
                    field_path=".changedBy",
                ),
                Rule(
                    rule="!oldSelf.cancel || self.cancel",
                    message="cancel cannot be taken back: make a new Incident",
                    field_path=".cancel",
                ),
                Rule(rule="!(self.release && self.cancel)", message="give release or cancel, not both"),
                between("expiresAfter", "1s", "720h"),
                between("holdFor", "1s", "24h"),
                *(
                    _kinds_rule(action, field, kinds)
                    for field in ("containment", "remediation")
                    for action, kinds in KINDS.items()
                    if action in ACTIONS
                ),
            ]
        )
    )

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """What is wrong, in a few words: it is what people see first."""
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """More about it, for people; the operator does not read it."""
    type: Literal["Security", "Outage", "Data", "Performance"]
    """What sort of incident it is: Security, Outage, Data or Performance."""
    severity: Severity
    """How bad it is: SEV-1 (critical) to SEV-4 (low). Unsure means the higher one. It may be raised at any time, and \
lowered with a severityReason."""
    severity_reason: Annotated[str, StringConstraints(min_length=1, max_length=1024)] | None = None
    """Why the severity was lowered."""
    mode: Literal["Observe", "Propose", "Enforce"] = "Enforce"
    """How far to go: Observe makes the plan only, Propose waits with it, Enforce carries it out."""
    reported_by: User | None = None
    """Who declares it: your own user name (kubectl auth whoami). Needed for approvals: nobody approves their own."""
    changed_by: Annotated[list[User], Field(max_length=16)] | None = None
    """Who else has changed what the plan is made from: add your own user name when you do. Their approval does not \
count either."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of this namespace to act as, whose rights are the limit. Default: incident-responder. Where a \
ResponsePolicy has another default it must be named."""
    targets: Annotated[list[Target], Field(min_length=1, max_length=MOST_TARGETS)] | None = None
    """The objects that it is about, in the namespace of the Incident. An Incident made from an alert that names none \
waits for a person to give them."""
    runbook_ref: RunbookRef | None = None
    """The Runbook whose steps, recovery, verification and escalation it takes over, where it has none itself."""
    source: Source | None = None
    """Where it comes from. Default: a person."""
    signals: Signals | None = None
    """The alerts it was made from; kept up to date by the operator. Nothing is begun once none of them fires."""
    hold_for: Duration | None = None
    """How long after its creation its alerts must still fire before the first change, like `2m`; between 1s and 24h."""
    acknowledged_by: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who has taken it on: ends the escalation."""
    escalation: Escalations | None = None
    """Whom to tell when nobody has taken it on for so long. Default: the runbook's."""
    containment: Steps | None = None
    """What to do at once to stop the damage, in this order."""
    remediation: Steps | None = None
    """What to do after containment to put things right, in this order."""
    recovery: Recovery | None = None
    """How to bring the application back after that, tier by tier."""
    verification: Annotated[list[Check], Field(max_length=32)] | None = None
    """What must be true for the Incident to be resolved. Without it, what is held stays until spec.release."""
    release: bool = False
    """The Incident is over: put back what it did; it ends Resolved."""
    cancel: bool = False
    """Stop, and put back what was done so far; it ends Cancelled. Cannot be taken back."""
    confirmed: Annotated[list[Label], Field(max_length=64)] | None = None
    """What a person has confirmed: names of confirm checks, and of tiers that may begin."""
    suspend: bool = False
    """Do nothing more until this is false again; what is done stays as it is, and nothing expires."""
    expires_after: Duration | None = None
    """Put back what goes back on resolve this long after it was done, like `4h`; between 1s and 720h."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        steps = [*(self.containment or ()), *(self.remediation or ())]
        check_between("expiresAfter", self.expires_after, 1, 30 * DAY_SECONDS)
        if self.release and self.cancel:
            raise ValueError("give release or cancel, not both")
        check_between("holdFor", self.hold_for, 1, DAY_SECONDS)
        if not (steps or self.recovery or self.runbook_ref or self.source):
            raise ValueError("nothing to do: give at least one step, or recovery, or runbookRef")
        if not (self.targets or self.source):
            raise ValueError("targets: give at least one")
        if len({step.name for step in steps}) != len(steps):
            raise ValueError("the names of steps must be unique across containment and remediation")
        for step in steps:
            allowed = KINDS.get(step.action[0])
            if allowed and any(target.kind not in allowed for target in step.targets or self.targets or ()):
                raise ValueError(f"{step.action[0]} works on {', '.join(allowed)}")
        checks = self.verification or []
        for listed in (self.targets or (), *(each.targets or () for each in (*steps, *checks))):
            _unique("targets", [(target.kind, target.name) for target in listed])
        _unique("verification", [check.name for check in self.verification or ()])
        return self


def _unique(field: str, keys: list[Any]) -> None:
    if len(set(keys)) != len(keys):
        raise ValueError(f"{field}: each may be named once")
