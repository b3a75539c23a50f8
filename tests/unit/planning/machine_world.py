"""A small world with one Incident in it, and a witness who sees every write that the engine makes."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from incident_operator.api import names
from incident_operator.cluster.fake import Call, FakeCluster, Write
from incident_operator.faults import Stalled
from incident_operator.planning.plan import Manifest, canonical
from unit.actions.objects import Object, pod, revision, workload
from unit.engine.shop import OURS

NAMESPACE, INCIDENT = "shop", "api-5xx"
ADDRESS = ("10.1.2.3", 8080)
Touched = list[tuple[str, str]]
"""Kinds and names of what somebody else wrote to."""
LIVE = ("Intended", "Done")
LOWER, UPPER = "gates-database", "start-api"
"""The step that looks at the lower tier, and the one that starts the upper one after it."""
TIERS: list[dict[str, Any]] = [
    {
        "name": "database",
        "workloads": [{"kind": "Deployment", "name": "web"}],
        "gates": [{"name": "ready", "podsReady": {}, "for": "3s"}],
        "timeout": "60s",
    },
    {
        "name": "api",
        "workloads": [{"kind": "Deployment", "name": "api"}],
        "gates": [{"name": "ready", "podsReady": {}, "for": "0s"}],
        "timeout": "60s",
    },
]
OVER = ("Resolved", "Cancelled", "Closed")


class Clock:
    """The time of day; it moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


Somebody = Callable[[FakeCluster, Clock], Touched]


def world(clock: Clock, spec: Mapping[str, Any], *, autoscaled: bool) -> FakeCluster:
    """Two Deployments with pods and revisions, maybe an HPA, a CronJob, a RecoveryPlan, and an Incident about them."""
    fake = FakeCluster(clock=clock)
    fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for name in ("api", "web"):
        fake.put(*deployment(name))
    meta = {"name": "nightly", "namespace": NAMESPACE, "generation": 1}
    fake.put({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": {"schedule": "0 0 * * *"}})
    meta = {"name": "shop", "namespace": NAMESPACE, "creationTimestamp": f"{clock.now:%Y-%m-%dT%H:%M:%SZ}"}
    fake.put({"apiVersion": names.API_VERSION, "kind": "RecoveryPlan", "metadata": meta, "spec": {"tiers": TIERS}})
    if autoscaled:
        ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
        bounds = {"scaleTargetRef": ref, "minReplicas": 2, "maxReplicas": 9}
        meta = {"name": "api", "namespace": NAMESPACE}
        fake.put({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": bounds})
    meta = {"name": INCIDENT, "namespace": NAMESPACE}
    fake.put({"apiVersion": names.API_VERSION, "kind": "Incident", "metadata": meta, "spec": dict(spec)})
    fake.network.on_pod_network = True
    return fake


def deployment(name: str) -> list[Object]:
    """A Deployment whose second revision runs, with its pods."""
    thing = workload("Deployment", name, version="2", replicas=3)
    return [thing, revision(thing, 1), revision(thing, 2), *(pod(thing, f"{name}-{each}", 2) for each in range(3))]


def follow(fake: FakeCluster) -> None:
    """What controllers do in time: status and pods become what the specs ask for."""
    for key in [key for key in fake.objects if key[0] == "Deployment"]:
        name, wanted = key[2], fake.objects[key]["spec"]["replicas"]
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), wanted)
        seen = {"observedGeneration": fake.objects[key]["metadata"]["generation"], **counts}
        fake.edit(*key, lambda thing, seen=seen: thing.__setitem__("status", seen))
        there = sorted(each for kind, _, each in fake.objects if kind == "Pod" and each.startswith(f"{name}-"))
        for extra in there[wanted:]:
            fake.take("Pod", NAMESPACE, extra)
        fake.put(*(pod(fake.objects[key], f"{name}-n{each}", 2) for each in range(wanted - len(there))))


def incident_of(fake: FakeCluster) -> Object | None:
    return fake.objects.get(("Incident", NAMESPACE, INCIDENT))


def status_of(fake: FakeCluster) -> Mapping[str, Any]:
    return (incident_of(fake) or {}).get("status") or {}


def conditions_of(fake: FakeCluster) -> dict[str, tuple[str, str]]:
    return {each["type"]: (each["status"], each["reason"]) for each in status_of(fake).get("conditions", ())}


def is_done(fake: FakeCluster, step: str) -> bool:
    """Whether status says that a step is done."""
    return any(each["name"] == step and each["phase"] == "Done" for each in status_of(fake).get("steps", ()))


@dataclasses.dataclass(frozen=True)
class Line:
    """One ledger entry as it is stored."""

    id: tuple[str, str]
    target: tuple[str, str]
    state: str
    release: str
    request: str
    since: str
    message: str


def ledger(fake: FakeCluster) -> list[Line]:
    """The stored ledger, with the long parts from their pages."""
    return [
        Line(
            (raw["step"], raw["key"]),
            (raw["target"]["kind"], raw["target"]["name"]),
            raw["state"],
            raw["release"],
            _request(fake, raw),
            raw.get("intendedAt", ""),
            raw.get("message", ""),
        )
        for raw in status_of(fake).get("ledger", ())
    ]


def _request(fake: FakeCluster, raw: Mapping[str, Any]) -> str:
    if not raw.get("stored"):
        return str(raw.get("request", ""))
    page = fake.objects["IncidentLedger", NAMESPACE, raw["stored"]]["spec"]["entries"]
    content = next(each["content"] for each in page if each["key"] == f"{raw['step']}/{raw['key']}")
    return str(json.loads(content).get("request", ""))


def field(kind: str, thing: Manifest | None) -> Any:
    """What an Incident may have changed about an object, apart from a rollback."""
    if thing is None:
        return None
    match kind:
        case "Deployment":
            return thing["spec"]["replicas"]
        case "HorizontalPodAutoscaler":
            return thing["spec"].get("minReplicas", 1), thing["spec"]["maxReplicas"]
        case "CronJob":
            return bool(thing["spec"].get("suspend"))
        case "Pod":
            return (thing["metadata"].get("labels") or {}).get(names.ISOLATED)
        case _:
            return thing["metadata"]["uid"]


def scales(replicas: int) -> Somebody:
    def act(fake: FakeCluster, _: Clock) -> Touched:
        fake.edit("Deployment", NAMESPACE, "api", lambda thing: thing["spec"].update(replicas=replicas))
        return [("Deployment", "api")]

    return act


def deploys(name: str) -> Somebody:
    """Another template, of which nobody knows anything."""

    def act(fake: FakeCluster, clock: Clock) -> Touched:
        image = f"registry/{name}:{clock.now:%H%M%S}"
        fake.edit(
            "Deployment",
            NAMESPACE,
            name,
            lambda thing: thing["spec"]["template"]["spec"]["containers"][0].update(image=image),
        )
        return [("Deployment", name)]

    return act


def replaces(name: str) -> Somebody:
    """Another object under the same name."""

    def act(fake: FakeCluster, clock: Clock) -> Touched:
        there = fake.objects["Deployment", NAMESPACE, name]
        fake.put({**there, "metadata": {**there["metadata"], "uid": f"{name}-{clock.now:%H%M%S}"}})
        return [("Deployment", name)]

    return act


def readies(*, ready: bool) -> Somebody:
    """Probes of the lower tier that flap: nobody's write to anything that an Incident holds."""

    def act(fake: FakeCluster, _: Clock) -> Touched:
        condition = [{"type": "Ready", "status": str(ready)}]
        for key in [key for key in fake.objects if key[0] == "Pod" and key[2].startswith("web-")]:
            fake.edit(*key, lambda thing: thing["status"].update(conditions=condition))
        return []

    return act


def suspends(*, suspended: bool) -> Somebody:
    def act(fake: FakeCluster, _: Clock) -> Touched:
        fake.edit("CronJob", NAMESPACE, "nightly", lambda thing: thing["spec"].update(suspend=suspended))
        return [("CronJob", "nightly")]

    return act


def moves_bounds(most: int) -> Somebody:
    def act(fake: FakeCluster, _: Clock) -> Touched:
        key = ("HorizontalPodAutoscaler", NAMESPACE, "api")
        if key not in fake.objects:
            return []
        fake.edit(*key, lambda thing: thing["spec"].update(minReplicas=2, maxReplicas=most))
        return [("HorizontalPodAutoscaler", "api")]

    return act


def lifts_policies(fake: FakeCluster, _: Clock) -> Touched:
    found = [key for key in fake.objects if key[0] == "NetworkPolicy"]
    for key in found:
        fake.take(*key)
    return [(key[0], key[2]) for key in found]


def opens_policies(fake: FakeCluster, _: Clock) -> Touched:
    found = [key for key in fake.objects if key[0] == "NetworkPolicy"]
    for key in found:
        fake.edit(*key, lambda thing: thing["spec"].update(ingress=[{}]))
    return [(key[0], key[2]) for key in found]


def deletes_the_pod(fake: FakeCluster, _: Clock) -> Touched:
    if ("Pod", NAMESPACE, "api-0") in fake.objects:
        fake.take("Pod", NAMESPACE, "api-0")
    return []


SOMEBODY: list[Somebody] = [
    *map(scales, (0, 3, 4, 6)),
    *map(deploys, ("api", "web")),
    *map(replaces, ("api", "web")),
    *map(moves_bounds, (9, 12)),
    readies(ready=False),
    readies(ready=True),
    suspends(suspended=False),
    suspends(suspended=True),
    lifts_policies,
    opens_policies,
    deletes_the_pod,
]


class Witness:
    """Sees each write before it is made, and what it changed."""

    def __init__(self, fake: FakeCluster) -> None:
        self.fake = fake
        self.wrong: list[str] = []
        self.effects: Counter[tuple[Any, ...]] = Counter()
        self.first: dict[tuple[str, str], Manifest | None] = {}
        """Objects as they were before we touched them."""
        self.undecided: dict[tuple[str, str], Manifest | None] = {}
        """Objects as they were planned for, where somebody wrote while our own write may have been made or not."""
        self._intents: dict[int, Line] = {}
        self._read = 0

    def see(self, call: Call) -> None:
        """Before a write: is it on record as an intent, or does it put back what is?"""
        if call.when != "before" or not call.is_write or call.ref.kind in OURS:
            return
        if not call.who.service_account:
            self.wrong.append(f"the operator's own identity writes: {call}")
        lines, target = ledger(self.fake), (call.ref.kind, call.ref.name)
        sent = canonical(dataclasses.asdict(call.request)) if call.request else ""
        intent = next((line for line in lines if line.state == "Intended" and line.request == sent), None)
        if intent is None and not any(line.state in LIVE and line.target == target for line in lines):
            self.wrong.append(f"no intent on record for {call.request}: {lines}")
        if intent is not None:
            self._intents[call.number] = intent
            self._is_wanted(call)
            if intent.id[0] == UPPER and not is_done(self.fake, LOWER):
                self.wrong.append(f"the upper tier is started, and nobody has seen the lower one up: {call.request}")

    def passed(self, *, was_done: bool) -> None:
        """A gate that has passed was true: the lower tier has pods, and all of them are ready."""
        if was_done or not is_done(self.fake, LOWER):
            return
        pods = [each for (kind, _, name), each in self.fake.objects.items() if kind == "Pod" and name[:4] == "web-"]
        unready = [each["metadata"]["name"] for each in pods if each["status"]["conditions"][0]["status"] != "True"]
        if not pods or unready:
            self.wrong.append(f"{LOWER} passed, with {len(pods)} pods of which {unready} were not ready")

    def _is_wanted(self, call: Call) -> None:
        incident = incident_of(self.fake)
        spec = incident["spec"] if incident else {}
        unwanted = [word for word in ("suspend", "cancel", "release") if spec.get(word)]
        if incident is not None and names.FINALIZER not in incident["metadata"].get("finalizers", ()):
            self.wrong.append(f"nothing would put back {call.request}: there is no finalizer")
        if incident is None or incident["metadata"].get("deletionTimestamp") or unwanted:
            self.wrong.append(f"nobody wants {call.request} any more: {unwanted or incident}")

    def writes(self) -> list[Write]:
        """What was written since the last time, and not to our own objects; each intent may have one effect."""
        new, self._read = self.fake.journal[self._read :], len(self.fake.journal)
        found = [write for write in new if write.request.ref.kind not in OURS]
        for write in found:
            intent = self._intents.get(write.number)
            if write.before == write.after:
                continue
            ref = write.request.ref
            self.first.setdefault((ref.kind, ref.name), write.before)
            if intent is None or self._is_moved_by_autoscaler((ref.kind, ref.name)):
                continue
            self.effects[intent.target, intent.id, intent.since] += 1
            if self.effects[intent.target, intent.id, intent.since] > 1:
                self.wrong.append(f"the second effect of {intent}")
        return found

    def foreign(self, target: tuple[str, str], before: Manifest | None) -> None:
        """Somebody else wrote to this object: what they chose is what counts from now on, unless we hold it.

        What we did to it before is not to be seen any more. Where our own write was intended and not made, what they
        put back to what it was may be written again, and what they set to what was intended may be taken for our own
        write: after a crash nobody can tell whether it was made. What was planned for may come back then, or theirs.
        """
        for key in [key for key in self.effects if key[0] == target]:
            del self.effects[key]
        states = {line.state for line in ledger(self.fake) if line.target == target}
        if not states.intersection(LIVE):
            self.first.pop(target, None)
        elif "Intended" in states and target not in self.first:
            self.undecided.setdefault(target, before)

    def _is_moved_by_autoscaler(self, target: tuple[str, str]) -> bool:
        """Replicas that an autoscaler sets are nobody's decision: written whatever they are, and its to choose."""
        return target == ("Deployment", "api") and ("HorizontalPodAutoscaler", NAMESPACE, "api") in self.fake.objects

    def intended(self, before: Mapping[tuple[str, str], Line]) -> None:
        """Nothing new is intended where only a plan is asked for; an intent of before may still be carried out."""
        spec = (incident_of(self.fake) or {"spec": {}})["spec"]
        new = [line for line in ledger(self.fake) if line.state == "Intended" and before.get(line.id) != line]
        if new and spec["mode"] != "Enforce":
            self.wrong.append(f"intended in mode {spec['mode']}: {new}")

    def released(self, before: Mapping[tuple[str, str], Line]) -> None:
        """Each entry that became Released left its target as it was before we touched it, or gone."""
        lines = ledger(self.fake)
        held = {line.target for line in lines if line.state in LIVE}
        for line in lines:
            old = before.get(line.id)
            if line.state in (*LIVE, "Planned") or (old is not None and old.state == line.state):
                continue
            if line.target in held:
                continue  # another step has it: what was there before all of them is what comes back in the end
            kind, name = line.target
            first, planned_for = self.first.pop(line.target, None), self.undecided.pop(line.target, None)
            if line.state != "Released":
                continue  # it is reported: what is there now is a person's to judge, and counts from now on
            now = self.fake.objects.get((kind, NAMESPACE, name))
            if line.message and self._is_moved_by_autoscaler(line.target):
                continue
            is_gone = now is None or (first is not None and first["metadata"]["uid"] != now["metadata"]["uid"])
            either = [field(kind, each) for each in (first, planned_for or first)]
            if not is_gone and first is not None and field(kind, now) not in either:
                self.wrong.append(f"{line} is not back at {field(kind, first)}: {field(kind, now)}")


FORBIDDEN = Stalled("Forbidden", "could not do it as ServiceAccount shop/incident-responder: forbidden")
