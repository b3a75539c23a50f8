"""Whether an alert is still true when the time it was held for is over."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from incident_operator.engine.case import Case
from incident_operator.engine.confirming import Confirmer, expression_of, holds
from incident_operator.engine.wishes import read
from incident_operator.faults import Waiting
from incident_operator.monitoring.prometheus import Sample
from incident_operator.planning.record import Record

MADE = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LABELS = {"alertname": "Slow", "namespace": "shop", "severity": "critical"}
URL = "http://p:9090/graph?g0.expr=up+%3D%3D+0&g0.tab=1"


@dataclasses.dataclass
class Server:
    """A Prometheus that answers as it is told."""

    samples: tuple[Sample, ...] = ()
    fault: Exception | None = None
    names: tuple[str, ...] = ("main",)
    asked: list[str] = dataclasses.field(default_factory=list)

    async def query(self, _name: str, query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        self.asked.append(query)
        if self.fault is not None:
            raise self.fault
        return self.samples

    async def expression(self, _name: str, alertname: str) -> str:
        return f"rule of {alertname}"


def case(seconds: float, *, url: str = URL, **spec: Any) -> Case:
    signal = {"name": "Slow", "fingerprint": "aa", "startsAt": "2026-11-24T03:00:00Z", "labels": LABELS, "url": url}
    told = {"source": "Alertmanager", "signals": [signal], "holdFor": "10s", "recovery": {}, **spec}
    incident = {
        "metadata": {"name": "x", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-11-24T03:00:00Z"},
        "spec": {key: value for key, value in told.items() if value is not None},
    }
    now = MADE + timedelta(seconds=seconds)
    return Case(Mock(), incident, Record(), read(incident), Mock(), Mock(), lambda: now, Mock())


def reason(server: Any, of: Case) -> str:
    pause = asyncio.run(Confirmer(server).pause(of))
    return pause.reason if pause else ""


def test_it_is_held_for_its_time_and_then_asked_whether_it_still_holds() -> None:
    server = Server()
    assert reason(server, case(9)) == "HoldingFor"
    assert server.asked == []
    assert reason(server, case(10)) == "AlertNotConfirmed"
    assert server.asked == ["up == 0"]
    server.samples = (Sample({"namespace": "shop"}, 0.0),)
    assert reason(server, case(10)) == ""


def test_the_value_of_something_else_is_not_its_own() -> None:
    assert reason(Server((Sample({"namespace": "other"}, 0.0),)), case(10)) == "AlertNotConfirmed"
    assert holds((Sample({}, 1.0),), LABELS)
    assert not holds((), LABELS)


def test_without_a_link_the_rule_is_asked_for() -> None:
    server = Server()
    reason(server, case(10, url="https://grafana/x"))
    assert server.asked == ["rule of Slow"]
    assert expression_of("http://[bad") == ""


@pytest.mark.parametrize(
    ("server", "spec"),
    [
        (None, {}),
        (Server(names=()), {}),
        (Server(fault=Waiting("PrometheusUnavailable", "no answer")), {}),
        (Server(), {"source": "Sentry"}),
        (Server(), {"holdFor": None}),
        (Server(), {"signals": None, "source": None}),
    ],
)
def test_what_cannot_be_asked_holds_nothing_up(server: Any, spec: dict[str, Any]) -> None:
    assert reason(server, case(10, **spec)) == ""
