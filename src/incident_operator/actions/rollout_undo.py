"""rolloutUndo: go back to the last good revision, once, and stay there.

Follows ``kubectl rollout undo`` (pkg/polymorphichelpers/rollback.go) but for two things: the
revision is resolved to a template digest, so that doing it twice stays on it, and annotations
that others put on the workload are kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

from incident_operator.actions.contract import Occasion
from incident_operator.actions.targets import admit, escaped, guarded, identified, lost, managers
from incident_operator.api import names
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning import rollouts
from incident_operator.planning.plan import (
    Change,
    Entry,
    Manifest,
    Ref,
    Release,
    Request,
    Settlement,
    Standing,
    digest,
    failed,
    pending,
    settled,
)
from incident_operator.planning.revisions import (
    Choice,
    Revision,
    bare,
    choose,
    from_controller_revisions,
    from_replica_sets,
)
from incident_operator.planning.rights import Rule

GRACE = timedelta(seconds=20)
"""How long a broken pod of a StatefulSet may block its own replacement before it is deleted (kubernetes #67250)."""


class RolloutUndo:
    """Implements ``Action``."""

    name: ClassVar[str] = "rolloutUndo"
    kinds: ClassVar[frozenset[str]] = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get", "patch"), "read and set the pod template"),
        Rule("apps", ("replicasets", "controllerrevisions"), ("list",), "find the revisions there are"),
        Rule("", ("pods",), ("list",), "see which revisions still run, and why pods do not get ready"),
        Rule("", ("pods",), ("get", "delete"), "delete the broken pod that blocks an ordered StatefulSet"),
    )
    release: ClassVar[Release] = Release.NEVER
    reversible: ClassVar[bool] = False

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """One guarded patch of the pod template, to a revision that is named by its digest."""
        found = await reader.get(target.kind, target.namespace, target.name)
        admit(target, found, own_it=True)
        target = identified(target, found)
        if target.kind == "Deployment" and found["spec"].get("paused"):
            raise Refused(
                "Paused",
                f"{target} is paused, so nothing would roll out; "
                f"first: kubectl rollout resume deployment/{target.name} -n {target.namespace}",
            )
        current = bare(found["spec"]["template"])
        annotations = found["metadata"].get("annotations") or {}
        wanted = params.get("toRevision")
        if wanted is None and annotations.get(names.ROLLED_BACK_TO) == digest(current):
            return (_already(target, current, f"Incident {annotations.get(names.ROLLED_BACK_BY, '')} went back to it"),)
        revisions = await _revisions(reader, found)
        choice = choose(revisions, digest(current), wanted=wanted, what=str(target))
        if choice.revision.digest == digest(current):
            return (_already(target, current, f"it is revision {choice.revision.number}"),)
        now = next((each for each in revisions if each.digest == digest(current)), None)
        return (_change(occasion, target, found, choice, now),)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """Told from the digest of the template; for a pod, from its being there."""
        if change.target.kind == "Pod":
            gone = lost(change, current)
            on_its_way = current is not None and current["metadata"].get("deletionTimestamp")
            return Standing.AFTER if gone or on_its_way else Standing.BEFORE
        gone = lost(change, current)
        if gone or current is None:
            return Standing.GONE
        there = digest(bare(current["spec"]["template"]))
        if there == change.after["digest"]:
            return Standing.AFTER
        return Standing.BEFORE if there == (change.before or {}).get("digest") else Standing.OTHER

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """Nothing: a rollback is never rolled forward again."""
        del change, current

    async def settle(
        self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime
    ) -> Settlement:
        """Every rollout is finished on the chosen revision."""
        words: list[str] = []
        for entry in entries:
            target = entry.change.target
            if target.kind == "Pod":
                continue
            found = await reader.get(target.kind, target.namespace, target.name)
            if self.standing(entry.change, found) is not Standing.AFTER:
                return failed("Reverted", f"{target} was changed again by somebody else{_who(found)}")
            progress = rollouts.progress(found, since=since)
            if progress.state == "Done":
                words.append(f"{target.kind}/{target.name}: {progress.message}")
                continue
            pods = await _pods(reader, found)
            why = rollouts.trouble(pods)
            message = f"{target.kind}/{target.name}: {progress.message}" + (f" ({why})" if why else "")
            if progress.state == "Failed":
                return failed("ProgressDeadlineExceeded", message)
            return pending(message, _blocking(found, pods) if now - since >= GRACE else ())
        return settled("; ".join(words) or "nothing to wait for")


def _already(target: Ref, current: Manifest, why: str) -> Change:
    """No write: it is on the wanted revision."""
    there = {"digest": digest(current)}
    return Change(
        key=f"{target.kind}/{target.name}",
        target=target,
        request=None,
        before=there,
        after=there,
        summary=f"{target.kind}/{target.name} stays as it is: {why}",
        notes=("to go further back, name the revision: rolloutUndo.toRevision",),
    )


async def _revisions(reader: Reader, found: Manifest) -> tuple[Revision, ...]:
    """All revisions of a workload that the cluster still has."""
    meta, selector = found["metadata"], found["spec"]["selector"]
    if found["kind"] == "Deployment":
        sets = await reader.list("ReplicaSet", meta["namespace"], selector)
        return from_replica_sets(sets, meta["uid"])
    pods = await reader.list("Pod", meta["namespace"], selector)
    ready = Counter(
        pod["metadata"].get("labels", {}).get("controller-revision-hash", "") for pod in pods if rollouts.is_ready(pod)
    )
    revisions = await reader.list("ControllerRevision", meta["namespace"], selector)
    return from_controller_revisions(revisions, meta["uid"], ready)


def _change(occasion: Occasion, target: Ref, found: Manifest, choice: Choice, now: Revision | None) -> Change:
    """The patch to the chosen template, refused if the template is no longer the one that was read."""
    new, live = choice.revision.template, found["spec"]["template"]
    there = found["metadata"].get("annotations")
    marks = {
        names.ROLLED_BACK_TO: choice.revision.digest,
        names.ROLLED_BACK_BY: f"{occasion.namespace}/{occasion.incident}",
    }
    notes: list[dict[str, Any]]
    notes = [{"op": "add", "path": f"/metadata/annotations/{escaped(key)}", "value": value} for key, value in marks.items()]
    if not there:
        notes = [{"op": "add", "path": "/metadata/annotations", "value": marks}]
    request = guarded(
        target,
        {"op": "test", "path": "/spec/template", "value": live},
        {"op": "replace", "path": "/spec/template", "value": new},
        *notes,
    )
    number = f"revision {now.number}" if now else "the current revision"
    images = {each["name"]: each.get("image", "") for each in live["spec"].get("containers", ())}
    return Change(
        key=f"{target.kind}/{target.name}",
        target=target,
        request=request,
        before={"digest": digest(bare(live)), "revision": now.name if now else "", "images": images},
        after={"digest": choice.revision.digest, "revision": choice.revision.name, "images": choice.revision.images},
        summary=(
            f"{target.kind}/{target.name}: {number} -> revision {choice.revision.number} "
            f"({choice.revision.name}; {choice.why})"
        ),
        notes=(*_warnings(choice, images, found), *managers(found)),
    )


def _warnings(choice: Choice, images: Mapping[str, str], found: Manifest) -> list[str]:
    """What a person should know about going back to this revision."""
    notes = []
    if choice.is_guess:
        notes.append("no revision is known to be good: this is the previous one; name toRevision if it is not")
    moved = [name for name, image in choice.revision.images.items() if images.get(name) == image and "@" not in image]
    if moved:
        notes.append(f"container {', '.join(moved)}: both revisions name the same image tag, which may have moved")
    strategy = found["spec"].get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        notes.append("its updateStrategy is OnDelete: nothing changes until a person deletes the pods")
    if (strategy.get("rollingUpdate") or {}).get("partition"):
        notes.append(f"pods below partition {strategy['rollingUpdate']['partition']} stay as they are")
    return notes


async def _pods(reader: Reader, found: Manifest) -> tuple[Manifest, ...]:
    return tuple(await reader.list("Pod", found["metadata"]["namespace"], found["spec"]["selector"]))


def _blocking(found: Manifest, pods: tuple[Manifest, ...]) -> list[Change]:
    """Deletions of broken pods of an old revision, which an ordered StatefulSet waits for and never replaces.

    Sources: kubernetes #67250, StatefulSet docs "Forced rollback". Healthy pods are never touched.
    """
    spec, wanted = found["spec"], (found.get("status") or {}).get("updateRevision")
    ordered = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    if found["kind"] != "StatefulSet" or not ordered or not wanted:
        return []
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return []
    changes = []
    for pod in pods:
        meta = pod["metadata"]
        old = meta.get("labels", {}).get("controller-revision-hash") != wanted
        if not old or rollouts.is_ready(pod) or meta.get("deletionTimestamp"):
            continue
        ref = Ref("Pod", meta["name"], meta["namespace"], meta["uid"])
        summary = f"Pod/{meta['name']}: delete, it is broken, of an old revision, and blocks the rollout"
        changes.append(Change(f"Pod/{meta['name']}/{meta['uid']}", ref, Request("delete", ref), None, None, summary))
    return changes


def _who(found: Manifest) -> str:
    """Who wrote the object last, as its managed fields have it."""
    fields = [each for each in found["metadata"].get("managedFields") or () if each.get("time") and not each.get("subresource")]
    others = [each for each in fields if each.get("manager") != names.FIELD_MANAGER]
    if not others:
        return ""
    last = max(others, key=lambda each: each["time"])
    return f" (last written by {last.get('manager', '?')} at {last['time']})"


