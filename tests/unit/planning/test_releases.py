"""What Helm, Flux, Argo CD and nodes tell about the past."""

from __future__ import annotations

from typing import Any

from incident_operator.planning.plan import Ref
from incident_operator.planning.releases import argo, flux, helm, managed_by, node
from unit.actions.objects import workload
from unit.planning.changed import DATA, Object, ago, changed, plain, stamp, wrote


def test_each_version_of_a_helm_release_is_one() -> None:
    labels = {"owner": "helm", "name": "api", "version": "7", "status": "deployed"}
    kept = plain("Secret", "sh.helm.release.v1.api.v7", metadata={"labels": labels}, data={"release": "hunter2"})
    other = plain("Secret", "settings", metadata={"labels": {"owner": "team", "name": "api", "version": "1"}})
    (found,) = helm([changed(kept, wrote("helm", 3, DATA), made=3), changed(other, made=1)])
    assert (found.kind, found.what, found.at) == ("HelmRelease", Ref("HelmRelease", "api", "shop"), ago(3))
    assert (found.by, found.revision) == ("helm", "7")
    assert found.summary == "Helm release api version 7, deployed now"


def test_a_kustomization_applied_each_revision_when_it_was_first_reconciled() -> None:
    history = [
        {
            "firstReconciled": stamp(minutes),
            "lastReconciled": stamp(0),
            "lastReconciledStatus": "ReconciliationSucceeded",
            "metadata": {"revision": revision},
        }
        for minutes, revision in ((5, "main@sha1:b"), (90, "main@sha1:a"))
    ]
    thing = plain("Kustomization", "apps", "flux-system", status={"history": history, "lastAppliedRevision": "x"})
    found = list(flux([thing]))
    assert [(each.at, each.revision) for each in found] == [(ago(5), "main@sha1:b"), (ago(90), "main@sha1:a")]
    assert {(each.kind, each.what) for each in found} == {("FluxRevision", Ref("Kustomization", "apps", "flux-system"))}
    assert found[0].summary == "revision main@sha1:b ReconciliationSucceeded"


def test_a_kustomization_without_a_history_applied_its_revision_by_the_time_it_was_ready() -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(5)}
    thing = plain("Kustomization", "apps", status={"lastAppliedRevision": "main@sha1:b", "conditions": [ready]})
    (found,) = flux([thing])
    assert (found.at, found.by, found.revision) == (ago(5), "kustomize-controller", "main@sha1:b")
    assert found.summary == "revision main@sha1:b, applied by then or before; Ready is True"


def test_a_helm_release_of_flux_was_deployed_as_its_history_says() -> None:
    history = [
        {"name": "api", "chartName": "web", "chartVersion": "1.2.3", "status": "failed", "lastDeployed": stamp(4)}
    ]
    (found,) = flux([plain("HelmRelease", "api", status={"history": history})])
    assert (found.kind, found.at, found.by, found.revision) == ("FluxRevision", ago(4), "helm-controller", "1.2.3")
    assert found.summary == "web 1.2.3 failed"


def test_what_flux_has_not_reconciled_yet_is_nothing() -> None:
    assert (
        list(flux([plain("Kustomization", "apps"), plain("HelmRelease", "api", status={"observedGeneration": -1})]))
        == []
    )


def test_each_deployment_of_argo_counts_from_its_start() -> None:
    history: list[Object] = [
        {"revision": "a1", "deployedAt": stamp(30), "initiatedBy": {"automated": True}},
        {
            "revisions": ["b1", "b2"],
            "deployedAt": stamp(3),
            "deployStartedAt": stamp(4),
            "initiatedBy": {"username": "ada"},
        },
        {"revision": "c1"},
    ]
    found = list(
        argo([plain("Application", "api", "argocd", status={"history": history}), plain("Application", "new")])
    )
    assert [(each.kind, each.at, each.by, each.revision) for each in found] == [
        ("ArgoRevision", ago(30), "automated sync", "a1"),
        ("ArgoRevision", ago(4), "ada", "b1, b2"),
    ]


def a_node(made: float, *conditions: tuple[str, str, float], **spec: Any) -> Object:
    listed = [
        {"type": kind, "status": status, "reason": f"Kubelet{kind}", "lastTransitionTime": stamp(minutes)}
        for kind, status, minutes in conditions
    ]
    return changed(plain("Node", "n1", "", status={"conditions": listed}, spec=spec), made=made)


def test_a_node_that_is_not_ready_or_under_pressure_changed_when_it_became_so() -> None:
    found = list(
        node(a_node(9000, ("Ready", "Unknown", 3), ("MemoryPressure", "True", 4), ("DiskPressure", "False", 2)))
    )
    assert [(each.at, each.summary) for each in found[1:]] == [
        (ago(3), "node n1 is not ready (KubeletReady)"),
        (ago(4), "node n1 has MemoryPressure (KubeletMemoryPressure)"),
    ]
    assert {each.what for each in found} == {Ref("Node", "n1", "")}


def test_a_node_that_is_ready_again_was_away_and_a_new_one_only_joined() -> None:
    assert [each.summary for each in node(a_node(9000, ("Ready", "True", 3)))][1:] == [
        "node n1 is ready again (KubeletReady)"
    ]
    assert [(each.at, each.summary) for each in node(a_node(4, ("Ready", "True", 3)))] == [(ago(4), "node n1 joined")]


def test_a_cordoned_node_was_closed_when_it_was_tainted_and_by_whom_its_fields_say() -> None:
    taint = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule", "timeAdded": stamp(6)}
    thing = a_node(9000, unschedulable=True, taints=[taint])
    cordon = wrote("kubectl-cordon", 7, {"f:spec": {"f:unschedulable": {}}})
    thing["metadata"]["managedFields"] = [cordon]
    found = list(node(thing))[-1]
    assert (found.at, found.by, found.summary) == (ago(6), "kubectl-cordon", "node n1 takes no new pods (cordoned)")
    thing["spec"]["taints"] = []
    assert list(node(thing))[-1].at == ago(7)
    thing["metadata"]["managedFields"] = []
    assert len(list(node(thing))) == 1, "nobody knows when"


def test_a_workload_says_what_it_comes_from() -> None:
    thing = workload()
    assert managed_by(thing) == frozenset()
    thing["metadata"]["labels"] = {
        "kustomize.toolkit.fluxcd.io/name": "apps",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        "helm.toolkit.fluxcd.io/name": "api",
    }
    thing["metadata"]["annotations"] = {
        "meta.helm.sh/release-name": "chart",
        "meta.helm.sh/release-namespace": "shop",
        "argocd.argoproj.io/tracking-id": "api:apps/Deployment:shop/api",
    }
    assert managed_by(thing) == {
        Ref("Kustomization", "apps", "flux-system"),
        Ref("HelmRelease", "api", "shop"),
        Ref("HelmRelease", "chart", "shop"),
        Ref("Application", "api", "argocd"),
    }
    thing["metadata"] |= {
        "labels": {},
        "annotations": {"argocd.argoproj.io/tracking-id": "team_api:apps/Deployment:x/y"},
    }
    assert managed_by(thing) == {Ref("Application", "api", "team")}
