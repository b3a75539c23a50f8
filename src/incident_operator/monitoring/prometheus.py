"""Prometheus servers, asked for what they measure and which alerts fire there.

The library (prometheus-api-client) blocks, so each server is asked from a few threads of its own:
one that hangs keeps nobody waiting but those who ask it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from incident_operator.api.configuration import PrometheusServer
from incident_operator.api.schema import parse_duration
from incident_operator.faults import Stalled, Waiting

if TYPE_CHECKING:
    from incident_operator.monitoring.connection import Connection

AT_ONCE = 4
"""Questions to one server at once; more wait, and waiting counts as the server's time."""
SAMPLE_PARTS = 2
"""A time and a value."""
HOW = "give the operator --config FILE with prometheus: [{name: main, url: http://prometheus.monitoring:9090}]"
"""How servers are configured."""

Found = TypeVar("Found")


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One value that a query gave; a scalar has no labels."""

    labels: Mapping[str, str]
    value: float


@dataclasses.dataclass(frozen=True, slots=True)
class AlertingRule:
    """What an alerting rule asks, and the labels that it gives its alerts, whatever its query says of them."""

    query: str
    labels: frozenset[str] = frozenset()


class Prometheus(Protocol):
    """What can be asked of the configured servers; a name of "" means the first one."""

    @property
    def names(self) -> tuple[str, ...]:
        """The servers, in the order of the configuration."""
        ...

    async def query(self, name: str, query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        """The values of an instant query; none at all where nothing matches, which is no value either."""
        ...

    async def alerts(self, name: str) -> list[dict[str, Any]]:
        """The pending and firing alerts, as the server writes them."""
        ...

    async def rules(self, name: str, alertname: str) -> tuple[AlertingRule, ...]:
        """The alerting rules of a name; none where the server has no such rule."""
        ...


class Servers:
    """The Prometheus servers of the configuration; connected when they are first asked.

    Raises Waiting PrometheusUnavailable if one does not answer; Stalled UnknownServer, QueryRejected,
    AnswerTooLarge, PrometheusRefused or Misconfigured if asking again will not help.
    """

    def __init__(self, configured: Sequence[PrometheusServer]) -> None:
        """Take them as they are configured; nothing is read or connected yet."""
        self._servers = {each.name: _Server(each) for each in configured}

    @property
    def names(self) -> tuple[str, ...]:
        """The servers, in the order of the configuration."""
        return tuple(self._servers)

    async def query(self, name: str, query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        """The values of an instant query, now or at another time; none where nothing matches."""
        server = self._named(name)
        result = await server.ask(lambda connection: connection.query(query, at))
        try:
            return _samples(result)
        except (ValueError, LookupError, TypeError, AttributeError) as cause:
            said = "the query must give numbers, not texts, histograms, or ranges of values"
            raise Stalled("QueryRejected", f"{server.shown}: {said}") from cause

    async def alerts(self, name: str) -> list[dict[str, Any]]:
        """The pending and firing alerts, as the server writes them."""
        return await self._named(name).ask(_alerts)

    async def rules(self, name: str, alertname: str) -> tuple[AlertingRule, ...]:
        """The alerting rules of a name, each different query once; none where the server has no such rule."""
        return await self._named(name).ask(lambda connection: _rules(connection, alertname))

    async def close(self) -> None:
        """Close all connections; nothing may be asked any more."""
        for server in self._servers.values():
            server.close()

    def _named(self, name: str) -> _Server:
        if not self._servers:
            raise Stalled("UnknownServer", f"no Prometheus server is configured: {HOW}")
        found = self._servers.get(name or next(iter(self._servers)))
        if found is None:
            known = ", ".join(self._servers)
            raise Stalled("UnknownServer", f"there is no Prometheus server {name!r}; use one of {known}")
        return found


class _Server:
    """One server, its threads, and its connection from when it is first asked."""

    def __init__(self, configured: PrometheusServer) -> None:
        self.shown = f"Prometheus {configured.name}"
        self._configured = configured
        self._seconds = parse_duration(configured.timeout).total_seconds()
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._threads = ThreadPoolExecutor(AT_ONCE, f"prometheus-{configured.name}")

    async def ask(self, ask: Callable[[Connection], Found]) -> Found:
        """The answer to one question; Waiting once the server's time is over."""
        connection = await self._connected()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._seconds):
                return await loop.run_in_executor(self._threads, ask, connection)
        except TimeoutError as cause:
            said = f"{connection.session.shown} did not answer within {self._configured.timeout}"
            raise Waiting("PrometheusUnavailable", said) from cause

    def close(self) -> None:
        """Close its connections; a question in hand ends by its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._connection is not None:
            self._connection.close()

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None:
                self._connection = await asyncio.to_thread(_connect, self._configured)
            return self._connection


def _connect(configured: PrometheusServer) -> Connection:
    from incident_operator.monitoring.connection import Connection

    return Connection(configured)


def _alerts(connection: Connection) -> list[dict[str, Any]]:
    data = connection.data("/api/v1/alerts", {})
    found = data.get("alerts") if isinstance(data, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise connection.strange()
    return found


def _rules(connection: Connection, alertname: str) -> tuple[AlertingRule, ...]:
    """The different alerting rules of one name."""
    # Servers from before 2.46 and 2.53 ignore the last two, which only make the answer smaller.
    params = {"type": "alert", "rule_name[]": alertname, "exclude_alerts": "true"}
    data = connection.data("/api/v1/rules", params)
    try:
        rules = [rule for group in data["groups"] for rule in group["rules"]]
        found = [
            AlertingRule(str(rule["query"]), frozenset(map(str, rule.get("labels") or ())))
            for rule in rules
            if rule["name"] == alertname and rule["type"] == "alerting"
        ]
    except (LookupError, TypeError, AttributeError) as cause:
        raise connection.strange() from cause
    return tuple(dict.fromkeys(found))


def _samples(result: Any) -> tuple[Sample, ...]:
    """The samples of a vector or a scalar; the library does not say which of them it is."""
    if len(result) == SAMPLE_PARTS and not any(isinstance(each, dict) for each in result):
        return (Sample({}, float(result[1])),)
    return tuple(_sample(each) for each in result)


def _sample(raw: Any) -> Sample:
    labels = {str(name): str(text) for name, text in raw["metric"].items()}
    return Sample(labels, float(raw["value"][1]))
