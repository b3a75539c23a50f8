"""A real Prometheus, asked as the operator asks it: queries, rules, alerts, and what it refuses."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from incident_operator.api.configuration import PrometheusServer
from incident_operator.checks.promql import PromQL
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Stalled, Waiting
from incident_operator.lab.monitoring import Running, start_prometheus
from incident_operator.monitoring.prometheus import Sample, Servers
from incident_operator.planning.plan import Finding, Verdict
from incident_operator.signals.prometheus import read
from tests_support.waiting import eventually

Found = TypeVar("Found")
CONFIG = """
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [rules/*]
"""
SCRAPE = """
scrape_configs:
- {job_name: itself, static_configs: [{targets: ["HOST"]}]}
"""
RULES = """
groups:
- name: always
  rules:
  - {alert: Always, expr: vector(1), labels: {incident: "true", severity: critical}, annotations: {summary: "is {{ $value }}"}}
  - {alert: NotOurs, expr: vector(1)}
  - {alert: Later, expr: vector(1), for: 1h, labels: {incident: "true"}}
  - {record: Recorded, expr: vector(1)}
"""  # noqa: E501 - one rule a line


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Scrapes itself, at the port that it got."""
    if not shutil.which("apt-get"):
        pytest.skip("needs apt-get, for Debian's packages")
    running = start_prometheus(tmp_path_factory.mktemp("prometheus"), CONFIG, {"always.yml": RULES})
    try:
        running.reload(CONFIG + SCRAPE.replace("HOST", running.url.rpartition("/")[2]))
        eventually(
            lambda: asked(running.url, lambda servers: servers.query("", "up")), within=30, what="it scrapes itself"
        )
        yield running
    finally:
        running.stop()


def asked(url: str, ask: Callable[[Servers], Awaitable[Found]], *, timeout: str = "5s") -> Found:
    async def run() -> Found:
        servers = Servers([PrometheusServer(name="main", url=url, timeout=timeout)])
        try:
            return await ask(servers)
        finally:
            await servers.close()

    return asyncio.run(run())


def test_what_it_measures_and_calculates(prometheus: Running) -> None:
    (up,) = asked(prometheus.url, lambda servers: servers.query("main", "up"))
    instance = prometheus.url.rpartition("/")[2]
    assert up == Sample({"__name__": "up", "job": "itself", "instance": instance}, 1)
    for query, value in (("vector(1)", 1), ("scalar(up)", 1), ("1 / 0", float("inf")), ("2 * 3", 6)):
        (found,) = asked(prometheus.url, lambda servers, query=query: servers.query("", query))
        assert found == Sample({}, value), query
    assert asked(prometheus.url, lambda servers: servers.query("", "absent_metric")) == ()
    (none,) = asked(prometheus.url, lambda servers: servers.query("", "0 / 0"))
    assert str(none.value) == "nan"


def test_what_it_measured_at_another_time(prometheus: Running) -> None:
    before = datetime.now(UTC) - timedelta(days=1)
    assert asked(prometheus.url, lambda servers: servers.query("", "up", at=before)) == ()
    (time,) = asked(prometheus.url, lambda servers: servers.query("", "time()", at=before))
    assert time.value == pytest.approx(before.timestamp(), abs=0.001)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("up up", "parse error: unexpected identifier"),
        ("rate(up)", "expected type range vector"),
        ("up * on() group_left() {__name__=~'.+'}", "many-to-many|duplicate series|matching"),
        ("up[5m]", "the query must give numbers"),
        ('"text"', "the query must give numbers"),
    ],
)
def test_a_query_that_cannot_be_answered_is_rejected_in_its_words(prometheus: Running, query: str, said: str) -> None:
    with pytest.raises(Stalled, match=said) as caught:
        asked(prometheus.url, lambda servers: servers.query("", query))
    assert caught.value.reason == "QueryRejected"


def test_a_server_that_is_not_configured_is_not_asked(prometheus: Running) -> None:
    with pytest.raises(Stalled, match="no Prometheus server 'other'; use one of main") as caught:
        asked(prometheus.url, lambda servers: servers.query("other", "up"))
    assert caught.value.reason == "UnknownServer"


def test_a_path_that_is_not_its_own_asks_for_the_configuration(prometheus: Running) -> None:
    with pytest.raises(Stalled, match="answered 404; is its url right") as caught:
        asked(f"{prometheus.url}/elsewhere", lambda servers: servers.query("", "up"))
    assert caught.value.reason == "PrometheusRefused"


def test_a_query_that_takes_too_long_is_ended(prometheus: Running) -> None:
    long = "count_over_time(vector(time())[90d:10s])"
    with pytest.raises(Waiting, match=r"did not answer within 100ms|query timed out") as caught:
        asked(prometheus.url, lambda servers: servers.query("", f"{long} + {long} + {long}"), timeout="100ms")
    assert caught.value.reason == "PrometheusUnavailable"


def test_a_firing_alert_becomes_a_signal_and_its_rule_can_be_asked_again(prometheus: Running) -> None:
    alerts = eventually(
        lambda: fired(asked(prometheus.url, lambda servers: servers.alerts(""))), within=30, what="the alert fires"
    )
    (signal,) = read(alerts, server="main").signals
    assert signal.name == "Always"
    assert signal.labels == {"alertname": "Always", "incident": "true", "severity": "critical"}
    assert signal.annotations == {"summary": "is 1"}
    assert timedelta(0) <= datetime.now(UTC) - signal.starts_at < timedelta(minutes=10)
    again = asked(prometheus.url, lambda servers: servers.alerts("main"))
    assert read(again, server="main").signals == (signal,), "the same at every look"
    (rule,) = asked(prometheus.url, lambda servers: servers.rules("", "Always"))
    assert (rule.query, rule.labels) == ("vector(1)", {"incident", "severity"})
    assert asked(prometheus.url, lambda servers: servers.rules("", "Recorded")) == ()


def fired(alerts: list[dict[str, object]]) -> list[dict[str, object]]:
    """All of them, once the two that fire at once do and the third is pending."""
    states = {alert["labels"]["alertname"]: alert["state"] for alert in alerts}  # type: ignore[index]
    return alerts if states == {"Always": "firing", "NotOurs": "firing", "Later": "pending"} else []


def test_the_check_sees_what_it_measures(prometheus: Running) -> None:
    def look(since: datetime, **params: str) -> Finding:
        return asked(
            prometheus.url,
            lambda servers: PromQL(servers).look(FakeCluster(), "shop", (), params, since=since),
        )

    now = datetime.now(UTC)
    assert look(now, query="up", equalTo="1").verdict is Verdict.PASS
    assert look(now, query="up", lessThan="1").verdict is Verdict.FAIL
    assert look(now, query="absent_metric", lessThan="1").verdict is Verdict.UNKNOWN
    assert look(now, query="up up", lessThan="1").message.startswith("QueryRejected: ")
    looking_back = "sum(max_over_time(up[1m]))"
    assert "the window of 1m began" in look(now, query=looking_back, greaterThan="0").message
    assert look(now - timedelta(minutes=2), query=looking_back, greaterThan="0").verdict is Verdict.PASS


def test_what_is_measured_is_compared_with_what_it_was(prometheus: Running) -> None:
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"

    def look(**params: str) -> Finding:
        given = {"at": yesterday, **params}
        return asked(
            prometheus.url,
            lambda servers: PromQL(servers).look(FakeCluster(), "shop", (), given, since=datetime.now(UTC)),
        )

    assert look(query="time()", maxRatio="1.1").verdict is Verdict.PASS
    assert look(query="time()", maxRatio="0.9").verdict is Verdict.FAIL
    assert look(query="time()", minRatio="1.1").verdict is Verdict.FAIL
    assert "the query gave no value" in look(query="up", maxRatio="1.1").message, "nothing was measured yesterday"


def test_one_that_was_stopped_is_waited_for(prometheus: Running, tmp_path: Path) -> None:
    running = start_prometheus(tmp_path, CONFIG)
    running.stop()
    with pytest.raises(Waiting, match="does not answer: Connection refused") as caught:
        asked(running.url, lambda servers: servers.query("", "up"))
    assert caught.value.reason == "PrometheusUnavailable"
