"""``pauseAutoscaling``: a workload keeps the replicas it has, whatever load says, until it is given back.

Nothing of the workload itself is written: each of its autoscalers is held to the number that was
read, an HPA by its bounds, KEDA by its ``paused-replicas`` annotation (KEDA documentation,
"Pausing autoscaling").
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import autoscalers, guards
from incident_operator.actions.contract import Occasion
from incident_operator.actions.patches import is_there, ref_of
from incident_operator.actions.scale import AUTOSCALER, WORKLOADS
from incident_operator.actions.settling import LIVE, combined, who
from incident_operator.cluster.port import Reader
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
    settled,
)
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import replicas_of

VERB = "pause the autoscaling of"
UNSEEN = "only HorizontalPodAutoscalers and ScaledObjects of KEDA are looked for"


class PauseAutoscaling:
    """Holds every autoscaler of a Deployment or StatefulSet to the replicas there are now."""

    name: ClassVar[str] = "pauseAutoscaling"
    kinds: ClassVar[frozenset[str]] = WORKLOADS
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets"), ("get",), "read the replicas"),
        Rule("autoscaling", ("horizontalpodautoscalers",), ("get", "list", "patch"), "hold an HPA to the number"),
        Rule("keda.sh", ("scaledobjects",), ("get", "list", "patch"), "hold KEDA to the number, where it is there"),
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "Deployment": (AUTOSCALER,),
        "StatefulSet": (AUTOSCALER,),
    }
    release: ClassVar[Release] = Release.ON_RESOLVE
    reversible: ClassVar[bool] = True
    destructive: ClassVar[bool] = False

    async def plan(
        self,
        reader: Reader,
        occasion: Occasion,  # noqa: ARG002 - part of the contract
        target: Ref,
        params: Mapping[str, Any],  # noqa: ARG002 - part of the contract
    ) -> tuple[Change, ...]:
        """One change for each autoscaler; a workload without one is as it should be."""
        workload = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, workload)
        found, now = await autoscalers.of(reader, workload), replicas_of(workload["spec"])
        held = autoscalers.hold(found, now)
        if not held:
            return (_as_it_is(workload, found, now),)
        own = {each["metadata"]["uid"]: each for each in (*found.hpas, *found.scaled_objects)}
        first, *rest = (
            dataclasses.replace(change, notes=guards.gitops_notes(own[change.target.uid])) for change in held
        )
        notes = (*autoscalers.notes(found, now), *_moved(now), *first.notes)
        return (dataclasses.replace(first, notes=notes), *rest)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the autoscaler's settings; a workload that none scales is always as it should be."""
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        if change.target.kind in WORKLOADS:
            return Standing.AFTER
        return autoscalers.standing(change, current)

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """The bounds, or the pause, as they were; the autoscaler then chooses again."""
        return None if change.request is None else autoscalers.undo(change, current)

    async def settle(
        self,
        reader: Reader,
        entries: tuple[Entry, ...],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
        now: datetime,  # noqa: ARG002 - part of the contract
    ) -> Settlement:
        """Every autoscaler is still held; whether it moved the number before is not waited for."""
        live = [entry.change for entry in entries if entry.state in LIVE]
        return combined(await asyncio.gather(*(self._one(reader, change) for change in live)))

    async def _one(self, reader: Reader, change: Change) -> Settlement:
        """One autoscaler."""
        target = change.target
        if target.kind in WORKLOADS:
            return settled(change.summary)
        current = await reader.find(target.kind, target.namespace, target.name)
        standing = self.standing(change, current)
        if standing is Standing.GONE or current is None:
            return failed("TargetGone", f"{target} was deleted or replaced after it was held")
        if standing is not Standing.AFTER:
            return failed("Reverted", f"{target} was changed after it was held, {who(current)}")
        number = change.after.get("paused", change.after.get("maxReplicas"))
        if target.kind == autoscalers.HPA and number != change.after["minReplicas"]:
            return settled(f"{target.kind} {target.name} does not scale up from 0")
        return settled(f"{target.kind} {target.name} is held to {number} replicas")


def _as_it_is(workload: Manifest, found: autoscalers.Autoscalers, replicas: int) -> Change:
    """Nothing to hold: the workload itself stands for that."""
    ref, after = ref_of(workload), {"replicas": replicas}
    if found:
        names = ", ".join(hpa["metadata"]["name"] for hpa in found.hpas)
        text = f"{ref.name}: has no replicas, which switches HPA {names} off (ScalingDisabled); nothing to pause"
    else:
        text = f"{ref.name}: no autoscaler sets its replicas; nothing to pause"
    notes = () if found else (UNSEEN,)
    return Change(f"{ref.kind}/{ref.name}", ref, None, after, after, text, notes=notes)


def _moved(replicas: int) -> tuple[str, ...]:
    """What happens if an autoscaler is faster than this plan."""
    return (f"the number is that of now: if it moves before this is done, it comes back to {replicas}",)
