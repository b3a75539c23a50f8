"""Servers: what is asked of a server, and what its answers are taken for."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from incident_operator.api.configuration import PrometheusServer
from incident_operator.faults import Stalled, Waiting
from incident_operator.monitoring.prometheus import AlertingRule, Sample, Servers
from unit.monitoring.conftest import Configure
from unit.monitoring.loopback import Answer, Loopback, error, success, vector

MATRIX = {"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "1"]]}]}
HISTOGRAM = {"resultType": "vector", "result": [{"metric": {}, "histogram": [1, {"count": "1", "sum": "1"}]}]}


async def test_a_vector_a_scalar_and_nothing_are_told_apart(world: Loopback, configure: Configure) -> None:
    servers = configure()
    world.answers = [vector(({"job": "a"}, "0.5"), ({"job": "b"}, "NaN"))]
    first, second = await servers.query("main", "up")
    assert first == Sample({"job": "a"}, 0.5)
    assert second.value != second.value
    world.answers = [success({"resultType": "scalar", "result": [1780000000.1, "+Inf"]})]
    assert await servers.query("", "scalar(up)") == (Sample({}, float("inf")),)
    world.answers = [vector()]
    assert await servers.query("", "absent") == ()


@pytest.mark.parametrize("data", [MATRIX, HISTOGRAM, {"resultType": "string", "result": [1, "text"]}])
async def test_what_is_no_number_is_rejected(world: Loopback, configure: Configure, data: dict[str, Any]) -> None:
    world.answers = [success(data)]
    with pytest.raises(Stalled, match="the query must give numbers") as caught:
        await configure().query("main", "up[5m]")
    assert caught.value.reason == "QueryRejected"


async def test_a_query_goes_as_it_is_and_with_a_time_limit(world: Loopback, configure: Configure) -> None:
    query = 'sum(rate(x{path=~"/a b&c=+.*"}[5m])) > 0.5 # %00 ü'
    await configure(timeout="1500ms", url=f"{world.url}/prom/").query("", query, at=datetime(2026, 1, 2, tzinfo=UTC))
    (asked,) = world.asked
    assert asked.path == "/prom/api/v1/query", "a path in front is kept, a slash at the end is not doubled"
    assert asked.params == {"query": query, "timeout": "1500ms", "time": "1767312000.000"}


async def test_now_is_the_servers_now(world: Loopback, configure: Configure) -> None:
    await configure().query("", "up")
    assert "time" not in world.asked[0].params


async def test_alerts_come_as_the_server_writes_them(world: Loopback, configure: Configure) -> None:
    alert = {"labels": {"alertname": "A"}, "annotations": {}, "state": "firing", "activeAt": "x", "value": "1e+00"}
    world.answers = [success({"alerts": [alert]})]
    assert await configure().alerts("main") == [alert]
    assert world.asked[0].path == "/api/v1/alerts"


def rule(name: str, query: str, kind: str = "alerting") -> dict[str, str]:
    return {"name": name, "query": query, "type": kind}


async def test_the_rules_of_an_alert_are_told_with_the_labels_that_they_set(
    world: Loopback, configure: Configure
) -> None:
    servers = configure()
    one = {"rules": [rule("Down", "up == 0"), rule("Other", "1")]}
    two = {"rules": [rule("Down", "up == 0"), rule("Down", "x", "recording")]}
    world.answers = [success({"groups": [one, two]})]
    assert await servers.rules("", "Down") == (AlertingRule("up == 0"),), "the same rule twice is one"
    assert world.asked[0].path == "/api/v1/rules"
    assert world.asked[0].params["type"] == "alert"
    other = {**rule("Down", "probe == 0"), "labels": {"severity": "critical"}}
    world.answers = [success({"groups": [one, {"rules": [other]}]})]
    assert await servers.rules("", "Down") == (
        AlertingRule("up == 0"),
        AlertingRule("probe == 0", frozenset({"severity"})),
    )
    assert await servers.rules("", "Up") == ()


async def test_servers_are_asked_by_name_and_the_first_where_none_is_given(world: Loopback) -> None:
    servers = Servers([PrometheusServer(name=name, url=f"{world.url}/{name}") for name in ("one", "two")])
    assert servers.names == ("one", "two")
    await servers.query("two", "up")
    await servers.query("", "up")
    assert [asked.path for asked in world.asked] == ["/two/api/v1/query", "/one/api/v1/query"]
    with pytest.raises(Stalled, match="no Prometheus server 'three'; use one of one, two") as caught:
        await servers.alerts("three")
    assert caught.value.reason == "UnknownServer"
    await servers.close()


async def test_without_a_server_it_is_told_how_to_configure_one() -> None:
    with pytest.raises(Stalled, match=r"--config FILE with prometheus: \[\{name: main, url: ") as caught:
        await Servers([]).query("", "up")
    assert caught.value.reason == "UnknownServer"


@pytest.mark.parametrize("status", [400, 422])
async def test_a_rejected_query_is_told_in_prometheus_words(world: Loopback, configure: Configure, status: int) -> None:
    world.answers = [error(status, "bad_data", "1:4: parse error:\n  unexpected " + "x" * 5000)]
    with pytest.raises(Stalled, match=r"rejected the query: 1:4: parse error: unexpected x+$") as caught:
        await configure().query("main", "up up")
    assert caught.value.reason == "QueryRejected"
    assert len(caught.value.message) < 500


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
async def test_a_server_in_trouble_is_waited_for(world: Loopback, configure: Configure, status: int) -> None:
    world.answers = [error(status, "timeout", "query timed out")]
    with pytest.raises(Waiting, match=f"answered {status}: query timed out") as caught:
        await configure().query("main", "up")
    assert caught.value.reason == "PrometheusUnavailable"
    assert len(world.asked) == 1, "what was answered is not asked again"


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_another_answer_than_prometheus_one_asks_for_the_configuration(
    world: Loopback, configure: Configure, status: int
) -> None:
    world.answers = [Answer(status, b"<html>a page of somebody else</html>")]
    with pytest.raises(Stalled, match=f"answered {status}; (is its url|are its bearerTokenFile)") as caught:
        await configure().query("main", "up")
    assert caught.value.reason == "PrometheusRefused"
    assert "html" not in caught.value.message


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b'{"data": []}', b'{"data": null}', b"\xff", b"[" * 100_000]
)
async def test_garbage_is_no_answer(world: Loopback, configure: Configure, body: bytes) -> None:
    world.answers = [Answer(200, body)]
    servers = configure()
    for asking in (servers.query("", "up"), servers.alerts(""), servers.rules("", "A")):
        with pytest.raises(Waiting, match="not of Prometheus' API") as caught:
            await asking
        assert caught.value.reason == "PrometheusUnavailable"


def test_the_library_is_loaded_only_when_a_server_is_asked() -> None:
    code = (
        "import sys; from incident_operator.checks.promql import PromQL; "
        "from incident_operator.monitoring.prometheus import Servers; Servers([]); "
        "print([name for name in ('requests', 'prometheus_api_client') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
