"""scale: set the number of replicas, and keep an autoscaler from changing it.

Sources: kubernetes pkg/controller/podautoscaler/horizontal.go (scaling to 0 disables an
autoscaler unless its minReplicas is 0), KEDA's paused-replicas annotation.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions.contract import Occasion
from incident_operator.actions.targets import admit, escaped, guarded, identified, lost, managers
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Entry,
    Manifest,
    Ref,
    Release,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.rights import Rule

KEDA = "keda.sh"
PAUSED = "autoscaling.keda.sh/paused-replicas"


class Scale:
    """Implements ``Action``."""

    name: ClassVar[str] = "scale"
    kinds: ClassVar[frozenset[str]] = frozenset({"Deployment", "StatefulSet"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets"), ("get", "patch"), "read and set spec.replicas"),
        Rule("autoscaling", ("horizontalpodautoscalers",), ("get", "list", "patch"), "pin an autoscaler's bounds"),
        Rule(KEDA, ("scaledobjects",), ("get", "list", "patch"), "pause KEDA at the wanted number, where it is there"),
    )
    release: ClassVar[Release] = Release.ON_RESOLVE
    reversible: ClassVar[bool] = True

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """The replica count, and before it whatever would change it back."""
        del occasion
        found = await reader.get(target.kind, target.namespace, target.name)
        admit(target, found, own_it=True)
        target, wanted = identified(target, found), int(params["replicas"])
        before = found["spec"].get("replicas", 1)
        _keep_volumes(target, found, before, wanted)
        pins, notes = await _pins(reader, target, wanted)
        request = None
        if before != wanted:
            request = guarded(
                target,
                {"op": "test", "path": "/spec/replicas", "value": before},
                {"op": "replace", "path": "/spec/replicas", "value": wanted},
            )
        change = Change(
            key=f"{target.kind}/{target.name}",
            target=target,
            request=request,
            before={"replicas": before},
            after={"replicas": wanted, "autoscaled": bool(pins)},
            summary=f"{target.kind}/{target.name}: {before} -> {wanted} replicas",
            notes=(*notes, *managers(found)),
        )
        return (*pins, change)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """Told from the fields that the change sets."""
        if lost(change, current) or current is None:
            return Standing.GONE
        there = _state(current)
        wanted = {key: change.after[key] for key in there}
        if there == wanted:
            return Standing.AFTER
        return Standing.BEFORE if there == {key: change.before.get(key) for key in there} else Standing.OTHER

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """The number, the bounds or the annotation from before; where an autoscaler decides, it decides."""
        target = change.target
        if target.kind == "HorizontalPodAutoscaler":
            low, high = change.before["minReplicas"], change.before["maxReplicas"]
            return guarded(target, *_bounds(current, change.after, low, high))
        if target.kind == "ScaledObject":
            where, old = f"/metadata/annotations/{escaped(PAUSED)}", change.before["paused"]
            test = {"op": "test", "path": where, "value": change.after["paused"]}
            back = {"op": "remove", "path": where} if old is None else {"op": "replace", "path": where, "value": old}
            return guarded(target, test, back)
        if change.after.get("autoscaled") and change.after["replicas"]:
            return None
        return guarded(
            target,
            {"op": "test", "path": "/spec/replicas", "value": change.after["replicas"]},
            {"op": "replace", "path": "/spec/replicas", "value": change.before["replicas"]},
        )

    async def settle(
        self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime
    ) -> Settlement:
        """As many pods are there, and ready, as wanted."""
        del since, now
        words = []
        for entry in entries:
            target, wanted = entry.change.target, entry.change.after.get("replicas")
            if wanted is None:
                continue
            found = await reader.get(target.kind, target.namespace, target.name)
            if self.standing(entry.change, found) is not Standing.AFTER:
                there = found["spec"].get("replicas")
                return failed("Reverted", f"{target} was set to {there} replicas by somebody else")
            status = found.get("status") or {}
            seen = status.get("observedGeneration", 0) >= found["metadata"]["generation"]
            total, ready = status.get("replicas", 0), status.get("readyReplicas", 0)
            if not seen or total != wanted or ready != wanted:
                return pending(f"{target.kind}/{target.name}: {ready} of {wanted} pods are ready, {total} there")
            words.append(f"{target.kind}/{target.name} has {wanted} replicas")
        return settled("; ".join(words))


def _state(found: Manifest) -> dict[str, Any]:
    """The fields that a change of this action is about."""
    spec = found["spec"]
    if found["kind"] == "HorizontalPodAutoscaler":
        return {"minReplicas": spec.get("minReplicas", 1), "maxReplicas": spec["maxReplicas"]}
    if found["kind"] == "ScaledObject":
        return {"paused": (found["metadata"].get("annotations") or {}).get(PAUSED)}
    return {"replicas": spec.get("replicas", 1)}


def _keep_volumes(target: Ref, found: Manifest, before: int, wanted: int) -> None:
    """Refuse what would delete data: a StatefulSet may give up its volumes when it is scaled down."""
    policy = (found["spec"].get("persistentVolumeClaimRetentionPolicy") or {}).get("whenScaled")
    if wanted < before and policy == "Delete":
        raise Refused(
            "WouldDeleteVolumes",
            f"{target} deletes its volumes when it is scaled down; "
            "first set spec.persistentVolumeClaimRetentionPolicy.whenScaled to Retain",
        )


async def _pins(reader: Reader, target: Ref, wanted: int) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """The writes that keep an autoscaler of the target at the wanted number, and what to know about them."""
    if KEDA in await reader.groups():
        for scaled in await reader.list("ScaledObject", target.namespace):
            aim = scaled["spec"].get("scaleTargetRef") or {}
            if aim.get("name") == target.name and aim.get("kind", "Deployment") == target.kind:
                return (_pause_keda(scaled, wanted),), ()
    for scaler in await reader.list("HorizontalPodAutoscaler", target.namespace):
        aim = scaler["spec"]["scaleTargetRef"]
        if aim["name"] != target.name or aim["kind"] != target.kind:
            continue
        if wanted == 0:
            name = scaler["metadata"]["name"]
            if scaler["spec"].get("minReplicas", 1) == 0:
                return (), (f"autoscaler {name} has minReplicas 0 and may scale it up again",)
            return (), (f"autoscaler {name} rests as long as there are 0 replicas",)
        return (_pin(scaler, wanted),), ()
    return (), ()


def _pin(scaler: Manifest, wanted: int) -> Change:
    """Both bounds of an autoscaler set to the wanted number."""
    meta = scaler["metadata"]
    ref = Ref("HorizontalPodAutoscaler", meta["name"], meta["namespace"], meta["uid"])
    before = _state(scaler)
    after = {"minReplicas": wanted, "maxReplicas": wanted}
    return Change(
        key=f"HorizontalPodAutoscaler/{ref.name}",
        target=ref,
        request=None if before == after else guarded(ref, *_bounds(scaler, before, wanted, wanted)),
        before=before,
        after=after,
        summary=f"autoscaler {ref.name}: {before['minReplicas']}-{before['maxReplicas']} -> {wanted}-{wanted} replicas",
    )


def _bounds(scaler: Manifest, there: Mapping[str, int], low: int, high: int) -> list[dict[str, Any]]:
    """The operations that set the bounds of an autoscaler that has ``there`` now."""
    tests = [{"op": "test", "path": "/spec/maxReplicas", "value": there["maxReplicas"]}]
    if "minReplicas" in scaler["spec"]:
        tests.append({"op": "test", "path": "/spec/minReplicas", "value": there["minReplicas"]})
    return [
        *tests,
        {"op": "add", "path": "/spec/minReplicas", "value": low},
        {"op": "replace", "path": "/spec/maxReplicas", "value": high},
    ]


def _pause_keda(scaled: Manifest, wanted: int) -> Change:
    """KEDA's own pause, at the wanted number: it would put back any change to the autoscaler it made."""
    meta = scaled["metadata"]
    ref = Ref("ScaledObject", meta["name"], meta["namespace"], meta["uid"])
    before, annotations = _state(scaled)["paused"], meta.get("annotations")
    add: dict[str, Any] = {"op": "add", "path": f"/metadata/annotations/{escaped(PAUSED)}", "value": str(wanted)}
    if not annotations:
        add = {"op": "add", "path": "/metadata/annotations", "value": {PAUSED: str(wanted)}}
    version = {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}
    return Change(
        key=f"ScaledObject/{ref.name}",
        target=ref,
        request=None if before == str(wanted) else guarded(ref, version, add),
        before={"paused": before},
        after={"paused": str(wanted)},
        summary=f"KEDA ScaledObject {ref.name}: paused at {wanted} replicas",
    )
