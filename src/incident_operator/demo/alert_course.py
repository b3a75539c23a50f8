"""The way of one alert, from the first bad answer to an Incident that is over: when each part of it happened."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import NamedTuple

from incident_operator.demo.alert_monitoring import Monitoring
from incident_operator.demo.api import Api
from incident_operator.demo.client import Client
from incident_operator.demo.view import Status, condition
from incident_operator.lab.faults import LabError

EVERY_SECONDS = 0.01
ALERT, HELD = "HighErrorRate", "2 s"
"""The rule of the demo."""
BAD = 500


class Moment(NamedTuple):
    """One thing that happens on the way, and what the time since the one before was spent on."""

    name: str
    text: str
    spent: str
    look: Callable[[], float | None]
    """When it happened; None while it has not."""


class Course:
    """Follows one alert through everybody's own words: client, Prometheus, Alertmanager and API server."""

    def __init__(
        self, api: Api, monitoring: Monitoring, client: Client, *, alert: str = ALERT, held: str = HELD
    ) -> None:
        """Follow the alert of this name, whose rule must be true for as long as ``held`` says."""
        self._api, self._monitoring, self._client = api, monitoring, client
        self._alert, self._held = alert, held
        space = monitoring.namespace
        self._incidents = f"/apis/incident-operator.dev/v1alpha1/namespaces/{space}/incidents"
        self._deployment = f"/apis/apps/v1/namespaces/{space}/deployments/api"
        self._generation = 0
        self._begun = self._seen = 0.0
        self.times: dict[str, float] = {}

    def moments(self) -> tuple[Moment, ...]:
        """All of them, in the order in which they happen."""
        return (
            Moment("answered", "a client is answered 500 for the first time", "", self._answered),
            Moment("scraped", "Prometheus scrapes it", "scrape", self._scraped),
            Moment("pending", "the rule is true", "evaluation", self._alert_since),
            Moment("firing", f"it has been true for {self._held}: the alert fires", "for", self._firing),
            Moment("received", "Alertmanager has it", "sending", self._received),
            Moment("sent", "Alertmanager posts it to the operator", "group wait", self._sent),
            Moment("created", "the Incident is there", "operator: to Incident", self._created),
            Moment("written", "the Deployment is changed, the first write", "operator: to write", self._written),
            Moment("rolled", "the good version is rolled out", "rollout", self._rolled),
            Moment("silent", "the rule is no longer true", "rate window", self._silent),
            Moment("told", "the Incident knows that its alert has resolved", "group interval, webhook", self._told),
            Moment("resolved", "the Incident is Resolved", "verification", self._resolved),
        )

    def deployed(self) -> None:
        """Begin now: the bad version has just been applied."""
        self._begun = time.time()
        self._generation = (self._api.object(self._deployment) or {})["metadata"]["generation"]

    def follow(self, *, seconds: float = 120) -> Iterator[Moment]:
        """Each moment once it has come; LabError says which one did not come in time, or why it never will."""
        deadline = time.monotonic() + seconds
        for moment in self.moments():
            while (found := moment.look()) is None:
                self._refuse_halt()
                if time.monotonic() > deadline:
                    raise LabError(f"not within {seconds:g} s: {moment.text}")
                time.sleep(EVERY_SECONDS)
            self.times[moment.name] = found
            yield moment

    def shares(self) -> list[tuple[str, float]]:
        """What the time was spent on, in seconds; clocks of different parts may overlap by a few milliseconds."""
        pairs = itertools.pairwise(self.moments())
        return [(each.spent, max(self.times[each.name] - self.times[before.name], 0.0)) for before, each in pairs]

    def incidents(self) -> list[Status]:
        """The Incidents of the namespace."""
        found: list[Status] = (self._api.object(self._incidents) or {}).get("items", [])
        return found

    def _incident(self) -> Status:
        return next(iter(self.incidents()), {})

    def _refuse_halt(self) -> None:
        status, reason, message = condition(self._incident(), "Stalled") if "created" in self.times else ("", "", "")
        if status == "True":
            raise LabError(f"the Incident halted: {reason}: {message}")

    def _answered(self) -> float | None:
        bad = [at for at, status in list(self._client.answers) if at >= self._begun and status == BAD]
        return min(bad, default=None)

    def _scraped(self) -> float | None:
        found = self._monitoring.query(f'http_requests_total{{code="{BAD}"}}[5m]')
        return min((float(at) for series in found for at, _ in series["values"]), default=None)

    def _alert_since(self, *states: str) -> float | None:
        for each in self._monitoring.prometheus_says("alerts")["alerts"]:
            if each["labels"]["alertname"] == self._alert and (not states or each["state"] in states):
                return _seconds(each["activeAt"])
        return None

    def _firing(self) -> float | None:
        found = self._monitoring.query(f'ALERTS{{alertname="{self._alert}",alertstate="firing"}}[5m]')
        return min((float(at) for series in found for at, _ in series["values"]), default=None)

    def _received(self) -> float | None:
        found = [_seconds(each["updatedAt"]) for each in self._monitoring.alerts()]
        return min(found, default=None)

    def _sent(self) -> float | None:
        """Seen from its end: Alertmanager is answered when the Incident is there, and tells how long that took."""
        if not self._seen:
            self._seen = time.time() if self.incidents() else 0.0
        took = self._monitoring.request_seconds() if self._seen else None
        return None if took is None else self._seen - took

    def _created(self) -> float | None:
        return self._seen

    def _written(self) -> float | None:
        found = self._api.object(self._deployment) or {}
        return time.time() if found and found["metadata"]["generation"] > self._generation else None

    def _rolled(self) -> float | None:
        found = self._api.object(self._deployment) or {}
        status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas")
        seen = status.get("observedGeneration", 0) > self._generation
        counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
        return time.time() if seen and counts == {wanted} else None

    def _silent(self) -> float | None:
        return time.time() if self._alert_since("firing") is None else None

    def _told(self) -> float | None:
        return time.time() if condition(self._incident(), "SignalResolved")[0] == "True" else None

    def _resolved(self) -> float | None:
        return time.time() if condition(self._incident(), "Ready")[0] == "True" else None


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
