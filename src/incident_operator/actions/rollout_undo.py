"""``rolloutUndo``: back to the last good revision, resolved once and never flipped back.

Unlike ``kubectl rollout undo`` it writes annotations one by one (kubectl replaces them all with
those of the ReplicaSet), and names the revision by the digest of its template: the number
changes as soon as it is used again, and "previous" is then the bad one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import guards, undo_settling
from incident_operator.actions.contract import Occasion, plain
from incident_operator.actions.patches import is_there, patch, put, ref_of, test
from incident_operator.api import names
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused, Stalled
from incident_operator.planning import revisions, rollouts
from incident_operator.planning.plan import Change, Entry, Manifest, Ref, Release, Request, Settlement, Standing
from incident_operator.planning.reach import Reach
from incident_operator.planning.revisions import Choice, Revision
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import annotations_of, is_leaving, labels_of, pods_of

VERB = "roll back"
GUESS = "no earlier revision is known to be good: the previous one is a guess; with toRevision another one is chosen"
BLOCKED = "may also delete pods of the bad revision that are not ready and block the rollout, after 20 s"
NOT_UNDONE = "ConfigMaps, Secrets, volumes and database migrations do not go back with it"


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    """A workload with its revisions and pods, as they were read."""

    workload: Manifest
    revisions: tuple[Revision, ...]
    pods: Sequence[Manifest]

    @property
    def digest(self) -> str:
        """The digest of the template that the workload has now."""
        return revisions.fingerprint(self.workload["spec"]["template"])


class RolloutUndo:
    """Goes back to an earlier revision of a Deployment, StatefulSet or DaemonSet."""

    name: ClassVar[str] = "rolloutUndo"
    kinds: ClassVar[frozenset[str]] = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "apps", ("deployments", "statefulsets", "daemonsets"), ("get", "patch"), "read and roll back the workload"
        ),
        Rule("apps", ("replicasets", "controllerrevisions"), ("list",), "find the earlier revisions"),
        Rule("", ("pods",), ("list",), "tell which revision still runs, and why a rollout does not get on"),
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
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """Choose the revision to go back to; a workload that was rolled back already stays where it is."""
        workload = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, workload)
        guards.refuse_controlled(VERB, workload)
        refuse_paused(VERB, workload)
        world = await _world(reader, workload)
        by = annotations_of(workload).get(names.ROLLED_BACK_BY, "an Incident")
        rolled_back = annotations_of(workload).get(names.ROLLED_BACK_TO) == world.digest
        mine = f"{occasion.namespace}/{occasion.incident}"
        if params.get("toRevision") is not None:
            number = guards.whole(params, "toRevision", least=1)
            chosen = revisions.numbered(world.revisions, number)
            if chosen is None and not (rolled_back and by == mine):
                raise _not_found(world, number)
            if chosen is not None and chosen not in revisions.others(workload, world.revisions):
                return (_unchanged(world, f"{target.name} is at revision {number} already"),)
            if chosen is not None:
                return (_change(world, Choice(chosen, "as asked for"), mine),)
        if rolled_back:
            text = (
                f"{target.name} was rolled back to this revision already by Incident {by}; toRevision goes further back"
            )
            return (_unchanged(world, text),)
        choice = revisions.choose(revisions.others(workload, world.revisions))
        if choice is None:
            raise Stalled(
                "NoEarlierRevision",
                f"could not {VERB} {target}: no earlier revision is left (spec.revisionHistoryLimit is "
                f"{workload['spec'].get('revisionHistoryLimit', 10)}); apply the good manifest instead",
            )
        return (_change(world, choice, mine),)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the template's digest; whoever else changed the workload's status does not matter."""
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        if change.target.kind == "Pod":
            return Standing.AFTER if is_leaving(current) else Standing.BEFORE
        now = revisions.fingerprint(current["spec"]["template"])
        if now == change.after["digest"]:
            return Standing.AFTER
        return Standing.BEFORE if now == change.before["digest"] else Standing.OTHER

    def undo(self, change: Change, current: Manifest) -> Request | None:  # noqa: ARG002 - part of the contract
        """Nothing: a rollback is never rolled forward again, a deleted pod does not come back."""
        return None

    async def settle(self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime) -> Settlement:
        """The rollout's own done-check; names what is in its way, and clears it where nobody else will."""
        rollout = undo_settling.Rollout(
            self, "rolled back", "the revision that it was rolled back from", "rollback", _is_of_revision
        )
        return await undo_settling.settle(reader, rollout, entries, since=since, now=now)


def refuse_paused(verb: str, workload: Manifest) -> None:
    """A paused Deployment takes a new template and does nothing with it (kubectl refuses it, too)."""
    if workload["kind"] == "Deployment" and workload["spec"].get("paused"):
        raise Refused(
            "Paused",
            f"could not {verb} {guards.named(workload)}: it is paused; first: kubectl rollout resume "
            f"{guards.resource(workload)}",
        )


def _is_of_revision(workload: Manifest, change: Change, pod: Manifest) -> bool:
    """Whether a pod is of the revision that was gone back to."""
    return undo_settling.hash_of(pod) in revisions.pod_hashes(workload, change.after["name"])


async def _world(reader: Reader, workload: Manifest) -> World:
    """The workload's revisions, and its pods."""
    kind = "ReplicaSet" if workload["kind"] == "Deployment" else "ControllerRevision"
    namespace, selector = workload["metadata"]["namespace"], workload["spec"].get("selector") or {}
    found, pods = await asyncio.gather(reader.list(kind, namespace, selector), reader.list("Pod", namespace, selector))
    if kind == "ReplicaSet":
        return World(workload, revisions.of_replica_sets(workload, found), pods_of(workload, pods))
    return World(workload, revisions.of_controller_revisions(workload, found, pods), pods_of(workload, pods))


def _not_found(world: World, number: int) -> Stalled:
    there = ", ".join(str(each.number) for each in world.revisions) or "none"
    return Stalled(
        "RevisionNotFound",
        f"could not {VERB} {guards.named(world.workload)}: toRevision {number} is not there; there are {there}",
    )


def _images_now(world: World) -> dict[str, Any]:
    """What the template asks for, and what the pods of the current revision really run."""
    current = revisions.current_of(world.workload, world.revisions)
    hashes = revisions.pod_hashes(world.workload, current.name) if current else frozenset()
    mine = [pod for pod in world.pods if undo_settling.hash_of(pod) in hashes]
    template = world.workload["spec"]["template"]
    return {"images": revisions.images(template), "imageIDs": rollouts.image_ids(mine)}


def _before(world: World) -> dict[str, Any]:
    current = revisions.current_of(world.workload, world.revisions)
    return {
        "revision": current.number if current else 0,
        "name": current.name if current else "",
        "digest": world.digest,
        **_images_now(world),
    }


def _unchanged(world: World, summary: str) -> Change:
    """Nothing to write: it is where it should be."""
    state = _before(world)
    after = {key: state[key] for key in ("revision", "name", "digest", "images")}
    key = f"{world.workload['kind']}/{world.workload['metadata']['name']}"
    further = undo_settling.may_delete(world.workload)
    notes = (BLOCKED,) if further else ()
    return Change(key, ref_of(world.workload), None, state, after, summary, notes, further=further)


def _change(world: World, choice: Choice, by: str) -> Change:
    """The write that goes back to the chosen revision."""
    workload, to = world.workload, choice.revision
    ref = ref_of(workload)
    before = _before(world)
    marks = {names.ROLLED_BACK_TO: to.digest, names.ROLLED_BACK_BY: by}
    if to.change_cause:
        marks[revisions.CHANGE_CAUSE] = to.change_cause
    # The template is what must not have changed, so it is what is tested: a test of the
    # resourceVersion would fail with every status that the controller writes meanwhile.
    request = patch(
        ref,
        [
            test("/spec/template", plain(workload["spec"]["template"])),
            {"op": "replace", "path": "/spec/template", "value": plain(to.template)},
            *put(workload["metadata"].get("annotations"), "/metadata/annotations", marks),
        ],
    )
    return Change(
        key=f"{ref.kind}/{ref.name}",
        target=ref,
        request=request,
        before=before,
        after={"revision": to.number, "name": to.name, "digest": to.digest, "images": revisions.images(to.template)},
        summary=f"{ref.name}: revision {before['revision'] or 'not recorded yet'} -> "
        f"{to.kind} {to.name} (revision {to.number}, {choice.why})",
        notes=_notes(workload, choice, before["images"]),
        traits=("Guess",) if choice.is_guess else (),
        confidential=True,  # templates hold the values of environment variables
        reach=Reach(f"{ref.kind}/{ref.name}", workload["spec"].get("selector") or {}, "replaced"),
        further=undo_settling.may_delete(workload),
    )


def _notes(workload: Manifest, choice: Choice, images: Mapping[str, str]) -> tuple[str, ...]:
    """What a person should know before this is done."""
    notes = [GUESS] if choice.is_guess else []
    wanted = revisions.images(choice.revision.template)
    notes += [
        f"container {name} has image {image} in both revisions and not by digest: the tag may have moved"
        for name, image in wanted.items()
        if images.get(name) == image and "@sha256:" not in image
    ]
    spec = workload["spec"]
    if workload["kind"] != "Deployment" and rollouts.strategy_of(spec) == "OnDelete":
        notes.append("its updateStrategy is OnDelete: a person must delete the pods for the revision to take effect")
    partition = rollouts.partition_of(spec)
    if partition:
        notes.append(f"its updateStrategy has partition {partition}: pods with a lower ordinal stay as they are")
    if undo_settling.may_delete(workload):
        notes.append(BLOCKED)
    if labels_of(workload).get("app.kubernetes.io/managed-by") == "Helm":
        notes.append("Helm manages it: the next helm upgrade of the bad chart undoes this")
    return (*notes, *guards.gitops_notes(workload), NOT_UNDONE)
