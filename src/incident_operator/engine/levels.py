"""The level before an incident that a recovery is compared with: of which moment it is, and how it gets into the plan.

It is asked for while the plan is made, so that people see it there. A server that does not answer at once keeps nobody
waiting: the check asks for that moment again when it compares.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from incident_operator.api.schema import parse_duration
from incident_operator.checks.contract import Check, Compares
from incident_operator.checks.lookback import lookback
from incident_operator.engine.settings import stamp_of
from incident_operator.planning.plan import CheckWish, Manifest, Plan

WAIT_SECONDS = 1.0
"""How long a plan waits for the level; an outage may have taken the Prometheus with it."""
BEFORE = "10m"
LONGEST = timedelta(days=366)
"""An alert that claims to fire for longer has no time of its own, such as Go's zero, which is in the year 1."""


def asked_of(spec: Mapping[str, Any], incident: Manifest) -> Mapping[str, Any] | None:
    """What a recovery is to be compared by, with the moment; None if nobody asked.

    ``spec`` is the Incident's with what its runbook says.
    """
    found = (spec.get("recovery") or {}).get("performance")
    if not found:
        return None
    made = datetime.fromisoformat(incident["metadata"]["creationTimestamp"])
    alerts = [_moment(each.get("startsAt"), made) for each in incident["spec"].get("signals") or ()]
    params = {key: value for key, value in found.items() if key != "before"}
    return {**params, "at": stamp_of(min([made, *alerts]) - parse_duration(found.get("before", BEFORE)))}


def _moment(text: object, otherwise: datetime) -> datetime:
    """When an alert says that it began; whoever sent it may have written anything, which then tells nothing."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return otherwise
    return found.astimezone(UTC) if found.tzinfo and otherwise - found < LONGEST else otherwise


def window_seconds(performance: Mapping[str, Any] | None) -> float:
    """How long after the last action there is nothing to compare yet: the query's own window."""
    try:
        return lookback(str((performance or {}).get("query", ""))).total_seconds()
    except (ValueError, OverflowError):
        return 0.0  # the check says that it cannot be told


async def measured(checks: Mapping[str, Check], plan: Plan) -> Plan:
    """The plan with the levels that its gates compare with, as far as they can be told now."""
    return Plan(
        tuple([
            dataclasses.replace(step, gates=tuple([await _measured(checks, gate) for gate in step.gates]))
            for step in plan.steps
        ])
    )  # fmt: skip


async def _measured(checks: Mapping[str, Check], gate: CheckWish) -> CheckWish:
    check = checks.get(gate.kind)
    if not isinstance(check, Compares):
        return gate
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            return dataclasses.replace(gate, params=await check.with_level(gate.params))
    except TimeoutError:
        return gate
