"""An application of five tiers in memory, whose controllers follow as the API server's would."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

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
from unit.actions.objects import SINCE, Object, pod, revision, workload

KEY = Key("shop", "outage")
TIERS = {"db": "database", "api": "api", "bot": "bot", "web": "frontend", "stats": "auxiliary"}
KINDS = {"db": "StatefulSet"}
MERGE = "application/merge-patch+json"


@dataclasses.dataclass
class Application:
    """The workloads ``db``, ``api``, ``bot``, ``web`` and ``stats``, two replicas each, and one Incident."""

    recovery: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    plan: Mapping[str, Any] | None = None
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    broken: set[str] = dataclasses.field(default_factory=set)
    """Workloads whose pods do not get ready."""
    replicas: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now = SINCE
        self.fake = FakeCluster(clock=lambda: self.now)
        self.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        for name, tier in TIERS.items():
            count = self.replicas.get(name, 2)
            thing = workload(KINDS.get(name, "Deployment"), name, version="1", replicas=count)
            thing["metadata"]["labels"] = {names.TIER: tier}
            self.fake.put(thing, revision(thing, 1))
            self._settle(thing["kind"], name)
        if self.plan is not None:
            self._put("RecoveryPlan", "shop", self.plan)
        spec = {"title": "all down", "type": "Outage", "severity": "SEV-1", "recovery": self.recovery, **self.more}
        spec["targets"] = [{"kind": "StatefulSet", "name": "db"}]
        self._put("Incident", "outage", spec)
        self.log: list[tuple[str, int]] = []
        self.restart()

    def _put(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        meta = {"name": name, "namespace": "shop", "creationTimestamp": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}
        self.fake.put({"apiVersion": names.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def restart(self) -> None:
        """A new process knows only what is stored."""
        self.engine = Engine(
            self.fake,
            actions=ACTIONS,
            checks=CHECKS,
            settings=EngineSettings(),
            clock=lambda: self.now,
            metrics=Metrics(),
        )

    async def look(self, times: int = 1, *, restarting: bool = False) -> None:
        """So many looks, a second apart; what is changed goes to ``log``."""
        for _ in range(times):
            if restarting:
                self.restart()
            before = {name: self.count(name) for name in TIERS}
            with contextlib.suppress(Waiting):
                await self.engine.step(KEY)
            self.log += [(name, self.count(name)) for name in TIERS if self.count(name) != before[name]]
            for name in TIERS:
                self._settle(KINDS.get(name, "Deployment"), name)
            self.now += timedelta(seconds=1)

    def _settle(self, kind: str, name: str) -> None:
        """What the controllers do: as many pods as asked for, ready unless the workload is broken."""
        thing = self.fake.objects[kind, "shop", name]
        wanted, is_good = thing["spec"]["replicas"], name not in self.broken
        counts = dict.fromkeys(("replicas", "updatedReplicas"), wanted)
        counts |= dict.fromkeys(("readyReplicas", "availableReplicas"), wanted if is_good else 0)
        status = {"observedGeneration": thing["metadata"]["generation"], **counts}
        if kind == "StatefulSet":
            status |= {"currentRevision": f"{name}-h1", "updateRevision": f"{name}-h1", "currentReplicas": wanted}
        self.fake.edit(kind, "shop", name, lambda each: each.__setitem__("status", status))
        for _, _, there in [key for key in self.fake.objects if key[0] == "Pod" and key[2].startswith(f"{name}-")]:
            self.fake.take("Pod", "shop", there)
        self.fake.put(*(pod(thing, f"{name}-{each}", 1, ready=is_good) for each in range(wanted)))

    async def change(self, **spec: Any) -> None:
        await self.fake.send(Request("patch", self.ref, {"spec": spec}, MERGE))

    async def ask_again(self, when: str) -> None:
        body = {"metadata": {"annotations": {names.REQUESTED_AT: when}}}
        await self.fake.send(Request("patch", self.ref, body, MERGE))

    @property
    def ref(self) -> Ref:
        return Ref("Incident", "outage", "shop", self.incident["metadata"]["uid"])

    @property
    def incident(self) -> Object:
        return self.fake.at("Incident", "outage")

    @property
    def status(self) -> Object:
        found: Object = self.incident.get("status") or {}
        return found

    @property
    def ready(self) -> str:
        return next((each["reason"] for each in self.status.get("conditions", []) if each["type"] == "Ready"), "")

    @property
    def tiers(self) -> dict[str, str]:
        return {tier["name"]: tier["phase"] for tier in self.status.get("recovery", {}).get("tiers", [])}

    def count(self, name: str) -> int:
        found: int = self.fake.objects[KINDS.get(name, "Deployment"), "shop", name]["spec"]["replicas"]
        return found
