"""Reasons not to touch a target, and what a person should know who lets it be touched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from incident_operator.api import names
from incident_operator.faults import Refused
from incident_operator.planning.plan import Manifest
from incident_operator.planning.selectors import annotations_of, controller_of, labels_of

FLUX = {
    "kustomize.toolkit.fluxcd.io": "Flux Kustomization",
    "helm.toolkit.fluxcd.io": "Flux HelmRelease",
}
TRACKING = "argocd.argoproj.io/tracking-id"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def named(thing: Manifest) -> str:
    """As people write it: ``Deployment shop/api``."""
    return f"{thing['kind']} {thing['metadata']['namespace']}/{thing['metadata']['name']}"


def resource(thing: Manifest) -> str:
    """As kubectl takes it: ``deployment/api -n shop``."""
    return f"{thing['kind'].lower()}/{thing['metadata']['name']} -n {thing['metadata']['namespace']}"


def mark_of(thing: Manifest) -> str:
    """Where a thing says that no Incident touches it: in its ``label`` or its ``annotation``; empty: nowhere."""
    places = (("label", labels_of(thing)), ("annotation", annotations_of(thing)))
    return next((field for field, said in places if said.get(names.PROTECTED) == "true"), "")


def refuse_protected(verb: str, thing: Manifest) -> None:
    """Refused("Protected") where a label or annotation says that no Incident touches it."""
    field = mark_of(thing)
    if field:
        raise protected(f"could not {verb} {named(thing)}: its", field, resource(thing))


def protected(what: str, field: str, resource_: str) -> Refused:
    """What is said where something marked would be touched: whose mark it is, and how it is taken off."""
    remedy = f"to let Incidents touch it: kubectl {field.replace('annotation', 'annotate')} {resource_}"
    return Refused("Protected", f"{what} {field} {names.PROTECTED} is true; {remedy} {names.PROTECTED}-")


def refuse_controlled(verb: str, thing: Manifest) -> None:
    """Refused("ControllerOwned") where a controller would write its own idea over ours at once."""
    owner = controller_of(thing)
    if owner is not None:
        who = f"{owner.get('kind')} {owner.get('name')}"
        raise Refused(
            "ControllerOwned",
            f"could not {verb} {named(thing)}: {who} ({owner.get('apiVersion')}) controls it and would put it back; "
            f"make the change on {who}",
        )


def gitops_owner(thing: Manifest) -> str:
    """Who applies this object from Git or a chart, and would put it back; empty if nobody is known to."""
    labels, annotations = labels_of(thing), annotations_of(thing)
    for prefix, kind in FLUX.items():
        name = labels.get(f"{prefix}/name")
        if name:
            return f"{kind} {labels.get(f'{prefix}/namespace', '')}/{name}"
    if TRACKING in annotations:
        return f"Argo CD Application {annotations[TRACKING].partition(':')[0]}"
    return ""


def gitops_notes(thing: Manifest) -> tuple[str, ...]:
    """A warning for each way in which the change would be undone from outside."""
    notes = []
    owner = gitops_owner(thing)
    if owner:
        notes.append(f"{owner} manages it and may put it back: pause it, and change Git")
    if LAST_APPLIED in annotations_of(thing):
        notes.append("its last-applied-configuration is unchanged: the next kubectl apply of that manifest undoes this")
    return tuple(notes)


def whole(params: Mapping[str, Any], field: str, *, least: int) -> int:
    """A parameter that must be a whole number; Refused("Invalid") names the field and what it may be."""
    found = params.get(field)
    if isinstance(found, bool) or not isinstance(found, int) or found < least:
        raise Refused("Invalid", f"{field} must be a whole number of at least {least}, not {found!r}")
    return found
