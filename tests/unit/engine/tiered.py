"""An application of five tiers in memory, whose controllers follow as the API server's would."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.checks.contract import Check
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
LONG = 120
"""Looks that are more than a whole recovery takes."""
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
    others: Sequence[Object] = ()
    """What else is there."""
    groups: Sequence[str] = ()
    """API groups that are served besides those that every cluster has."""
    checks: Mapping[str, Check] = dataclasses.field(default_factory=dict)
    """Checks in place of those of their names."""
    settings: EngineSettings = dataclasses.field(default_factory=EngineSettings)
    follow: Callable[[Key, str, Collection[str]], None] = lambda *_: None
    """Told when it waits for the world to move."""

    def __post_init__(self) -> None:
        self.now = SINCE
        self.fake = FakeCluster(*self.others, groups=self.groups, clock=lambda: self.now)
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
        self.spec = spec
        self.declare(KEY.name)
        self.log: list[tuple[str, int]] = []
        self.restart()

    def declare(self, name: str) -> None:
        """Another Incident, which is looked at from then on."""
        self._put("Incident", name, self.spec)
        self.key = Key("shop", name)

    def _put(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        meta = {"name": name, "namespace": "shop", "creationTimestamp": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}
        self.fake.put({"apiVersion": names.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def restart(self) -> None:
        """A new process knows only what is stored."""
        self.engine = Engine(
            self.fake,
            actions=ACTIONS,
            checks={**CHECKS, **self.checks},
            settings=self.settings,
            clock=lambda: self.now,
            metrics=Metrics(),
            follow=self.follow,
        )

    async def look(self, times: int = 1, *, restarting: bool = False, apart: float = 1) -> None:
        """So many looks, a second apart; what is changed goes to ``log``."""
        for _ in range(times):
            if restarting:
                self.restart()
            before = {name: self.count(name) for name in TIERS}
            with contextlib.suppress(Waiting):
                await self.engine.step(self.key)
            self.log += [(name, self.count(name)) for name in TIERS if self.count(name) != before[name]]
            self.settle()
            self.now += timedelta(seconds=apart)

    def settle(self) -> None:
        """The controllers do what they do."""
        for name in TIERS:
            self._settle(KINDS.get(name, "Deployment"), name)

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
        return Ref("Incident", self.key.name, "shop", self.incident["metadata"]["uid"])

    @property
    def incident(self) -> Object:
        return self.fake.at("Incident", self.key.name)

    @property
    def status(self) -> Object:
        found: Object = self.incident.get("status") or {}
        return found

    @property
    def ready(self) -> str:
        return next((each["reason"] for each in self.status.get("conditions", []) if each["type"] == "Ready"), "")

    @property
    def said(self) -> str:
        """The message of the condition Ready."""
        return next((each["message"] for each in self.status.get("conditions", []) if each["type"] == "Ready"), "")

    def step(self, name: str) -> Object:
        """What status says of a step."""
        found: Object = next(step for step in self.status["steps"] if step["name"] == name)
        return found

    @property
    def held(self) -> set[str]:
        """The objects that are on record as changed, and go back one day."""
        return {
            entry["key"]
            for entry in self.status["ledger"]
            if entry["state"] in ("Intended", "Done") and entry["release"] != "Never"
        }

    @property
    def tiers(self) -> dict[str, str]:
        return {tier["name"]: tier["phase"] for tier in self.status.get("recovery", {}).get("tiers", [])}

    def count(self, name: str) -> int:
        found: int = self.fake.objects[KINDS.get(name, "Deployment"), "shop", name]["spec"]["replicas"]
        return found


def a_tier(name: str, *workloads: str, kind: str = "Deployment", **more: Any) -> dict[str, Any]:
    return {"name": name, "workloads": [{"kind": kind, "name": each} for each in workloads], **more}


DATABASE = a_tier("database", "db", kind="StatefulSet")


def plan_of(**api: Any) -> list[dict[str, Any]]:
    return [
        DATABASE,
        a_tier("api", "api", **api),
        a_tier("bot", "bot"),
        a_tier("frontend", "web"),
        a_tier("auxiliary", "stats"),
    ]


def recovering(
    *, broken: set[str] | None = None, others: Any = (), standard: bool = False, checks: Any = None, **api: Any
) -> Application:
    """An application whose recovery follows a plan; ``api`` is what that says of the tier api."""
    recovery = {"planRef": {"name": "shop"}, **({"verification": "Standard"} if standard else {})}
    plan = {"tiers": plan_of(**api)}
    return Application(recovery=recovery, plan=plan, broken=broken or set(), others=others, checks=checks or {})


def end_job(app: Application, cron: str, how: str) -> None:
    """Have the Job that was made of a CronJob end so."""
    name = next(name for kind, _, name in app.fake.objects if kind == "Job" and name.startswith(cron))
    conditions = [{"type": how, "status": "True", "reason": "BackoffLimitExceeded" if how == "Failed" else ""}]
    app.fake.edit("Job", "shop", name, lambda job: job.__setitem__("status", {"conditions": conditions}))


async def until(app: Application, so: Any) -> None:
    """Look until it is so."""
    for _ in range(300):
        if so():
            return
        await app.look()
    raise AssertionError(app.status)
