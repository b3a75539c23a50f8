"""The Incident's status: all that is known about its handling, and the ledger to undo it from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from incident_operator.api.planned import Blast, LedgerTarget, Names, PlannedStep
from incident_operator.api.schema import Instant, Json, Label, Model, ObjectName, Text, Word
from incident_operator.api.steps import Release

Facts = Annotated[dict[str, Annotated[str, StringConstraints(max_length=256)]], Field(max_length=16)]
Timers = Annotated[dict[str, Instant], Field(max_length=16)]
StepOrEarlier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(~[0-9]+)?$", max_length=66)]
Phase = Literal[
    "Detected", "Triage", "AwaitingApproval", "Containment", "Investigation", "Remediation", "Recovery",
    "Verification", "Monitoring", "Resolved", "Closed", "Halted", "Cancelled",
]  # fmt: skip


class Condition(Model):
    """One condition, as every Kubernetes API has them."""

    type: Word
    """Ready, Reconciling, Stalled (as kstatus has them), Contained, Recovered, SignalResolved; Paused, Overdue, \
BlastRadiusExceeded, ReleaseConflict while they hold."""
    status: Literal["True", "False", "Unknown"]
    """True, False or Unknown. Unknown is never success."""
    reason: Word
    """Why, in one word that does not change; Events have the same."""
    message: Text
    """Why, for people, with what can be done about it."""
    last_transition_time: Instant
    """Since when the status is what it is (RFC 3339, UTC)."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """The generation of the spec that this is about."""


class Resolved(Model):
    """What the Incident was resolved to: its runbook as it was then. Later edits of the runbook do not reach it."""

    runbook: Text
    """The runbook, as Kind/name."""
    generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the runbook that was read."""
    spec: Json | None = None
    """What was taken from it, as JSON."""


class Change(Model):
    """Something that changed before the Incident began."""

    what: Text
    """The object, as Kind/name."""
    at: Instant
    """When it changed."""
    by: Word | None = None
    """Who or what changed it, as far as the cluster knows."""
    summary: Text
    """What changed."""
    score: Annotated[int, Field(ge=0, le=100)]
    """How well it fits: 100 is a change of the target itself just before the alert began."""
    why: Text
    """Why it fits."""


class Triage(Model):
    """What was found out about the Incident before anything was done."""

    changes: Annotated[list[Change], Field(max_length=10)] | None = None
    """What changed in the hours before, best fit first."""
    affected: Names | None = None
    """Services, and workloads that use them, which the targets serve."""
    users: Word | None = None
    """How many users are affected, by the runbook's query."""
    data: Text | None = None
    """What it means for data, by the runbook."""
    business: Text | None = None
    """What it means for the business, by the runbook."""
    unknown: Names | None = None
    """What could not be looked at, so that this may not be all."""


class PlanStatus(Model):
    """What will be done, resolved to concrete objects and values."""

    hash: Word
    """Names exactly this plan: every request of every step goes into it."""
    generation: int
    """The generation of the spec it was made from."""
    basis: Word | None = None
    """Names what of the spec it was made from: changes of anything else keep the plan."""
    service_account_name: Word | None = None
    """Who makes its writes."""
    rights: Names | None = None
    """What that ServiceAccount must be allowed for the writes and for putting them back; checked before any."""
    created_at: Instant
    """When it was made."""
    resolved: Resolved | None = None
    """The runbook it was made from."""
    steps: Annotated[list[PlannedStep], Field(max_length=256)] | None = None
    """The steps, in the order they run."""


class CheckStatus(Model):
    """What one check says."""

    name: Label
    """Name of the check."""
    verdict: Literal["Pass", "Fail", "Unknown"]
    """Pass, Fail or Unknown. Unknown never counts as Pass."""
    since: Instant | None = None
    """Since when it says so."""
    passed: bool
    """Whether it has passed over its whole window."""
    message: Text | None = None
    """What was seen."""


class StepStatus(Model):
    """How far one step is."""

    name: Label
    """Name of the step."""
    phase: Literal["Pending", "Acting", "Settling", "Done", "Failed", "Skipped"]
    """Pending, Acting (writing), Settling (the world follows), Done or Failed."""
    reason: Word | None = None
    """Why it failed, in one word."""
    message: Text | None = None
    """How far it is, or how it ended."""
    facts: Facts | None = None
    """What was found out, like isolation: Full, Partial, NotEnforced or Unverified."""
    started_at: Instant | None = None
    """When its first write was put on record."""
    finished_at: Instant | None = None
    """When it was done or had failed."""
    gates: Annotated[list[CheckStatus], Field(max_length=300)] | None = None
    """What each of its gates says."""


class LedgerEntry(Model):
    """One write: on record before it was made, with what was there before and what was put there."""

    step: StepOrEarlier
    """The step it belongs to. With ~1 behind its name: the step as an earlier plan had it, while that is in force."""
    action: Word
    """The action that made it."""
    key: Text
    """Names it within its step."""
    target: LedgerTarget
    """What was changed."""
    verb: Literal["create", "patch", "delete", "none"]
    """How it was changed; none: it was so already."""
    request: Json | None = None
    """The exact request, as JSON."""
    before: Json | None = None
    """What was there before, as JSON: what a release puts back."""
    after: Json | None = None
    """What was put there, as JSON: a release acts only where it still stands."""
    stored: ObjectName | None = None
    """The IncidentLedger that holds request, before and after, where they are long or not for everybody's eyes."""
    summary: Text | None = None
    """The change in words."""
    release: Release
    """When it is put back."""
    state: Literal["Planned", "Intended", "Done", "Skipped", "Failed", "Released", "Kept", "Conflict"]
    """Planned, Intended (about to be written), Done, Skipped, Failed; then Released, Kept, or Conflict."""
    message: Text | None = None
    """Why it is in this state."""
    expires_at: Instant | None = None
    """When it is put back, whatever else."""
    intended_at: Instant | None = None
    """When the intent was put on record."""
    done_at: Instant | None = None
    """When the write was made."""
    released_at: Instant | None = None
    """When it was put back."""
    blast: Blast | None = None
    """What it takes away, where the plan does not have it any more: it still counts for the blast radius."""


class TimelineItem(Model):
    """One thing that happened."""

    at: Instant
    """When."""
    reason: Word
    """What, in one word; the Event about it has the same reason."""
    message: Text
    """What, for people."""


class RejectedPlan(Model):
    """A plan that was rejected."""

    hash: Word
    """Its hash."""
    by: Word
    """Who rejected it."""


class PolicyStatus(Model):
    """What the ResponsePolicies make of the plan."""

    names: Names
    """The policies that hold here; built-in where there is none."""
    mode: Literal["Observe", "Propose", "Enforce"]
    """How far the plan may go."""
    why: Names | None = None
    """Why not further, and which approvals are needed."""
    approved_by: Names | None = None
    """Who has approved the plan."""
    approved_at: Instant | None = None
    """When the last approval that was needed was there."""
    approved_plan: Word | None = None
    """The hash of the plan that was approved."""
    approved_for: Annotated[list[Text], Field(max_length=512)] | None = None
    """The rules that the approvals were enough for: one that is added or changed later asks anew."""
    rejected_plans: Annotated[list[RejectedPlan], Field(max_length=64)] | None = None
    """Plans that were rejected: final, also when the rejection itself is deleted."""


class TierStatus(Model):
    """How far one tier is."""

    name: Label
    """Name of the tier."""
    phase: Literal["Pending", "Stopped", "Restoring", "Checking", "Up", "Failed"]
    """Pending, Stopped, Restoring, Checking (its gates), Up or Failed."""
    message: Text | None = None
    """How far it is, or how it ended."""
    started_at: Instant | None = None
    """When bringing it back began."""
    finished_at: Instant | None = None
    """When it was back."""
    seconds: Annotated[int, Field(ge=0)] | None = None
    """How long it took."""
    expected_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long it usually takes."""


class RecoveryStatus(Model):
    """How far the recovery is."""

    summary: Text
    """How many tiers are back, and which one is next."""
    since: Instant | None = None
    """When bringing back the tier that is on its way now began."""
    expected: Word | None = None
    """How long that one usually takes, like 1m30s."""
    tiers: Annotated[list[TierStatus], Field(max_length=16)]
    """The tiers, in the order they come back."""


class IncidentStatus(Model):
    """What the operator knows and has done; written by it alone."""

    observed_generation: int = -1
    """The generation of the spec that this status is about; -1 until the operator has seen the Incident."""
    id: Word | None = None
    """The number to say on the phone, like INC-2026-1123-001."""
    phase: Phase | None = None
    """Where it is in the course of the guide; for display, the conditions are the contract. Monitoring: resolved, and \
something with release Manual is still held."""
    summary: Text | None = None
    """The targets in a few words, for the table."""
    conditions: Annotated[list[Condition], Field(max_length=16)] | None = None
    """Ready, with either Reconciling or Stalled or neither; Contained, Recovered, ReleaseConflict."""
    resolved: Resolved | None = None
    """The runbook, where there is no plan made from it yet."""
    plan: PlanStatus | None = None
    """The plan, to be read before it is carried out."""
    triage: Triage | None = None
    """What was found out before anything was done."""
    policy: PolicyStatus | None = None
    """What the ResponsePolicies make of the plan, and who approved it."""
    steps: Annotated[list[StepStatus], Field(max_length=256)] | None = None
    """How far each step is."""
    ledger: Annotated[list[LedgerEntry], Field(max_length=4000)] | None = None
    """Every write, on record before it was made."""
    verification: Annotated[list[CheckStatus], Field(max_length=32)] | None = None
    """What each check says."""
    recovery: RecoveryStatus | None = None
    """How far each tier of the recovery is."""
    timeline: Annotated[list[TimelineItem], Field(max_length=200)] | None = None
    """What happened, in order."""
    timers: Timers | None = None
    """When it was detected, contained, mitigated, recovered and resolved, and when a recovery that had halted was \
asked last to go on (RFC 3339, UTC)."""
    asked: Word | None = None
    """Names what the spec asks for: alerts that come and go, and other words for people, do not change it."""
    overdue: Annotated[list[Word], Field(max_length=8)] | None = None
    """The clocks of its severity that were said to be overdue."""
    escalated: Annotated[list[Word], Field(max_length=32)] | None = None
    """What its hooks were told: escalations by their place in the list, clocks that are overdue, the last halt."""
    last_handled_request: Word | None = None
    """The annotation incident-operator.dev/requested-at as it was last acted on."""
