"""Where each kind is served: the small table of what this program touches."""

from __future__ import annotations

import dataclasses
from urllib.parse import quote

from incident_operator.api import names
from incident_operator.faults import Stalled

ONLY_METADATA = "of a {kind} nothing but the metadata of lists is read, and nothing is written"


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API serves it."""

    kind: str
    group: str
    version: str
    plural: str
    namespaced: bool = True
    only_metadata: bool = False
    """Only lists of it are read, and of those only the metadata: what is in it never comes here."""

    @property
    def api_version(self) -> str:
        """As manifests have it: ``apps/v1``, or ``v1`` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version


_ALL = (
    Resource("Incident", names.GROUP, names.VERSION, "incidents"),
    Resource("ResponsePolicy", names.GROUP, names.VERSION, "responsepolicies", namespaced=False),
    Resource("Runbook", names.GROUP, names.VERSION, "runbooks"),
    Resource("ClusterRunbook", names.GROUP, names.VERSION, "clusterrunbooks", namespaced=False),
    Resource("VulnerabilityReport", "aquasecurity.github.io", "v1alpha1", "vulnerabilityreports"),
    Resource("SelfSubjectReview", "authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False),
    Resource("RecoveryPlan", names.GROUP, names.VERSION, "recoveryplans"),
    Resource("IncidentApproval", names.GROUP, names.VERSION, "incidentapprovals"),
    Resource("IncidentLedger", names.GROUP, names.VERSION, "incidentledgers"),
    Resource("Deployment", "apps", "v1", "deployments"),
    Resource("ReplicaSet", "apps", "v1", "replicasets"),
    Resource("StatefulSet", "apps", "v1", "statefulsets"),
    Resource("DaemonSet", "apps", "v1", "daemonsets"),
    Resource("ControllerRevision", "apps", "v1", "controllerrevisions"),
    Resource("CronJob", "batch", "v1", "cronjobs"),
    Resource("Job", "batch", "v1", "jobs"),
    Resource("Pod", "", "v1", "pods"),
    Resource("Service", "", "v1", "services"),
    Resource("ServiceAccount", "", "v1", "serviceaccounts"),
    Resource("ConfigMap", "", "v1", "configmaps"),
    Resource("Secret", "", "v1", "secrets", only_metadata=True),
    Resource("Node", "", "v1", "nodes", namespaced=False),
    Resource("Endpoints", "", "v1", "endpoints"),
    Resource("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims"),
    Resource("VolumeSnapshot", "snapshot.storage.k8s.io", "v1", "volumesnapshots"),
    Resource("VeleroBackup", "velero.io", "v1", "backups"),  # only read: CloudNativePG has a Backup, too
    Resource("Restore", "velero.io", "v1", "restores"),
    Resource("Cluster", "postgresql.cnpg.io", "v1", "clusters"),
    Resource("Backup", "postgresql.cnpg.io", "v1", "backups"),
    Resource("Namespace", "", "v1", "namespaces", namespaced=False),
    Resource("NetworkPolicy", "networking.k8s.io", "v1", "networkpolicies"),
    Resource("HorizontalPodAutoscaler", "autoscaling", "v2", "horizontalpodautoscalers"),
    Resource("ScaledObject", "keda.sh", "v1alpha1", "scaledobjects"),
    Resource("Kustomization", "kustomize.toolkit.fluxcd.io", "v1", "kustomizations"),
    Resource("HelmRelease", "helm.toolkit.fluxcd.io", "v2", "helmreleases"),
    Resource("Application", "argoproj.io", "v1alpha1", "applications"),
    Resource("PodDisruptionBudget", "policy", "v1", "poddisruptionbudgets"),
    Resource("Event", "events.k8s.io", "v1", "events"),
    Resource("Lease", "coordination.k8s.io", "v1", "leases"),
    Resource("SelfSubjectAccessReview", "authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False),
    Resource(
        "ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicies",
        namespaced=False,
    ),
    Resource(
        "ValidatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io",
        "v1",
        "validatingadmissionpolicybindings",
        namespaced=False,
    ),
)

RESOURCES = {resource.kind: resource for resource in _ALL}


def resource(kind: str) -> Resource:
    """The resource of a kind; Stalled names the kinds there are."""
    found = RESOURCES.get(kind)
    if found is None:
        raise Stalled("Invalid", f"kind {kind} is not known; known are {', '.join(sorted(RESOURCES))}")
    return found


def path(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The URL path of a collection, an object or a subresource; every part percent-encoded."""
    found = resource(kind)
    if name and found.only_metadata:
        raise Stalled("Invalid", ONLY_METADATA.format(kind=kind))
    parts = ["/apis", found.group, found.version] if found.group else ["/api", found.version]
    if namespace and found.namespaced:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(found.plural)
    if name:
        parts.append(quote(name, safe=""))
    if subresource:
        parts.append(subresource)
    return "/".join(parts)
