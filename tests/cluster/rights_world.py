"""A namespace with all that actions and checks look at, and a ServiceAccount for every right that is taken away."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable
from typing import Any

from incident_operator.cluster.gateway import ClusterGateway, Gateway
from incident_operator.planning.plan import Ref
from incident_operator.planning.rights import Rule
from tests_support.cluster import Kubectl, Namespace
from tests_support.waiting import eventually

RBAC = "rbac.authorization.k8s.io"
KEDA_CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "scaledobjects.keda.sh"},
    "spec": {
        "group": "keda.sh",
        "scope": "Namespaced",
        "names": {"kind": "ScaledObject", "plural": "scaledobjects", "singular": "scaledobject"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


@dataclasses.dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource."""

    group: str
    resource: str
    verb: str

    @property
    def words(self) -> str:
        """As the API server names it in a refusal."""
        return f'cannot {self.verb} resource "{self.resource}" in API group "{self.group}"'


def rights_of(rules: Iterable[Rule]) -> list[Right]:
    return sorted({Right(rule.group, what, verb) for rule in rules for what in rule.resources for verb in rule.verbs})


def account(name: str, namespace: str, rights: Iterable[Right]) -> list[dict[str, Any]]:
    """A Role of exactly these rights, bound to a ServiceAccount of the name."""
    meta = {"name": name, "namespace": namespace}
    rules = [{"apiGroups": [each.group], "resources": [each.resource], "verbs": [each.verb]} for each in rights]
    subject = {"kind": "ServiceAccount", **meta}
    role_ref = {"apiGroup": RBAC, "kind": "Role", "name": name}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": role_ref,
            "subjects": [subject],
        },
    ]


@dataclasses.dataclass(frozen=True)
class Accounts:
    """One identity with all declared rights, and one without each of them."""

    full: Gateway
    without: dict[Right, Gateway]


async def accounts(cluster: ClusterGateway, namespace: Namespace, rules: Iterable[Rule]) -> Accounts:
    """Make them, and wait until the API server knows."""
    declared = rights_of(rules)
    named = {"full": declared}
    for number, right in enumerate(declared):
        named[f"without-{number}"] = [each for each in declared if each != right]
    items = [thing for name, rights in named.items() for thing in account(name, namespace.name, rights)]
    namespace("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    found = {name: cluster.acting_as(namespace.name, name) for name in named}
    for name, rights in named.items():
        for right in rights:
            await _until_granted(found[name], namespace.name, right)
    without = {right: found[f"without-{number}"] for number, right in enumerate(declared)}
    return Accounts(found["full"], without)


async def _until_granted(hands: Gateway, namespace: str, right: Right) -> None:
    what, _, sub = right.resource.partition("/")
    asked = {"namespace": namespace, "verb": right.verb, "group": right.group, "resource": what, "subresource": sub}
    end = time.monotonic() + 15
    while not await hands.review(asked):
        assert time.monotonic() < end, f"not within 15 s: the Role is heeded: {right}"


def workload(kind: str, name: str, version: str, **spec: Any) -> dict[str, Any]:
    """A workload whose pods never get ready: there is no such image."""
    labels = {"app": name}
    container = {"name": "c", "image": "localhost/none:1", "imagePullPolicy": "Never"}
    container |= {"env": [{"name": "VERSION", "value": version}], "ports": [{"containerPort": 8080}]}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    more = {"serviceName": name} if kind == "StatefulSet" else {}
    whole = {"selector": {"matchLabels": labels}, "template": template, **more, **spec}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": whole}


def autoscaler(kind: str, version: str, of: str, name: str) -> dict[str, Any]:
    ref = {"apiVersion": "apps/v1", "kind": of, "name": name}
    spec = {"scaleTargetRef": ref, "minReplicas": 2, "maxReplicas": 5}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec}


def batch(kind: str, name: str) -> dict[str, Any]:
    """A CronJob or a Job whose pods never get to run."""
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "localhost/none:1"}]}
    job: dict[str, Any] = {"template": {"spec": pod}, "backoffLimit": 0}
    spec = job if kind == "Job" else {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}
    return {"apiVersion": "batch/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def build(namespace: Namespace) -> dict[str, Ref]:
    """Everything twice revised; the StatefulSet's only pod is of its bad revision and will never be ready."""
    eventually(lambda: namespace.get("serviceaccount", "default"), within=15, what="the ServiceAccount of pods")
    bare = {"containers": [{"name": "c", "image": "localhost/none:1", "imagePullPolicy": "Never"}]}
    namespace.apply(
        workload("Deployment", "api", "1", replicas=1),
        workload("StatefulSet", "db", "1", replicas=0),
        workload("DaemonSet", "agent", "1"),
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": bare},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        },
        autoscaler("HorizontalPodAutoscaler", "autoscaling/v2", "Deployment", "api"),
        autoscaler("ScaledObject", "keda.sh/v1alpha1", "StatefulSet", "db"),
    )
    namespace.apply(batch("CronJob", "nightly"), batch("Job", "once"))
    revisions(namespace, 1)
    namespace.apply(
        workload("Deployment", "api", "2", replicas=2),
        workload("StatefulSet", "db", "2", replicas=0),
        workload("DaemonSet", "agent", "2"),
    )
    revisions(namespace, 2)
    eventually(lambda: _is_current(namespace.get("statefulset", "db")), within=30, what="db to be at its revision 2")
    namespace("scale", "statefulset/db", "--replicas=1")
    eventually(lambda: namespace.get("pod", "db-0"), within=30, what="the pod of db")
    pods = eventually(lambda: namespace.list("pods", "app=api"), within=30, what="a pod of api")
    name = pods[0]["metadata"]["name"]
    where = {"Deployment": "api", "StatefulSet": "db", "DaemonSet": "agent", "Pod": "bare"}
    where |= {"CronJob": "nightly", "Job": "once"}
    found = {kind: Ref(kind, each, namespace.name) for kind, each in where.items()}
    return {**found, "a pod of the Deployment": Ref("Pod", name, namespace.name)}


def ready_nowhere(namespace: Namespace) -> dict[str, Ref]:
    """A Deployment and a pod on no node, whose pods are said to be ready: what is asked of them gets as far as that."""
    thing = workload("Deployment", "pg", "1", replicas=1)
    thing["spec"]["template"]["spec"]["nodeSelector"] = {"incident-test/nowhere": "true"}
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "pg-alone"},
        "spec": thing["spec"]["template"]["spec"],
    }
    namespace.apply(thing, bare)
    (pod,) = eventually(lambda: namespace.list("pods", "app=pg"), within=30, what="the pod of pg")
    ready = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    for name in (pod["metadata"]["name"], "pg-alone"):
        namespace("patch", "pod", name, "--subresource=status", "--type=merge", "-p", ready)
    return {kind: Ref(kind, name, namespace.name) for kind, name in (("Deployment", "pg"), ("Pod", "pg-alone"))}


def revisions(namespace: Namespace, count: int) -> None:
    """Wait until the controllers have made so many revisions of everything."""

    def made() -> bool:
        sets = namespace.list("replicasets", "app=api")
        others = [len(namespace.list("controllerrevisions", f"app={name}")) for name in ("db", "agent")]
        return [len(sets), *others] == [count] * 3

    eventually(made, within=30, what=f"{count} revisions of everything")


def _is_current(thing: Any) -> bool:
    status = thing["status"]
    seen = status.get("observedGeneration") == thing["metadata"]["generation"]
    return bool(seen and status.get("updateRevision") == status.get("currentRevision"))


def install_keda(kubectl: Kubectl) -> bool:
    """Serve ScaledObjects, if nobody does yet; whether it was us."""
    if kubectl.run("get", "crd", "scaledobjects.keda.sh").returncode == 0:
        return False
    kubectl("apply", "-f", "-", given=json.dumps(KEDA_CRD))
    kubectl("wait", "--for=condition=Established", "crd/scaledobjects.keda.sh", "--timeout=30s")
    return True
