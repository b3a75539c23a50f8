"""What real API servers and controllers leave behind of changes, and what a real responder may see of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.rights_world import Accounts, accounts, revisions, workload
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.cluster.port import Reader
from incident_operator.engine.changes import OPTIONAL, RULES, Historian, Looked
from incident_operator.planning.changes import Happening, ranked
from incident_operator.planning.plan import Ref
from tests_support.cluster import Kubectl, Namespace
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster
SECRET = "hunter2"
JUST = timedelta(minutes=2)
SETTINGS = {"envFrom": [{"configMapRef": {"name": "settings"}}]}


def write(namespace: Namespace, manager: str, *objects: dict[str, Any]) -> None:
    """Apply as a field manager."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    namespace("apply", "--server-side", "--force-conflicts", f"--field-manager={manager}", "-f", "-", given=given)


def hidden_from(found: Looked) -> set[str]:
    """What could not be seen, but for the nodes that real pods run on, which a responder may not read."""
    return {each for each in found.unknown if not each.startswith("Node ")}


def another_second() -> None:
    """Wait until what is written next has a later time; those of the API are whole seconds."""
    now = datetime.now(UTC).replace(microsecond=0)
    eventually(lambda: datetime.now(UTC) > now + timedelta(seconds=1), within=5, what="another second")


def config(kind: str, **data: str) -> dict[str, Any]:
    content = {"data": data} if kind == "ConfigMap" else {"stringData": data}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "settings"}, **content}


def of_image(number: int) -> list[dict[str, Any]]:
    """The three kinds of workloads; their pods never run."""
    made = [
        workload("Deployment", "api", str(number), replicas=1),
        workload("StatefulSet", "db", str(number), replicas=0),
        workload("DaemonSet", "agent", str(number)),
    ]
    for each in made:
        container = each["spec"]["template"]["spec"]["containers"][0]
        container |= {"image": f"localhost/none:{number}", **SETTINGS}
    return made


def build(namespace: Namespace) -> list[Ref]:
    """Every workload rolled out twice, and settings that were made by one and changed by another."""
    write(
        namespace, "team-config", config("ConfigMap", PASSWORD=SECRET, color="red"), config("Secret", PASSWORD=SECRET)
    )
    write(namespace, "team-release", *of_image(1))
    revisions(namespace, 1)
    write(namespace, "team-release", *of_image(2))
    revisions(namespace, 2)
    another_second()
    write(namespace, "team-hotfix", config("ConfigMap", PASSWORD=f"{SECRET}-2"))
    names = {"Deployment": "api", "StatefulSet": "db", "DaemonSet": "agent"}
    return [Ref(kind, name, namespace.name) for kind, name in names.items()]


async def look(reader: Reader, namespace: Namespace, *targets: Ref) -> Looked:
    found = await Historian().look(reader, namespace.name, targets, since=datetime.now(UTC) - timedelta(hours=1))
    assert SECRET not in repr(found)
    assert "PASSWORD" not in repr(found)
    # The node is the lab's: it has been there for as long as the tests have run.
    of_here = [each for each in found.happenings if each.kind != "Node"]
    assert all(timedelta(seconds=-2) < datetime.now(UTC) - each.at < JUST for each in of_here)
    return found


def of(found: Looked, kind: str, name: str) -> list[Happening]:
    return [each for each in found.happenings if (each.kind, each.what.name) == (kind, name)]


async def test_a_responder_sees_rollouts_and_settings_and_is_told_that_secrets_are_hidden(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    targets = build(namespace)
    who: Accounts = await accounts(cluster, namespace, RULES)
    found = await look(who.full, namespace, *targets)
    assert hidden_from(found) == {"Secrets could not be listed"}
    for target in targets:
        second, first = of(found, "Rollout", target.name)
        assert (second.revision, first.revision, second.by) == ("2", "1", "team-release")
        assert second.summary.endswith("c localhost/none:1 -> localhost/none:2")
        assert first.summary.endswith("the first that is kept, c localhost/none:1")
    assert [each.summary for each in of(found, "ConfigMap", "settings")] == [
        "changed by team-hotfix",
        "created by team-config",
    ]
    assert found.used_by[Ref("ConfigMap", "settings", namespace.name)] == set(targets)
    best = ranked(found.happenings, targets=targets[:1], used_by=found.used_by, started=datetime.now(UTC))
    assert (best[0].happening.kind, best[0].happening.what, best[0].happening.revision) == ("Rollout", targets[0], "2")
    for right, hands in who.without.items():
        less = await look(hands, namespace, *targets)
        missed = [each.lower() for each in less.unknown if each not in found.unknown]
        assert missed == [f"{right.resource} could not be listed"], "each declared right is needed, and named"


async def test_who_may_list_secrets_sees_when_they_changed_and_releases_of_helm(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    labels = {"owner": "helm", "name": "shop", "version": "3", "status": "deployed"}
    release = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "sh.helm.release.v1.shop.v3", "labels": labels},
    }
    write(namespace, "team-config", config("Secret", PASSWORD=SECRET))
    write(namespace, "helm", {**release, "type": "helm.sh/release.v1", "stringData": {"release": SECRET}})
    target = Ref("Deployment", "shop", namespace.name)
    version = await until(cluster, namespace, target, "HelmRelease", lambda _: True)
    found = await look(cluster, namespace, target)
    assert hidden_from(found) == set()
    (secret,) = of(found, "Secret", "settings")
    assert (secret.by, version.by, version.revision) == ("team-config", "helm", "3")


async def test_a_rollback_is_the_newest_rollout_and_says_who_made_it(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    targets = build(namespace)
    before = await look(cluster, namespace, *targets)
    forward = {target: of(before, "Rollout", target.name)[0].at for target in targets}
    another_second()
    for target in targets:
        namespace("rollout", "undo", f"{target.kind.lower()}/{target.name}")
    for target in targets:
        newest = await until_revision(cluster, namespace, target, "3")
        assert newest.at > forward[target]
        assert newest.by == "kubectl"
        assert "(back to " in newest.summary
        assert newest.summary.endswith("c localhost/none:2 -> localhost/none:1")


async def until_revision(reader: Reader, namespace: Namespace, target: Ref, number: str) -> Happening:
    """The newest rollout of a target, once the controller has numbered it so."""
    return await until(reader, namespace, target, "Rollout", lambda found: found.revision == number)


async def until(
    reader: Reader, namespace: Namespace, target: Ref, kind: str, is_it: Callable[[Happening], bool]
) -> Happening:
    """The newest of a kind of a target, once it is the one."""
    end = datetime.now(UTC) + timedelta(seconds=30)
    while True:
        found = of(await look(reader, namespace, target), kind, target.name)
        if found and is_it(found[0]):
            return found[0]
        assert datetime.now(UTC) < end, f"not within 30 s: {kind} of {target}; last seen: {found}"


async def test_a_scale_is_seen_by_its_own_write_and_one_to_nothing_by_what_its_controller_did(
    cluster: ClusterGateway, namespace: Namespace
) -> None:
    write(namespace, "team-release", *of_image(1))
    revisions(namespace, 1)
    api = Ref("Deployment", "api", namespace.name)
    patch = '{"spec": {"replicas": 2}}'
    namespace("patch", "deployment/api", "--type=merge", "--field-manager=team-hotfix", "-p", patch)
    found = await until(cluster, namespace, api, "Scale", lambda each: bool(each.by))
    assert (found.by, found.summary) == ("team-hotfix", "scaled; it wants 2 pods now")
    another_second()
    another_second()
    namespace("scale", "deployment/api", "--replicas=0")
    gone = await until(cluster, namespace, api, "Scale", lambda each: not each.by and each.at > found.at)
    assert gone.summary == "scaled to no pods; nobody has noted by whom"


@pytest.fixture
def node(kubectl: Kubectl) -> Iterator[str]:
    """A node of this test's own that nothing runs."""
    name = f"n-{secrets.token_hex(4)}"
    kubectl("create", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
    yield name
    kubectl("delete", "node", name)


async def test_a_node_that_a_target_runs_on_is_seen_by_those_who_may(
    cluster: ClusterGateway, namespace: Namespace, node: str
) -> None:
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "localhost/none:1"}]}
    write(namespace, "team-release", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bot"}, "spec": spec})
    namespace.kubectl("cordon", node)
    who = await accounts(cluster, namespace, RULES)
    target = Ref("Pod", "bot", namespace.name)
    try:
        hidden = await look(who.full, namespace, target)
        assert hidden.unknown == (f"Node {node} could not be read", "Secrets could not be listed")
        seen = await look(cluster, namespace, target)
        told = {each.summary for each in of(seen, "Node", node)}
        assert {f"node {node} joined", f"node {node} takes no new pods (cordoned)"} <= told
    finally:
        namespace("delete", "pod", "bot", "--force", "--grace-period=0")


def crd(kind: str, group: str, version: str) -> dict[str, Any]:
    """A kind whose objects may have any fields."""
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


@pytest.fixture
def flux(kubectl: Kubectl) -> Iterator[None]:
    """A cluster with Flux's Kustomization, and with a HelmRelease of a version that nobody here knows."""
    made = [
        crd("Kustomization", "kustomize.toolkit.fluxcd.io", "v1"),
        crd("HelmRelease", "helm.toolkit.fluxcd.io", "v1old"),
    ]
    names = [f"crd/{each['metadata']['name']}" for each in made]
    kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": made}))
    kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    eventually(lambda: kubectl("get", "--raw", "/apis").count("fluxcd") > 1, within=30, what="Flux to be served")
    yield
    kubectl("delete", *names, "--timeout=30s")
    eventually(lambda: "fluxcd" not in kubectl("get", "--raw", "/apis"), within=30, what="Flux to be served no more")


async def test_flux_is_read_where_it_is_served_and_another_version_of_it_fails_nothing(
    flux: None, cluster: ClusterGateway, namespace: Namespace
) -> None:
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    one = {
        "firstReconciled": now,
        "lastReconciledStatus": "ReconciliationSucceeded",
        "metadata": {"revision": "main@a"},
    }
    apps = {"apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization", "metadata": {"name": "apps"}}
    write(namespace, "team-release", *of_image(1), {**apps, "status": {"history": [one]}})
    labels = {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": namespace.name}
    namespace("label", "deployment/api", *(f"{key}={value}" for key, value in labels.items()))
    target = Ref("Deployment", "api", namespace.name)
    found = await look(cluster, namespace, target)
    assert hidden_from(found) == {"HelmReleases could not be listed"}
    (applied,) = of(found, "FluxRevision", "apps")
    assert applied.revision == "main@a"
    assert found.used_by[Ref("Kustomization", "apps", namespace.name)] == {target}
    who = await accounts(cluster, namespace, RULES)
    hidden = await look(who.full, namespace, target)
    assert hidden_from(hidden) == {f"{kind}s could not be listed" for kind in (*OPTIONAL[:2], "Secret")}
