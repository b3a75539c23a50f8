"""promql: values on the wanted side of a limit, and nothing from before the action."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from incident_operator.checks.lookback import lookback
from incident_operator.checks.promql import PromQL
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Fault, Stalled, Waiting
from incident_operator.monitoring.prometheus import AlertingRule, Sample, Servers
from incident_operator.planning.plan import Finding, Verdict
from unit.actions.objects import later

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
INFINITE, NAN = float("inf"), float("nan")


class Answering:
    """Answers each query with the same samples, or fault."""

    names = ("main", "other")

    def __init__(self, *values: float | Sample, fault: Fault | None = None) -> None:
        self.samples = tuple(each if isinstance(each, Sample) else Sample({}, each) for each in values)
        self.fault = fault
        self.asked: list[tuple[str, str]] = []
        self.then: tuple[Sample, ...] = ()
        """What it answers for another time than now."""
        self.moments: list[datetime] = []

    async def query(self, name: str, query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        self.asked.append((name, query))
        if self.fault:
            raise self.fault
        if at is not None:
            self.moments.append(at)
            return self.then
        return self.samples

    async def alerts(self, name: str) -> list[dict[str, Any]]:
        raise NotImplementedError

    async def rules(self, name: str, alertname: str) -> tuple[AlertingRule, ...]:
        raise NotImplementedError


async def promql(servers: Any, after: float = 0, **params: Any) -> Finding:
    check = PromQL(servers, clock=lambda: later(after))
    return await check.look(FakeCluster(), "shop", (), {"query": "errors", **params}, since=later(0))


@pytest.mark.parametrize(
    ("value", "wanted", "verdict"),
    [
        (0.009, {"lessThan": "0.01"}, PASS),
        (0.01, {"lessThan": "0.01"}, FAIL),
        (0.02, {"greaterThan": "0.01"}, PASS),
        (0.01, {"greaterThan": "0.01"}, FAIL),
        (0.1, {"equalTo": "0.1"}, PASS),
        (0.1, {"equalTo": "-0.1"}, FAIL),
        (-1, {"lessThan": "-0.5"}, PASS),
        (INFINITE, {"lessThan": "1"}, FAIL),
        (INFINITE, {"greaterThan": "1"}, PASS),
        (-INFINITE, {"lessThan": "1"}, PASS),
        (-INFINITE, {"greaterThan": "1"}, FAIL),
        (INFINITE, {"equalTo": "1"}, UNKNOWN),
        (NAN, {"lessThan": "1"}, UNKNOWN),
        (NAN, {"greaterThan": "1"}, UNKNOWN),
        (NAN, {"equalTo": "1"}, UNKNOWN),
    ],
)
async def test_a_value_is_compared_and_no_number_is_unknown(
    value: float, wanted: Mapping[str, str], verdict: Verdict
) -> None:
    assert (await promql(Answering(value), **wanted)).verdict is verdict


async def test_no_value_is_unknown_and_never_good() -> None:
    found = await promql(Answering(), lessThan="1")
    assert found == Finding(
        UNKNOWN, "Prometheus main has no value: nothing matches the query, or nothing is measured any more"
    )


def pods(**values: float) -> Answering:
    return Answering(*(Sample({"pod": pod, "app": "api"}, value) for pod, value in values.items()))


async def test_all_values_must_hold_and_the_worst_is_named() -> None:
    found = await promql(pods(a=0.001, b=0.3, c=0.2), lessThan="0.01")
    assert found == Finding(
        FAIL, 'Prometheus main: 0.3 for {app="api", pod="b"}, wanted less than 0.01 (the worst of 3 values)'
    )
    found = await promql(pods(a=3, b=2), greaterThan="1", server="other")
    assert found == Finding(
        PASS, 'Prometheus other: 2 for {app="api", pod="b"}, greater than 1 (the worst of 2 values)'
    )
    assert 'pod="c"' in (await promql(pods(a=1, b=2, c=-4), equalTo="1")).message


async def test_a_value_that_is_no_number_keeps_others_from_passing_but_not_from_failing() -> None:
    found = await promql(pods(a=0, b=NAN), lessThan="1")
    assert found.verdict is UNKNOWN
    assert 'nan for {app="api", pod="b"}, which is not a number to compare' in found.message
    assert (await promql(pods(a=2, b=NAN), lessThan="1")).verdict is FAIL


async def test_a_message_stays_short() -> None:
    found = await promql(Answering(Sample({"x": "y" * 9999}, 1)), lessThan="1")
    assert len(found.message) < 400


@pytest.mark.parametrize(
    "fault", [Waiting("PrometheusUnavailable", "away"), Stalled("QueryRejected", "bad"), Stalled("UnknownServer", "no")]
)
async def test_a_server_that_gives_no_answer_is_unknown(fault: Fault) -> None:
    found = await promql(Answering(fault=fault), lessThan="1")
    assert found == Finding(UNKNOWN, f"{fault.reason}: {fault.message}")


async def test_the_query_goes_to_the_server_that_is_named() -> None:
    servers = Answering(0)
    await promql(servers, lessThan="1", server="other")
    await promql(servers, lessThan="1")
    assert servers.asked == [("other", "errors"), ("", "errors")]


@pytest.mark.parametrize("servers", [None, Servers([])])
async def test_without_a_server_it_is_told_how_to_configure_one(servers: Any) -> None:
    found = await promql(servers, lessThan="1")
    assert found.verdict is UNKNOWN
    assert "no Prometheus server is configured" in found.message
    assert "--config FILE with prometheus: [{name: main, url: http" in found.message


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"lessThan": "1", "equalTo": "1"},
        {"lessThan": "1", "query": ""},
        {"lessThan": "NaN"},
        {"lessThan": "1e3"},
        {"lessThan": "one"},
        {"lessThan": ""},
        {"lessThan": "1", "query": "x[5m * 2]"},
        {"lessThan": "1", "query": "x[99999999999999999y]"},
    ],
)
async def test_what_cannot_be_asked_is_unknown(params: Mapping[str, Any]) -> None:
    servers = Answering(0)
    assert (await promql(servers, **params)).verdict is UNKNOWN
    assert servers.asked == []


async def test_nothing_is_asked_until_the_window_began_at_the_action() -> None:
    servers, query = Answering(0), "sum(rate(errors[2m]))"
    found = await promql(servers, after=119, query=query, lessThan="1")
    assert found.verdict is UNKNOWN
    assert found.message == (
        "the window of 2m began at the last action and is not over yet: until 2026-11-23T10:02:00Z"
    )
    assert servers.asked == []
    assert (await promql(servers, after=120, query=query, lessThan="1")).verdict is PASS
    assert (await promql(servers, after=-1, query="up", lessThan="1")).verdict is UNKNOWN, "the clock was set back"


@pytest.mark.parametrize(
    ("window", "text"), [("1h5m", "1h5m"), ("90s", "90s"), ("3600s", "1h"), ("1d", "24h"), ("1500ms", "1.5s")]
)
async def test_a_window_is_told_as_queries_write_it(window: str, text: str) -> None:
    found = await promql(Answering(0), query=f"rate(x[{window}])", lessThan="1")
    assert f"the window of {text} began" in found.message


@pytest.mark.parametrize(
    ("query", "window"),
    [
        ("up", "0s"),
        ("vector(1) # [9d]", "0s"),
        ("rate(x[2m])", "2m"),
        ("rate(x[ 1h30m ])", "90m"),
        ("rate(x[300])", "5m"),
        ("rate(x[1w]) > rate(x[1m])", "10080m"),
        ("rate(x[1m]) / rate(y[10m])", "10m"),
        ("(rate(x[10m]))", "10m"),
        ("rate(x{a=\"[9d]\", b='\\'[9d]', c=`\\`}[5m])", "5m"),
        ('x{offset="1"}[1m]', "1m"),
        ("x offset 1h", "60m"),
        ("rate(x[5m] OFFSET 1h)", "65m"),
        ("rate(x[5m] offset -1h)", "0s"),
        ("x[2m] @ end() offset 5m", "7m"),
        ("x[2m] @ 1780000000.5 + y", "2m"),
        ("max_over_time(rate(x[5m])[1h:5m])", "65m"),
        ("max_over_time(sum(rate(x[5m])) by (pod)[1h:])", "65m"),
        ("max_over_time((x[1m] + rate(y[2m] offset 3m))[1h:] offset 1d)", "1505m"),
        ("f(a[1m], g(b[3m]), c[2m])", "3m"),
        ("standby[3m]", "3m"),
    ],
)
def test_the_window_of_a_query_is_the_longest_way_back(query: str, window: str) -> None:
    unit = {"s": 1, "m": 60}[window[-1]]
    assert lookback(query) == timedelta(seconds=int(window[:-1]) * unit)


@pytest.mark.parametrize("query", ["x[5m * 2]", "x[", "x offset (1m)", "x[1h:2*3m]", ")][}{("])
def test_a_window_that_cannot_be_read_is_an_error(query: str) -> None:
    with pytest.raises(ValueError, match="cannot tell how long"):
        lookback(query)


@hypothesis.given(strategies.text(alphabet="x[]()@:\"'`\\# \n15mhoffset{}=~", max_size=200))
def test_any_text_is_a_window_or_an_error(query: str) -> None:
    try:
        assert lookback(query) >= timedelta(0)
    except (ValueError, OverflowError):
        assert "[" in query or "offset" in query


AT = "2026-11-23T09:50:00Z"


def since_then(now: float | None, *then: float) -> Answering:
    found = Answering(*(() if now is None else (now,)))
    found.then = tuple(Sample({}, each) for each in then)
    return found


@pytest.mark.parametrize(
    ("now", "then", "ratio", "verdict"),
    [
        (0.375, (0.25,), {"maxRatio": "1.5"}, PASS),
        (0.376, (0.25,), {"maxRatio": "1.5"}, FAIL),
        (0.3, (0.1,), {"maxRatio": "3"}, PASS),
        (0, (0,), {"maxRatio": "1.5"}, PASS),
        (1, (0,), {"maxRatio": "1.5"}, FAIL),
        (80, (100,), {"minRatio": "0.8"}, PASS),
        (79, (100,), {"minRatio": "0.8"}, FAIL),
        (NAN, (0.25,), {"maxRatio": "1.5"}, UNKNOWN),
        (INFINITE, (0.25,), {"maxRatio": "1.5"}, FAIL),
        (None, (0.25,), {"maxRatio": "1.5"}, UNKNOWN),
        (0.1, (), {"maxRatio": "1.5"}, UNKNOWN),
        (0.1, (NAN,), {"maxRatio": "1.5"}, UNKNOWN),
        (0.1, (INFINITE,), {"maxRatio": "1.5"}, UNKNOWN),
        (0.1, (-1,), {"maxRatio": "1.5"}, UNKNOWN),
        (0.1, (1, 2), {"maxRatio": "1.5"}, UNKNOWN),
    ],
)
async def test_a_value_is_compared_with_what_it_was_and_without_that_it_is_never_good(
    now: float | None, then: tuple[float, ...], ratio: Mapping[str, str], verdict: Verdict
) -> None:
    servers = since_then(now, *then)
    found = await promql(servers, at=AT, **ratio)
    assert found.verdict is verdict, found
    assert servers.moments == [datetime.fromisoformat(AT)]


async def test_the_level_is_shown_with_the_plan_and_not_asked_for_again() -> None:
    servers, params = since_then(0.4, 0.25), {"query": "errors", "maxRatio": "1.5", "at": AT, "server": "other"}
    check = PromQL(servers)
    known = await check.with_level(params)
    assert known == {**params, "level": "0.25"}
    servers.then = ()
    found = await promql(servers, **known)
    assert found == Finding(
        FAIL, f"Prometheus other: 0.4, wanted at most 0.375; it was 0.25 at {AT}, and maxRatio is 1.5"
    )
    assert len(servers.moments) == 1


async def test_a_level_that_cannot_be_told_while_planning_is_asked_for_when_it_is_compared() -> None:
    params = {"query": "errors", "maxRatio": "1.5", "at": AT}
    away = Answering(fault=Waiting("PrometheusUnavailable", "away"))
    assert await PromQL(away).with_level(params) == params
    assert await PromQL(None).with_level(params) == params
    assert await PromQL(since_then(0.1)).with_level(params) == params
    assert (await promql(away, **params)).message == "PrometheusUnavailable: away"
    assert (await promql(since_then(0.3, 0.25), **params)).verdict is PASS


async def test_a_limit_that_does_not_change_is_not_asked_for_at_another_time() -> None:
    servers = since_then(0.1, 0.25)
    assert await PromQL(servers).with_level({"query": "errors", "lessThan": "1"}) == {
        "query": "errors",
        "lessThan": "1",
    }
    assert servers.asked == []


async def test_why_there_is_nothing_to_compare_with_is_told() -> None:
    told = {
        (): "no value",
        (1.0, 2.0): "2 values: let the query give one, such as by sum or max",
        (NAN,): "nan",
    }
    for then, words in told.items():
        found = await promql(since_then(0.1, *then), at=AT, maxRatio="2")
        assert found.message == f"Prometheus main has nothing to compare with: at {AT} the query gave {words}"
