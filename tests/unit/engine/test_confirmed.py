"""When an alert is asked again: after policies and approvals, before the first change, and never after it."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine.confirming import Confirmer
from incident_operator.engine.cycle import Engine
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings
from incident_operator.monitoring.prometheus import AlertingRule, Sample
from incident_operator.telemetry.metrics import Metrics
from unit.actions.objects import SINCE, revision, workload

KEY = Key("shop", "slow")
SIGNAL = {
    "name": "Slow",
    "fingerprint": "aa",
    "startsAt": f"{SINCE:%Y-%m-%dT%H:%M:%SZ}",
    "labels": {"alertname": "Slow"},
}


@dataclasses.dataclass
class Servers:
    """One Prometheus, whose rule holds or does not."""

    is_true: bool = False
    asked: int = 0
    names: tuple[str, ...] = ("main",)

    async def rules(self, _name: str, _alertname: str) -> tuple[AlertingRule, ...]:
        return (AlertingRule("up == 0"),)

    async def query(self, _name: str, _query: str, *, at: datetime | None = None) -> tuple[Sample, ...]:
        self.asked += 1
        return (Sample({}, 0.0),) if self.is_true else ()


class World:
    """A Deployment, an Incident that an alert made, and an engine that scales it down."""

    def __init__(self, **spec: Any) -> None:
        self.now, self.servers = SINCE, Servers()
        web = workload("Deployment", "web", version="1", replicas=3)
        told = {"title": "slow", "type": "Outage", "severity": "SEV-2", "source": "Alertmanager", "signals": [SIGNAL]}
        told |= {"targets": [{"kind": "Deployment", "name": "web"}]}
        told |= {"containment": [{"name": "less", "scale": {"replicas": 1}}], **spec}
        meta = {"name": "slow", "namespace": "shop", "creationTimestamp": f"{SINCE:%Y-%m-%dT%H:%M:%SZ}"}
        self.cluster = FakeCluster(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, web, revision(web, 1),
            {"apiVersion": names.API_VERSION, "kind": "Incident", "metadata": meta, "spec": told},
            clock=lambda: self.now,
        )  # fmt: skip
        self.engine = Engine(
            self.cluster, actions=ACTIONS, checks=CHECKS, settings=EngineSettings(), clock=lambda: self.now,
            metrics=Metrics(), confirmer=Confirmer(self.servers),
        )  # fmt: skip

    async def look(self) -> str:
        """One look; the reason of what is said then."""
        await self.engine.step(KEY)
        self.now += timedelta(seconds=5)
        conditions = self.cluster.objects["Incident", "shop", "slow"]["status"]["conditions"]
        return str(next(each["reason"] for each in conditions if each["type"] == "Ready"))

    @property
    def replicas(self) -> int:
        return int(self.cluster.objects["Deployment", "shop", "web"]["spec"]["replicas"])


async def test_nothing_is_begun_while_the_alerts_query_does_not_hold_and_it_goes_on_when_it_does() -> None:
    world = World()
    assert [await world.look() for _ in range(2)] == ["AlertNotConfirmed", "AlertNotConfirmed"]
    assert (world.replicas, world.servers.asked) == (3, 2)
    world.servers.is_true = True
    await world.look()
    assert (world.replicas, world.servers.asked) == (1, 3)
    world.servers.is_true = False
    await world.look()
    assert (world.replicas, world.servers.asked) == (1, 3), "what has begun is not asked about any more"


async def test_it_is_asked_once_all_else_allows_the_change() -> None:
    world = World(mode="Propose")
    assert [await world.look() for _ in range(3)] == ["AwaitingApproval"] * 3
    held = World(holdFor="10s")
    assert await held.look() == "HoldingFor"
    assert (world.servers.asked, held.servers.asked) == (0, 0)
