"""What came from outside of a namespace: releases of Helm, revisions of Flux and Argo CD, and its nodes.

Pure. Sources: Helm ``pkg/storage/driver`` (labels of its storage), Flux ``api/v1/kustomization_types.go`` and
``api/v2/snapshot_types.go``, Argo CD ``RevisionHistory``, and Node conditions and taints of core/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from incident_operator.planning.changes import Happening
from incident_operator.planning.plan import Manifest, Ref
from incident_operator.planning.rollouts import parsed
from incident_operator.planning.selectors import annotations_of, labels_of
from incident_operator.planning.traces import made_at, ref_of, touches

FLUX_KINDS = {"kustomize.toolkit.fluxcd.io": "Kustomization", "helm.toolkit.fluxcd.io": "HelmRelease"}
ARGO_TRACKING = "argocd.argoproj.io/tracking-id"
ARGO_NAMESPACE = "argocd"
"""Where Argo CD keeps Applications whose name does not say otherwise (``<namespace>_<name>``)."""
HELM_RELEASE, HELM_NAMESPACE = "meta.helm.sh/release-name", "meta.helm.sh/release-namespace"
CORDON = "node.kubernetes.io/unschedulable"
SETTLING = timedelta(minutes=10)
"""A new node gets ready within that."""


def managed_by(workload: Manifest) -> frozenset[Ref]:
    """What a workload says it comes from: a Helm release, something of Flux, an Argo CD Application."""
    labels, said = labels_of(workload), annotations_of(workload)
    own = workload["metadata"].get("namespace", "")
    found = set()
    for prefix, kind in FLUX_KINDS.items():
        if labels.get(f"{prefix}/name"):
            found.add(Ref(kind, labels[f"{prefix}/name"], labels.get(f"{prefix}/namespace") or own))
    if said.get(HELM_RELEASE):
        found.add(Ref("HelmRelease", said[HELM_RELEASE], said.get(HELM_NAMESPACE) or own))
    application = said.get(ARGO_TRACKING, "").partition(":")[0]
    if application:
        namespace, _, name = application.rpartition("_")
        found.add(Ref("Application", name, namespace or ARGO_NAMESPACE))
    return frozenset(found)


def helm(things: Iterable[Manifest]) -> Iterator[Happening]:
    """Each version of each Helm release that is kept, from the metadata of the Secrets or ConfigMaps that keep them.

    Helm makes one when an upgrade, or a rollback, begins.
    """
    for thing in things:
        labels, at = labels_of(thing), made_at(thing)
        name, version = labels.get("name", ""), labels.get("version", "")
        if labels.get("owner") != "helm" or not name or at is None:
            continue
        writers = touches(thing)
        yield Happening(
            "HelmRelease",
            Ref("HelmRelease", name, thing["metadata"].get("namespace", "")),
            at,
            writers[0].manager if writers else "",
            f"Helm release {name} version {version}, {labels.get('status') or 'of no status'} now",
            version,
        )


def flux(things: Iterable[Manifest]) -> Iterator[Happening]:
    """What Flux applied of its Kustomizations and HelmReleases.

    With ``status.history`` the moment is known. Without it there is the Ready condition alone, which moves with
    later reconciliations, too: then the revision was applied at that moment or before.
    """
    for thing in things:
        is_helm = thing["kind"] == "HelmRelease"
        by = "helm-controller" if is_helm else "kustomize-controller"
        status = thing.get("status") or {}
        found = []
        for each in status.get("history") or ():
            at = parsed(each.get("lastDeployed") if is_helm else each.get("firstReconciled"))
            revision = each.get("chartVersion") if is_helm else (each.get("metadata") or {}).get("revision")
            state = str(each.get("status" if is_helm else "lastReconciledStatus") or "")
            if at is not None and revision:
                summary = f"{each.get('chartName', 'chart') if is_helm else 'revision'} {revision} {state}"
                found.append(Happening("FluxRevision", ref_of(thing), at, by, summary, str(revision)))
        yield from found or _flux_ready(thing, by)


def _flux_ready(thing: Manifest, by: str) -> Iterator[Happening]:
    status = thing.get("status") or {}
    revision = status.get("lastAppliedRevision") or status.get("lastAttemptedRevision")
    said: dict[str, Manifest] = {each.get("type", ""): each for each in status.get("conditions") or ()}
    ready = said.get("Ready", {})
    at = parsed(ready.get("lastTransitionTime"))
    if revision and at is not None:
        summary = f"revision {revision}, applied by then or before; Ready is {ready.get('status', 'Unknown')}"
        yield Happening("FluxRevision", ref_of(thing), at, by, summary, str(revision))


def argo(things: Iterable[Manifest]) -> Iterator[Happening]:
    """Each deployment in the history of Argo CD Applications, at its start where that is noted."""
    for thing in things:
        for each in (thing.get("status") or {}).get("history") or ():
            at = parsed(each.get("deployStartedAt") or each.get("deployedAt"))
            revision = each.get("revision") or ", ".join(each.get("revisions") or ())
            if at is None:
                continue
            who = each.get("initiatedBy") or {}
            by = who.get("username") or ("automated sync" if who.get("automated") else "")
            yield Happening("ArgoRevision", ref_of(thing), at, by, f"revision {revision} synced", revision)


def node(thing: Manifest) -> Iterator[Happening]:
    """What changed about a node: it joined, is (not) ready again, is under pressure, was cordoned."""
    name = thing["metadata"]["name"]
    ref = Ref("Node", name, "")

    def told(at: datetime | None, summary: str, by: str = "") -> Iterator[Happening]:
        if at is not None:
            yield Happening("Node", ref, at, by, summary)

    made = made_at(thing)
    yield from told(made, f"node {name} joined")
    for each in (thing.get("status") or {}).get("conditions") or ():
        kind, is_true = each.get("type", ""), each.get("status") == "True"
        at, reason = parsed(each.get("lastTransitionTime")), each.get("reason", "")
        if kind == "Ready":
            if is_true and at is not None and made is not None and at - made < SETTLING:
                continue  # it has just joined
            state = "is ready again" if is_true else "is not ready"
            yield from told(at, f"node {name} {state} ({reason})")
        elif is_true:
            yield from told(at, f"node {name} has {kind} ({reason})")
    if (thing.get("spec") or {}).get("unschedulable"):
        yield from told(*_cordoned(thing))


def _cordoned(thing: Manifest) -> tuple[datetime | None, str, str]:
    """When a node was closed for new pods, and by whom.

    The node controller notes when it added the taint; else the write of ``spec.unschedulable`` tells.
    """
    taints = (thing.get("spec") or {}).get("taints") or ()
    tainted = next((parsed(each.get("timeAdded")) for each in taints if each.get("key") == CORDON), None)
    writes = [each for each in touches(thing) if each.owns("f:spec", "f:unschedulable")]
    by = writes[-1].manager if writes else ""
    at = tainted or (writes[-1].at if writes else None)
    return at, f"node {thing['metadata']['name']} takes no new pods (cordoned)", by
