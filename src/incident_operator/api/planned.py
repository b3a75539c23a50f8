"""What of an Incident's status tells its plan: steps, changes, and what each takes away."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from incident_operator.api.schema import Label, Model, Text, Word
from incident_operator.api.steps import Release

Notes = Annotated[list[Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=16)]
Names = Annotated[list[Annotated[str, StringConstraints(max_length=400)]], Field(max_length=32)]


class Blast(Model):
    """Which pods a change takes away, and who else notices."""

    workload: Text
    """The workload, as Kind/name."""
    owner: Text | None = None
    """The workload that a single pod belongs to: its pods are counted together, over the whole plan."""
    pods: int
    """How many pods; -1: it could not be told."""
    of: Annotated[int, Field(ge=0)] = 0
    """Of how many pods the workload has."""
    in_namespace: Annotated[int, Field(ge=0)] = 0
    """Of how many pods the namespace has."""
    how: Word
    """What happens to them: cut off, removed or replaced."""
    disruption_budgets: Names | None = None
    """PodDisruptionBudgets of the pods, and how many disruptions they allow now."""
    autoscaler: Text | None = None
    """The autoscaler of the workload."""
    services: Names | None = None
    """Services that keep no ready pod."""
    consumers: Names | None = None
    """Workloads whose environment names a Service of these pods."""
    unknown: Names | None = None
    """Kinds that could not be listed, so that this may not be all."""


class PlannedChange(Model):
    """One planned write, in words; the request itself is in the ledger."""

    key: Text
    """Names the change within its step."""
    summary: Text
    """What is changed, from what to what."""
    notes: Notes | None = None
    """What a person should know about it: guesses, warnings, who may undo it."""
    traits: Names | None = None
    """What a policy may ask about: Guess, Destructive."""
    further: Names | None = None
    """Writes that may turn out to be needed when it is made, by verb and kind; the notes say when."""
    diff: Annotated[str, StringConstraints(max_length=16384)] | None = None
    """What the API server's dry run of it changes, a line for each field; values of variables are hidden."""
    blast: Blast | None = None
    """What it takes away."""


class LedgerTarget(Model):
    """The object that was changed."""

    kind: Word
    """Kind of the object."""
    name: Text
    """Name of the object."""
    namespace: Word
    """Namespace of the object."""
    uid: Word | None = None
    """UID of the object, so that another one of its name is not taken for it."""


class PlannedGate(Model):
    """One gate of a tier, as it was when the plan was made."""

    name: Label
    """Name of the gate."""
    check: Word
    """Kind of check."""
    parameters: Annotated[str, StringConstraints(max_length=16384)] | None = None
    """What it checks, as JSON."""
    targets: Annotated[list[LedgerTarget], Field(max_length=500)] | None = None
    """What it looks at."""
    for_seconds: Annotated[int, Field(ge=0)] | None = None
    """For how long it must hold without a gap."""


class PlannedStep(Model):
    """One step of the plan."""

    name: Label
    """Name of the step."""
    phase: Literal["Containment", "Remediation", "Recovery"]
    """Which part of the Incident it belongs to."""
    action: Word
    """The action it takes."""
    stage: Word | None = None
    """Steps of one stage run together."""
    release: Release
    """When what it did is put back."""
    timeout_seconds: Annotated[int, Field(ge=0)]
    """How long the world may take to follow."""
    on_failure: Literal["Halt", "Continue", "Release", "Rollback"]
    """What happens when it fails."""
    expires_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long after it was done what it did goes back."""
    approval: Literal["ByPolicy", "Required"] | None = None
    """Whether the step asks for an approval whatever the policies say."""
    changes: Annotated[list[PlannedChange], Field(max_length=2000)] | None = None
    """Its changes."""
    tier: Word | None = None
    """The tier of the recovery that it belongs to."""
    gates: Annotated[list[PlannedGate], Field(max_length=300)] | None = None
    """What must be true before the next step begins."""
    brings_back: Names | None = None
    """The steps that it takes back."""
    expected_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long it usually takes."""
