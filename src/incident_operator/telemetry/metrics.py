"""Our numbers, in a registry of our own; ``docs/metrics.md`` lists them for people.

No label ever holds a name, a UID or any other text that somebody outside chooses freely,
but for the namespace of an Incident: so the number of series stays bounded.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
    generate_latest,
)

from incident_operator import __version__
from incident_operator.api import names

PREFIX = "incident_operator"
QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each of ours, that nobody asks for


class Metrics:
    """Every metric of the operator; what the other rooms report goes through its methods."""

    def __init__(self) -> None:
        """Make the metrics in a registry that nobody else writes to."""
        self.registry = CollectorRegistry()
        self._incidents = self._gauge("incidents", "Incidents that are not closed.", ("namespace", "severity", "phase"))
        self._steps = self._counter("steps", "Steps that came to an end.", ("action", "outcome"))
        self._step_seconds = self._histogram(
            "step_duration_seconds", "From a step's first write on record to its end.", LONG, ("action",)
        )
        self._contain_seconds = self._histogram(
            "time_to_contain_seconds", "From an Incident's creation to its containment.", LONG
        )
        self._recover_seconds = self._histogram(
            "time_to_recover_seconds", "From an Incident's creation to its resolution.", LONG
        )
        self._refusals = self._counter(
            "refusals", "Incidents that stopped for a person, or wait before a stage.", ("reason",)
        )
        self._requests = self._counter(
            "api_requests", "Requests to the API server; code none: no answer.", ("verb", "code")
        )
        self._request_seconds = self._histogram(
            "api_request_seconds", "How long the API server took to answer.", QUICK, ("verb",)
        )
        self._kopf_restarts = self._counter("kopf_restarts", "Times the watch had to be started again.")
        self._relists = self._counter("relists", "Times all open Incidents were listed.", ("outcome",))
        self._marks = self._counter("revisions_marked", "Revisions marked as good.", ("kind",))
        self._watch_age = self._gauge(
            "watch_age_seconds", "Since the watch of Incidents last said anything; bookmarks come each minute."
        )
        self._leader = self._gauge("leader", "1 on the replica that acts, 0 on one that stands by.")
        self._stale = self._gauge("stale_incidents", "Incidents that are not closed two days after they were made.")
        self._depth = self._gauge("queue_depth", "Incidents whose turn has come and that no worker has taken yet.")
        self._oldest = self._gauge("queue_oldest_age_seconds", "How long the first of them has been waiting.")
        self._longest = self._gauge(
            "queue_longest_work_seconds", "How long the longest step in hand has been going on."
        )
        self._signals = self._counter(
            "signals", "Signals taken in: created, joined or known already.", ("source", "outcome")
        )
        self._alerts = self._counter("alert_requests", "Requests to the receiver of alerts.", ("source", "outcome"))
        self._alert_seconds = self._histogram(
            "alert_request_seconds", "From the arrival of alerts to their Incidents in etcd.", QUICK, ("source",)
        )
        self._notifications = self._counter(
            "notifications", "Messages to hooks, by what came of each.", ("sink", "outcome")
        )
        self._left_out = self._counter(
            "alerts_left_out",
            "Alerts that a sender left out of a notification (truncatedAlerts), or a Prometheus told unreadably.",
            ("source",),
        )
        self._overdue = self._gauge(
            "incidents_overdue", "Open Incidents of which a clock of their severity is overdue.", ("clock", "severity")
        )
        self._build = Info("build", "Which program this is.", namespace=PREFIX, registry=self.registry)
        self._build.info({"version": __version__, "api_version": names.API_VERSION})

    def _gauge(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(name, text, labels, namespace=PREFIX, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], labels: tuple[str, ...] = ()) -> Histogram:
        return Histogram(name, text, labels, namespace=PREFIX, registry=self.registry, buckets=buckets)

    def census(self, incidents: Iterable[tuple[str, str, str]]) -> None:
        """Replace the counts of Incidents: (namespace, severity, phase) of each that is not closed."""
        counts = Tally(incidents)
        self._incidents.clear()
        for labels, count in counts.items():
            self._incidents.labels(*labels).set(count)

    def leads(self, is_leader: Callable[[], bool]) -> None:
        """Have it looked up at each scrape whether this replica acts."""
        self._leader.set_function(lambda: float(is_leader()))

    def stale(self, count: int) -> None:
        """So many Incidents have been open for too long."""
        self._stale.set(count)

    def step_finished(self, action: str, outcome: str, seconds: float) -> None:
        """A step of this action came to an end, this long after its first write."""
        self._steps.labels(action, outcome).inc()
        self._step_seconds.labels(action).observe(max(seconds, 0.0))

    def contained(self, seconds: float) -> None:
        """An Incident is contained, this long after it was created."""
        self._contain_seconds.observe(max(seconds, 0.0))

    def resolved(self, seconds: float) -> None:
        """An Incident is resolved, this long after it was created."""
        self._recover_seconds.observe(max(seconds, 0.0))

    def refused(self, reason: str) -> None:
        """An Incident stopped and waits for a person, or for what is in its way."""
        self._refusals.labels(reason).inc()

    def api_request(self, verb: str, _resource: str, code: int, seconds: float) -> None:
        """The API server answered (code 0: it did not); fits ``cluster.connection.Observe``."""
        self._requests.labels(verb, str(code or "none")).inc()
        self._request_seconds.labels(verb).observe(seconds)

    def signal_taken(self, source: str, outcome: str) -> None:
        """A signal has its Incident: it was ``created``, ``joined`` one, or was ``known``."""
        self._signals.labels(source, outcome).inc()

    def notification_received(self, source: str, outcome: str, seconds: float) -> None:
        """A request to the receiver was answered."""
        self._alerts.labels(source, outcome).inc()
        self._alert_seconds.labels(source).observe(seconds)

    def notified(self, sink: str, outcome: str) -> None:
        """A hook of the configuration was told (``Delivered``), or why it was not."""
        self._notifications.labels(sink, outcome).inc()

    def alerts_left_out(self, source: str, count: int) -> None:
        """So many alerts were not there to be taken in."""
        self._left_out.labels(source).inc(count)

    def overdue(self, found: Iterable[tuple[str, str]]) -> None:
        """Replace the counts of overdue Incidents: (clock, severity) of each."""
        counts = Tally(found)
        self._overdue.clear()
        for labels, count in counts.items():
            self._overdue.labels(*labels).set(count)

    def kopf_restarted(self) -> None:
        """The watch ended and is started again."""
        self._kopf_restarts.inc()

    def relisted(self, outcome: str) -> None:
        """All open Incidents were listed (``success``), or could not be (``failure``)."""
        self._relists.labels(outcome).inc()

    def revision_marked(self, kind: str) -> None:
        """A ReplicaSet or ControllerRevision was marked as good."""
        self._marks.labels(kind).inc()

    def ask_watch(self, age_seconds: Callable[[], float]) -> None:
        """Have the age of the watch looked up at each scrape."""
        self._watch_age.set_function(age_seconds)

    def ask_queue(
        self, depth: Callable[[], int], oldest_seconds: Callable[[], float], longest_seconds: Callable[[], float]
    ) -> None:
        """Have the state of the queue looked up at each scrape."""
        self._depth.set_function(depth)
        self._oldest.set_function(oldest_seconds)
        self._longest.set_function(longest_seconds)

    def exposition(self) -> bytes:
        """All metrics in the text format that Prometheus scrapes."""
        return generate_latest(self.registry)
