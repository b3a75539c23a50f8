"""Whether an alert is still true before anything is done about it."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest

from incident_operator.engine.case import Case
from incident_operator.engine.confirming import MOST_QUERY, Confirmer, holds
from incident_operator.engine.wishes import read
from incident_operator.faults import Stalled, Waiting
from incident_operator.monitoring.prometheus import AlertingRule, Sample
from incident_operator.planning.record import Record

MADE = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
LABELS = {"alertname": "Slow", "namespace": "shop", "severity": "critical"}
URL = "http://p:9090/graph?g0.expr=group(secret)&g0.tab=1"
RULE = AlertingRule("up == 0", frozenset({"severity"}))
SHOP, OTHER = Sample({"namespace": "shop"}, 0.0), Sample({"namespace": "other"}, 0.0)


@dataclasses.dataclass
class Servers:
    """Prometheus servers that have these rules, and answer their queries so."""

    ruled: Mapping[str, tuple[AlertingRule, ...]] = dataclasses.field(default_factory=lambda: {"main": (RULE,)})
    samples: Mapping[str, tuple[Sample, ...]] = dataclasses.field(default_factory=dict)
    fault: Exception | None = None
    asked: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.ruled)

    async def query(self, name: str, query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        self.asked.append((name, query))
        if self.fault is not None:
            raise self.fault
        return self.samples.get(name, ())

    async def rules(self, name: str, alertname: str) -> tuple[AlertingRule, ...]:
        return self.ruled[name] if alertname == "Slow" else ()


def firing(**more: Any) -> dict[str, Any]:
    return {
        "name": "Slow", "fingerprint": "aa", "startsAt": "2026-11-24T03:00:00Z", "labels": LABELS, "url": URL, **more,
    }  # fmt: skip


def case(seconds: float, *signals: dict[str, Any], has_begun: bool = False, **spec: Any) -> Case:
    told = {"source": "Alertmanager", "signals": list(signals or [firing()]), "recovery": {}, **spec}
    incident = {
        "metadata": {"name": "x", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-11-24T03:00:00Z"},
        "spec": {key: value for key, value in told.items() if value is not None},
    }
    record = Mock(Record, has_begun=lambda: has_begun)
    now = MADE + timedelta(seconds=seconds)
    return Case(Mock(), incident, record, read(incident), Mock(), Mock(), lambda: now, Mock())


def doubt(servers: Any, of: Case) -> str:
    pause = asyncio.run(Confirmer(servers).doubt(of))
    return pause.reason if pause else ""


def test_it_is_held_for_its_time() -> None:
    confirmer = Confirmer(None)
    pause = confirmer.held(case(9, holdFor="10s"))
    assert pause is not None
    assert (pause.reason, pause.again) == ("HoldingFor", timedelta(seconds=1))
    assert confirmer.held(case(10, holdFor="10s")) is None
    assert confirmer.held(case(0)) is None


def test_with_or_without_a_time_to_hold_the_rules_own_query_is_asked_before_anything_is_begun() -> None:
    servers = Servers()
    assert doubt(servers, case(0)) == "AlertNotConfirmed"
    assert servers.asked == [("main", "up == 0")], "and nothing that the alert's link says"
    servers.samples = {"main": (OTHER, SHOP)}
    assert doubt(servers, case(0)) == ""
    servers.asked.clear()
    assert doubt(Servers(), case(0, has_begun=True)) == ""
    assert servers.asked == []


def test_the_value_of_something_else_is_not_its_own_but_a_label_that_the_rule_sets_may_differ() -> None:
    assert doubt(Servers(samples={"main": (OTHER,)}), case(0)) == "AlertNotConfirmed"
    assert holds((Sample({}, 1.0),), RULE, LABELS)
    assert not holds((), RULE, LABELS)
    warned = Sample({"namespace": "shop", "severity": "warning"}, 0.0)
    assert holds((warned,), RULE, LABELS)
    assert not holds((warned,), AlertingRule("up == 0"), LABELS)


def test_of_several_servers_those_that_have_the_rule_are_asked_and_one_is_enough() -> None:
    second = Servers({"first": (), "second": (RULE,)}, {"second": (SHOP,)})
    assert doubt(second, case(0)) == ""
    assert second.asked == [("second", "up == 0")]
    second.samples = {"first": (SHOP,)}
    assert doubt(second, case(0)) == "AlertNotConfirmed"
    both = Servers({"first": (RULE,), "second": (RULE,)}, {"second": (SHOP,)})
    assert doubt(both, case(0)) == ""
    assert doubt(both, case(0, firing(server="first"))) == "AlertNotConfirmed", "that one told the alert"
    assert doubt(both, case(0, firing(server="gone"))) == ""


def test_one_alert_that_is_true_is_enough_and_one_that_has_ended_is_not_asked() -> None:
    servers = Servers(samples={"main": (SHOP,)})
    other = firing(fingerprint="bb", labels={**LABELS, "namespace": "else"})
    assert doubt(servers, case(0, other, firing())) == ""
    assert doubt(servers, case(0, other, firing(endsAt="2026-11-24T03:01:00Z"))) == "AlertNotConfirmed"


@pytest.mark.parametrize(
    ("servers", "signals", "spec"),
    [
        pytest.param(None, (), {}, id="nobody to ask"),
        pytest.param(Servers({}), (), {}, id="none configured"),
        pytest.param(Servers({"main": ()}), (), {}, id="no server has the rule"),
        pytest.param(Servers(fault=Waiting("PrometheusUnavailable", "no answer")), (), {}, id="away"),
        pytest.param(Servers(fault=Stalled("QueryRejected", "too many samples")), (), {}, id="rejected"),
        pytest.param(Servers({"main": (AlertingRule("x" * (MOST_QUERY + 1)),)}), (), {}, id="too long"),
        pytest.param(Servers({"main": (RULE,) * 9}), (), {}, id="too many rules"),
        pytest.param(Servers(), (), {"source": "Sentry"}, id="not from a rule"),
        pytest.param(
            Servers(), (firing(), firing(source="Workload", fingerprint="bb")), {}, id="one is not from a rule"
        ),
        pytest.param(
            Servers(), tuple(firing(labels={"alertname": f"A{n}"}) for n in range(5)), {}, id="too many names"
        ),
        pytest.param(Servers(), (), {"signals": None, "source": None}, id="no alert"),
    ],
)
def test_what_cannot_be_asked_holds_nothing_up(servers: Any, signals: Any, spec: dict[str, Any]) -> None:
    assert doubt(servers, case(10, *signals, **spec)) == ""
