"""Which revisions a workload has, and which of them to go back to; told from what the API holds alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from incident_operator.api import names
from incident_operator.planning.plan import Json, Manifest, digest
from incident_operator.planning.rollouts import is_ready
from incident_operator.planning.selectors import HASH_LABEL, annotations_of, controller_of, labels_of, pods_of

REVISION = "deployment.kubernetes.io/revision"
FORMER = "deployment.kubernetes.io/revision-history"
CHANGE_CAUSE = "kubernetes.io/change-cause"
REVISION_LABEL = "controller-revision-hash"


@dataclasses.dataclass(frozen=True, slots=True)
class Revision:
    """One pod template that a workload has, or had."""

    kind: str
    """ReplicaSet or ControllerRevision."""
    name: str
    number: int
    """As ``kubectl rollout history`` has it; the controller renumbers a revision that is used again."""
    template: Mapping[str, Any]
    digest: str
    ready: int = 0
    """How many of its pods are ready now."""
    verified_at: str = ""
    change_cause: str = ""
    former: frozenset[int] = frozenset()
    """Numbers it had before it was used again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The revision to go back to, and why it is that one."""

    revision: Revision
    why: str
    is_guess: bool = False


def without_hash(template: Mapping[str, Any]) -> dict[str, Any]:
    """A pod template as a person would write it: without the label that its ReplicaSet adds.

    Left in, the next ReplicaSet would select pods by the hash of another template. Nulls are
    dropped: older API servers write ``creationTimestamp: null`` where newer ones write nothing.
    """
    found = _without_nulls(template)
    metadata = dict(found.get("metadata") or {})
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    if "labels" in metadata:
        metadata["labels"] = labels
    return {**found, "metadata": metadata}


def _without_nulls(value: Json) -> Any:
    """A deep copy without members that are null."""
    if isinstance(value, Mapping):
        return {str(key): _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item) for item in value]
    return value


def fingerprint(template: Mapping[str, Any]) -> str:
    """The digest by which two templates are the same; the label of the ReplicaSet does not count."""
    return digest(without_hash(template))


def images(template: Mapping[str, Any]) -> dict[str, str]:
    """The image of every container, init containers included, by container name."""
    spec = template.get("spec") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    return {each["name"]: each.get("image", "") for each in containers}


def of_replica_sets(deployment: Manifest, replica_sets: Iterable[Manifest]) -> tuple[Revision, ...]:
    """The revisions of a Deployment, oldest first: the ReplicaSets that it controls."""
    found = []
    for each in replica_sets:
        said = annotations_of(each)
        if not _is_owned(deployment, each) or not said.get(REVISION, "").isdigit():
            continue
        former = said.get(FORMER, "").split(",")
        found.append(
            Revision(
                kind="ReplicaSet",
                name=each["metadata"]["name"],
                number=int(said[REVISION]),
                template=without_hash(each["spec"]["template"]),
                digest=fingerprint(each["spec"]["template"]),
                ready=(each.get("status") or {}).get("readyReplicas") or 0,
                verified_at=said.get(names.VERIFIED_AT, ""),
                change_cause=said.get(CHANGE_CAUSE, ""),
                former=frozenset(int(number) for number in former if number.strip().isdigit()),
            )
        )
    return tuple(sorted(found, key=lambda revision: revision.number))


def of_controller_revisions(
    workload: Manifest, revisions: Iterable[Manifest], pods: Iterable[Manifest]
) -> tuple[Revision, ...]:
    """The revisions of a StatefulSet or DaemonSet, oldest first.

    A ControllerRevision's data is a strategic merge patch whose template has ``$patch: replace``:
    so the template in it is a whole one (kubernetes ``stateful_set_utils.go``, ``getPatch``).
    """
    mine = [pod for pod in pods_of(workload, pods) if is_ready(pod)]
    found = []
    for each in revisions:
        template = (((each.get("data") or {}).get("spec")) or {}).get("template")
        if not _is_owned(workload, each) or not isinstance(template, Mapping):
            continue
        template = {key: value for key, value in template.items() if key != "$patch"}
        name = each["metadata"]["name"]
        known = pod_hashes(workload, name) | {labels_of(each).get(REVISION_LABEL, name)}
        found.append(
            Revision(
                kind="ControllerRevision",
                name=name,
                number=int(each.get("revision") or 0),
                template=without_hash(template),
                digest=fingerprint(template),
                ready=sum(labels_of(pod).get(REVISION_LABEL) in known for pod in mine),
                verified_at=annotations_of(each).get(names.VERIFIED_AT, ""),
                change_cause=annotations_of(each).get(CHANGE_CAUSE, ""),
            )
        )
    return tuple(sorted(found, key=lambda revision: revision.number))


def pod_hashes(workload: Manifest, revision: str) -> frozenset[str]:
    """What a revision's pods may carry as their hash: its name (StatefulSet), or the end of it."""
    return frozenset({revision, revision.removeprefix(f"{workload['metadata']['name']}-")})


def _is_owned(workload: Manifest, revision: Manifest) -> bool:
    owner = controller_of(revision)
    return owner is not None and owner.get("uid") == workload["metadata"]["uid"]


def current_of(workload: Manifest, revisions: Sequence[Revision]) -> Revision | None:
    """The revision that is the workload's template now; None if the controller has not made it yet.

    A ControllerRevision that was written by an older API server may lack defaults that the
    workload shows by now; so where the controller is up to date the newest is the current one.
    """
    wanted = fingerprint(workload["spec"]["template"])
    equal = [revision for revision in revisions if revision.digest == wanted]
    if equal:
        return equal[-1]
    status = workload.get("status") or {}
    up_to_date = (status.get("observedGeneration") or 0) >= (workload["metadata"].get("generation") or 0)
    if workload["kind"] == "Deployment" or not up_to_date or not revisions:
        return None
    return revisions[-1]


def others(workload: Manifest, revisions: Sequence[Revision]) -> tuple[Revision, ...]:
    """The revisions that are not the workload's template now."""
    now, wanted = current_of(workload, revisions), fingerprint(workload["spec"]["template"])
    return tuple(each for each in revisions if each.digest != wanted and (now is None or each.digest != now.digest))


def choose(earlier: Sequence[Revision]) -> Choice | None:
    """The revision that was good, among those that are not the current one; None if there is none.

    Kubernetes keeps no memory of which was. In this order: one that still has ready pods
    (an update that never finished; a verified one first, then the oldest); the newest that
    was verified; the previous one, which is a guess: after two bad deploys it is bad too.
    """
    running = [each for each in earlier if each.ready > 0]
    if running:
        best = min(running, key=lambda each: (not each.verified_at, each.number))
        verified = f", verified {best.verified_at}" if best.verified_at else ""
        return Choice(best, f"{best.ready} of its pods are still ready{verified}")
    if not earlier:
        return None
    verified_ones = [each for each in earlier if each.verified_at]
    if verified_ones:
        best = max(verified_ones, key=lambda each: each.number)
        return Choice(best, f"verified {best.verified_at}")
    best = max(earlier, key=lambda each: each.number)
    return Choice(best, "the previous one, a guess", is_guess=True)


def numbered(revisions: Sequence[Revision], number: int) -> Revision | None:
    """The revision with a number, or the one that had it before it was used again."""
    exact = next((each for each in revisions if each.number == number), None)
    return exact or next((each for each in revisions if number in each.former), None)
