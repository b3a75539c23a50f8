"""What the revisions and the field managers of objects tell about the past."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from incident_operator.planning.changes import Happening
from incident_operator.planning.plan import Ref
from incident_operator.planning.traces import autoscalers, by_workload, configs, rollouts, scalings, touches
from unit.actions.objects import revision, revision_of, template, workload
from unit.planning.changed import DATA, TEMPLATE, Object, ago, changed, plain, stamp, wrote

REVISION = {"f:metadata": {"f:annotations": {"f:deployment.kubernetes.io/revision": {}}}}
API = Ref("Deployment", "api", "shop")
KINDS = ["Deployment", "StatefulSet", "DaemonSet"]


def rolled(sets: Iterable[Object], owner: Object | None = None) -> list[Happening]:
    """The rollouts that these revisions tell of; the owner's fields where it could be read."""
    workloads = {Ref(owner["kind"], owner["metadata"]["name"], "shop"): owner} if owner else {}
    return list(rollouts(by_workload(sets), workloads))


@pytest.mark.parametrize("kind", KINDS)
def test_each_revision_is_a_rollout_with_the_images_that_it_changed(kind: str) -> None:
    api = workload(kind, version="2")
    sets = [changed(revision(api, number), made=60 - 20 * number) for number in (2, 1)]
    first, second = rolled(sets, changed(api, wrote("helm", 20.2, TEMPLATE)))
    assert (first.kind, first.what, first.at, first.revision) == ("Rollout", Ref(kind, "api", "shop"), ago(40), "1")
    assert (second.at, second.by, second.revision) == (ago(20), "helm", "2")
    owned = "ReplicaSet" if kind == "Deployment" else "ControllerRevision"
    assert second.summary == f"revision 2 ({owned} api-h2): web registry/api:1 -> registry/api:2"
    assert first.summary == f"revision 1 ({owned} api-h1): the first that is kept, web registry/api:1"
    assert first.by == "", "nobody knows any more who wrote the template that is gone"


def test_the_only_writer_of_the_newest_template_has_written_it_even_if_it_wrote_something_later() -> None:
    api = changed(workload(), wrote("argocd-controller", 1, TEMPLATE), wrote("kubectl", 2, TEMPLATE, "scale"))
    (found,) = rolled([changed(revision(api, 1), made=30)], api)
    assert found.by == "argocd-controller"


def test_of_two_writers_none_of_which_is_near_nobody_is_named() -> None:
    api = changed(workload(), wrote("argocd-controller", 1, TEMPLATE), wrote("kubectl-edit", 50, TEMPLATE))
    (found,) = rolled([changed(revision(api, 1), made=30)], api)
    assert found.by == ""


def test_a_template_with_the_same_images_does_not_show_what_is_else_in_it() -> None:
    api = workload()
    secret = template("1")
    secret["spec"]["containers"][0]["env"] = [{"name": "TOKEN", "value": "hunter2"}]
    sets = [changed(revision(api, 1), made=30), changed(revision_of(api, 2, secret), made=10)]
    _, found = rolled(sets)
    assert found.summary == "revision 2 (ReplicaSet api-h2): the same images, another pod template"


def test_containers_that_come_and_go_are_named() -> None:
    api, pods = workload(), template("1")
    pods["spec"]["containers"][0]["name"] = "proxy"
    _, found = rolled([changed(revision(api, 1), made=30), changed(revision_of(api, 2, pods), made=10)])
    assert found.summary.endswith("proxy registry/api:1 (new), web is gone")


def test_a_deployment_that_went_back_did_so_when_its_template_was_written_and_not_when_the_set_was_made() -> None:
    api = changed(workload(), wrote("helm", 40, TEMPLATE), wrote("kubectl-rollout", 5, TEMPLATE))
    good = changed(revision(api, 3, "1", former="1"), wrote("kube-controller-manager", 4, REVISION), made=90)
    bad = changed(revision(api, 2), wrote("kube-controller-manager", 3, REVISION), made=40)
    before, back = rolled([good, bad], api)
    assert (before.at, before.by) == (ago(40), "helm")
    assert (back.at, back.by) == (ago(5), "kubectl-rollout")
    assert back.summary == "revision 3 (back to ReplicaSet api-h3): web registry/api:2 -> registry/api:1"


def test_without_the_deployment_the_controllers_write_tells_when_it_went_back() -> None:
    api = workload()
    good = changed(revision(api, 3, "1", former="1"), wrote("kube-controller-manager", 4, REVISION), made=90)
    assert rolled([good, changed(revision(api, 2), made=40)])[1].at == ago(4)


def test_a_write_from_before_the_last_revision_is_not_when_it_went_back() -> None:
    api = changed(workload(), wrote("helm", 80, TEMPLATE))
    good = changed(revision(api, 3, "1", former="1"), made=90)
    assert rolled([good, changed(revision(api, 2), made=40)], api)[1].at == ago(40)


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
def test_a_renumbered_controller_revision_was_gone_back_to(kind: str) -> None:
    api = workload(kind)
    good = changed(revision(api, 3, "1"), wrote("kube-controller-manager", 4, {"f:revision": {}}), made=90)
    found = rolled([good, changed(revision(api, 2), made=40)])
    assert [each.at for each in found] == [ago(40), ago(4)]


def test_the_mark_of_a_good_revision_is_no_rollout() -> None:
    api = workload("StatefulSet")
    mark = {"f:metadata": {"f:annotations": {"f:incident-operator.dev/verified-at": {}}}}
    only = changed(revision(api, 1), wrote("incident-operator", 4, mark), made=90)
    assert [each.at for each in rolled([only])] == [ago(90)]


def test_revisions_of_nobody_and_of_other_kinds_and_without_a_number_do_not_count() -> None:
    api = workload()
    orphan, strange, unnumbered = (changed(revision(api, number), made=9) for number in (1, 2, 3))
    del orphan["metadata"]["ownerReferences"]
    strange["metadata"]["ownerReferences"][0]["kind"] = "Rollout"
    unnumbered["metadata"]["annotations"] = {}
    assert rolled([orphan, strange, unnumbered]) == []


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_each_managers_write_of_the_data_is_a_change_without_keys_and_values(kind: str) -> None:
    thing = changed(
        plain(kind, "settings", data={"PASSWORD": "hunter2"}),
        wrote("kubectl-create", 90, DATA),
        wrote("kubectl-edit", 3, DATA),
        wrote("labeller", 1, {"f:metadata": {"f:labels": {}}}),
        made=90,
    )
    found = list(configs([thing], kind))  # type: ignore[arg-type]
    assert [(each.at, each.by, each.summary) for each in found] == [
        (ago(90), "kubectl-create", "created by kubectl-create"),
        (ago(3), "kubectl-edit", "changed by kubectl-edit"),
    ]
    assert {(each.kind, each.what) for each in found} == {(kind, Ref(kind, "settings", "shop"))}
    assert "PASSWORD" not in str(found)
    assert "hunter2" not in str(found)


def test_a_config_map_whose_first_write_is_not_noted_any_more_was_still_created() -> None:
    thing = changed(plain("ConfigMap", "settings"), wrote("kubectl-edit", 3, {"f:binaryData": {}}), made=9)
    assert [each.summary for each in configs([thing], "ConfigMap")] == ["changed by kubectl-edit", "created"]


@pytest.mark.parametrize(
    "metadata",
    [
        {"annotations": {"control-plane.alpha.kubernetes.io/leader": ""}},
        {"annotations": {"kubernetes.io/service-account.name": ""}},
        {"labels": {"owner": "helm"}},
        {"name": "kube-root-ca.crt"},
    ],
)
def test_what_controllers_write_by_themselves_is_no_change(metadata: Object) -> None:
    thing = changed(plain("ConfigMap", "lock", metadata=metadata), wrote("controller", 3, DATA), made=9)
    assert list(configs([thing], "ConfigMap")) == []


def test_who_wrote_the_replicas_alone_has_scaled() -> None:
    replicas = {"f:spec": {"f:replicas": {}}}
    unnoted = {"manager": "kubectl", "subresource": "scale", "fieldsV1": replicas}
    thing = changed(
        workload(replicas=5),
        wrote("kubectl-edit", 3, replicas),
        wrote("helm", 1, {"f:spec": {"f:replicas": {}, "f:template": {}}}),
        unnoted,
    )
    (found,) = scalings({API: thing}, {})
    assert (found.kind, found.what, found.at, found.by) == ("Scale", API, ago(3), "kubectl-edit")
    assert found.summary == "scaled; it wants 5 pods now"


def test_a_scale_to_no_pods_is_seen_by_what_the_controller_did_then() -> None:
    thing = changed(workload(replicas=0), wrote("helm", 90, TEMPLATE))
    own = {"f:metadata": {"f:annotations": {}}}
    newest = changed(
        revision(thing, 2),
        wrote("kube-controller-manager", 3, own),
        wrote("kube-controller-manager", 1, {"f:status": {}}, "status"),
        made=90,
    )
    sets = by_workload([changed(revision(thing, 1), wrote("kube-controller-manager", 1, own), made=95), newest])
    (found,) = scalings({API: thing}, sets)
    assert (found.kind, found.what, found.at, found.by) == ("Scale", API, ago(3), "")
    assert found.summary == "scaled to no pods; nobody has noted by whom"
    applied = changed(workload(replicas=0), wrote("helm", 90, {"f:spec": {"f:replicas": {}, "f:template": {}}}))
    assert list(scalings({API: applied}, sets)) == [], "its manifest says so"
    assert list(scalings({API: changed(workload(replicas=1))}, sets)) == []
    fresh = by_workload([changed(revision(thing, 1), wrote("kube-controller-manager", 3, own), made=3)])
    assert list(scalings({API: thing}, fresh)) == [], "it never had any"


def test_an_autoscaler_with_other_bounds_has_changed_and_its_status_does_not_count() -> None:
    thing = changed(
        plain("HorizontalPodAutoscaler", "api", spec={"minReplicas": 1, "maxReplicas": 2}),
        wrote("kubectl-edit", 3, {"f:spec": {"f:maxReplicas": {}}}),
        wrote("kube-controller-manager", 1, {"f:status": {}}, "status"),
    )
    (found,) = autoscalers([thing])
    assert (found.kind, found.what.kind, found.at) == ("Autoscaler", "HorizontalPodAutoscaler", ago(3))
    assert found.summary == "changed; 1 to 2 pods now"


def test_an_autoscaler_says_when_it_last_scaled_its_workload() -> None:
    spec = {"scaleTargetRef": {"kind": "Deployment", "name": "api"}}
    status = {"lastScaleTime": stamp(6), "desiredReplicas": 4}
    (found,) = autoscalers([plain("HorizontalPodAutoscaler", "api-hpa", spec=spec, status=status)])
    assert (found.kind, found.what, found.at) == ("Autoscaler", API, ago(6))
    assert (found.by, found.summary) == ("HorizontalPodAutoscaler api-hpa", "scaled; it wants 4 pods now")


def test_writes_without_a_time_are_no_writes() -> None:
    thing = plain("ConfigMap", "settings", metadata={"managedFields": [{"manager": "old"}, {"time": stamp(1)}]})
    assert [each.at for each in touches(thing)] == [ago(1)]
