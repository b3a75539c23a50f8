"""The demo's scenarios on pretend pods, each with a defined end.

A new one is a subclass of Scenario and a line in SCENARIOS.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from faults.access import Api
from tests_support.cluster import incident
from tests_support.waiting import eventually
from tests_support.workloads import plain

LOOK = 0.1
"""Seconds between two looks: at half of that they are near half of all that the API server is asked."""
UNVERIFIED = "IsolationUnverified"
"""Where an isolation ends whose effect cannot be tried out: pretend pods have no network."""


def ready_reason(found: Any) -> str:
    """The reason of an Incident's condition Ready; empty before there is one."""
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    return next((each["reason"] for each in conditions if each["type"] == "Ready"), "")


def is_true(found: Any, kind: str) -> bool:
    """Whether an object has a condition of this type that is true."""
    conditions = ((found or {}).get("status") or {}).get("conditions") or ()
    return any(each["type"] == kind and each["status"] == "True" for each in conditions)


def is_ready(pod: Any) -> bool:
    """Whether a pod is ready."""
    return is_true(pod, "Ready")


def is_stalled(found: Any) -> bool:
    return is_true(found, "Stalled")


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What is there, what is asked for, and how it goes on once it is contained."""

    name: ClassVar[str] = ""
    held: ClassVar[str] = ""
    """The reason of Ready at which ``finish`` is due; empty: it ends by itself."""
    ends_as: ClassVar[str] = "Resolved"
    """The reason of Ready at the end; empty: the Incident is gone."""

    def prepare(self, api: Api, run: str) -> None:
        """Make the world, and wait until it is quiet."""
        raise NotImplementedError

    def spec(self, run: str) -> dict[str, Any]:
        raise NotImplementedError

    def finish(self, api: Api, run: str) -> None:
        """What a person does once it is contained."""

    def apply(self, api: Api, run: str) -> None:
        api.create("incidents", incident(run, **self.spec(run)))

    def is_held(self, found: Any) -> bool:
        """Whether ``finish`` is due."""
        return ready_reason(found) == self.held

    def is_over(self, found: Any) -> bool:
        return found is None if not self.ends_as else ready_reason(found) == self.ends_as


def _deployment(run: str, *, replicas: int = 1, version: str = "1") -> dict[str, Any]:
    made = plain(run, replicas=replicas)
    pod = made["spec"]["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 0
    pod["containers"][0]["env"] = [{"name": "VERSION", "value": version}]
    return made


def _is_rolled_out(found: Any) -> bool:
    """Whether the controllers have done what a Deployment asks for."""
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    is_seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
    counts = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return is_seen and counts == [wanted] * 3


def is_followed(api: Api) -> bool:
    """Whether the controllers have done what all Deployments of a namespace ask for."""
    return all(_is_rolled_out(each) for each in api.list("deployments"))


def _rolled_out(api: Api, run: str, within: float = 60) -> None:
    """Wait until a Deployment's rollout is finished."""

    eventually(
        lambda: _is_rolled_out(api.get("deployments", run)), within=within, what=f"the rollout of {run}", every=LOOK
    )
    _pods_listed(api, run)


def _pods_listed(api: Api, run: str) -> None:
    """Wait until the API server's watch cache has just the pods that there are, and that they are ready.

    A controller may have seen a pod ready, and said so, before the cache from which the operator's lists come has it.
    """

    def look() -> bool:
        ours = f"labelSelector=app={run}"
        there = {pod["metadata"]["name"]: pod for pod in api.list("pods", query=ours)}
        cached = {pod["metadata"]["name"]: pod for pod in api.list("pods", query=f"{ours}&resourceVersion=0")}
        return there == cached and all(is_ready(pod) for pod in there.values())

    eventually(look, within=20, what=f"pods of {run} in the watch cache", every=LOOK)


def controllers_follow(api: Api) -> None:
    """Wait until the cluster's own controllers act again after an outage of its API server.

    Each of their informers begins anew after up to 30 s and as much again at random (client-go, the reflector's
    back-off), longest where outages follow one another.
    """
    api.create("deployments", _deployment("probe"))
    try:
        _rolled_out(api, "probe", within=120)
    finally:
        api.delete("deployments", "probe")


def _listed(api: Api, plural: str, name: str) -> None:
    """Wait until the API server's watch cache, from which lists come, has what was made."""

    def look() -> bool:
        return any(each["metadata"]["name"] == name for each in api.list(plural, query="resourceVersion=0"))

    eventually(look, within=20, what=f"{plural} {name} in the watch cache", every=LOOK)


def release(api: Api, run: str, version: str) -> None:
    """Roll out another version."""
    template = _deployment(run, version=version)["spec"]["template"]
    api.merge("deployments", run, {"spec": {"template": template}})
    _rolled_out(api, run)


class Isolate(Scenario):
    """A workload is cut off, and given back when it is released."""

    name = "isolate"
    held = UNVERIFIED

    def prepare(self, api: Api, run: str) -> None:
        api.create("deployments", _deployment(run))
        _rolled_out(api, run)

    def spec(self, run: str) -> dict[str, Any]:
        targets = [{"kind": "Deployment", "name": run}]
        return {"targets": targets, "containment": [{"name": "cut", "isolate": {}}]}

    def finish(self, api: Api, run: str) -> None:
        api.merge("incidents", run, {"spec": {"release": True}})


class Scale(Scenario):
    """A workload with an autoscaler is scaled down, and back when the Incident is deleted."""

    name = "scale"
    held = "Contained"
    ends_as = ""

    def prepare(self, api: Api, run: str) -> None:
        api.create("deployments", _deployment(run, replicas=2))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": run}
        spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4}
        kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
        api.create("horizontalpodautoscalers", {**kind, "metadata": {"name": run}, "spec": spec})
        _rolled_out(api, run)
        _listed(api, "horizontalpodautoscalers", run)

    def spec(self, run: str) -> dict[str, Any]:
        targets = [{"kind": "Deployment", "name": run}]
        return {"targets": targets, "containment": [{"name": "down", "scale": {"replicas": 1}}]}

    def finish(self, api: Api, run: str) -> None:
        api.delete("incidents", run)


class Undo(Scenario):
    """A bad release is rolled back, once, and the rollout is verified."""

    name = "undo"

    def prepare(self, api: Api, run: str) -> None:
        api.create("deployments", _deployment(run, version="1"))
        _rolled_out(api, run)
        release(api, run, "2")

    def spec(self, run: str) -> dict[str, Any]:
        targets = [{"kind": "Deployment", "name": run}]
        undo = {"name": "undo", "rolloutUndo": {}}
        return {"targets": targets, "containment": [undo], "verification": [{"name": "rolled", "rollout": {}}]}


class DeleteWhileHeld(Scenario):
    """One pod is cut off by a label of its own; the Incident is deleted meanwhile."""

    name = "delete"
    held = UNVERIFIED
    ends_as = ""

    def prepare(self, api: Api, run: str) -> None:
        pod = _deployment(run)["spec"]["template"]
        kind = {"apiVersion": "v1", "kind": "Pod"}
        api.create("pods", {**kind, "metadata": {"name": run, **pod["metadata"]}, "spec": pod["spec"]})

        eventually(lambda: is_ready(api.get("pods", run)), within=30, what=f"pod {run} to be ready", every=LOOK)
        _pods_listed(api, run)

    def spec(self, run: str) -> dict[str, Any]:
        targets = [{"kind": "Pod", "name": run}]
        return {"targets": targets, "containment": [{"name": "cut", "isolate": {}}]}

    def finish(self, api: Api, run: str) -> None:
        api.delete("incidents", run)


class Recover(Scenario):
    """Two tiers: the upper one is stopped, the lower one looked at, and the upper one started again."""

    name = "recover"

    def prepare(self, api: Api, run: str) -> None:
        names = (run, f"{run}-api")
        for replicas, name in enumerate(names, start=1):
            api.create("deployments", _deployment(name, replicas=replicas))
        for name in names:
            _rolled_out(api, name)
        gates = [{"name": "ready", "podsReady": {}}, {"name": "rolled-out", "rollout": {}}]
        tiers = [
            {"name": tier, "workloads": [{"kind": "Deployment", "name": name}], "gates": gates, "timeout": "30s"}
            for tier, name in (("database", run), ("api", f"{run}-api"))
        ]
        kind = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "RecoveryPlan"}
        api.create("recoveryplans", {**kind, "metadata": {"name": run}, "spec": {"tiers": tiers}})

    def spec(self, run: str) -> dict[str, Any]:
        return {"targets": [{"kind": "Deployment", "name": run}], "recovery": {"planRef": {"name": run}}}


class _Less(Scenario):
    """A workload of two is scaled down to one."""

    step: ClassVar[dict[str, Any]] = {"name": "less", "scale": {"replicas": 1}}

    def prepare(self, api: Api, run: str) -> None:
        api.create("deployments", _deployment(run, replicas=2))
        _rolled_out(api, run)

    def spec(self, run: str) -> dict[str, Any]:
        return {"targets": [{"kind": "Deployment", "name": run}], "containment": [self.step]}


class Expire(_Less):
    """It is given a time, which is over at once, when it is contained: before, a fault may last longer than that."""

    name = "expire"
    held = "Contained"
    ends_as = "Expired"

    def finish(self, api: Api, run: str) -> None:
        api.merge("incidents", run, {"spec": {"expiresAfter": "1s"}})


class Cancel(_Less):
    """A person calls it off once it is contained."""

    name = "cancel"
    held = "Contained"
    ends_as = "Cancelled"

    def finish(self, api: Api, run: str) -> None:
        api.merge("incidents", run, {"spec": {"cancel": True}})


class Approve(_Less):
    """One person declares it, another one approves the plan."""

    name = "approve"
    held = "AwaitingApproval"
    ends_as = "Contained"
    reporter: ClassVar[str] = "bob"
    approver: ClassVar[str] = "alice"

    def apply(self, api: Api, run: str) -> None:
        bob = api.person(self.reporter)
        bob.create("incidents", incident(run, **self.spec(run), mode="Propose", reportedBy=self.reporter))
        bob.close()

    def is_held(self, found: Any) -> bool:
        """Due once it is known what the plan takes away; while it is not, whoever approves has it looked at again."""
        return super().is_held(found) and not is_true(found, "BlastRadiusExceeded")

    def finish(self, api: Api, run: str) -> None:
        plan = api.get("incidents", run)["status"]["plan"]["hash"]
        kind = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "IncidentApproval"}
        vote = {"incident": run, "planHash": plan, "decision": "Approved", "approver": self.approver}
        alice = api.person(self.approver)
        alice.create("incidentapprovals", {**kind, "metadata": {"name": run}, "spec": vote})
        alice.close()


class Alert(_Less):
    """An alert's Incident takes its steps from a runbook; it is verified once the alert is over."""

    name = "alert"
    held = "Verification"
    signal: ClassVar[dict[str, Any]] = {"name": "Slow", "fingerprint": "aa", "startsAt": "2026-11-24T03:00:00Z"}

    def prepare(self, api: Api, run: str) -> None:
        super().prepare(api, run)
        kind = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "Runbook"}
        check = {"name": "over", "alertResolved": {}, "for": "0s", "timeout": "10m"}
        steps = {"containment": [self.step], "verification": [check]}
        api.create("runbooks", {**kind, "metadata": {"name": run}, "spec": steps})

    def spec(self, run: str) -> dict[str, Any]:
        targets = [{"kind": "Deployment", "name": run}]
        told = {"source": "Alertmanager", "signals": [self.signal]}
        return {"targets": targets, "runbookRef": {"kind": "Runbook", "name": run}, **told}

    def is_held(self, found: Any) -> bool:
        status = found.get("status") or {}
        return bool(status.get("phase") == self.held and status.get("verification"))

    def finish(self, api: Api, run: str) -> None:
        over = {**self.signal, "endsAt": "2026-11-24T03:01:00Z"}
        api.merge("incidents", run, {"spec": {"signals": [over]}})


class Paged(Isolate):
    """An isolation whose entry is too long for status, and is kept in a page of its own."""

    name = "paged"

    def prepare(self, api: Api, run: str) -> None:
        long = [run, *(f"nobody-{number}-{'x' * 50}" for number in range(20))]
        made = _deployment(run)
        made["spec"]["selector"]["matchExpressions"] = [{"key": "app", "operator": "In", "values": long}]
        api.create("deployments", made)
        _rolled_out(api, run)


SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        *(Isolate(), Scale(), Undo(), DeleteWhileHeld(), Recover()),
        *(Expire(), Cancel(), Approve(), Alert(), Paged()),
    )
}
DEMO = ("isolate", "scale", "undo", "delete", "recover")
"""What the demo shows; the other scenarios are ways an Incident may take besides."""


def tidy(api: Api, run: str) -> None:
    """Remove what a run made; its Incident is gone already."""
    for plural in (
        *("horizontalpodautoscalers", "deployments", "pods", "recoveryplans"),
        *("incidentapprovals", "runbooks"),
    ):
        api.delete(plural, run)
    api.delete("deployments", f"{run}-api")
