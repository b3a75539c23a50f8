"""The operator's own configuration: one YAML file, read once at the start.

Secrets are never in it: each is a file of its own, named here, and read whenever it is needed, so
that a rotated one is used at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import Field, StringConstraints, ValidationError, model_validator

from incident_operator.api.policy import Day, TimeOfDay
from incident_operator.api.schema import Duration, Label, Model, check_between
from incident_operator.faults import Stalled

Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s]+$", max_length=1024)]
MOST_BYTES = 1 << 20
"""Size of a configuration file that is still read."""


class BasicAuth(Model):
    """A user name, and the file its password is in."""

    username: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """The user name."""
    password_file: Path
    """File with the password."""


class ClientTls(Model):
    """How a server is recognised, and who this client is."""

    ca_file: Path | None = None
    """File with the certificates of the authorities to trust. Default: the system's."""
    cert_file: Path | None = None
    """File with this client's certificate, where the server asks for one."""
    key_file: Path | None = None
    """File with its key."""

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("give certFile and keyFile, or neither")
        return self


class PrometheusServer(Model):
    """A Prometheus that checks ask, and whose alerts become Incidents where it has no Alertmanager."""

    name: Label
    """What checks call it."""
    url: Url
    """Where it is, such as http://prometheus.monitoring:9090."""
    bearer_token_file: Path | None = None
    """File with a bearer token."""
    basic_auth: BasicAuth | None = None
    """User name and password."""
    tls: ClientTls | None = None
    """For https."""
    timeout: Duration = "5s"
    """How long an answer may take, between 100ms and 60s."""
    poll_alerts: Duration | None = None
    """How often to ask for its firing alerts, between 1s and 1h. Default: never; Alertmanager sends them."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_between("timeout", self.timeout, 0.1, 60)
        check_between("pollAlerts", self.poll_alerts, 1, 3600)
        if self.bearer_token_file and self.basic_auth:
            raise ValueError("give bearerTokenFile or basicAuth, not both")
        return self


class ServerTls(Model):
    """The certificate that senders see, and whose certificates are asked of them."""

    cert_file: Path
    """File with the certificate."""
    key_file: Path
    """File with its key."""
    client_ca_file: Path | None = None
    """File with the authorities whose clients may send (mTLS); whoever has no certificate reaches nothing then, so \
/sentry only through a proxy that has one. Default: clients need no certificate."""


class Receiver(Model):
    """Where alerts are taken in, and from whom."""

    listen: Annotated[str, StringConstraints(pattern=r"^[^\s]*:[0-9]{1,5}$", max_length=256)] = ":8090"
    """HOST:PORT to listen on; port 0 takes a free one."""
    tls: ServerTls | None = None
    """For https. Without clientCaFile a token is needed, too."""
    token_file: Path | None = None
    """File with the bearer token of Alertmanager, Grafana and falcosidekick. Without it, and without mTLS, /alerts \
and /falco answer 403."""
    sentry_secret_file: Path | None = None
    """File with the client secret of the Sentry integration. Without it /sentry answers 403."""
    namespace: Label | None = None
    """Namespace of Incidents whose alert names none that is there. Default: the operator's own."""
    per_second: Annotated[int, Field(ge=1, le=10000)] = 50
    """Requests a second from one address, beyond which it is told to come back (503); so many at once, too."""


class BusinessHours(Model):
    """When people are at work, for the clocks that only run then."""

    time_zone: Annotated[str, StringConstraints(max_length=64)] = "UTC"
    """IANA name of the zone, like Europe/Berlin."""
    days: Annotated[tuple[Day, ...], Field(min_length=1, max_length=7)] = (
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
    )
    """Days of the week."""
    opens: TimeOfDay = "09:00"
    """When a day begins."""
    closes: TimeOfDay = "17:00"
    """When it ends, on the same day."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as cause:
            raise ValueError(f"timeZone: {self.time_zone!r} is not a zone; write it as Europe/Berlin") from cause
        if self.opens >= self.closes:
            raise ValueError("opens must be before closes")
        return self


class Clocks(Model):
    """How long each may take for Incidents of one severity, counted from when it was detected."""

    acknowledge: Duration | None = None
    """Until a person has taken it on (spec.acknowledgedBy). Default: no limit."""
    contain: Duration | None = None
    """Until the damage is contained."""
    update: Duration | None = None
    """How long it may be silent: since the last item of its timeline, until it is resolved."""
    resolve: Duration | None = None
    """Until it is resolved."""
    hours: Literal["Always", "Business"] = "Always"
    """Always: round the clock. Business: only the business hours count."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        for clock in ("acknowledge", "contain", "update", "resolve"):
            check_between(clock, getattr(self, clock), 1, 365 * 24 * 3600)
        return self


class SeverityClocks(Model):
    """The clocks of each severity; the defaults are the guide's."""

    sev_1: Annotated[Clocks, Field(alias="SEV-1")] = Clocks(acknowledge="5m", contain="15m", update="30m", resolve="4h")
    """Critical: at once, round the clock."""
    sev_2: Annotated[Clocks, Field(alias="SEV-2")] = Clocks(acknowledge="15m", contain="1h", update="1h", resolve="8h")
    """High: within the hour, round the clock."""
    sev_3: Annotated[Clocks, Field(alias="SEV-3")] = Clocks(
        acknowledge="1h", contain="4h", update="4h", resolve="24h", hours="Business"
    )
    """Medium: within four business hours."""
    sev_4: Annotated[Clocks, Field(alias="SEV-4")] = Clocks(hours="Business")
    """Low: next sprint; no clock runs."""

    def of(self, severity: str) -> Clocks:
        """The clocks of a severity; of an unknown one those of the highest."""
        return {"SEV-2": self.sev_2, "SEV-3": self.sev_3, "SEV-4": self.sev_4}.get(severity, self.sev_1)


class Hook(Model):
    """Where to post what people must know: an HTTP endpoint that takes JSON."""

    name: Label
    """What escalations call it."""
    url_file: Path
    """File with the URL, which is taken for a secret."""
    token_file: Path | None = None
    """File with a bearer token."""
    timeout: Duration = "10s"
    """How long an answer may take, between 100ms and 60s."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        check_between("timeout", self.timeout, 0.1, 60)
        return self


class Configuration(Model):
    """All of it; what is not given has its default."""

    prometheus: Annotated[tuple[PrometheusServer, ...], Field(max_length=32)] = ()
    """The Prometheus servers; the first one is asked where a check names none."""
    receiver: Receiver = Receiver()
    """Where alerts are taken in."""
    business_hours: BusinessHours = BusinessHours()
    """When people are at work."""
    clocks: SeverityClocks = SeverityClocks()
    """How long each may take."""
    trivy_threshold: Literal["Critical", "High"] | None = None
    """From which severity on a VulnerabilityReport of Trivy Operator becomes an Incident. Default: never."""
    hooks: Annotated[tuple[Hook, ...], Field(max_length=32)] = ()
    """Where escalations go."""

    @model_validator(mode="after")
    def _unique(self) -> Self:
        named = {
            "prometheus": [each.name for each in self.prometheus],
            "hooks": [each.name for each in self.hooks],
        }
        for field, found in named.items():
            if len(set(found)) != len(found):
                raise ValueError(f"{field}: each name may be there once")
        return self


def load(path: Path) -> Configuration:
    """The configuration in a YAML file; Stalled names the field and what it may be."""
    try:
        with path.open("rb") as file:
            raw: Any = yaml.safe_load(file.read(MOST_BYTES))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as cause:
        raise Stalled("Misconfigured", f"{path}: {cause}") from cause
    try:
        return Configuration.model_validate(raw or {})
    except ValidationError as cause:
        first = cause.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise Stalled("Misconfigured", f"{path}: {where}: {first['msg']}") from cause
