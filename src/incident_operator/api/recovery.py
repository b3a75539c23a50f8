"""The RecoveryPlan as a service team writes it: the tiers of an application in the order they come back.

The docstring under each field is its description in the CRD, so ``kubectl explain`` prints it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from incident_operator.api.checks import Gate
from incident_operator.api.schema import (
    DAY_SECONDS,
    Duration,
    Label,
    LabelMap,
    Model,
    ObjectName,
    Rule,
    between,
    check_between,
    validated_by,
)
from incident_operator.api.steps import STEP_RULES, BaseStep

STEP_FAILURE = "onFailure belongs to the tier: a step of a tier fails as its tier does, so take it away here"

TIER_NAME = StringConstraints(max_length=32)


class Workload(Model):
    """One workload of a tier."""

    kind: Literal["Deployment", "StatefulSet", "DaemonSet", "CronJob", "Cluster"]
    """Kind of the workload: Deployment, StatefulSet, DaemonSet, CronJob or Cluster (CloudNativePG)."""
    name: ObjectName
    """Name of the workload, in the namespace of the plan."""
    replicas: Annotated[int, Field(ge=1, le=10000)] | None = None
    """Replicas to bring it back to if it has none when the recovery begins. Default: what it has then."""
    after: Annotated[list[ObjectName], Field(max_length=16)] | None = None
    """Names of workloads of the same tier that must be back before this one is started."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(
                rule="!has(self.after) || !(self.name in self.after)",
                message="a workload cannot come after itself",
                field_path=".after",
            )
        )
    )

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        if self.name in (self.after or ()):
            raise ValueError("a workload cannot come after itself")
        return self


class TierStep(BaseStep):
    """One thing to do to bring a tier back: a name, exactly one action, and what to do it to."""

    on_failure: Literal["Halt", "Continue", "Release"] | None = None
    """Not to be set: what happens when it fails is said by onFailure of the tier."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            *STEP_RULES, Rule(rule="!has(self.onFailure)", message=STEP_FAILURE, field_path=".onFailure")
        )
    )

    @model_validator(mode="after")
    def _fails_as_its_tier(self) -> Self:
        if self.on_failure is not None:
            raise ValueError(STEP_FAILURE)
        return self


class Tier(Model):
    """One tier: what belongs to it, how it is brought back, and what must be true before the next one begins."""

    name: Annotated[Label, TIER_NAME]
    """Name of the tier, such as database, api, bot, frontend or auxiliary."""
    workloads: Annotated[list[Workload], Field(min_length=1, max_length=100)] | None = None
    """The workloads by name. Default: those that selector selects."""
    selector: LabelMap | None = None
    """Labels of the workloads. Default: incident-operator.dev/tier with the name of the tier."""
    quiesce: bool | None = None
    """Stop it before the tiers below it are brought back, from the top down. Default: all tiers but the first."""
    steps: Annotated[list[TierStep], Field(max_length=8)] | None = None
    """What to do to bring it back, before what was stopped is started again, as in an Incident: restore, failover, \
rolloutUndo, rolloutRestart, scale, resume, runJob. Each has a timeout of its own. Default: nothing but starting it."""
    gates: Annotated[list[Gate], Field(max_length=16)] | None = None
    """What must be true before the next tier begins. Default: its rollouts are finished, its pods are ready, its \
CloudNativePG clusters are healthy."""
    timeout: Duration = "10m"
    """How long the tier may take from the start of its first workload until its gates hold, between 1s and 24h."""
    expected: Duration | None = None
    """How long it usually takes, to tell people whether it is late."""
    on_failure: Literal["Halt", "Continue", "Rollback"] = "Halt"
    """What happens when it fails: Halt and wait for a person; Continue with the next tier, leave out the rest of \
this one and halt when the others are up; or Rollback what its steps did, leave it stopped as before, and halt."""
    approval: Literal["None", "Required"] = "None"
    """Whether a person must say that it may begin, by its name in spec.confirmed of the Incident."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            between("timeout", "1s", "24h"),
            Rule(rule="!has(self.workloads) || !has(self.selector)", message="give workloads or selector, not both"),
        )
    )

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        check_between("timeout", self.timeout, 1, DAY_SECONDS)
        if self.workloads and self.selector:
            raise ValueError("give workloads or selector, not both")
        return self


class RecoveryPlanSpec(Model):
    """The tiers of an application, from the one that comes back first (the database) to the last."""

    title: Annotated[str, StringConstraints(max_length=200)] | None = None
    """What it brings back, for people."""
    tiers: Annotated[list[Tier], Field(min_length=1, max_length=16)]
    """The tiers, in the order they come back."""
