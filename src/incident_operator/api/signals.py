"""What an Incident knows of the alerts that it was made from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from incident_operator.api.schema import Duration, Instant, Label, Model, ObjectName, Text

Source = Literal[
    "Alertmanager", "Grafana", "Prometheus", "Sentry", "Falco", "Trivy", "Workload", "User", "Person"
]  # fmt: skip
Texts = Annotated[dict[str, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=64)]
MOST_SIGNALS = 64


class SignalSpec(Model):
    """One alert, as its source said it. All of it is text: nothing in it is executed."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Name of the alert."""
    fingerprint: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]+$", min_length=1, max_length=64)]
    """Names the alert whatever its state."""
    starts_at: Instant
    """Since when it fires (RFC 3339)."""
    ends_at: Instant | None = None
    """Since when it does not fire any more. Absent: it fires."""
    labels: Texts | None = None
    """Its labels."""
    annotations: Texts | None = None
    """Its annotations."""
    url: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Where to see more."""
    source: Source | None = None
    """Who raised it, where that is not the Incident's `source`."""
    server: Label | None = None
    """The Prometheus that was asked for it, by its name in the operator's configuration."""
    problem: Text | None = None
    """What of it could not be understood, and what it may be; nothing is begun before that is put right."""
    note: Text | None = None
    """What else is to be known of it, such as how many alerts its sender has left out; holds nothing up."""


Signals = Annotated[list[SignalSpec], Field(max_length=MOST_SIGNALS)]


class RunbookRef(Model):
    """Names a Runbook or a ClusterRunbook."""

    kind: Literal["Runbook", "ClusterRunbook"] = "Runbook"
    """Runbook, in the namespace of the Incident, or ClusterRunbook."""
    name: ObjectName
    """Its name."""


class Escalation(Model):
    """Whom to tell when nobody has taken the Incident on; the first is also told of overdue clocks and of halts."""

    after: Duration
    """How long after it was detected, like `15m`."""
    hook: Label
    """The hook to tell, by its name in the operator's configuration."""


Escalations = Annotated[list[Escalation], Field(max_length=16)]
