"""What every action asks of a target before it plans anything for it, and how its writes are guarded."""

from __future__ import annotations

from typing import Any

from incident_operator.api import names
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Manifest, Ref, Request, Standing

MANAGERS = {
    "kustomize.toolkit.fluxcd.io/name": "Flux Kustomization",
    "helm.toolkit.fluxcd.io/name": "Flux HelmRelease",
    "argocd.argoproj.io/tracking-id": "Argo CD Application",
    "meta.helm.sh/release-name": "Helm release",
}


def identified(target: Ref, found: Manifest) -> Ref:
    """The target with the UID that was read."""
    return Ref(target.kind, target.name, target.namespace, found["metadata"]["uid"])


def admit(target: Ref, found: Manifest, *, own_it: bool) -> None:
    """Refuse a protected target, and with ``own_it`` one that another controller would put back at once."""
    meta = found["metadata"]
    for kind in ("annotations", "labels"):
        if (meta.get(kind) or {}).get(names.PROTECTED) == "true":
            raise Refused(
                "Protected", f"{target} is protected by its {kind[:-1]} {names.PROTECTED}: no Incident touches it"
            )
    if not own_it:
        return
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            raise Refused(
                "ControllerOwned",
                f"{target} is owned by {owner['kind']} {owner['name']}, which would undo any change; act on that instead",
            )


def managers(found: Manifest) -> tuple[str, ...]:
    """Notes on who may bring the change undone: GitOps tools and the next apply."""
    meta = found["metadata"]
    everything = {**(meta.get("labels") or {}), **(meta.get("annotations") or {})}
    notes = [
        f"{tool} {everything[key]} manages it and may undo this: suspend it, or change its source"
        for key, tool in MANAGERS.items()
        if everything.get(key)
    ]
    if "kubectl.kubernetes.io/last-applied-configuration" in everything:
        notes.append("the next kubectl apply of its old manifest undoes this: change the manifest too")
    return tuple(notes)


def guarded(target: Ref, *operations: dict[str, Any], subresource: str = "") -> Request:
    """A JSON patch that is refused if the target is another object by now."""
    body = [{"op": "test", "path": "/metadata/uid", "value": target.uid}, *operations]
    return Request("patch", target, body, "application/json-patch+json", subresource)


def escaped(key: str) -> str:
    """A label or annotation key as a part of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def lost(change: Change, current: Manifest | None) -> Standing | None:
    """GONE if the target of a change is not there, or is another of its name."""
    if current is None:
        return Standing.GONE
    if change.target.uid and current["metadata"]["uid"] != change.target.uid:
        return Standing.GONE
    return None
