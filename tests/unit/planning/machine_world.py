"""A small world with one Incident in it, and a witness who sees every write that the engine makes."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from incident_operator.api import names
from incident_operator.cluster.fake import Call, FakeCluster, Write
from incident_operator.faults import Stalled
from incident_operator.planning.plan import Manifest, Request, canonical
from unit.actions.objects import Object, pod, revision, workload
from unit.engine.shop import OURS

NAMESPACE, INCIDENT = "shop", "api-5xx"
ADDRESS = ("10.1.2.3", 8080)
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
    expires: str
    before: str
    """What was there when it was planned."""

    @property
    def what(self) -> tuple[object, ...]:
        """The intent, under whatever name its step has by now."""
        return self.target, self.request, self.since


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
            raw.get("expiresAt", ""),
            str(raw.get("before", "")),
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


def _set_by(request: Request) -> list[str]:
    """The fields that a JSON patch sets."""
    body = request.body if isinstance(request.body, list) else []
    return [each["path"] for each in body if each["op"] != "test"]


class Witness:
    """Sees each write before it is made, and what it changed."""

    def __init__(self, fake: FakeCluster) -> None:
        self.fake = fake
        self.wrong: list[str] = []
        self.effects: Counter[tuple[Any, ...]] = Counter()
        self.first: dict[tuple[str, str], Manifest | None] = {}
        """Objects as they were before we touched them."""
        self.undecided: dict[tuple[str, str], list[Manifest | None]] = {}
        """Objects as they were planned for, where somebody wrote while our own write may have been made or not; and as
        somebody left them from whom we took them once more."""
        self.left: dict[tuple[str, str], tuple[Manifest | None, set[str]]] = {}
        """What somebody else made of what we held, and since when what was held then had been intended."""
        self.is_agreed: Callable[[], bool] = lambda: False
        """Whether somebody has agreed to the plan."""
        self.last: list[Line] = []
        """The ledger as it was when it was last seen."""
        self._set: dict[tuple[Any, ...], list[str]] = {}
        """The fields that an effect set."""
        self.theirs: set[tuple[str, str]] = set()
        """What somebody else wrote to, and a deletion may have to leave to them."""
        self._intents: dict[int, Line] = {}
        self._reported: set[tuple[tuple[str, str], str]] = set()
        """Entries that were left to a person in this look, by when they had been intended: a new plan that is made in
        the same look may have them anew at its end."""
        self._read = 0

    def see(self, call: Call) -> None:
        """Before a write: is it on record as an intent, or does it put back what is?"""
        if call.when != "before" or not call.is_write:
            return
        lines, target = ledger(self.fake), (call.ref.kind, call.ref.name)
        self.last = lines if incident_of(self.fake) is not None else self.last
        self._reported |= {(line.id, line.since) for line in lines if line.state not in (*LIVE, "Planned", "Released")}
        if call.ref.kind in OURS:
            return
        if not call.who.service_account:
            self.wrong.append(f"the operator's own identity writes: {call}")
        sent = canonical(dataclasses.asdict(call.request)) if call.request else ""
        intent = next((line for line in lines if line.state == "Intended" and line.request == sent), None)
        if intent is None and not any(line.state in LIVE and line.target == target for line in lines):
            self.wrong.append(f"no intent on record for {call.request}: {lines}")
        is_ending = self._unwanted() not in ([], ["suspend"])
        if is_ending and any(line.state == "Done" and line.target == target for line in lines):
            return  # what another step did goes back, and that may be the very write that a later one intended
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

    def _unwanted(self) -> list[str]:
        """Why nothing is to be done any more; empty: it may be."""
        incident = incident_of(self.fake)
        if incident is None or incident["metadata"].get("deletionTimestamp"):
            return ["it is deleted"]
        return [word for word in ("suspend", "cancel", "release") if incident["spec"].get(word)]

    def _is_wanted(self, call: Call) -> None:
        incident = incident_of(self.fake)
        if incident is not None and names.FINALIZER not in incident["metadata"].get("finalizers", ()):
            self.wrong.append(f"nothing would put back {call.request}: there is no finalizer")
        if self._unwanted():
            self.wrong.append(f"nobody wants {call.request} any more: {self._unwanted()}")

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
            self._begins_from_theirs(write, intent)
            self._undone(write.request, intent)
            if intent is None or self._is_moved_by_autoscaler((ref.kind, ref.name)):
                continue
            self.effects[intent.target, intent.id, intent.since] += 1
            self._set[intent.target, intent.id, intent.since] = _set_by(write.request)
            if self.effects[intent.target, intent.id, intent.since] > 1:
                self.wrong.append(f"the second effect of {intent}")
        return found

    def _begins_from_theirs(self, write: Write, intent: Line | None) -> None:
        """What is done anew where somebody else had changed it goes back to what was before us, or to what they left.

        To theirs where what we had done before was over by then, for that is left to them; else the plan goes on.
        """
        if intent is None or intent.target not in self.left:
            return
        (left, held), kind = self.left[intent.target], intent.target[0]
        if intent.since not in held and field(kind, write.before) == field(kind, left):
            self.undecided.setdefault(intent.target, []).append(write.before)
            del self.left[intent.target]

    def _undone(self, request: Request, intent: Line | None) -> None:
        """What another step's write takes back may be made again after it: the plan has them in this order."""
        if intent is None:
            return
        for key in [key for key in self.effects if key[0] == intent.target and key[1] != intent.id]:
            if any(inner.startswith(f"{outer}/") for outer in _set_by(request) for inner in self._set[key]):
                del self.effects[key]

    def foreign(self, target: tuple[str, str], before: Manifest | None) -> None:
        """Somebody else wrote to this object: what they chose is what counts from now on, unless we hold it.

        What we did to it before is not to be seen any more. Where our own write was intended and not made, what they
        put back to what it was may be written again, and what they set to what was intended may be taken for our own
        write: after a crash nobody can tell whether it was made. What was planned for may come back then, or theirs.
        """
        self.theirs.add(target)
        for key in [key for key in self.effects if key[0] == target]:
            del self.effects[key]
        held = [line for line in ledger(self.fake) if line.target == target and line.state in LIVE]
        if not held:
            self.first.pop(target, None)
            return
        self.left[target] = self.fake.objects.get((target[0], NAMESPACE, target[1])), {line.since for line in held}
        if "Intended" in {line.state for line in held} and target not in self.first:
            self.undecided.setdefault(target, []).append(before)

    def _is_moved_by_autoscaler(self, target: tuple[str, str]) -> bool:
        """Replicas that an autoscaler sets are nobody's decision: written whatever they are, and its to choose."""
        return target == ("Deployment", "api") and ("HorizontalPodAutoscaler", NAMESPACE, "api") in self.fake.objects

    def intended(self, before: Mapping[tuple[str, str], Line]) -> None:
        """Nothing new is intended where only a plan is asked for, or nobody has agreed to what is proposed.

        An intent of before may still be carried out.
        """
        spec = (incident_of(self.fake) or {"spec": {}})["spec"]
        known = {line.what for line in before.values() if line.state == "Intended"}
        new = [line for line in ledger(self.fake) if line.state == "Intended" and line.what not in known]
        if new and not (spec["mode"] == "Enforce" or (spec["mode"] == "Propose" and self.is_agreed())):
            self.wrong.append(f"intended in mode {spec['mode']}: {new}")

    def on_record(self) -> None:
        """What was changed, and is not back, is in the ledger as what is in force."""
        held = {line.target for line in ledger(self.fake) if line.state in LIVE}
        for target in self._changed() - held:
            self.wrong.append(f"{target} is off the record, and not back")

    def nothing_left(self) -> None:
        """The Incident is gone: what was changed is back, was reported as not to be put back, or was to stay."""
        stays = self.theirs | {line.target for line in self.last if line.release == "Never" or line.state not in LIVE}
        assert not self._changed() - stays, f"left behind: {self._changed() - stays}"

    def _changed(self) -> set[tuple[str, str]]:
        """Objects that are not as they were before we touched them."""
        return {
            target
            for target, first in self.first.items()
            if not self._is_back(target, first, self.undecided.get(target, ()))
            and not self._is_moved_by_autoscaler(target)
        }

    def _is_back(self, target: tuple[str, str], first: Manifest | None, others: Sequence[Manifest | None]) -> bool:
        """Whether an object is as it was before we touched it, or as one of the others; or gone, or another."""
        kind, name = target
        now = self.fake.objects.get((kind, NAMESPACE, name))
        is_gone = now is None or (first is not None and first["metadata"]["uid"] != now["metadata"]["uid"])
        return is_gone or field(kind, now) in [field(kind, each) for each in (first, *others)]

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
            first, others = self.first.pop(line.target, None), self.undecided.pop(line.target, [])
            if line.state != "Released":
                continue  # it is reported: what is there now is a person's to judge, and counts from now on
            now = self.fake.objects.get((kind, NAMESPACE, name))
            was_planned_from = line.before == canonical({"replicas": now["spec"].get("replicas")}) if now else False
            if (line.message or was_planned_from) and self._is_moved_by_autoscaler(line.target):
                continue  # another number meanwhile was nobody's decision
            if first is not None and not self._is_back(line.target, first, others):
                self.wrong.append(f"{line} is not back at {field(kind, first)}: {field(kind, now)}")
        self._left_to_a_person(before, held)

    def _left_to_a_person(self, before: Mapping[tuple[str, str], Line], held: set[tuple[str, str]]) -> None:
        """What was in force, and was reported in this look, is a person's, also where it is planned anew by now."""
        for line in before.values():
            if line.state in LIVE and (line.id, line.since) in self._reported and line.target not in held:
                self.first.pop(line.target, None)
                self.undecided.pop(line.target, None)
        self._reported = set()


FORBIDDEN = Stalled("Forbidden", "could not do it as ServiceAccount shop/incident-responder: forbidden")
