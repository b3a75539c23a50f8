"""Whether an alert is still true when the time it was held for is over: its own query is asked once more.

What cannot be asked holds nothing up: a Prometheus that is away is no reason to leave an outage alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import structlog

from incident_operator.engine.case import Case
from incident_operator.engine.gate import Pause
from incident_operator.faults import Fault
from incident_operator.monitoring.prometheus import Prometheus, Sample

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.engine")

MOST_SECONDS = 2.0
AGAIN = timedelta(seconds=5)
ASKS = frozenset({"Alertmanager", "Prometheus"})
"""Sources whose alerts come from a Prometheus rule."""
MOST_ASKED = 4
"""Alerts of an Incident whose queries are asked; one that is true is enough."""


class Confirmer:
    """Asks the queries of alerts again."""

    def __init__(self, servers: Prometheus | None) -> None:
        """``servers`` are asked, the first one; without any nothing is."""
        self._servers = servers

    async def pause(self, case: Case) -> Pause | None:
        """A Pause while an alert that was to be held is still waited for, or is not true any more."""
        if case.record.has_begun() or not case.wishes.signals.known or not case.wishes.hold_seconds:
            return None
        until = datetime.fromisoformat(case.meta["creationTimestamp"]) + timedelta(seconds=case.wishes.hold_seconds)
        if case.now < until:
            text = f"holdFor: the plan is begun if an alert still fires at {until:%H:%M:%S} UTC"
            return Pause("HoldingFor", text, until - case.now)
        if await self._is_true(case.incident["spec"]):
            return None
        text = (
            "its alert still fires, but its query does not hold any more: waiting for it to resolve, or to hold again"
        )
        return Pause("AlertNotConfirmed", text, AGAIN)

    async def _is_true(self, spec: Mapping[str, Any]) -> bool:
        """Whether one of the alerts holds, or it cannot be told."""
        if self._servers is None or not self._servers.names or spec.get("source") not in ASKS:
            return True
        firing = [each for each in spec.get("signals") or () if not each.get("endsAt")][:MOST_ASKED]
        try:
            async with asyncio.timeout(MOST_SECONDS):
                told = [await self._holds(self._servers, each) for each in firing]
        except TimeoutError:
            log.warning("Could not ask an alert's query again", cause=f"no answer within {MOST_SECONDS:g} s")
            return True
        except Fault as fault:
            log.warning("Could not ask an alert's query again", cause=fault.message)
            return True
        return any(told) or not told

    async def _holds(self, servers: Prometheus, signal: Mapping[str, Any]) -> bool:
        """Whether the query of one alert gives something that has its labels."""
        query = expression_of(signal.get("url", "")) or await servers.expression("", signal["name"])
        return holds(await servers.query("", query), signal.get("labels") or {})


def expression_of(url: str) -> str:
    """The query in an alert's link to its Prometheus (``/graph?g0.expr=...``); empty if there is none."""
    try:
        return parse_qs(urlsplit(url).query).get("g0.expr", [""])[0][:4096]
    except ValueError:
        return ""


def holds(samples: Sequence[Sample], labels: Mapping[str, str]) -> bool:
    """Whether one of the values is the alert's: what it says of its labels is what the alert says.

    A rule may add labels to the alert; one that both have must be the same.
    """
    return any(_fits(each.labels, labels) for each in samples)


def _fits(found: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    shared = [key for key in found if key in labels and not key.startswith("__")]
    return all(found[key] == labels[key] for key in shared)
