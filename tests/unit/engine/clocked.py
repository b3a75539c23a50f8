"""An Incident whose clocks run, two hooks that can be told, and the clocks of the machine in the test's hands."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from incident_operator.api.configuration import Configuration
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine import wishes
from incident_operator.engine.case import Case, Memory
from incident_operator.engine.clockwork import LOOK, Clockwork, Looked
from incident_operator.engine.keys import Key
from incident_operator.faults import Waiting
from incident_operator.planning.record import Record

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BEGUN = datetime(2026, 11, 23, 14, 15, tzinfo=UTC)
PLAN = [{"after": "15m", "hook": "pager"}, {"after": "1h", "hook": "manager"}]
AWAY = Waiting("HookUnavailable", "hook pager answered 503")


@dataclasses.dataclass
class Desk:
    """Stands in for the hooks: keeps what it is told, and fails as told."""

    told: list[tuple[str, Mapping[str, Any]]] = dataclasses.field(default_factory=list)
    faults: list[Exception] = dataclasses.field(default_factory=list)
    gate: asyncio.Event | None = None

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        self.told.append((name, message))
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)


class World:
    """One Incident whose record is what was saved, two clocks, and who is woken."""

    def __init__(self, **spec: Any) -> None:
        self.passed = self.set_back = timedelta(0)
        self.woken: list[Key] = []
        self.desk = Desk()
        meta = {"name": "slow", "namespace": "shop", "uid": "uid-1", "creationTimestamp": "2026-11-23T14:15:00Z"}
        given = {"title": "5xx on web", "type": "Outage", "severity": "SEV-1", "escalation": PLAN, **spec}
        self.incident = {"metadata": meta, "spec": given}
        self.record = Record(timers={"detected": "2026-11-23T14:15:00Z"}, id="INC-1", plan_hash="h")
        self.restart()

    def restart(self) -> None:
        """A new process knows only what is on record."""
        self.clockwork = Clockwork(
            Configuration(),
            self.desk,
            lambda: BEGUN + self.passed - self.set_back,
            self.woken.append,
            elapsed=lambda: 1e6 + self.passed.total_seconds(),
        )
        self.record = dataclasses.replace(self.record, overdue=dict.fromkeys(self.record.overdue, ""))

    def look(self, after: timedelta | None = None, *, is_saved: bool = True) -> Looked:
        """One look; what it makes of the record is kept only if it says that there is news."""
        self.passed = self.passed if after is None else after
        case = self.case()
        looked = self.clockwork.look(case)
        self.news = case.news
        if looked.is_news and is_saved:
            self.record = case.record
        self.seen = case.record
        return looked

    def case(self) -> Case:
        """A look that begins now."""
        cluster, clock = FakeCluster(), lambda: BEGUN + self.passed
        wished, memory = wishes.read(self.incident), Memory("uid-1")
        return Case(cluster, self.incident, self.record, wished, cluster, memory, clock, lambda _: None)

    async def answered(self) -> None:
        """Until all that is being told has ended."""
        await asyncio.gather(*(post.task for post in self.clockwork._posts.values()), return_exceptions=True)

    async def go_on(self, after: timedelta) -> Looked:
        """A look, and another when the hooks have answered, as there is when they wake it."""
        first = self.look(after)
        await self.answered()
        return self.look() if first.again == LOOK else first

    @property
    def reasons(self) -> list[str]:
        return [each.reason for each in self.record.timeline]

    @property
    def hooks(self) -> list[str]:
        return [name for name, _ in self.desk.told]
