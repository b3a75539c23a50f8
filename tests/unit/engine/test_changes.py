"""What a look at the cluster finds of the past, and what it says that it could not see."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from incident_operator.cluster.fake import Call, FakeCluster
from incident_operator.cluster.fake_rights import rights_of
from incident_operator.engine import past
from incident_operator.engine.changes import MOST_NODES, OPTIONAL, RULES, Historian, Looked
from incident_operator.faults import Stalled, Waiting
from incident_operator.planning.changes import ranked
from incident_operator.planning.plan import Ref
from unit.actions.objects import pod, revision, workload
from unit.planning.changed import DATA, NOW, TEMPLATE, Object, ago, changed, plain, stamp, wrote

API = Ref("Deployment", "api", "shop")
SINCE = NOW - timedelta(hours=6)
OFTEN = ("FluxRevision", "ArgoRevision")


def api_of(**metadata: Any) -> Object:
    thing = changed(workload(version="2"), wrote("helm", 3, TEMPLATE))
    container = thing["spec"]["template"]["spec"]["containers"][0]
    container["envFrom"] = [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "token"}}]
    thing["metadata"] |= metadata
    return thing


def sets(owner: Object) -> list[Object]:
    return [changed(revision(owner, number), made=63 - 30 * number) for number in (1, 2)]


def kept(kind: str, name: str, *, minutes: float, **more: Any) -> Object:
    """A ConfigMap or Secret that somebody changed."""
    entries = [wrote("kubectl-edit", minutes, DATA)]
    return changed(plain(kind, name, data={"PASSWORD": "hunter2"}, **more), *entries, made=9000)


def world(*more: Object, owner: Object | None = None) -> FakeCluster:
    owner = owner or api_of()
    served = ("kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io", "argoproj.io")
    return FakeCluster(owner, *sets(owner), kept("ConfigMap", "settings", minutes=2), *more, groups=served)


async def look(fake: Any, *targets: Ref) -> Looked:
    return await Historian().look(fake, "shop", targets or (API,), since=SINCE)


def kinds(found: Looked) -> list[tuple[str, str]]:
    return [(each.kind, each.what.name) for each in found.happenings]


async def test_the_newest_comes_first_and_what_is_older_than_asked_for_is_not_there() -> None:
    found = await look(world(kept("ConfigMap", "old", minutes=7 * 60)))
    assert kinds(found) == [("ConfigMap", "settings"), ("Rollout", "api"), ("Rollout", "api")]
    assert [each.at for each in found.happenings] == [ago(2), ago(3), ago(33)]
    assert found.happenings[1].by == "helm"
    assert found.unknown == ()


async def test_who_uses_what_is_told_so_that_it_can_be_ranked() -> None:
    found = await look(world(kept("Secret", "token", minutes=4), kept("ConfigMap", "other", minutes=1)))
    assert found.used_by[Ref("Secret", "token", "shop")] == {API}
    best = ranked(found.happenings, targets=found.targets, used_by=found.used_by, started=NOW)
    assert [(each.happening.kind, each.happening.what.name) for each in best] == [
        ("Rollout", "api"),
        ("ConfigMap", "settings"),
        ("Secret", "token"),
        ("Rollout", "api"),
        ("ConfigMap", "other"),
    ]
    assert best[1].why == "changed 2 min before the alert began, which the target uses"


async def test_no_content_of_a_config_map_or_secret_gets_out() -> None:
    last_applied = {"kubectl.kubernetes.io/last-applied-configuration": '{"data":{"PASSWORD":"hunter2"}}'}
    secret = kept("Secret", "token", minutes=4, metadata={"annotations": last_applied})
    found = await look(world(secret))
    assert ("Secret", "token") in kinds(found)
    assert "hunter2" not in repr(found)
    assert "PASSWORD" not in repr(found)


def test_of_a_secret_only_metadata_without_annotations_is_kept() -> None:
    said = {"kubectl.kubernetes.io/last-applied-configuration": "hunter2", "owner": "hunter2"}
    secret = kept("Secret", "token", minutes=4, metadata={"annotations": said}, stringData={"other": "hunter2"})
    found = past._bare(secret)
    assert "hunter2" not in repr(found)
    assert set(found) == {"kind", "metadata"}
    assert found["metadata"]["managedFields"] == secret["metadata"]["managedFields"]


async def test_a_responder_with_the_declared_rights_misses_secrets_and_nodes_only() -> None:
    owner = api_of()
    fake = world(pod(owner, "api-0", 2, spec={"nodeName": "n1"}), kept("Secret", "token", minutes=4), owner=owner)
    fake.grant("shop", "responder", rights_of(RULES))
    found = await look(fake.acting_as("shop", "responder"))
    unknown = [each for each in found.unknown if not each.startswith(("Application", "HelmRelease", "Kustomization"))]
    assert unknown == ["Node n1 could not be read", "Secrets could not be listed"]
    assert kinds(found) == [("ConfigMap", "settings"), ("Rollout", "api"), ("Rollout", "api")]


@pytest.mark.parametrize("rule", RULES)
async def test_without_any_right_the_rest_is_still_found(rule: Any) -> None:
    fake = world()
    for what in rule.resources:
        fake.grant("shop", "responder", rights_of(RULES) - {(rule.group, what, "list")})
        found = await look(fake.acting_as("shop", "responder"), API, Ref("StatefulSet", "db", "shop"), daemon())
        missed = [each for each in found.unknown if each.lower().startswith(f"{what} ")]
        assert missed == [f"{missed[0].split()[0]} could not be listed"], "it is said"
        assert found.happenings, "and it does not hide the others"


def daemon() -> Ref:
    return Ref("DaemonSet", "agent", "shop")


async def test_an_api_server_that_is_away_is_a_fault_of_the_look() -> None:
    fake = world()
    fake.fail(Waiting("ApiUnreachable", "cut"), of=lambda call: call.ref.kind == "ConfigMap")
    with pytest.raises(Waiting, match="cut"):
        await look(fake)


@pytest.mark.parametrize("fault", [Waiting("ApiServerError", "404 page not found"), Stalled("Forbidden", "no")])
async def test_what_not_every_cluster_has_never_fails_the_look(fault: Exception) -> None:
    fake = world()
    fake.fail(fault, of=lambda call: call.ref.kind == "Application", lasting=True)
    found = await look(fake)
    assert found.unknown == ("Applications could not be listed",)
    assert ("Rollout", "api") in kinds(found)


async def test_a_cluster_whose_groups_cannot_be_listed_is_taken_to_serve_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = world()
    seen = calls(fake)

    async def forbidden() -> frozenset[str]:
        raise Stalled("Forbidden", "no")

    monkeypatch.setattr(fake, "groups", forbidden)
    found = await look(fake)
    assert found.unknown == ("API groups could not be listed",)
    assert not set(OPTIONAL) & {each.ref.kind for each in seen}


def calls(fake: FakeCluster) -> list[Call]:
    """The calls from now on."""
    seen: list[Call] = []
    fake.on_call(lambda call: seen.append(call) if call.when == "before" else None)
    return seen


async def test_one_look_makes_a_few_lists_and_no_other_call() -> None:
    fake = world()
    seen = calls(fake)
    await look(fake)
    assert {each.verb for each in seen} == {"list"}
    assert len(seen) == len({each.ref.kind for each in seen})
    assert sorted({each.ref.kind for each in seen} - set(OPTIONAL)) == [
        "ConfigMap",
        "ControllerRevision",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Pod",
        "ReplicaSet",
        "Secret",
    ]


def status(**history: Any) -> Object:
    return {"status": {"history": [history]}}


async def test_what_a_target_comes_from_is_found_here_and_where_its_labels_say() -> None:
    owner = api_of(
        labels={"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
        annotations={"argocd.argoproj.io/tracking-id": "api:apps/Deployment:shop/api"},
    )
    fake = world(
        plain(
            "Kustomization", "apps", "flux-system", **status(firstReconciled=stamp(5), metadata={"revision": "main@a"})
        ),
        plain("HelmRelease", "db", **status(lastDeployed=stamp(6), chartVersion="1.0.0")),
        plain("Application", "api", "argocd", **status(deployedAt=stamp(7), revision="c0ffee")),
        owner=owner,
    )
    found = await look(fake)
    assert [(each.kind, each.what) for each in found.happenings if each.kind in OFTEN] == [
        ("FluxRevision", Ref("Kustomization", "apps", "flux-system")),
        ("FluxRevision", Ref("HelmRelease", "db", "shop")),
        ("ArgoRevision", Ref("Application", "api", "argocd")),
    ]
    assert found.used_by[Ref("Kustomization", "apps", "flux-system")] == {API}
    assert Ref("HelmRelease", "db", "shop") not in found.used_by


async def test_a_manager_in_another_namespace_may_be_hidden_or_gone() -> None:
    owner = api_of(annotations={"argocd.argoproj.io/tracking-id": "api:apps/Deployment:shop/api"})
    fake = world(owner=owner)
    assert (await look(fake)).unknown == (), "gone"
    fake.grant("shop", "responder", rights_of(RULES))
    found = await look(fake.acting_as("shop", "responder"))
    assert "Application argocd/api could not be read" in found.unknown


async def test_versions_of_a_helm_release_are_found_where_secrets_may_be_listed() -> None:
    labels = {"owner": "helm", "name": "api", "version": "2", "status": "deployed"}
    owner = api_of(annotations={"meta.helm.sh/release-name": "api", "meta.helm.sh/release-namespace": "shop"})
    secret = changed(plain("Secret", "sh.helm.release.v1.api.v2", metadata={"labels": labels}), made=4)
    found = await look(world(secret, owner=owner))
    assert ("HelmRelease", "api") in kinds(found)
    assert found.used_by[Ref("HelmRelease", "api", "shop")] == {API}


def nodes(*names: str) -> list[Object]:
    lost = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "lastTransitionTime": stamp(1)}
    return [changed(plain("Node", name, "", status={"conditions": [lost]}), made=9000) for name in names]


async def test_only_nodes_that_the_targets_run_on_are_looked_at() -> None:
    owner, other = api_of(), workload(name="web")
    pods = [pod(owner, "api-0", 2, spec={"nodeName": "n1"}), pod(other, "web-0", spec={"nodeName": "n2"})]
    found = await look(world(*pods, *nodes("n1", "n2"), owner=owner))
    assert ("Node", "n1") in kinds(found)
    assert ("Node", "n2") not in kinds(found)


async def test_a_node_that_is_gone_is_said_and_only_a_few_are_looked_at() -> None:
    owner = api_of()
    fake = world(*(pod(owner, f"api-{n}", 2, spec={"nodeName": f"n{n}"}) for n in range(9)), owner=owner)
    found = await look(fake)
    assert found.unknown == tuple(f"Node n{n} is not there any more" for n in range(MOST_NODES))


async def test_of_a_pod_its_workload_is_a_target_too_and_its_own_config_maps_are_used() -> None:
    owner = api_of()
    mine = pod(owner, "api-0", 2, spec={"nodeName": "n1", "volumes": [{"configMap": {"name": "of-the-pod"}}]})
    target = Ref("Pod", "api-0", "shop", "uid-1")
    found = await look(world(mine, *nodes("n1"), owner=owner), target)
    assert found.targets == (Ref("Pod", "api-0", "shop"), API)
    assert found.used_by[Ref("ConfigMap", "of-the-pod", "shop")] == {Ref("Pod", "api-0", "shop")}
    best = ranked(found.happenings, targets=found.targets, used_by=found.used_by, started=NOW)
    assert best[0].why == "rolled out 3 min before the alert began, on the target itself"
    assert ("Node", "n1") in kinds(found)


async def test_a_bare_pod_and_one_that_is_gone_have_no_workload() -> None:
    bare = pod(None, "bot-0")
    bot, gone = Ref("Pod", "bot-0", "shop"), Ref("Pod", "gone", "shop")
    assert (await look(world(bare), bot, gone)).targets == (bot, gone)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_pods_of_other_workloads_are_known_by_their_controller(kind: str) -> None:
    owner = changed(workload(kind, version="2"), wrote("argocd-controller", 3, TEMPLATE))
    fake = FakeCluster(owner, *sets(owner), pod(owner, "api-0", 2, spec={"nodeName": "n1"}), *nodes("n1"))
    found = await look(fake, Ref(kind, "api", "shop"))
    assert kinds(found) == [("Node", "n1"), ("Rollout", "api"), ("Rollout", "api")]
    assert found.happenings[1].by == "argocd-controller"


async def test_an_autoscaler_counts_for_what_it_scales() -> None:
    scaler = plain("HorizontalPodAutoscaler", "api", spec={"scaleTargetRef": {"kind": "Deployment", "name": "api"}})
    found = await look(world(changed(scaler, wrote("kubectl-edit", 1, {"f:spec": {}}))))
    assert kinds(found)[0] == ("Autoscaler", "api")
    assert found.used_by[Ref("HorizontalPodAutoscaler", "api", "shop")] == {API}


async def test_the_groups_are_asked_for_once_by_all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, asked = world(), []

    async def groups() -> frozenset[str]:
        asked.append(1)
        return frozenset()

    monkeypatch.setattr(fake, "groups", groups)
    historian = Historian()
    for _ in range(3):
        await historian.look(fake, "shop", [API], since=SINCE)
    assert len(asked) == 1


async def test_what_lists_tell_is_worked_out_once_and_anew_when_one_is_read_again() -> None:
    fake = world()
    lists = {kind: await fake.list(kind, "shop") for kind in (*past.WORKLOADS, "ReplicaSet", "ControllerRevision")}
    lists |= {kind: await fake.list(kind, "shop") for kind in ("HorizontalPodAutoscaler", "ConfigMap", "Secret")}
    pasts = past.Pasts()
    first = pasts.of("shop", lists)
    assert pasts.of("shop", dict(lists)) is first
    fake.put(kept("ConfigMap", "another", minutes=1))
    anew = pasts.of("shop", {**lists, "ConfigMap": await fake.list("ConfigMap", "shop")})
    assert {each.what.name for each in anew.happenings} - {each.what.name for each in first.happenings} == {"another"}
