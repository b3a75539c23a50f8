"""Who else sets a workload's replicas, and how each is held to a number.

HorizontalPodAutoscaler: kubernetes ``pkg/controller/podautoscaler/horizontal.go``; at 0 replicas with
minReplicas over 0 it switches itself off, else it forces the number into its bounds.
KEDA: an HPA that a ScaledObject owns is put back when edited; its ``paused-replicas`` annotation is the way.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable

from incident_operator.actions.patches import escaped, patch, ref_of, swap, swap_member
from incident_operator.cluster.port import Reader
from incident_operator.planning.plan import Change, Json, Manifest, Request, Standing
from incident_operator.planning.selectors import annotations_of, controller_of

HPA = "HorizontalPodAutoscaler"
SCALED_OBJECT = "ScaledObject"
KEDA = "keda.sh"
PAUSED = "autoscaling.keda.sh/paused-replicas"
BOUNDS = ("minReplicas", "maxReplicas")


@dataclasses.dataclass(frozen=True, slots=True)
class Autoscalers:
    """The autoscalers of one workload."""

    hpas: tuple[Manifest, ...]
    scaled_objects: tuple[Manifest, ...]

    def __bool__(self) -> bool:
        return bool(self.hpas or self.scaled_objects)

    @property
    def may_idle(self) -> bool:
        """Whether one of them may choose 0 replicas: KEDA's default, and an HPA with minReplicas 0."""
        specs = [each["spec"] for each in self.scaled_objects]
        idle = any(not spec.get("minReplicaCount") or spec.get("idleReplicaCount") == 0 for spec in specs)
        return idle or any(_bounds(hpa)["minReplicas"] == 0 for hpa in self.hpas)


async def of(reader: Reader, workload: Manifest) -> Autoscalers:
    """The autoscalers that name the workload as their target; HPAs that KEDA made are KEDA's.

    Found in lists, which may be a moment old, and then read one by one: what another Incident has just put back
    would else be taken for being so already, and nothing is written, so that no precondition can tell.
    """
    namespace = workload["metadata"]["namespace"]
    hpas, groups = await asyncio.gather(reader.list(HPA, namespace), reader.groups())
    scaled = await reader.list(SCALED_OBJECT, namespace) if KEDA in groups else ()
    mine = [each for each in scaled if _names(each, workload)]
    own = [each for each in hpas if _names(each, workload) and not _is_of_keda(each)]
    return Autoscalers(await _anew(reader, HPA, own), await _anew(reader, SCALED_OBJECT, mine))


async def _anew(reader: Reader, kind: str, found: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """As they are now; one that is gone is left out."""
    places = [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in found]
    read = await asyncio.gather(*(reader.find(kind, *place) for place in places))
    return tuple(each for each in read if each is not None)


def _names(autoscaler: Manifest, workload: Manifest) -> bool:
    """Whether an autoscaler's scaleTargetRef is this workload; KEDA's kind is Deployment where it is left out."""
    ref = autoscaler["spec"].get("scaleTargetRef") or {}
    group = str(ref.get("apiVersion") or "apps/v1").partition("/")[0]
    name = str(workload["metadata"]["name"])
    return (ref.get("kind") or "Deployment", ref.get("name"), group) == (workload["kind"], name, "apps")


def _is_of_keda(hpa: Manifest) -> bool:
    owner = controller_of(hpa)
    return owner is not None and owner.get("kind") == SCALED_OBJECT


def hold(found: Autoscalers, replicas: int) -> list[Change]:
    """What holds every autoscaler to a number of replicas, so far as it has to be held."""
    changes = [change for hpa in found.hpas if (change := _hold_hpa(hpa, replicas)) is not None]
    return [*changes, *(_pause(each, replicas) for each in found.scaled_objects)]


def notes(found: Autoscalers, replicas: int) -> tuple[str, ...]:
    """What a person should know about the autoscalers."""
    said = []
    for hpa in found.hpas:
        name, owner = hpa["metadata"]["name"], controller_of(hpa)
        if replicas == 0 and _bounds(hpa)["minReplicas"]:
            said.append(f"HPA {name} switches itself off at 0 replicas (ScalingDisabled), and on again on release")
        elif replicas == 0:
            said.append(f"HPA {name} has minReplicas 0 and could scale up from 0: it is set to 1, which makes 0 stick")
        if owner is not None:
            said.append(f"HPA {name} is controlled by {owner.get('kind')} {owner.get('name')}, which may put it back")
    return tuple(said)


def _bounds(hpa: Manifest) -> dict[str, int]:
    spec = hpa["spec"]
    least = spec.get("minReplicas")
    return {"minReplicas": 1 if least is None else least, "maxReplicas": spec["maxReplicas"]}


def _hold_hpa(hpa: Manifest, replicas: int) -> Change | None:
    """New bounds; None where it leaves 0 replicas alone by itself."""
    before = _bounds(hpa)
    if replicas == 0 and before["minReplicas"] > 0:
        return None
    after = {"minReplicas": replicas, "maxReplicas": replicas} if replicas else {**before, "minReplicas": 1}
    ref = ref_of(hpa, HPA)
    request = None if before == after else _set_bounds(hpa, before, after)
    told = f"minReplicas {before['minReplicas']} -> {after['minReplicas']}"
    told += f", maxReplicas {before['maxReplicas']} -> {after['maxReplicas']}"
    return Change(f"{HPA}/{ref.name}", ref, request, before, after, f"HPA {ref.name}: {told}")


def _set_bounds(hpa: Manifest, old: Json, new: Json) -> Request:
    """From exactly these bounds to others; the API server's default for minReplicas may be written as nothing."""
    operations = []
    for field in BOUNDS:
        there = hpa["spec"].get(field)
        operations += swap(f"/spec/{field}", there if there is None else old[field], new[field])
    return patch(ref_of(hpa, HPA), operations)


def _pause(scaled: Manifest, replicas: int) -> Change:
    """KEDA held at a number; 0 holds, too."""
    ref, before, after = ref_of(scaled, SCALED_OBJECT), annotations_of(scaled).get(PAUSED), str(replicas)
    request = None if before == after else patch(ref, swap_member(scaled, "annotations", PAUSED, before, after))
    return Change(
        key=f"{SCALED_OBJECT}/{ref.name}",
        target=ref,
        request=request,
        before={"paused": before},
        after={"paused": after},
        summary=f"ScaledObject {ref.name}: {PAUSED} {before if before is not None else 'not set'} -> {after}",
    )


def standing(change: Change, current: Manifest) -> Standing:
    """How an autoscaler stands to its change."""
    now: Json = (
        {"paused": annotations_of(current).get(PAUSED)} if change.target.kind == SCALED_OBJECT else _bounds(current)
    )
    if now == change.after:
        return Standing.AFTER
    return Standing.BEFORE if now == change.before else Standing.OTHER


def undo(change: Change, current: Manifest) -> Request:
    """The bounds, or the pause, as they were before."""
    if change.target.kind == SCALED_OBJECT:
        was, now = change.before["paused"], change.after["paused"]
        return patch(change.target, swap_member(current, "annotations", PAUSED, now, was))
    return _set_bounds(current, change.after, change.before)


def back(change: Change) -> Change:
    """The change that takes back a planned one once it is made: the bounds, or the pause, as they were."""
    ref, old, new = change.target, change.before, change.after
    if ref.kind == SCALED_OBJECT:
        path = f"/metadata/annotations/{escaped(PAUSED)}"
        request = patch(ref, swap(path, new["paused"], old["paused"]))
        told = f"{PAUSED} {new['paused']} -> {old['paused'] if old['paused'] is not None else 'not set'}"
    else:
        request = patch(ref, [step for field in BOUNDS for step in swap(f"/spec/{field}", new[field], old[field])])
        told = ", ".join(f"{field} {new[field]} -> {old[field]}" for field in BOUNDS)
    return Change(change.key, ref, request, new, old, f"{ref.kind} {ref.name}: {told}, as before")
