"""The Incident as a person writes it: what is wrong, where, how bad, and what to do about it.

The docstring under each field is its description in the CRD, so ``kubectl explain`` prints it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from incident_operator.api.schema import Duration, Label, Model, ObjectName, Rule, between, parse_duration, validated_by

ACTIONS = ("rolloutUndo", "scale", "isolate")
CHECKS = ("rollout", "podsReady", "http")
UNDOABLE = ("Deployment", "StatefulSet", "DaemonSet")
SCALABLE = ("Deployment", "StatefulSet")
DAY_SECONDS = 24 * 3600
MOST_TARGETS = 500


def _one_of(members: tuple[str, ...]) -> Rule:
    listed = ", ".join(f"has(self.{member})" for member in members)
    return Rule(
        rule=f"[{listed}].filter(x, x).size() == 1",
        message=f"exactly one of {', '.join(members)} is to be set",
    )


class Severity(StrEnum):
    """How bad it is, as the guide has it; unsure means the higher one."""

    SEV_1 = "SEV-1"
    SEV_2 = "SEV-2"
    SEV_3 = "SEV-3"
    SEV_4 = "SEV-4"


class Target(Model):
    """One object in the Incident's own namespace."""

    kind: Literal["Deployment", "StatefulSet", "DaemonSet", "Pod"]
    """Kind of the object: Deployment, StatefulSet, DaemonSet or Pod."""
    name: ObjectName
    """Name of the object, in the namespace of the Incident."""


class RolloutUndo(Model):
    """Go back to the last good revision: one that still runs, else one verified as good, else the previous one."""

    to_revision: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Go back to this revision, as `kubectl rollout history` numbers them. Default: the last good one."""


class Scale(Model):
    """Set the number of replicas; an autoscaler is pinned to it, and gets its bounds back on release."""

    replicas: Annotated[int, Field(ge=0, le=10000)]
    """The number of replicas to have."""


class Isolate(Model):
    """Cut the targets off the network with a NetworkPolicy that allows nothing."""

    direction: Literal["Both", "Ingress", "Egress"] = "Both"
    """Which traffic to cut: into the pods (Ingress), out of them (Egress), or Both."""


class Step(Model):
    """One thing to do: a name, exactly one action, and what to do it to."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            _one_of(ACTIONS), between("timeout", "1s", "24h"), between("expiresAfter", "1s", "720h")
        )
    )

    name: Label
    """Name of the step, unique in the Incident: it is in status, Events and logs."""
    rollout_undo: RolloutUndo | None = None
    """Go back to the last good revision of a Deployment, StatefulSet or DaemonSet. Never rolled forward again."""
    scale: Scale | None = None
    """Set the number of replicas of a Deployment or StatefulSet. Goes back when the Incident is resolved."""
    isolate: Isolate | None = None
    """Cut pods off the network with a NetworkPolicy. Goes back when the Incident is resolved."""
    targets: Annotated[list[Target], Field(min_length=1, max_length=MOST_TARGETS)] | None = None
    """What to do it to. Default: the targets of the Incident."""
    timeout: Duration = "10m"
    """How long the world may take to follow before the step has failed, between 1s and 24h."""
    on_failure: Literal["Halt", "Continue", "Release"] = "Halt"
    """What happens when the step fails: Halt and wait for a person, Continue with the next, or Release all."""
    release: Literal["OnResolve", "Manual", "Never"] | None = None
    """When what it did goes back: OnResolve, Manual (by spec.release or deletion), Never. Default: the action's."""
    expires_after: Duration | None = None
    """Put back what it did this long after it was done, like `4h`, whatever else. Default: the Incident's."""
    approval: Literal["ByPolicy", "Required"] = "ByPolicy"
    """Whether a person must approve the plan: as the policies say, or Required in any case."""
    stage: Label | None = None
    """Consecutive steps that name the same stage run together; others run one after the other."""

    @property
    def action(self) -> tuple[str, dict[str, Any]]:
        """The action that is set, with its parameters."""
        return _chosen(self, ACTIONS)

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        _exactly_one(self, ACTIONS)
        _check_between("timeout", self.timeout, 1, DAY_SECONDS)
        _check_between("expiresAfter", self.expires_after, 1, 30 * DAY_SECONDS)
        return self


class Rollout(Model):
    """The targets' rollouts are finished: every replica is new and available."""


class PodsReady(Model):
    """The targets' pods are ready."""

    minimum: Annotated[int, Field(ge=1, le=10000)] | None = None
    """How many ready pods are enough, over all targets. Default: all of them."""


class Http(Model):
    """A Service answers a GET with the wanted status; asked through the API server's proxy."""

    service: Label
    """Name of the Service, in the namespace of the Incident."""
    port: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=15)]
    """Port of the Service: its name, or its number in quotes."""
    path: Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", min_length=1, max_length=1024)] = "/"
    """Path and query to ask for; begins with /."""
    status: Annotated[int, Field(ge=100, le=599)] = 200
    """The HTTP status that counts as good. Redirects are not followed."""
    timeout: Duration = "5s"
    """How long one answer may take, between 100ms and 30s."""

    model_config = ConfigDict(json_schema_extra=validated_by(between("timeout", "100ms", "30s")))

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        _check_between("timeout", self.timeout, 0.1, 30)
        return self


class Check(Model):
    """One thing that must be true: a name, exactly one check, and for how long it must hold."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            _one_of(CHECKS),
            between("timeout", "1s", "24h"),
            Rule(
                rule="duration(self.timeout) >= duration(self.__for__)",
                message="timeout must be at least as long as for",
            ),
        )
    )

    name: Label
    """Name of the check, unique in the Incident."""
    rollout: Rollout | None = None
    """The targets' rollouts are finished."""
    pods_ready: PodsReady | None = None
    """The targets' pods are ready."""
    http: Http | None = None
    """A Service answers with the wanted status."""
    targets: Annotated[list[Target], Field(min_length=1, max_length=MOST_TARGETS)] | None = None
    """What to look at. Default: the targets of the Incident."""
    for_: Annotated[Duration, Field(alias="for")] = "0s"
    """For how long it must hold without a gap, like `30s`. Unknown is a gap."""
    timeout: Duration = "5m"
    """How long it may take to get there after the last step, between 1s and 24h; then the Incident halts."""

    @property
    def kind(self) -> tuple[str, dict[str, Any]]:
        """The check that is set, with its parameters."""
        return _chosen(self, CHECKS)

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        _exactly_one(self, CHECKS)
        _check_between("timeout", self.timeout, 1, DAY_SECONDS)
        if parse_duration(self.timeout) < parse_duration(self.for_):
            raise ValueError("timeout must be at least as long as for")
        return self


Steps = Annotated[list[Step], Field(max_length=32)]


def _kinds_rule(action: str, field: str, kinds: tuple[str, ...]) -> Rule:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return Rule(
        rule=f"!has(self.{field}) || self.{field}.all(s, !has(s.{action}) || "
        f"(has(s.targets) ? s.targets.all(t, t.kind in [{listed}]) : self.targets.all(t, t.kind in [{listed}])))",
        message=f"{field}: {action} works on {', '.join(kinds)}; give the step targets of those kinds",
        field_path=f".{field}",
    )


class IncidentSpec(Model):
    """What is wrong, where, how bad, and what to do about it."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            *[
                Rule(
                    rule="(has(self.containment) && self.containment.size() > 0) || "
                    "(has(self.remediation) && self.remediation.size() > 0)",
                    message="nothing to do: give at least one step under containment or remediation",
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
                    rule="!oldSelf.cancel || self.cancel",
                    message="cancel cannot be taken back: make a new Incident",
                    field_path=".cancel",
                ),
                Rule(rule="!(self.release && self.cancel)", message="give release or cancel, not both"),
                between("expiresAfter", "1s", "720h"),
                *(
                    _kinds_rule(action, field, kinds)
                    for field in ("containment", "remediation")
                    for action, kinds in (("rolloutUndo", UNDOABLE), ("scale", SCALABLE))
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
    """How bad it is: SEV-1 (critical) to SEV-4 (low). Unsure means the higher one."""
    mode: Literal["Observe", "Propose", "Enforce"] = "Enforce"
    """How far to go: Observe makes the plan only, Propose waits with it, Enforce carries it out."""
    reported_by: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    """Who declares it: your own user name (kubectl auth whoami). Needed for approvals: nobody approves their own."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of this namespace to act as, whose rights are the limit. Default: the policy's, else \
incident-responder."""
    targets: Annotated[list[Target], Field(min_length=1, max_length=MOST_TARGETS)]
    """The objects that it is about, in the namespace of the Incident."""
    containment: Steps | None = None
    """What to do at once to stop the damage, in this order."""
    remediation: Steps | None = None
    """What to do after containment to put things right, in this order."""
    verification: Annotated[list[Check], Field(max_length=32)] | None = None
    """What must be true for the Incident to be resolved. Without it, what is held stays until spec.release."""
    release: bool = False
    """The Incident is over: put back what it did; it ends Resolved."""
    cancel: bool = False
    """Stop, and put back what was done so far; it ends Cancelled. Cannot be taken back."""
    suspend: bool = False
    """Do nothing more until this is false again; what is done stays as it is, and nothing expires."""
    expires_after: Duration | None = None
    """Put back what goes back on resolve this long after it was done, like `4h`; between 1s and 720h."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        steps = [*(self.containment or ()), *(self.remediation or ())]
        _check_between("expiresAfter", self.expires_after, 1, 30 * DAY_SECONDS)
        if self.release and self.cancel:
            raise ValueError("give release or cancel, not both")
        if not steps:
            raise ValueError("nothing to do: give at least one step under containment or remediation")
        if len({step.name for step in steps}) != len(steps):
            raise ValueError("the names of steps must be unique across containment and remediation")
        for step in steps:
            allowed = {"rolloutUndo": UNDOABLE, "scale": SCALABLE}.get(step.action[0])
            if allowed and any(target.kind not in allowed for target in step.targets or self.targets):
                raise ValueError(f"{step.action[0]} works on {', '.join(allowed)}")
        checks = self.verification or []
        for listed in (self.targets, *(each.targets or () for each in (*steps, *checks))):
            _unique("targets", [(target.kind, target.name) for target in listed])
        _unique("verification", [check.name for check in self.verification or ()])
        return self


def _chosen(model: Model, members: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    told = model.model_dump(by_alias=True, exclude_none=True)
    return next((member, told[member]) for member in members if member in told)


def _exactly_one(model: Model, members: tuple[str, ...]) -> None:
    told = model.model_dump(by_alias=True, exclude_none=True)
    if sum(member in told for member in members) != 1:
        raise ValueError(f"exactly one of {', '.join(members)} is to be set")


def _check_between(field: str, text: str | None, low: float, high: float) -> None:
    if text is not None and not low <= parse_duration(text).total_seconds() <= high:
        raise ValueError(f"{field} must be between {low:g}s and {high:g}s")


def _unique(field: str, keys: list[Any]) -> None:
    if len(set(keys)) != len(keys):
        raise ValueError(f"{field}: each may be named once")
