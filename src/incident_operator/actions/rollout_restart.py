"""``rolloutRestart``: new pods of the same revision, once for each step that asks for them.

As ``kubectl rollout restart`` it sets an annotation of the pod template (kubectl
``pkg/polymorphichelpers/objectrestarter.go``), but to a value that names the Incident and the step
instead of a time: so the plan is exact, and neither a retry nor a new plan restarts twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import guards, undo_settling
from incident_operator.actions.contract import Occasion
from incident_operator.actions.patches import escaped, is_there, patch, put, ref_of, swap, test
from incident_operator.actions.rollout_undo import refuse_paused
from incident_operator.cluster.port import Reader
from incident_operator.planning import rollouts
from incident_operator.planning.plan import Change, Entry, Manifest, Ref, Release, Request, Settlement, Standing
from incident_operator.planning.reach import Reach
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import annotations_of, is_leaving

VERB = "restart"
RESTARTED = "kubectl.kubernetes.io/restartedAt"
BLOCKED = "may also delete old pods that are not ready and block the restart, after 20 s"
METADATA = "/spec/template/metadata"


class RolloutRestart:
    """Replaces the pods of a Deployment, StatefulSet or DaemonSet by new ones of the same revision."""

    name: ClassVar[str] = "rolloutRestart"
    kinds: ClassVar[frozenset[str]] = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get", "patch"), "read and restart the workload"),
        Rule("", ("pods",), ("list",), "tell why a rollout does not get on"),
        Rule("", ("pods",), ("get", "delete"), "delete the broken pod that blocks a StatefulSet"),
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "Deployment": (Rule("apps", ("deployments",), ("patch",)),),
        "StatefulSet": (Rule("apps", ("statefulsets",), ("patch",)),),
        "DaemonSet": (Rule("apps", ("daemonsets",), ("patch",)),),
    }
    release: ClassVar[Release] = Release.NEVER
    reversible: ClassVar[bool] = False
    destructive: ClassVar[bool] = False

    async def plan(
        self,
        reader: Reader,
        occasion: Occasion,
        target: Ref,
        params: Mapping[str, Any],  # noqa: ARG002 - part of the contract
    ) -> tuple[Change, ...]:
        """The annotation that makes the controller replace every pod; nothing if this step has set it already."""
        workload = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, workload)
        guards.refuse_controlled(VERB, workload)
        refuse_paused(VERB, workload)
        return (_change(workload, mark_of(occasion)),)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the annotation alone: whoever else changed the template restarts the pods anyway."""
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        if change.target.kind == "Pod":
            return Standing.AFTER if is_leaving(current) else Standing.BEFORE
        now = _marked(current)
        if now == change.after["restartedAt"]:
            return Standing.AFTER
        return Standing.BEFORE if now == change.before["restartedAt"] else Standing.OTHER

    def undo(self, change: Change, current: Manifest) -> Request | None:  # noqa: ARG002 - part of the contract
        """Nothing: pods that are gone do not come back, and to restart them again helps nobody."""
        return None

    async def settle(self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime) -> Settlement:
        """The rollout's own done-check; a later restart by somebody else serves as well."""
        rollout = undo_settling.Rollout(
            self, "restarted", "the template that it had before it was restarted", "restart", _is_new, is_overtaken=True
        )
        return await undo_settling.settle(reader, rollout, entries, since=since, now=now)


def mark_of(occasion: Occasion) -> str:
    """What the annotation is set to: always the same for one step of one Incident, never for two."""
    return f"{occasion.namespace}/{occasion.incident}/{occasion.step} {occasion.uid}"


def _marked(workload: Manifest) -> str | None:
    """What the annotation is now."""
    found: Mapping[str, str] = (workload["spec"]["template"].get("metadata") or {}).get("annotations") or {}
    return found.get(RESTARTED)


def _is_new(workload: Manifest, change: Change, pod: Manifest) -> bool:  # noqa: ARG001 - one of several ways to tell
    """Whether a pod was made since: it has the annotations of its template."""
    return bool(annotations_of(pod).get(RESTARTED) == change.after["restartedAt"])


def _change(workload: Manifest, mark: str) -> Change:
    """The write of the annotation, which no other restart may have come before."""
    ref, old = ref_of(workload), _marked(workload)
    key, before, after = f"{ref.kind}/{ref.name}", {"restartedAt": old}, {"restartedAt": mark}
    further = undo_settling.may_delete(workload)
    if old == mark:
        summary, notes = f"{ref.name}: was restarted by this step already", (BLOCKED,) if further else ()
        return Change(key, ref, None, before, after, summary, notes, further=further)
    return Change(
        key=key,
        target=ref,
        request=patch(ref, _annotate(workload["spec"]["template"], old, mark)),
        before=before,
        after=after,
        summary=f"{ref.name}: restart its pods",
        notes=_notes(workload),
        reach=Reach(key, workload["spec"].get("selector") or {}, "replaced"),
        further=further,
    )


def _annotate(template: Mapping[str, Any], old: str | None, mark: str) -> list[dict[str, Any]]:
    """The annotation from exactly what it was to the mark, whatever else is annotated."""
    if template.get("metadata") is None:
        return [test(METADATA, None), {"op": "add", "path": METADATA, "value": {"annotations": {RESTARTED: mark}}}]
    if template["metadata"].get("annotations") is None:
        return put(None, f"{METADATA}/annotations", {RESTARTED: mark})
    return swap(f"{METADATA}/annotations/{escaped(RESTARTED)}", old, mark)


def _notes(workload: Manifest) -> tuple[str, ...]:
    """What a person should know before this is done."""
    spec, notes = workload["spec"], []
    kind = workload["kind"]
    if kind != "DaemonSet" and rollouts.replicas_of(spec) == 0:
        notes.append("it has no replicas: there is nothing to restart")
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        notes.append("its strategy is Recreate: all pods stop before the first new one starts")
    if kind != "Deployment" and rollouts.strategy_of(spec) == "OnDelete":
        notes.append("its updateStrategy is OnDelete: a person must delete the pods for the restart to happen")
    partition = rollouts.partition_of(spec)
    if partition:
        notes.append(f"its updateStrategy has partition {partition}: pods with a lower ordinal are not restarted")
    if undo_settling.may_delete(workload):
        notes.append(BLOCKED)
    volumes = (spec["template"].get("spec") or {}).get("volumes") or ()
    kept = [each["name"] for each in volumes if "emptyDir" in each]
    if kept:
        notes.append(f"what is in its emptyDir volumes ({', '.join(kept)}) goes with the pods")
    return tuple(notes)
