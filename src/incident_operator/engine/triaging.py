"""Triage: what changed before, who is affected, how many users; found out beside the plan, and never in its way.

What cannot be found out is said to be unknown: triage advises, it decides nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from incident_operator.cluster.port import Reader
from incident_operator.engine.case import Case
from incident_operator.engine.changes import Historian
from incident_operator.engine.past import WORKLOADS
from incident_operator.engine.settings import stamp_of
from incident_operator.faults import Fault
from incident_operator.monitoring.prometheus import Prometheus, Sample
from incident_operator.planning.blast import Survey
from incident_operator.planning.changes import WITHIN, Ranked, ranked
from incident_operator.planning.impact import affected, reason_for
from incident_operator.planning.plan import Manifest, Plan, PlannedStep, Ref
from incident_operator.planning.record import Triage

UNDO = "rolloutUndo"
MOST_SECONDS = timedelta(seconds=3)
"""How long it may hold up a plan that waits for it; what is not known by then is unknown."""
MOST_USERS = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """What triage has found."""

    triage: Triage
    changes: tuple[Ranked, ...]


class Triager:
    """Finds out what can be found out."""

    def __init__(self, servers: Prometheus | None = None) -> None:
        """``servers`` count the users that a runbook's query asks for."""
        self._servers = servers
        self._historian = Historian()

    async def look(self, case: Case, reader: Reader, survey: Survey) -> Looked:
        """What is found within a few seconds; never raises for what it could not see."""
        began, targets, namespace = _began(case), case.wishes.targets, case.meta["namespace"]
        unknown: list[str] = []
        changes, users, around = await asyncio.gather(
            self._changes(reader, namespace, targets, began, unknown),
            self._users(case.wishes.impact, unknown),
            _around(reader, targets, survey, unknown),
        )
        impact = case.wishes.impact
        triage = Triage(
            tuple(_told(each) for each in changes),
            around,
            users,
            str(impact.get("data", "")),
            str(impact.get("business", "")),
            tuple(unknown),
        )
        return Looked(triage, changes)

    async def _changes(
        self, reader: Reader, namespace: str, targets: Sequence[Ref], began: datetime, unknown: list[str]
    ) -> tuple[Ranked, ...]:
        try:
            async with asyncio.timeout(MOST_SECONDS.total_seconds()):
                found = await self._historian.look(reader, namespace, targets, since=began - WITHIN)
        except TimeoutError:
            unknown.append(f"what changed could not be told within {MOST_SECONDS.total_seconds():g} s")
            return ()
        except Fault as fault:
            unknown.append(f"what changed could not be told: {fault.message}")
            return ()
        unknown += found.unknown
        return ranked(found.happenings, targets=found.targets, used_by=found.used_by, started=began)

    async def _users(self, impact: Mapping[str, Any], unknown: list[str]) -> str:
        """How many users, by the runbook's query."""
        asked = impact.get("users")
        if not asked:
            return ""
        if self._servers is None:
            unknown.append("users: no Prometheus server is configured")
            return ""
        try:
            async with asyncio.timeout(MOST_SECONDS.total_seconds()):
                found = await self._servers.query(asked.get("server", ""), asked["query"])
        except TimeoutError:
            unknown.append("users: Prometheus did not answer in time")
            return ""
        except Fault as fault:
            unknown.append(f"users: {fault.message}")
            return ""
        return _count(found, unknown)


def _count(found: Sequence[Sample], unknown: list[str]) -> str:
    """The one number that a query gave, in full; nothing where it gave something else."""
    if len(found) == 1 and math.isfinite(found[0].value):
        return f"{found[0].value:.15g}"[:MOST_USERS]
    gave = f"{found[0].value:g}, which is no number of users" if len(found) == 1 else f"{len(found)} values, wanted one"
    unknown.append(f"users: the query gave {gave}")
    return ""


async def _around(reader: Reader, targets: Sequence[Ref], survey: Survey, unknown: list[str]) -> tuple[str, ...]:
    """The Services that the targets stand behind, and who uses them."""
    kinds = sorted({target.kind for target in targets} & set(WORKLOADS))
    workloads: list[Manifest] = []
    for kind in kinds:
        try:
            workloads += await reader.list(kind, next(iter(targets)).namespace)
        except Fault:
            unknown.append(f"{kind}s could not be listed")
    return affected(targets, workloads, survey)


def _began(case: Case) -> datetime:
    """When it began: with the first alert, else when it was declared."""
    starts = [each["startsAt"] for each in case.incident["spec"].get("signals") or ()]
    return min(datetime.fromisoformat(each) for each in (*starts, case.meta["creationTimestamp"]))


def _told(found: Ranked) -> dict[str, Any]:
    """One change as status has it."""
    what = found.happening
    told = {
        "what": f"{what.what.kind}/{what.what.name}",
        "at": stamp_of(what.at),
        "by": what.by,
        "summary": what.summary,
        "score": found.score,
        "why": found.why,
    }
    return {key: value for key, value in told.items() if value not in ("", None)}


def with_reasons(plan: Plan, changes: Sequence[Ranked]) -> Plan:
    """The plan; each rollback says why its revision is believed to be the cause, or what speaks against it."""
    return Plan(tuple(_with_reason(step, changes) if step.action == UNDO else step for step in plan.steps))


def _with_reason(step: PlannedStep, changes: Sequence[Ranked]) -> PlannedStep:
    made = []
    for change in step.changes:
        reason = reason_for(changes, change.target)
        made.append(dataclasses.replace(change, notes=(*change.notes, reason)) if reason else change)
    return dataclasses.replace(step, changes=tuple(made))
