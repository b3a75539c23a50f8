"""The Runbook as a team writes it: what an alert looks like, what to do about it, and whom to tell.

The docstring under each field is its description in the CRD, so ``kubectl explain`` prints it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from incident_operator.api.checks import Check, Query
from incident_operator.api.incident import Recovery, Severity
from incident_operator.api.schema import Duration, Label, Model, Rule, between, check_between, validated_by
from incident_operator.api.signals import Escalations
from incident_operator.api.steps import Steps

AlertName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Lines = Annotated[list[Line], Field(max_length=32)]
AlertLabels = Annotated[
    dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(min_length=1, max_length=16)
]


class Trigger(Model):
    """Alerts that it answers where they name no runbook themselves."""

    alert: AlertName
    """Name of the alert (its label alertname)."""
    labels: AlertLabels | None = None
    """Labels that the alert must have besides, with these values."""


class Users(Model):
    """How many users are affected, as Prometheus counts them."""

    query: Query
    """PromQL whose result is a number of users."""
    server: Label | None = None
    """The Prometheus to ask, by its name in the operator's configuration. Default: the first."""


class Impact(Model):
    """What the assessment of the guide asks for, and no cluster can tell."""

    users: Users | None = None
    """How many users are affected."""
    data: Line | None = None
    """What it means for data: loss, corruption, exposure."""
    business: Line | None = None
    """What it means for revenue and reputation."""


class RunbookSpec(Model):
    """What an alert looks like, what to do about it, and whom to tell."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            between("holdFor", "1s", "24h"),
            Rule(
                rule="!has(self.containment) || !has(self.remediation) || "
                "self.containment.all(c, !self.remediation.exists(r, r.name == c.name))",
                message="the names of steps must be unique across containment and remediation",
            ),
        )
    )

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """What it is about; title of the Incidents it is for where the alert has no summary."""
    description: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """More about it, for people."""
    triggers: Annotated[list[Trigger], Field(max_length=64)] | None = None
    """The alerts that it answers; one that names a runbook itself has that one."""
    type: Literal["Security", "Outage", "Data", "Performance"] | None = None
    """Type of Incidents whose alert does not say one. Default: Outage."""
    severity: Severity | None = None
    """Severity of Incidents whose alert does not say one. Default: SEV-2."""
    hold_for: Duration | None = None
    """How long an alert must fire before the first change, like `2m`; between 1s and 24h."""
    containment: Steps | None = None
    """What to do at once to stop the damage, in this order."""
    remediation: Steps | None = None
    """What to do after containment to put things right, in this order."""
    recovery: Recovery | None = None
    """How to bring the application back after that, tier by tier."""
    verification: Annotated[list[Check], Field(max_length=32)] | None = None
    """What must be true for the Incident to be resolved. Default where an alert made it: the alert has resolved."""
    symptoms: Lines | None = None
    """What people notice, for people."""
    common_causes: Lines | None = None
    """What it usually comes from, for people."""
    diagnosis: Lines | None = None
    """How to find out more, step by step, for people."""
    impact: Impact | None = None
    """What it means for users, data and business."""
    escalation: Escalations | None = None
    """Whom to tell when nobody has taken it on for so long."""
    communication: Annotated[str, StringConstraints(max_length=4096)] | None = None
    """Whom to tell what, for people."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        check_between("holdFor", self.hold_for, 1, 24 * 3600)
        steps = [*(self.containment or ()), *(self.remediation or ())]
        if len({step.name for step in steps}) != len(steps):
            raise ValueError("the names of steps must be unique across containment and remediation")
        checks = [check.name for check in self.verification or ()]
        if len(set(checks)) != len(checks):
            raise ValueError("verification: each may be named once")
        return self
