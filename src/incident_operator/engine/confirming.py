"""Whether an alert is still true before anything is done about it: the query of its rule is asked once more.

The query is what a configured Prometheus has for a rule of that name: an alert never brings one. What
cannot be asked holds nothing up: a Prometheus that is away is no reason to leave an outage alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from incident_operator.engine.case import Case
from incident_operator.engine.gate import Pause
from incident_operator.faults import Fault
from incident_operator.monitoring.prometheus import AlertingRule, Prometheus, Sample

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.engine")

MOST_SECONDS = 2.0
AGAIN = timedelta(seconds=5)
ASKS = frozenset({"Alertmanager", "Prometheus"})
"""Sources whose alerts come from a Prometheus rule."""
MOST_ASKED = 4
"""Names of alerts of an Incident whose rules are asked for; one alert that is true is enough."""
MOST_RULES = 8
"""Rules of one name whose queries are asked, and the characters that each may have."""
MOST_QUERY = 8192


class Confirmer:
    """Asks the queries of alerts again."""

    def __init__(self, servers: Prometheus | None) -> None:
        """``servers`` are asked, those that have the alert's rule; without any nothing is."""
        self._servers = servers

    def held(self, case: Case) -> Pause | None:
        """A Pause while an alert that was to be held is still waited for."""
        if case.record.has_begun() or not case.wishes.signals.known or not case.wishes.hold_seconds:
            return None
        until = datetime.fromisoformat(case.meta["creationTimestamp"]) + timedelta(seconds=case.wishes.hold_seconds)
        if case.now >= until:
            return None
        text = f"holdFor: the plan is begun if an alert still fires at {until:%H:%M:%S} UTC"
        return Pause("HoldingFor", text, until - case.now)

    async def doubt(self, case: Case) -> Pause | None:
        """A Pause before the first change while no alert is true any more; asked when all else allows the change."""
        if case.record.has_begun() or not case.wishes.signals.known or await self._is_true(case.incident["spec"]):
            return None
        text = (
            "its alert still fires, but its query does not hold any more: waiting for it to resolve, or to hold again"
        )
        return Pause("AlertNotConfirmed", text, AGAIN)

    async def _is_true(self, spec: Mapping[str, Any]) -> bool:
        """Whether one of the alerts holds, or it cannot be told."""
        firing = [each for each in spec.get("signals") or () if not each.get("endsAt")]
        if self._servers is None or not self._servers.names or not firing:
            return True
        if any(each.get("source", spec.get("source")) not in ASKS for each in firing):
            return True
        alike: dict[tuple[str, str], list[Mapping[str, str]]] = {}
        for each in firing:
            labels = each.get("labels") or {}
            alike.setdefault((labels.get("alertname", each["name"]), each.get("server", "")), []).append(labels)
        if len(alike) > MOST_ASKED:
            return True
        try:
            async with asyncio.timeout(MOST_SECONDS):
                told = await asyncio.gather(
                    *(self._holds(self._servers, *which, labels) for which, labels in alike.items())
                )
        except TimeoutError:
            log.warning("Could not ask an alert's query again", cause=f"no answer within {MOST_SECONDS:g} s")
            return True
        except Fault as fault:
            log.warning("Could not ask an alert's query again", cause=fault.message)
            return True
        return any(told)

    async def _holds(self, servers: Prometheus, alert: str, server: str, labels: Sequence[Mapping[str, str]]) -> bool:
        """Whether one of the alerts of a name holds on a server that has its rule, or none has it."""
        asked = [server] if server in servers.names else servers.names
        told = await asyncio.gather(*(_holds_on(servers, each, alert, labels) for each in asked))
        return any(told) or all(each is None for each in told)


async def _holds_on(servers: Prometheus, server: str, alert: str, labels: Sequence[Mapping[str, str]]) -> bool | None:
    """Whether an alert holds on one server; None where it has no such rule."""
    rules = await servers.rules(server, alert)
    if not rules:
        return None
    if len(rules) > MOST_RULES or any(len(rule.query) > MOST_QUERY for rule in rules):
        return True
    found = await asyncio.gather(*(servers.query(server, rule.query) for rule in rules))
    return any(holds(samples, rule, each) for rule, samples in zip(rules, found, strict=True) for each in labels)


def holds(samples: Sequence[Sample], rule: AlertingRule, labels: Mapping[str, str]) -> bool:
    """Whether one of the values is the alert's: what it says of its labels is what the alert says.

    A rule may add labels to the alert, or set them anew; one that both have and the rule does not set must be the same.
    """
    return any(
        all(each.labels[key] == labels[key] for key in each.labels if key in labels and _counts(key, rule))
        for each in samples
    )


def _counts(label: str, rule: AlertingRule) -> bool:
    return not label.startswith("__") and label not in rule.labels
