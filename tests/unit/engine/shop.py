"""A shop in memory: Deployments with their pods, ResponsePolicies, Incidents and those who approve them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.fake import Call, FakeCluster
from incident_operator.engine.cycle import Engine
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings
from incident_operator.faults import Waiting
from incident_operator.planning.plan import Ref, Request
from incident_operator.telemetry.metrics import Metrics
from unit.actions.objects import SINCE, Object, pod, revision, stamp, workload

SPACE = "shop"
MERGE = "application/merge-patch+json"
OURS = frozenset({"Incident", "IncidentLedger", "Event"})
API, WEB = ("Deployment", "api"), ("Deployment", "web")
FOUR_EYES: Object = {"approvals": [{"name": "four-eyes", "count": 1}]}
"""A policy under which one other person agrees to every plan."""
ISOLATE: Sequence[Object] = ({"name": "cut", "isolate": {}},)


def scaled(replicas: int, **more: Any) -> list[Object]:
    """One step that scales."""
    return [{"name": "less", "scale": {"replicas": replicas}, **more}]


TWO_STAGES = [*scaled(2), {"name": "cut", "isolate": {}, "targets": [{"kind": "Deployment", "name": "web"}]}]
"""``api`` is scaled down, and then ``web`` is cut off."""


def is_on_target(call: Call) -> bool:
    """Whether a call writes to what an Incident is about, not to what is kept about it."""
    return call.is_write and call.ref.kind not in OURS


def admission() -> list[Object]:
    """What makes the API server hold approvers to who they are."""
    whole = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": names.APPROVER_POLICY}}
    binding = {"kind": "ValidatingAdmissionPolicyBinding", "spec": {"validationActions": ["Deny"]}}
    return [{**whole, "kind": "ValidatingAdmissionPolicy", "spec": {}}, {**whole, **binding}]


def policy(name: str, **spec: Any) -> Object:
    """A ResponsePolicy for every namespace."""
    body = {"apiVersion": names.API_VERSION, "kind": "ResponsePolicy", "metadata": {"name": name}}
    return {**body, "spec": {"namespaceSelector": {}, **spec}}


def vote(name: str, incident: str, plan: str, by: str, now: datetime, **spec: Any) -> Object:
    """Somebody's yes (or no) to a plan of an Incident."""
    meta = {"name": name, "namespace": SPACE, "creationTimestamp": stamp(now)}
    whole = {"incident": incident, "planHash": plan, "decision": "Approved", "approver": by, **spec}
    return {"apiVersion": names.API_VERSION, "kind": "IncidentApproval", "metadata": meta, "spec": whole}


class Shop:
    """Everything is there at once; time moves by a second with each look."""

    def __init__(self, settings: EngineSettings | None = None, *, groups: Sequence[str] = ()) -> None:
        self.now = SINCE
        self.settings = settings or EngineSettings()
        self.fake = FakeCluster(clock=lambda: self.now, groups=groups)
        self.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
        self.fake.put(*admission())
        self.fake.network.on_pod_network = True
        self.restart()

    def restart(self) -> None:
        """A new process knows only what is stored."""
        self.metrics = Metrics()
        self.engine = Engine(
            self.fake,
            actions=ACTIONS,
            checks=CHECKS,
            settings=self.settings,
            clock=lambda: self.now,
            metrics=self.metrics,
        )

    def deployment(self, name: str, replicas: int = 3, *, labels: Mapping[str, str] | None = None) -> None:
        """A Deployment in its second revision, with its ReplicaSets and ready pods."""
        thing = workload("Deployment", name, version="2", replicas=replicas)
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), replicas)
        thing["status"] |= counts
        thing["metadata"]["labels"] = dict(labels or {})
        self.fake.put(thing, revision(thing, 1), revision(thing, 2))
        self.fake.put(*(pod(thing, f"{name}-{each}", 2) for each in range(replicas)))

    def settle(self, name: str) -> None:
        """What the controllers do: as many ready pods as asked for."""
        thing = self.fake.at("Deployment", name)
        wanted, seen = thing["spec"]["replicas"], thing["metadata"]["generation"]
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), wanted)
        status = {"observedGeneration": seen, **counts}
        self.fake.edit("Deployment", SPACE, name, lambda each: each.__setitem__("status", status))
        there = [each for each in self.there("Pod") if each.startswith(f"{name}-")]
        for extra in there[wanted:]:
            self.fake.take("Pod", SPACE, extra)

    def policy(self, name: str = "p", **spec: Any) -> None:
        """A ResponsePolicy for every namespace, made or replaced."""
        self.fake.put(policy(name, **spec))
        self.restart()  # policies are remembered for a moment

    def incident(self, name: str, *targets: tuple[str, str], containment: Sequence[Object], **spec: Any) -> None:
        """An Incident that bob declares now."""
        meta = {"name": name, "namespace": SPACE, "creationTimestamp": stamp(self.now)}
        whole = {"title": name, "type": "Outage", "severity": "SEV-2", "reportedBy": "bob", **spec}
        whole |= {"targets": [{"kind": kind, "name": each} for kind, each in targets], "containment": list(containment)}
        self.fake.put({"apiVersion": names.API_VERSION, "kind": "Incident", "metadata": meta, "spec": whole})

    def vote(self, name: str, incident: str, by: str = "alice", **spec: Any) -> None:
        """Somebody's yes (or no) to the Incident's plan as it is now."""
        plan = spec.pop("planHash", "") or self.status(incident)["plan"]["hash"]
        self.fake.put(vote(name, incident, plan, by, self.now, **spec))

    async def change(self, name: str, **spec: Any) -> None:
        """Change an Incident's spec."""
        await self.fake.send(Request("patch", self.ref(name), {"spec": spec}, MERGE))

    async def ask_again(self, name: str, *, wanted: bool = True) -> None:
        """Have what stalled tried once more; or take the request away."""
        body = {"metadata": {"annotations": {names.REQUESTED_AT: stamp(self.now) if wanted else None}}}
        await self.fake.send(Request("patch", self.ref(name), body, MERGE))

    async def delete(self, name: str) -> None:
        """Delete an Incident; its finalizer holds it."""
        await self.fake.send(Request("delete", self.ref(name)))

    def ref(self, incident: str) -> Ref:
        return Ref("Incident", incident, SPACE, self.fake.at("Incident", incident)["metadata"]["uid"])

    def by_hand(self, name: str, replicas: int, *managers: str) -> None:
        """Somebody scales a Deployment; with whom the API server keeps as the one who set it."""

        def change(thing: Object) -> None:
            thing["spec"]["replicas"] = replicas
            fields = {"f:spec": {"f:replicas": {}}}
            thing["metadata"]["managedFields"] = [{"manager": each, "fieldsV1": fields} for each in managers]

        self.fake.edit("Deployment", SPACE, name, change)

    async def look(self, *incidents: str, times: int = 4) -> None:
        """So many looks at each of these, all at the same time."""
        for _ in range(times):
            await asyncio.gather(*(self._step(name) for name in incidents))
            self.now += timedelta(seconds=1)

    async def _step(self, name: str) -> None:
        with contextlib.suppress(Waiting):
            await self.engine.step(Key(SPACE, name))

    def status(self, name: str) -> Object:
        found: Object = self.fake.at("Incident", name).get("status") or {}
        return found

    def ready(self, name: str) -> tuple[str, str]:
        """Reason and message of the condition Ready."""
        found = [each for each in self.status(name).get("conditions", []) if each["type"] == "Ready"]
        return (found[0]["reason"], found[0]["message"]) if found else ("", "")

    def replicas(self, name: str) -> int:
        found: int = self.fake.at("Deployment", name)["spec"]["replicas"]
        return found

    def there(self, kind: str) -> list[str]:
        """The names of all objects of a kind."""
        return sorted(name for each, _, name in self.fake.objects if each == kind)
