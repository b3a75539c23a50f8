"""How many users are affected, by the runbook's query: one number, or why it is not known; never in the plan's way."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine import triaging
from incident_operator.engine.triaging import Triager
from incident_operator.faults import Fault, Stalled, Waiting
from incident_operator.monitoring.prometheus import Sample
from incident_operator.planning.blast import Survey
from incident_operator.planning.record import Triage
from unit.engine.clocked import World

QUERY = "count(user_waiting_seconds > 60)"
ASKS = {"users": {"query": QUERY}, "data": "none is lost"}


@dataclasses.dataclass
class Counts:
    """A Prometheus that gives these values, or fails, or never answers."""

    values: tuple[float, ...] = ()
    fault: Fault | None = None
    hangs: bool = False
    asked: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    names: tuple[str, ...] = ("main", "other")

    async def query(self, name: str, query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        self.asked.append((name, query))
        if self.hangs:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        return tuple(Sample({"number": str(number)}, value) for number, value in enumerate(self.values))

    async def alerts(self, name: str) -> list[dict[str, Any]]:
        raise AssertionError(name)

    async def expression(self, name: str, alertname: str) -> str:
        raise AssertionError(name, alertname)


async def triage(servers: Counts | None, impact: Mapping[str, Any] = ASKS) -> Triage:
    case = World(impact=impact).case()
    return (await Triager(servers).look(case, FakeCluster(), Survey())).triage


def why(found: Triage) -> list[str]:
    return [each for each in found.unknown if each.startswith("users")]


@pytest.mark.parametrize(
    ("value", "said"), [(42.0, "42"), (0.0, "0"), (1234567.0, "1234567"), (12.5, "12.5"), (1e9 + 7, "1000000007")]
)
async def test_one_number_is_said_in_full(value: float, said: str) -> None:
    servers = Counts((value,))
    found = await triage(servers)
    assert (found.users, why(found), found.data) == (said, [], "none is lost")
    assert servers.asked == [("", QUERY)], "the first server, where none is named"


async def test_the_server_that_the_runbook_names_is_asked() -> None:
    servers = Counts((7.0,))
    found = await triage(servers, {"users": {"query": QUERY, "server": "other"}})
    assert (found.users, servers.asked) == ("7", [("other", QUERY)])


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((), "users: the query gave 0 values, wanted one"),
        ((1.0, 2.0, 3.0), "users: the query gave 3 values, wanted one"),
        ((float("nan"),), "users: the query gave nan, which is no number of users"),
        ((float("inf"),), "users: the query gave inf, which is no number of users"),
    ],
)
async def test_what_is_not_one_number_is_unknown(values: tuple[float, ...], said: str) -> None:
    found = await triage(Counts(values))
    assert (found.users, why(found)) == ("", [said])


@pytest.mark.parametrize(
    "fault",
    [
        Waiting("PrometheusUnavailable", "main did not answer within 5s"),
        Stalled("UnknownServer", "no Prometheus server 'elsewhere'; use one of main, other"),
        Stalled("QueryRejected", "main: parse error"),
    ],
)
async def test_a_server_that_cannot_say_it_is_named_as_the_reason(fault: Fault) -> None:
    found = await triage(Counts(fault=fault))
    assert (found.users, why(found)) == ("", [f"users: {fault.message}"])


async def test_a_server_that_hangs_holds_the_plan_up_for_no_longer_than_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(triaging, "MOST_SECONDS", timedelta(milliseconds=50))
    async with asyncio.timeout(5):
        found = await triage(Counts(hangs=True))
    assert (found.users, why(found)) == ("", ["users: Prometheus did not answer in time"])
    assert found.data == "none is lost", "the rest is told all the same"


async def test_without_a_query_nobody_is_asked_and_without_a_server_that_is_said() -> None:
    servers = Counts((1.0,))
    found = await triage(servers, {"data": "none is lost"})
    assert (found.users, why(found), servers.asked) == ("", [], [])
    assert why(await triage(None)) == ["users: no Prometheus server is configured"]
