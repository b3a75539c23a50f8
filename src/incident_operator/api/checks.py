"""What can be checked: the parameters of each kind of check, and the check as it is written.

The docstring under each field is its description in the CRD, so ``kubectl explain`` prints it.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from incident_operator.api.schema import (
    DAY_SECONDS,
    Duration,
    Label,
    Model,
    ObjectName,
    Rule,
    between,
    check_between,
    chosen,
    exactly_one,
    one_of,
    parse_duration,
    validated_by,
)
from incident_operator.api.targets import MOST_TARGETS, Target

CHECKS = ("rollout", "podsReady", "http", "confirm", "sql", "logs", "job", "promql", "tcp", "alertResolved")


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
        check_between("timeout", self.timeout, 0.1, 30)
        return self


Query = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Sql(Model):
    """The targets' PostgreSQL answers a query, and is not in recovery; asked with psql in one of their pods."""

    query: Query = "select 1"
    """What to ask; it must change nothing."""
    expect: Annotated[str, StringConstraints(max_length=256)] | None = None
    """The whole answer, as psql prints it without alignment. Default: any answer."""
    database: Annotated[str, StringConstraints(min_length=1, max_length=63)] = "postgres"
    """The database to ask."""
    user: Annotated[str, StringConstraints(min_length=1, max_length=63)] = "postgres"
    """The role to ask as, through the pod's local socket."""
    container: Label | None = None
    """The container that has psql. Default: the first one of the pod."""
    recovery: bool = False
    """Whether a server that is still in recovery, such as a replica, is good."""


class Logs(Model):
    """The targets' containers have logged none, or few, of some texts since the last action."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(
                rule="!(has(self.atMost) && has(self.perMinute))",
                message="give atMost (since the last action) or perMinute (over the last minutes), not both",
            ),
            Rule(
                rule="!has(self.over) || has(self.perMinute)",
                message="over is the window of perMinute: give that, too",
                field_path=".over",
            ),
            between("over", "10s", "1h"),
        )
    )

    patterns: Annotated[
        list[Annotated[str, StringConstraints(min_length=1, max_length=256)]], Field(min_length=1, max_length=16)
    ]
    """Texts to look for in each line; upper and lower case are the same. No regular expressions."""
    at_most: Annotated[int, Field(ge=0, le=100000)] | None = None
    """How many such lines since the last action are still good, over all targets; more of them can only be put right \
by another action. Default: 0, where perMinute is not given."""
    per_minute: Annotated[int, Field(ge=0, le=100000)] | None = None
    """How many such lines a minute are still good, over all targets, counted over the last `over`. Unknown until \
that much time has passed since the last action."""
    over: Duration | None = None
    """The time that perMinute looks back, between 10s and 1h. Default: 1m."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        if self.at_most is not None and self.per_minute is not None:
            raise ValueError("give atMost (since the last action) or perMinute (over the last minutes), not both")
        if self.over is not None and self.per_minute is None:
            raise ValueError("over is the window of perMinute: give that, too")
        check_between("over", self.over, 10, 3600)
        return self


class JobVerdict(Model):
    """The newest Job of a CronJob that was made since the last action has completed."""

    cron_job: ObjectName
    """The CronJob."""


class Confirm(Model):
    """A person has said so, by its name in spec.confirmed of the Incident."""

    question: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    """What the person is asked, such as: can users log in again?"""


Decimal = Annotated[str, StringConstraints(pattern=r"^[-+]?[0-9]{1,20}(\.[0-9]{1,20})?$", max_length=43)]
COMPARED = ("lessThan", "greaterThan", "equalTo")


class PromQl(Model):
    """A Prometheus' answer to a query is below, above or equal to a number; no answer is Unknown."""

    model_config = ConfigDict(json_schema_extra=validated_by(one_of(COMPARED)))

    query: Query
    """PromQL. Its window begins at the last action: until it is over the check is Unknown."""
    less_than: Decimal | None = None
    """Every value of the answer must be below this, like "0.01"."""
    greater_than: Decimal | None = None
    """Every value of the answer must be above this."""
    equal_to: Decimal | None = None
    """Every value of the answer must be this."""
    server: Label | None = None
    """The Prometheus to ask, by its name in the operator's configuration. Default: the first."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        exactly_one(self, COMPARED)
        return self


class Tcp(Model):
    """A Service's pods accept TCP connections; tried from the operator's pod."""

    service: Label
    """Name of the Service, in the namespace of the Incident."""
    port: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=15)]
    """Port of the Service: its name, or its number in quotes."""
    timeout: Duration = "2s"
    """How long one connection may take, between 100ms and 30s."""

    model_config = ConfigDict(json_schema_extra=validated_by(between("timeout", "100ms", "30s")))

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        check_between("timeout", self.timeout, 0.1, 30)
        return self


class AlertResolved(Model):
    """None of the alerts that the Incident was made from fires any more."""


class Gate(Model):
    """What must be true before the next tier begins: a name, exactly one check, and for how long it must hold."""

    model_config = ConfigDict(json_schema_extra=validated_by(one_of(CHECKS)))

    name: Label
    """Name of the check; no other check beside it has it."""
    rollout: Rollout | None = None
    """The targets' rollouts are finished."""
    pods_ready: PodsReady | None = None
    """The targets' pods are ready."""
    http: Http | None = None
    """A Service answers with the wanted status."""
    sql: Sql | None = None
    """A PostgreSQL answers a query, and is not in recovery."""
    logs: Logs | None = None
    """No, or few, of some texts were logged since the last action."""
    job: JobVerdict | None = None
    """The newest Job of a CronJob has completed."""
    promql: PromQl | None = None
    """A Prometheus' answer to a query is below, above or equal to a number."""
    tcp: Tcp | None = None
    """A Service's pods accept TCP connections."""
    alert_resolved: AlertResolved | None = None
    """None of the Incident's alerts fires any more."""
    confirm: Confirm | None = None
    """A person has said so."""
    targets: Annotated[list[Target], Field(min_length=1, max_length=MOST_TARGETS)] | None = None
    """What to look at. Default: the targets of the Incident, or the workloads of the tier."""
    for_: Annotated[Duration, Field(alias="for")] = "0s"
    """For how long it must hold without a gap, like `30s`. Unknown is a gap."""

    @property
    def kind(self) -> tuple[str, dict[str, Any]]:
        """The check that is set, with its parameters."""
        return chosen(self, CHECKS)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        exactly_one(self, CHECKS)
        return self


class Check(Gate):
    """One thing that must be true: a name, exactly one check, and for how long it must hold."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            one_of(CHECKS),
            between("timeout", "1s", "24h"),
            Rule(
                rule="duration(self.timeout) >= duration(self.__for__)",
                message="timeout must be at least as long as for",
            ),
        )
    )

    timeout: Duration = "5m"
    """How long it may take to get there after the last step, between 1s and 24h; then the Incident halts."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        check_between("timeout", self.timeout, 1, DAY_SECONDS)
        if parse_duration(self.timeout) < parse_duration(self.for_):
            raise ValueError("timeout must be at least as long as for")
        return self
