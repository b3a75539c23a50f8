"""The traces that changes leave in objects: revisions of workloads, and who wrote which field when.

Pure. Of what was written nothing is ever repeated but images and numbers: no key and no value.

``metadata.managedFields`` keeps one entry for each manager, with the time of that manager's last
write that changed anything (kubernetes.io, "Server-Side Apply", "Field management"): an earlier
write of the same manager leaves no trace.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from incident_operator.planning.authorship import owns
from incident_operator.planning.changes import Happening
from incident_operator.planning.plan import Manifest, Ref
from incident_operator.planning.revisions import FORMER, REVISION, images
from incident_operator.planning.rollouts import parsed
from incident_operator.planning.selectors import annotations_of, controller_of, labels_of

CONTROLLERS = "kube-controller-manager"
"""The field manager of the built-in controllers."""
REVISED = {"ReplicaSet": frozenset({"Deployment"}), "ControllerRevision": frozenset({"StatefulSet", "DaemonSet"})}
DATA = ("f:data", "f:binaryData", "f:stringData")
LEADER = "control-plane.alpha.kubernetes.io/leader"
TOKEN_OF = "kubernetes.io/service-account.name"  # noqa: S105 - the name of an annotation
ROOT_CA = "kube-root-ca.crt"
SOON = timedelta(seconds=60)
"""A controller makes a revision within moments of the write of the template."""
SECOND = timedelta(seconds=1)
"""Times in the API are whole seconds."""


@dataclasses.dataclass(frozen=True, slots=True)
class Touch:
    """One manager's last write of an object."""

    manager: str
    at: datetime
    fields: Mapping[str, Any]
    subresource: str

    def owns(self, *path: str) -> bool:
        """Whether it wrote this field, or anything in it: ``f:spec``, ``f:template``."""
        return owns(self.fields, *path)


def touches(thing: Manifest) -> list[Touch]:
    """Who wrote an object, oldest first."""
    found = []
    for each in thing["metadata"].get("managedFields") or ():
        at = parsed(each.get("time"))
        if at is not None:
            fields = each.get("fieldsV1") or {}
            found.append(Touch(each.get("manager") or "", at, fields, each.get("subresource") or ""))
    return sorted(found, key=lambda touch: touch.at)


def ref_of(thing: Manifest) -> Ref:
    """An object, whichever of its lives."""
    meta = thing["metadata"]
    return Ref(thing["kind"], meta["name"], meta.get("namespace", ""))


def made_at(thing: Manifest) -> datetime | None:
    """When an object was made."""
    return parsed(thing["metadata"].get("creationTimestamp"))


def number_of(revision: Manifest) -> int:
    """The number of a ReplicaSet or ControllerRevision; 0 if it has none."""
    if revision["kind"] == "ControllerRevision":
        return int(revision.get("revision") or 0)
    said = annotations_of(revision).get(REVISION, "")
    return int(said) if said.isdigit() else 0


def template_of(revision: Manifest) -> Mapping[str, Any]:
    """The pod template that a revision stands for."""
    where = revision.get("data") if revision["kind"] == "ControllerRevision" else revision
    spec = (where or {}).get("spec") or {}
    found: Mapping[str, Any] = spec.get("template") or {}
    return found


def by_workload(revisions: Iterable[Manifest]) -> dict[Ref, list[Manifest]]:
    """The numbered revisions of each workload, oldest first."""
    found: dict[Ref, list[Manifest]] = defaultdict(list)
    for each in revisions:
        owner = controller_of(each)
        if owner is not None and owner.get("kind") in REVISED.get(each["kind"], ()) and number_of(each):
            found[Ref(owner["kind"], owner["name"], each["metadata"].get("namespace", ""))].append(each)
    return {ref: sorted(mine, key=number_of) for ref, mine in found.items()}


def rollouts(revisions: Mapping[Ref, Sequence[Manifest]], workloads: Mapping[Ref, Manifest]) -> Iterator[Happening]:
    """Every rollout whose revision is still kept; ``workloads`` tell who asked for it, where they could be read."""
    for ref, mine in revisions.items():
        workload = workloads.get(ref)
        writes = [each for each in touches(workload) if _is_of_template(each)] if workload else []
        for place, each in enumerate(mine):
            at = made_at(each)
            if at is None:
                continue
            is_newest = place == len(mine) - 1
            again = _again(each, mine, writes) if is_newest else None
            before = template_of(mine[place - 1]) if place else None
            number = number_of(each)
            what = f"{each['kind']} {each['metadata']['name']}"
            how = f"back to {what}" if again else what
            yield Happening(
                "Rollout",
                ref,
                again or at,
                _writer(writes, again or at, is_newest=is_newest),
                f"revision {number} ({how}): {_difference(template_of(each), before)}",
                str(number),
            )


def _is_of_template(touch: Touch) -> bool:
    return not touch.subresource and touch.owns("f:spec", "f:template")


def _again(newest: Manifest, mine: Sequence[Manifest], writes: Sequence[Touch]) -> datetime | None:
    """When an older revision was gone back to; None if the newest is new.

    The controller renumbers it and keeps its creationTimestamp. Both the write of the template and the
    controller's own write of the revision were no earlier than the rollout, so the earlier of them is the
    better guess; one that is older than the revision before it is of something else.
    """
    made = made_at(newest)
    others = [at for at in map(made_at, mine[:-1]) if at is not None]
    number = ("f:metadata", "f:annotations", f"f:{REVISION}")
    is_set = newest["kind"] == "ReplicaSet"
    own = [each.at for each in touches(newest) if each.owns(*number if is_set else ("f:revision",))]
    is_late = not is_set and made is not None and any(at > made + SECOND for at in own)
    if made is None or not (annotations_of(newest).get(FORMER) or is_late or any(at > made for at in others)):
        return None
    floor = max([made, *others])
    latest = [max(times) for times in (own, [each.at for each in writes]) if times]
    return min((at for at in latest if at >= floor), default=floor)


def _writer(writes: Sequence[Touch], at: datetime, *, is_newest: bool) -> str:
    """Who wrote the template just before its revision was made; the only one who ever did, for the newest."""
    near = [each for each in writes if at - SOON <= each.at <= at + SECOND]
    if near:
        return near[-1].manager
    managers = {each.manager for each in writes}
    return managers.pop() if is_newest and len(managers) == 1 else ""


def _difference(template: Mapping[str, Any], before: Mapping[str, Any] | None) -> str:
    """What is another image; of all other fields only that there are some."""
    new = images(template)
    if before is None:
        return f"the first that is kept, {', '.join(f'{name} {image}' for name, image in new.items())}"
    old = images(before)
    changed = [
        f"{name} {old[name]} -> {image}" if name in old else f"{name} {image} (new)"
        for name, image in new.items()
        if old.get(name) != image
    ]
    gone = [f"{name} is gone" for name in old if name not in new]
    return ", ".join([*changed, *gone]) or "the same images, another pod template"


def configs(things: Iterable[Manifest], kind: Literal["ConfigMap", "Secret"]) -> Iterator[Happening]:
    """Every manager's last write of the data of ConfigMaps or Secrets; of their metadata only is needed.

    Left out is what controllers write all the time: locks of leader elections, tokens, and what Helm keeps.
    """
    for thing in things:
        said = annotations_of(thing)
        is_noise = LEADER in said or TOKEN_OF in said or thing["metadata"]["name"] == ROOT_CA
        if is_noise or labels_of(thing).get("owner") == "helm":
            continue
        made, ref = made_at(thing), ref_of(thing)
        writes = [each for each in touches(thing) if any(each.owns(field) for field in DATA)]
        for each in writes:
            is_new = made is not None and each.at <= made
            yield Happening(kind, ref, each.at, each.manager, f"{'created' if is_new else 'changed'} by {each.manager}")
        if made is not None and not any(each.at <= made for each in writes):
            yield Happening(kind, ref, made, "", "created")


def scalings(workloads: Mapping[Ref, Manifest], revisions: Mapping[Ref, Sequence[Manifest]]) -> Iterator[Happening]:
    """The scalings by people that left a trace: a write of the replicas alone, or a Deployment at none.

    A write through the scale subresource notes no time, and one of 0 not even its manager (seen on 1.34: a Scale
    leaves a 0 out, so that no field is set). Of a Deployment without pods its controller's last write of the
    ReplicaSet tells; what else was done by ``kubectl scale`` stays unseen.
    """
    for ref, thing in workloads.items():
        count, seen = (thing.get("spec") or {}).get("replicas", 1), touches(thing)
        for each in seen:
            if each.owns("f:spec", "f:replicas") and not each.owns("f:spec", "f:template"):
                yield Happening("Scale", ref, each.at, each.manager, f"scaled; it wants {count} pods now")
        newest = [each for each in revisions.get(ref, ())[-1:] if each["kind"] == "ReplicaSet"]
        if count == 0 and newest and not any(each.owns("f:spec", "f:replicas") for each in seen):
            made = made_at(newest[0])
            own = [each.at for each in touches(newest[0]) if each.manager == CONTROLLERS and not each.subresource]
            if own and made is not None and own[-1] > made + SECOND:
                yield Happening("Scale", ref, own[-1], "", "scaled to no pods; nobody has noted by whom")


def autoscalers(things: Iterable[Manifest]) -> Iterator[Happening]:
    """Every manager's last write of a HorizontalPodAutoscaler, and the last time that it scaled its workload."""
    for thing in things:
        spec, status, ref = thing.get("spec") or {}, thing.get("status") or {}, ref_of(thing)
        bounds = f"{spec.get('minReplicas', 1)} to {spec.get('maxReplicas', 1)} pods now"
        for each in touches(thing):
            if not each.subresource and each.owns("f:spec"):
                yield Happening("Autoscaler", ref, each.at, each.manager, f"changed; {bounds}")
        scaled = parsed(status.get("lastScaleTime"))
        if scaled is not None:
            wants = f"scaled; it wants {status.get('desiredReplicas', 0)} pods now"
            yield Happening("Autoscaler", scaled_by(thing), scaled, f"{ref.kind} {ref.name}", wants)


def scaled_by(autoscaler: Manifest) -> Ref:
    """The workload that a HorizontalPodAutoscaler scales."""
    aim = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    return Ref(aim.get("kind", ""), aim.get("name", ""), autoscaler["metadata"].get("namespace", ""))
