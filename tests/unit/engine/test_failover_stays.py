"""A failover stays, however its Incident ends: failing back is a person's decision."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine.cycle import Engine
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings
from incident_operator.faults import Waiting
from incident_operator.planning.plan import Ref, Request
from incident_operator.telemetry.metrics import Metrics
from unit.actions.objects import SINCE, Object, later, pod, workload
from unit.actions.restoring import cron_job, made

NEW, OLD = {"app": "db", "role": "replica"}, {"app": "db", "role": "primary"}
FORM = {"job": {"cronJob": "promote", "service": "db", "selector": NEW}}


class World:
    """A database with a replica, and an Incident that fails over to it; nobody need approve."""

    def __init__(self, **spec: Any) -> None:
        self.seconds = 0.0
        self.fake = FakeCluster(clock=lambda: later(self.seconds))
        replica = workload("StatefulSet", "db-replica", replicas=1)
        there = pod(replica, "db-replica-0")
        there["metadata"]["labels"] |= NEW
        self.fake.put(made("Namespace", "shop"), replica, there, cron_job("promote"))
        self.fake.put(made("Service", "db", spec={"selector": OLD}))
        self._put("ResponsePolicy", "", {"approvals": [{"name": "by-itself", "when": ["Destructive"], "count": 0}]})
        step = {"name": "take-over", "failover": FORM, **spec.pop("step", {})}
        whole = {"title": "t", "type": "Outage", "severity": "SEV-1", "mode": "Enforce", "remediation": [step]}
        targets = [{"kind": "StatefulSet", "name": "db-replica"}]
        self._put("Incident", "shop", {**whole, "targets": targets, **spec})
        self.engine = Engine(
            self.fake,
            actions=ACTIONS,
            checks=CHECKS,
            settings=EngineSettings(),
            clock=lambda: later(self.seconds),
            metrics=Metrics(),
        )

    def _put(self, kind: str, namespace: str, spec: Object) -> None:
        meta = {"name": "lost", "creationTimestamp": f"{SINCE:%Y-%m-%dT%H:%M:%SZ}"}
        meta |= {"namespace": namespace} if namespace else {}
        self.fake.put({"apiVersion": names.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    async def look(self, times: int) -> None:
        """So many looks, a second apart; a Job completes as soon as it is there."""
        for _ in range(times):
            with contextlib.suppress(Waiting):
                await self.engine.step(Key("shop", "lost"))
            for kind, namespace, name in [key for key in self.fake.objects if key[0] == "Job"]:
                self.fake.edit(kind, namespace, name, lambda job: job.__setitem__("status", {"conditions": [COMPLETE]}))
            self.seconds += 1

    async def change(self, request: str, **spec: Any) -> None:
        ref = Ref("Incident", "lost", "shop", self.fake.at("Incident", "lost")["metadata"]["uid"])
        if request == "delete":
            await self.fake.send(Request("delete", ref))
        else:
            await self.fake.send(Request("patch", ref, {"spec": spec}, "application/merge-patch+json"))

    @property
    def selector(self) -> Object:
        found: Object = self.fake.at("Service", "db")["spec"]["selector"]
        return found


COMPLETE = {"type": "Complete", "status": "True"}


@pytest.mark.parametrize("end", ["delete", "release", "cancel"])
@pytest.mark.parametrize("release", [{}, {"release": "Manual"}, {"release": "OnResolve"}], ids=str)
async def test_the_service_stays_on_the_promoted_replica_however_the_incident_ends(end: str, release: Object) -> None:
    world = World(step=release)
    await world.look(8)
    assert world.selector == NEW, world.fake.at("Incident", "lost")["status"]
    await world.change(end, **{end: True})
    await world.look(4)
    assert world.selector == NEW


@pytest.mark.parametrize("policy", ["Release", "Rollback"])
async def test_the_service_stays_when_the_replica_does_not_get_ready_in_time(policy: str) -> None:
    world = World(step={"onFailure": policy, "timeout": "10s"})
    world.fake.edit("Pod", "shop", "db-replica-0", lambda it: it["status"].__setitem__("conditions", []))
    await world.look(20)
    failed = world.fake.at("Incident", "lost")["status"]["steps"][0]
    assert (failed["phase"], failed["reason"]) == ("Failed", "TimedOut"), failed
    assert world.selector == NEW
