"""rolloutUndo plans: which revision, what is written, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.actions.contract import Occasion
from incident_operator.actions.rollout_undo import RolloutUndo
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict, Refused, Stalled
from incident_operator.planning.plan import Change, Standing
from incident_operator.planning.revisions import fingerprint
from unit.actions.objects import OCCASION, a_cluster, owned, pod, revision, revision_of, target, template, workload

UNDO = RolloutUndo()
KINDS = ["Deployment", "StatefulSet", "DaemonSet"]


def world(kind: str = "Deployment", *, now: str = "2", **spec: Any) -> tuple[dict[str, Any], FakeCluster]:
    """A workload at revision ``now`` with every revision up to it."""
    api = workload(kind, version=now, **spec)
    return api, a_cluster(api, *(revision(api, number) for number in range(1, int(now) + 1)))


async def plan(fake: FakeCluster, thing: dict[str, Any], occasion: Occasion = OCCASION, **params: Any) -> Change:
    (change,) = await UNDO.plan(fake, occasion, target(thing), params)
    return change


def version(fake: FakeCluster, thing: dict[str, Any]) -> str:
    found = fake.at(thing["kind"], thing["metadata"]["name"])["spec"]["template"]["spec"]["containers"][0]
    return str(found["env"][0]["value"])


@pytest.mark.parametrize("kind", KINDS)
async def test_it_goes_back_to_the_previous_revision_and_says_that_it_guesses(kind: str) -> None:
    api, fake = world(kind)
    change = await plan(fake, api)
    assert change.request is not None
    await fake.send(change.request)
    assert version(fake, api) == "1"
    written = fake.at(kind, "api")
    assert written["spec"]["template"] == template("1"), "whole, without the hash or the directive of the patch"
    assert written["metadata"]["annotations"] == {
        names.ROLLED_BACK_TO: fingerprint(template("1")),
        names.ROLLED_BACK_BY: "shop/api-5xx",
    }
    assert any("guess" in note for note in change.notes)
    assert change.after["digest"] == fingerprint(template("1"))
    assert (change.before["revision"], change.after["revision"]) == (2, 1)
    assert change.after["images"] == {"web": "registry/api:1"}


@pytest.mark.parametrize("kind", KINDS)
async def test_undone_twice_it_stays_on_the_good_revision(kind: str) -> None:
    api, fake = world(kind)
    first = await plan(fake, api)
    assert first.request is not None
    await fake.send(first.request)
    second = await plan(fake, api, Occasion("shop", "another", "uid-2", "undo"))
    assert second.request is None
    assert "shop/api-5xx" in second.summary
    assert "toRevision goes further back" in second.summary
    assert UNDO.standing(second, fake.at(kind, "api")) is Standing.AFTER


async def test_after_a_new_bad_deploy_an_old_mark_does_not_keep_it_from_going_back() -> None:
    api, fake = world()
    first = await plan(fake, api)
    assert first.request is not None
    await fake.send(first.request)
    api = fake.at("Deployment", "api")
    api["spec"]["template"] = template("3")
    fake.put(api, revision(api, 3, "1"), revision(api, 4, "3"))
    assert (await plan(fake, api)).request is not None


async def test_the_same_write_made_again_is_refused_and_recognised_as_made() -> None:
    api, fake = world()
    change = await plan(fake, api)
    assert change.request is not None
    assert UNDO.standing(change, fake.at("Deployment", "api")) is Standing.BEFORE
    await fake.send(change.request)
    with pytest.raises(Conflict):
        await fake.send(change.request)
    assert UNDO.standing(change, fake.at("Deployment", "api")) is Standing.AFTER
    assert UNDO.undo(change, fake.at("Deployment", "api")) is None


async def test_a_status_written_in_between_does_not_matter_a_template_does() -> None:
    api, fake = world()
    change = await plan(fake, api)
    assert change.request is not None
    seen = fake.at("Deployment", "api")
    seen["metadata"]["resourceVersion"] = "999"
    seen["status"]["replicas"] = 5
    await fake.send(change.request)
    seen = fake.at("Deployment", "api")
    seen["spec"]["template"] = template("hotfix")
    assert UNDO.standing(change, seen) is Standing.OTHER
    with pytest.raises(Conflict):
        await fake.send(change.request)
    assert version(fake, api) == "hotfix"


async def test_a_workload_made_anew_under_the_same_name_is_not_touched() -> None:
    api, fake = world()
    change = await plan(fake, api)
    assert change.request is not None
    fake.at("Deployment", "api")["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await fake.send(change.request)
    assert UNDO.standing(change, fake.at("Deployment", "api")) is Standing.GONE
    assert UNDO.standing(change, None) is Standing.GONE


async def test_annotations_of_others_survive() -> None:
    api, fake = world()
    kept = {"team/on-call": "anna", "fluxcd.io/pause": "true", "kubernetes.io/change-cause": "deploy 2"}
    api["metadata"]["annotations"] = kept
    fake.put(api, revision(api, 1, cause="deploy 1"))
    change = await plan(fake, api)
    assert change.request is not None
    fake.at("Deployment", "api")["metadata"]["annotations"]["added/since"] = "x"
    await fake.send(change.request)
    annotations = fake.at("Deployment", "api")["metadata"]["annotations"]
    assert annotations.items() >= {"team/on-call": "anna", "fluxcd.io/pause": "true", "added/since": "x"}.items()
    assert annotations["kubernetes.io/change-cause"] == "deploy 1"


async def test_annotations_that_appear_where_there_were_none_are_not_replaced() -> None:
    api, fake = world()
    change = await plan(fake, api)
    assert change.request is not None
    fake.at("Deployment", "api")["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "2"}
    with pytest.raises(Conflict):
        await fake.send(change.request)
    assert fake.at("Deployment", "api")["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "2"}
    assert (await plan(fake, api)).after == change.after, "planned again, it is the same revision"


async def test_two_bad_deploys_go_back_to_the_revision_that_still_runs() -> None:
    api, fake = world(now="3")
    fake.put(revision(api, 1, ready=2))
    change = await plan(fake, api)
    assert change.after["name"] == "api-h1"
    assert "2 of its pods are still ready" in change.summary
    assert not any("guess" in note for note in change.notes)


async def test_two_bad_deploys_that_are_fully_out_go_back_to_the_verified_revision() -> None:
    api, fake = world(now="3")
    fake.put(revision(api, 1, verified="2026-11-20T09:12:00Z"))
    change = await plan(fake, api)
    assert change.after["name"] == "api-h1"
    assert "verified 2026-11-20T09:12:00Z" in change.summary


async def test_of_several_that_still_run_a_verified_one_comes_first_then_the_oldest() -> None:
    api, fake = world(now="4")
    fake.put(revision(api, 2, ready=1), revision(api, 3, ready=1))
    assert (await plan(fake, api)).after["revision"] == 2
    fake.put(revision(api, 3, ready=1, verified="v"))
    assert (await plan(fake, api)).after["revision"] == 3


async def test_a_stateful_set_is_told_by_its_ready_pods() -> None:
    db, fake = world("StatefulSet", now="3")
    fake.put(pod(db, "api-0", 1), pod(db, "api-1", 3, ready=False), pod(db, "api-2", 2, ready=False))
    assert (await plan(fake, db)).after["name"] == "api-h1"


async def test_an_explicit_revision_is_taken_as_asked_for() -> None:
    api, fake = world(now="4")
    change = await plan(fake, api, toRevision=2)
    assert change.after["revision"] == 2
    assert "as asked for" in change.summary


async def test_an_explicit_revision_goes_further_back_after_a_rollback() -> None:
    api, fake = world(now="3")
    first = await plan(fake, api)
    assert first.request is not None
    await fake.send(first.request)
    change = await plan(fake, api, toRevision=1)
    assert change.request is not None
    await fake.send(change.request)
    assert version(fake, api) == "1"


async def test_an_explicit_revision_that_is_current_is_left_as_it_is() -> None:
    api, fake = world()
    change = await plan(fake, api, toRevision=2)
    assert change.request is None
    assert "at revision 2 already" in change.summary


async def test_an_explicit_revision_that_is_missing_names_those_there_are() -> None:
    api, fake = world(now="3")
    with pytest.raises(Stalled, match="toRevision 9 is not there; there are 1, 2, 3") as caught:
        await plan(fake, api, toRevision=9)
    assert caught.value.reason == "RevisionNotFound"


async def test_planned_again_after_its_own_rollback_the_renumbered_revision_is_no_fault() -> None:
    db, fake = world("StatefulSet")
    change = await plan(fake, db, toRevision=1)
    assert change.request is not None
    await fake.send(change.request)
    del fake.objects["ControllerRevision", "shop", "api-h1"]
    fake.put(revision(db, 3, "1"))
    assert (await plan(fake, db, toRevision=1)).request is None


@pytest.mark.parametrize("wrong", [0, -1, "2", True, 1.5])
async def test_a_revision_that_is_no_number_is_refused_by_name(wrong: Any) -> None:
    api, fake = world()
    with pytest.raises(Refused, match="toRevision must be a whole number of at least 1"):
        await plan(fake, api, toRevision=wrong)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_an_earlier_revision_it_says_so_and_names_the_limit(kind: str) -> None:
    api = workload(kind, version="2", revisionHistoryLimit=0)
    fake = a_cluster(api, revision(api, 2))
    with pytest.raises(Stalled, match=r"no earlier revision is left \(spec.revisionHistoryLimit is 0\)") as caught:
        await plan(fake, api)
    assert caught.value.reason == "NoEarlierRevision"


async def test_a_paused_deployment_is_refused_with_the_command_that_helps() -> None:
    api, fake = world(paused=True)
    with pytest.raises(Refused, match="kubectl rollout resume deployment/api -n shop") as caught:
        await plan(fake, api)
    assert caught.value.reason == "Paused"


async def test_a_workload_that_a_custom_resource_controls_is_refused_and_named() -> None:
    api, fake = world()
    owner = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg", "uid": "u"}}
    fake.put(owned(api, owner))
    with pytest.raises(Refused, match="Cluster pg") as caught:
        await plan(fake, api)
    assert caught.value.reason == "ControllerOwned"


@pytest.mark.parametrize("field", ["labels", "annotations"])
async def test_a_protected_workload_is_refused(field: str) -> None:
    api, fake = world()
    api["metadata"][field] = {names.PROTECTED: "true"}
    fake.put(api)
    with pytest.raises(Refused) as caught:
        await plan(fake, api)
    assert caught.value.reason == "Protected"


async def test_a_moved_tag_is_pointed_out_and_a_digest_is_not() -> None:
    for image, warned in (("registry/api:latest", True), ("registry/api@sha256:abc", False)):
        api = workload(template=template("2", image=image))
        fake = a_cluster(
            api, revision_of(api, 1, template("1", image=image)), revision_of(api, 2, api["spec"]["template"])
        )
        change = await plan(fake, api)
        assert any("tag may have moved" in note for note in change.notes) is warned


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux"}},
         "Flux Kustomization flux/apps"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "api", "helm.toolkit.fluxcd.io/namespace": "shop"}},
         "Flux HelmRelease shop/api"),
        ({"annotations": {"argocd.argoproj.io/tracking-id": "web:apps/Deployment:shop/api"}},
         "Argo CD Application web "),
        ({"labels": {"app.kubernetes.io/managed-by": "Helm"}}, "next helm upgrade"),
        ({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}, "next kubectl apply"),
    ],
)  # fmt: skip
async def test_whoever_would_undo_it_is_named(metadata: dict[str, Any], says: str) -> None:
    api, fake = world()
    api["metadata"] |= metadata
    fake.put(api)
    assert any(says in note for note in (await plan(fake, api)).notes)


async def test_on_delete_and_partition_are_pointed_out() -> None:
    db, fake = world("StatefulSet", updateStrategy={"type": "OnDelete"})
    assert any("OnDelete" in note for note in (await plan(fake, db)).notes)
    db, fake = world("StatefulSet", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})
    assert any("partition 1" in note for note in (await plan(fake, db)).notes)


async def test_what_the_pods_really_run_is_kept_for_comparison() -> None:
    api, fake = world()
    fake.put(pod(api, "bad", 2, image_id="sha256:bad"), pod(api, "good", 1, image_id="sha256:good"))
    assert (await plan(fake, api)).before["imageIDs"] == {"web": ["sha256:bad"]}


async def test_planned_twice_it_is_byte_for_byte_the_same() -> None:
    api, fake = world()
    first = await plan(fake, api)
    fake.at("Deployment", "api")["status"]["replicas"] = 7
    assert (await plan(fake, api)).ledger_value() == first.ledger_value()
