"""The ResponsePolicy as a platform or security team writes it: what may be done, where, how much, who must agree."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from incident_operator.api.incident import Severity
from incident_operator.api.schema import (
    Duration,
    Instant,
    Label,
    LabelMap,
    Model,
    ObjectName,
    Rule,
    between,
    validated_by,
)

ActionName = Literal[
    "rolloutUndo",
    "scale",
    "isolate",
    "rolloutRestart",
    "suspend",
    "resume",
    "pauseAutoscaling",
    "runJob",
    "snapshotVolumes",
    "restore",
    "failover",
]
Day = Literal["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
User = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Kind = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]*$", max_length=63)]
LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=316)]
Percent = Annotated[int, Field(ge=0, le=100)]
TIME_OF_DAY = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
TimeOfDay = Annotated[str, StringConstraints(pattern=TIME_OF_DAY, max_length=5)]
DATE_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})$"
DateTime = Annotated[Instant, StringConstraints(pattern=DATE_TIME)]


class Requirement(Model):
    """One expression of a LabelSelector."""

    key: LabelKey
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """In, NotIn, Exists or DoesNotExist."""
    values: Annotated[list[Annotated[str, StringConstraints(max_length=63)]], Field(max_length=64)] | None = None
    """The values for In and NotIn."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(
                rule="self.operator in ['In', 'NotIn'] == (has(self.values) && self.values.size() > 0)",
                message="values belong to In and NotIn, and only to them",
                field_path=".values",
            )
        )
    )


class Selector(Model):
    """A LabelSelector, as everywhere in Kubernetes; an empty one selects everything."""

    match_labels: LabelMap | None = None
    """Labels that must all be there with these values."""
    match_expressions: Annotated[list[Requirement], Field(max_length=32)] | None = None
    """Expressions that must all hold."""


class Actions(Model):
    """Which actions Incidents may take."""

    allowed: Annotated[list[ActionName], Field(max_length=32)] | None = None
    """Only these. Default: all."""
    forbidden: Annotated[list[ActionName], Field(max_length=32)] | None = None
    """Not these, whatever is allowed."""


class Approvers(Model):
    """Whose approval counts; without users and groups anybody's who may create an IncidentApproval."""

    users: Annotated[list[User], Field(max_length=64)] | None = None
    """User names, as `kubectl auth whoami` prints them."""
    groups: Annotated[list[User], Field(max_length=64)] | None = None
    """Groups, of which the approver names theirs in the IncidentApproval."""


class Approval(Model):
    """When people must approve a plan, who, and how many."""

    name: Label
    """Names the rule in messages."""
    severities: Annotated[list[Severity], Field(max_length=4)] | None = None
    """For Incidents of these severities. Default: all."""
    types: Annotated[list[Literal["Security", "Outage", "Data", "Performance"]], Field(max_length=4)] | None = None
    """For Incidents of these types. Default: all."""
    actions: Annotated[list[ActionName], Field(max_length=32)] | None = None
    """For plans with any of these actions. Default: all."""
    when: Annotated[list[Literal["Irreversible", "Destructive", "Guess", "Unknown"]], Field(max_length=4)] | None = None
    """For plans with a step that is Irreversible, Destructive, rests on a Guess, or whose reach is Unknown."""
    count: Annotated[int, Field(ge=0, le=10)] = 1
    """How many people must approve. 0: nobody need. With `when: [Destructive]`, and if all policies of the namespace \
say so, it waives the built-in rule that somebody agrees to what is destructive."""
    from_: Annotated[Approvers | None, Field(alias="from")] = None
    """Whose approval counts."""


class Protected(Model):
    """Objects that no Incident touches; every condition that is given must hold."""

    name: Label
    """Names the rule in messages."""
    kinds: Annotated[list[Kind], Field(max_length=32)] | None = None
    """Objects of these kinds."""
    names: Annotated[list[ObjectName], Field(max_length=256)] | None = None
    """Objects of these names."""
    namespaces: Annotated[list[Label], Field(max_length=256)] | None = None
    """Objects in these namespaces."""
    selector: Selector | None = None
    """Objects with these labels."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(
                rule="has(self.kinds) || has(self.names) || has(self.namespaces) || has(self.selector)",
                message="give at least one of kinds, names, namespaces, selector: without any it protects everything",
            )
        )
    )


class BlastRadius(Model):
    """How much one Incident may take away; what is not given is not limited."""

    pods: Annotated[int, Field(ge=0, le=100000)] | None = None
    """At most this many pods."""
    pods_percent: Percent | None = None
    """At most this share of the pods of the namespace, rounded down."""
    workloads: Annotated[int, Field(ge=0, le=10000)] | None = None
    """At most this many workloads."""
    workload_percent: Percent | None = None
    """At most this share of the pods of each workload, rounded down."""
    exceeded: Literal["Refuse", "RequireApproval"] = "Refuse"
    """What becomes of a plan that takes more: Refuse it, or RequireApproval."""


class FreezeWindow(Model):
    """A time in which every plan waits for an approval: once (start, end), or weekly (days, opens, closes)."""

    name: Label
    """Names the window in messages."""
    start: DateTime | None = None
    """Begins at this time (RFC 3339)."""
    end: DateTime | None = None
    """Ends at this time (RFC 3339)."""
    days: Annotated[list[Day], Field(min_length=1, max_length=7)] | None = None
    """Opens on these days of the week."""
    opens: TimeOfDay | None = None
    """Opens at this time of day, like 17:00."""
    closes: TimeOfDay | None = None
    """Closes at this time of day; at or before opens it is that of the next day."""
    time_zone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]+$", max_length=64)] = "UTC"
    """IANA name of the zone of opens and closes, like Europe/Berlin."""
    except_severities: Annotated[list[Severity], Field(max_length=4)] | None = None
    """Incidents of these severities are not held up."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(
                rule="(has(self.start) && has(self.end) && !has(self.days) && !has(self.opens) && !has(self.closes)) ||"
                " (has(self.days) && has(self.opens) && has(self.closes) && !has(self.start) && !has(self.end))",
                message="give either start and end, or days, opens and closes",
            ),
            Rule(
                rule="!has(self.start) || !has(self.end) || timestamp(self.start) < timestamp(self.end)",
                message="start must be before end",
            ),
        )
    )


class Storm(Model):
    """When too much happens at once, people take over: new Incidents only propose."""

    model_config = ConfigDict(json_schema_extra=validated_by(between("within", "1s", "48h")))

    incidents: Annotated[int, Field(ge=1, le=10000)]
    """So many Incidents may be carried out ..."""
    within: Duration
    """... within this time, like `10m`."""


class ResponsePolicySpec(Model):
    """What Incidents may do in the namespaces it selects. Of several policies the strictest holds."""

    model_config = ConfigDict(json_schema_extra=validated_by(between("cooldown", "1s", "48h")))

    namespace_selector: Selector
    """The namespaces it is for, by their labels; {} is all of them."""
    max_mode: Literal["Observe", "Propose", "Enforce"] = "Enforce"
    """The highest mode: Observe (plans only), Propose (plans wait for an approval), Enforce."""
    actions: Actions | None = None
    """Which actions may be taken."""
    approvals: Annotated[list[Approval], Field(max_length=32)] | None = None
    """Which plans people must approve."""
    protected: Annotated[list[Protected], Field(max_length=64)] | None = None
    """What no Incident touches; the label or annotation incident-operator.dev/protected always holds, too."""
    blast_radius: BlastRadius | None = None
    """How much one Incident may take away."""
    freeze_windows: Annotated[list[FreezeWindow], Field(max_length=64)] | None = None
    """When every plan waits for an approval."""
    cooldown: Duration | None = None
    """How long an object is left alone after an Incident changed it, before another one may."""
    storm: Storm | None = None
    """When too much happens at once."""
    default_service_account_name: ObjectName | None = None
    """ServiceAccount of the Incident's namespace that acts where an Incident made by an alert names none. A person's \
must name it, unless it is incident-responder: the API server then asks whether they may use it."""
