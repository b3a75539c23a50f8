"""runJob, snapshotVolumes, restore and failover from the Incident to its end, as the responder that is shipped.

A real API server with Kubernetes' own controllers, the real CRDs (tests_support/upstream_crds), the operator's own
process, and reconcilers that behave as their documentation says (tests_support/reconcilers). Pods have no node.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from incident_operator.api import names
from tests_support import upstream_crds
from tests_support.cluster import ROOT, Kubectl, Namespace, OperatorProcess, incident
from tests_support.reconcilers import ALL, CLUSTERS, HEALTHY, RESTORES, SNAPSHOTS, Following, now, tells_role
from tests_support.waiting import eventually

from .test_data_actions import claim, made, pods, volume

pytestmark = pytest.mark.cluster
Object = dict[str, Any]
GROUPS = {"snapshot.storage.k8s.io", "velero.io", "postgresql.cnpg.io"}
CRON_JOBS = ("nightly", "dump", "check-dump", "load", "integrity", "promote")
NOWHERE = {"kubernetes.io/hostname": "nowhere"}
REPLICA = {"app": "replica"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One Incident, and a right without which it is refused."""

    name: str
    kind: str
    target: str
    step: Object
    without: tuple[str, str, str]
    """Verb, group and resource."""
    words: str
    """How the refusal names it."""

    def incident(self, name: str, namespace: Namespace, **spec: Any) -> Object:
        targets = [{"kind": self.kind, "name": self.target}]
        step = json.loads(json.dumps(self.step).replace("NAMESPACE", namespace.name))
        return incident(name, targets=targets, containment=[{"name": "do", **step}], **spec)


SNAPSHOT_GROUP, VELERO, CNPG = "snapshot.storage.k8s.io", "velero.io", "postgresql.cnpg.io"
JOBS = ("create", "batch", "jobs")
FROM_SNAPSHOT = {"restore": {"volume": {"claim": "data", "snapshot": "nightly", "maxAge": "1h"}}}
DUMP = {
    "job": {"cronJob": "load", "dumpedBy": "dump", "maxAge": "1h", "check": "check-dump"},
    "verifyIntegrity": "integrity",
}
CASES = {
    case.name: case
    for case in (
        Case("run", "Deployment", "files", {"runJob": {"cronJob": "nightly"}}, JOBS, "create jobs (batch)"),
        Case(
            "snapshot",
            "Deployment",
            "files",
            {"snapshotVolumes": {}},
            ("create", SNAPSHOT_GROUP, "volumesnapshots"),
            "create volumesnapshots (snapshot.storage.k8s.io)",
        ),
        Case("volume", "Deployment", "files", FROM_SNAPSHOT, ("create", "", "persistentvolumeclaims"),
             "create persistentvolumeclaims (core)"),
        Case("dump", "Deployment", "files", {"restore": DUMP}, JOBS, "create jobs (batch)"),
        Case("velero", "Deployment", "files", {"restore": {"velero": {"backup": "daily", "namespace": "NAMESPACE"}}},
             ("create", VELERO, "restores"), "create restores (velero.io)"),
        Case("recover", "Cluster", "pg", {"restore": {"cloudNativePG": {"backup": "base", "name": "pg-back"}}},
             ("create", CNPG, "clusters"), "create clusters (postgresql.cnpg.io)"),
        Case("promote", "Cluster", "pg", {"failover": {"cloudNativePG": {}}},
             ("patch", CNPG, "clusters/status"), "patch clusters/status (postgresql.cnpg.io)"),
        Case("patroni", "StatefulSet", "ha", {"failover": {"patroni": {"scope": "shop-db"}}},
             ("patch", "", "endpoints"), "patch endpoints (core)"),
        Case("replica", "Deployment", "primary",
             {"failover": {"job": {"cronJob": "promote", "service": "db", "selector": REPLICA}}},
             ("patch", "", "services"), "patch services (core)"),
    )
}  # fmt: skip


RESPONDER = ("manifests/responder/responder.yaml", "manifests/responder/patroni.yaml")


@pytest.fixture(scope="module")
def world(kubectl: Kubectl, lab_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    """A namespace with something to lose, whose controllers follow, and an operator that looks after it."""
    kubectl("apply", "--server-side", *upstream_crds.flags())
    eventually(lambda: _served(kubectl), within=30, what="the groups in discovery")
    namespace = Namespace.create(kubectl)
    for path in RESPONDER:
        namespace.apply_file(ROOT / path)
    following = Following(namespace, ALL)
    operator = OperatorProcess(lab_kubeconfig, namespace.name, tmp_path_factory.mktemp("data") / "operator.log")
    try:
        _furnish(namespace)
        operator.start()
        yield namespace
        namespace("delete", "incidents.incident-operator.dev", "--all", "--timeout=30s")
        assert "Traceback" not in operator.log.read_text()
    finally:
        if operator.process is not None:
            operator.stop()
        following.stop()
        kubectl.run("delete", "responsepolicy", namespace.name)
        namespace.delete()
        volumes = kubectl.json("get", "pv")["items"]
        mine = [each["metadata"]["name"] for each in volumes if each["spec"].get("storageClassName") == namespace.name]
        kubectl.run("delete", "pv", "--wait=false", *mine)
        kubectl("delete", *upstream_crds.flags(), "--wait=true", "--timeout=60s")


def _served(kubectl: Kubectl) -> bool:
    groups = {each["name"] for each in json.loads(kubectl("get", "--raw", "/apis"))["groups"]}
    wait = kubectl.run("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return groups >= GROUPS and wait.returncode == 0


def _furnish(namespace: Namespace) -> None:
    eventually(lambda: namespace.get("serviceaccount", "default"), within=15, what="the ServiceAccount of pods")
    selects = {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}}
    waived = [{"name": "by-itself", "when": ["Destructive"], "count": 0}]  # a failover, with nobody to ask
    spec = {"namespaceSelector": selects, "approvals": waived}
    policy = {"kind": "ResponsePolicy", "metadata": {"name": namespace.name}, "spec": spec}
    namespace.kubectl("apply", "-f", "-", given=json.dumps(volume(namespace, 0)))
    api = "postgresql.cnpg.io/v1"
    cluster = {"instances": 2, "storage": {"size": "1Gi"}, "imageName": "registry/postgresql:17"}
    done = {"phase": "Completed", "completionTimestamp": now()}
    source = {"persistentVolumeClaimName": "data"}
    namespace.apply(
        {"apiVersion": "incident-operator.dev/v1alpha1", **policy},
        claim("data", namespace.name),
        _workload("files", "data"),
        _workload("primary"),
        _workload("replica"),
        _workload("ha", kind="StatefulSet", replicas=2, serviceName="ha", podManagementPolicy="Parallel"),
        made("Service", "db", spec={"selector": {"app": "primary"}, "ports": [{"port": 5432}]}),
        *(_cron_job(name) for name in CRON_JOBS),
        made("VolumeSnapshot", "nightly", "snapshot.storage.k8s.io/v1", spec={"source": source}),
        made("Backup", "daily", "velero.io/v1", spec={"includedNamespaces": [namespace.name]}, status=done),
        made("Cluster", "pg", api, spec=cluster),
        made("Backup", "base", api, spec={"cluster": {"name": "pg"}}),
        *(thing for case in CASES.values() for thing in _less(case)),
    )  # fmt: skip
    status = json.dumps({"status": {"phase": "completed", "stoppedAt": now()}})
    namespace("patch", "backups.postgresql.cnpg.io", "base", "--subresource=status", "--type=merge", "-p", status)
    namespace("create", "job", "--from=cronjob/dump", "last-night")
    _lead(namespace)
    for what, ready in (
        ("a dump", lambda: namespace.get("cronjob", "dump")["status"].get("lastSuccessfulTime")),
        ("the snapshot", lambda: namespace.get(SNAPSHOTS, "nightly").get("status", {}).get("readyToUse")),
        ("the Cluster", lambda: namespace.get(CLUSTERS, "pg").get("status", {}).get("phase") == HEALTHY),
        ("the pods", lambda: all(each["status"].get("phase") == "Running" for each in namespace.list("pods", "app"))),
        ("the claim", lambda: namespace.get("pvc", "data")["status"].get("phase") == "Bound"),
    ):
        eventually(ready, within=30, what=what)


def _lead(namespace: Namespace) -> None:
    """What Patroni keeps: who leads, and what each member says."""
    annotations = {"leader": "ha-0", "renewTime": "x"}
    lock = made("Endpoints", "shop-db")
    lock["metadata"] |= {"labels": {"cluster-name": "shop-db"}, "annotations": annotations}
    asked = made("Endpoints", "shop-db-failover")
    asked["metadata"] |= {"labels": {"cluster-name": "shop-db"}, "annotations": {"history": "x"}}
    namespace.apply(lock, asked)
    for number, role in enumerate(("primary", "replica")):
        eventually(lambda number=number: namespace.get("pod", f"ha-{number}"), within=30, what="both members")
        tells_role(namespace, f"ha-{number}", role)


def _workload(name: str, *volumes: str, kind: str = "Deployment", **spec: Any) -> Object:
    template = pods(*volumes)
    template["metadata"]["labels"] = {"app": name}
    template["spec"] |= {"nodeSelector": NOWHERE, "terminationGracePeriodSeconds": 0}
    more = {"strategy": {"type": "Recreate"}} if kind == "Deployment" else {}
    selector = {"matchLabels": {"app": name}}
    return made(kind, name, "apps/v1", spec={"replicas": 1, "selector": selector, "template": template, **more, **spec})


def _cron_job(name: str) -> Object:
    template = {"spec": {**pods()["spec"], "nodeSelector": NOWHERE, "restartPolicy": "Never"}}
    inner = {"spec": {"template": template, "backoffLimit": 0}}
    return made("CronJob", name, "batch/v1", spec={"schedule": "0 3 * * *", "suspend": True, "jobTemplate": inner})


def _less(case: Case) -> list[Object]:
    """A ServiceAccount with all that the shipped responder may, but for one right."""
    verb, group, resource = case.without
    name = f"less-{case.name}"
    found = []
    documents = [thing for path in RESPONDER for thing in yaml.safe_load_all((ROOT / path).read_text())]
    for thing in documents:
        role = thing["metadata"]["name"].replace(names.RESPONDER, name)
        thing["metadata"]["name"] = role
        if thing["kind"] == "RoleBinding":
            thing["roleRef"]["name"], thing["subjects"][0]["name"] = role, name
        if thing["kind"] == "Role":
            thing["rules"] = [part for rule in thing["rules"] for part in _split(rule, (verb, group, resource))]
        found.append(thing)
    return found


def _split(rule: Object, without: tuple[str, str, str]) -> list[Object]:
    """The rule without the one right; one part a resource."""
    verb, group, resource = without
    parts = []
    for each in rule["resources"]:
        is_it = group in rule["apiGroups"] and each == resource
        verbs = [one for one in rule["verbs"] if not (is_it and one == verb)]
        parts += [{**rule, "resources": [each], "verbs": verbs}] if verbs else []
    return parts


def ended(namespace: Namespace, name: str, status: str, *, within: float = 30) -> Object:
    found: Object = namespace.await_condition(name, "Ready", status, within=within)
    return found


def message(found: Object) -> str:
    return next(each["message"] for each in found["status"]["conditions"] if each["type"] == "Ready")


@pytest.mark.parametrize("name", CASES)
def test_without_one_right_of_the_shipped_responder_it_is_refused_and_that_right_is_named(
    world: Namespace, name: str
) -> None:
    case = CASES[name]
    world.apply(case.incident(f"no-{name}", world, serviceAccountName=f"less-{name}"))
    eventually(lambda: "Stalled" in world.conditions(f"no-{name}"), within=30, what="a refusal")
    found = world.incident(f"no-{name}")
    assert world.conditions(f"no-{name}")["Ready"] == ("False", "Forbidden"), message(found)
    assert case.words in message(found)
    assert not found["status"].get("ledger"), "nothing was written"
    world("delete", f"incident/no-{name}", "--timeout=30s")


def jobs_of(namespace: Namespace, cron_job: str) -> list[Object]:
    """The Jobs that were made of a CronJob by an Incident."""
    found = namespace.list("jobs", "incident-operator.dev/incident")
    return [each for each in found if each["metadata"]["ownerReferences"][0]["name"] == cron_job]


def is_complete(job: Object) -> bool:
    return any(each["type"] == "Complete" and each["status"] == "True" for each in job["status"]["conditions"])


def ran(namespace: Namespace) -> None:
    (job,) = jobs_of(namespace, "nightly")
    assert is_complete(job)


def was_snapshotted(namespace: Namespace) -> None:
    taken = [each for each in namespace.list(SNAPSHOTS) if each["metadata"]["name"] != "nightly"]
    assert [each["status"]["readyToUse"] for each in taken] == [True]
    assert taken[0]["spec"]["source"]["persistentVolumeClaimName"] == "data"


def has_a_new_volume(namespace: Namespace) -> None:
    volumes = namespace.get("deployment", "files")["spec"]["template"]["spec"]["volumes"]
    restored = volumes[0]["persistentVolumeClaim"]["claimName"]
    assert restored != "data"
    there = {each["metadata"]["name"]: each for each in namespace.list("pvc")}
    assert there[restored]["spec"]["dataSource"]["name"] == "nightly"
    assert {each["status"]["phase"] for each in there.values()} == {"Bound"}, "the old volume is kept"
    (pod,) = namespace.list("pods", "app=files")
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == restored


def was_loaded(namespace: Namespace) -> None:
    jobs = [jobs_of(namespace, name) for name in ("check-dump", "load", "integrity")]
    assert [len(each) for each in jobs] == [1, 1, 1]
    assert all(is_complete(job) for (job,) in jobs)
    begun = [job["metadata"]["creationTimestamp"] for (job,) in jobs]
    over = [job["status"]["completionTime"] for (job,) in jobs]
    assert begun[1] >= over[0], "the dump is checked before it is loaded"
    assert begun[2] >= over[1], "what was loaded is verified"


def was_restored(namespace: Namespace) -> None:
    (restore,) = namespace.list(RESTORES)
    assert restore["spec"]["includedNamespaces"] == [namespace.name]
    assert restore["status"]["phase"] == "Completed"


def was_recovered(namespace: Namespace) -> None:
    old, new = namespace.get(CLUSTERS, "pg"), namespace.get(CLUSTERS, "pg-back")
    assert new["spec"]["bootstrap"]["recovery"]["backup"] == {"name": "base"}
    assert new["spec"]["imageName"] == old["spec"]["imageName"]
    assert (new["status"]["phase"], new["status"]["readyInstances"]) == (HEALTHY, 2)
    assert old["status"]["currentPrimary"] == "pg-1", "the old one is kept as it was"


def was_promoted(namespace: Namespace) -> None:
    status = namespace.get(CLUSTERS, "pg")["status"]
    assert (status["currentPrimary"], status["phase"]) == ("pg-2", HEALTHY)


def leads(namespace: Namespace) -> None:
    assert namespace.get("endpoints", "shop-db")["metadata"]["annotations"]["leader"] == "ha-1"
    assert "member" not in namespace.get("endpoints", "shop-db-failover")["metadata"]["annotations"]


def has_followed(namespace: Namespace) -> None:
    (job,) = jobs_of(namespace, "promote")
    assert is_complete(job)
    assert namespace.get("service", "db")["spec"]["selector"] == REPLICA


PROVED: dict[str, Callable[[Namespace], None]] = {
    "run": ran,
    "snapshot": was_snapshotted,
    "velero": was_restored,
    "dump": was_loaded,
    "recover": was_recovered,
    "promote": was_promoted,
    "patroni": leads,
    "replica": has_followed,
    "volume": has_a_new_volume,
}


@pytest.mark.parametrize("name", PROVED)
def test_the_shipped_responder_carries_it_to_its_end_and_nothing_goes_back_with_the_incident(
    world: Namespace, name: str
) -> None:
    world.apply(CASES[name].incident(name, world))
    status = ended(world, name, "True")["status"]
    assert status["plan"]["serviceAccountName"] == "incident-responder"
    assert {entry["state"] for entry in status["ledger"]} == {"Kept"}, "done, and never put back"
    PROVED[name](world)
    world("delete", f"incident/{name}", "--timeout=30s")
    PROVED[name](world)


def test_all_forms_are_proved() -> None:
    assert CASES.keys() == PROVED.keys()
