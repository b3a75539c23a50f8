"""rolloutUndo plans: which revision, what is written, and when not."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.actions.contract import Occasion
from incident_operator.actions.rollout_undo import RolloutUndo
from incident_operator.api import names
from incident_operator.faults import Conflict, Refused, Stalled
from incident_operator.planning.plan import Change, Standing
from incident_operator.planning.revisions import fingerprint
from unit.actions.memory import Memory
from unit.actions.objects import OCCASION, owned, pod, revision, revision_of, target, template, workload

UNDO = RolloutUndo()
KINDS = ["Deployment", "StatefulSet", "DaemonSet"]


def world(kind: str = "Deployment", *, now: str = "2", **spec: Any) -> tuple[dict[str, Any], Memory]:
    """A workload at revision ``now`` with every revision up to it."""
    api = workload(kind, version=now, **spec)
    return api, Memory(api, *(revision(api, number) for number in range(1, int(now) + 1)))


async def plan(memory: Memory, thing: dict[str, Any], occasion: Occasion = OCCASION, **params: Any) -> Change:
    (change,) = await UNDO.plan(memory, occasion, target(thing), params)
    return change


def version(memory: Memory, thing: dict[str, Any]) -> str:
    found = memory.at(thing["kind"], thing["metadata"]["name"])["spec"]["template"]["spec"]["containers"][0]
    return str(found["env"][0]["value"])


@pytest.mark.parametrize("kind", KINDS)
async def test_it_goes_back_to_the_previous_revision_and_says_that_it_guesses(kind: str) -> None:
    api, memory = world(kind)
    change = await plan(memory, api)
    assert change.request is not None
    await memory.send(change.request)
    assert version(memory, api) == "1"
    written = memory.at(kind, "api")
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
    api, memory = world(kind)
    first = await plan(memory, api)
    assert first.request is not None
    await memory.send(first.request)
    second = await plan(memory, api, Occasion("shop", "another", "uid-2", "undo"))
    assert second.request is None
    assert "shop/api-5xx" in second.summary
    assert "toRevision goes further back" in second.summary
    assert UNDO.standing(second, memory.at(kind, "api")) is Standing.AFTER


async def test_after_a_new_bad_deploy_an_old_mark_does_not_keep_it_from_going_back() -> None:
    api, memory = world()
    first = await plan(memory, api)
    assert first.request is not None
    await memory.send(first.request)
    api = memory.at("Deployment", "api")
    api["spec"]["template"] = template("3")
    memory.put(api, revision(api, 3, "1"), revision(api, 4, "3"))
    assert (await plan(memory, api)).request is not None


async def test_the_same_write_made_again_is_refused_and_recognised_as_made() -> None:
    api, memory = world()
    change = await plan(memory, api)
    assert change.request is not None
    assert UNDO.standing(change, memory.at("Deployment", "api")) is Standing.BEFORE
    await memory.send(change.request)
    with pytest.raises(Conflict):
        await memory.send(change.request)
    assert UNDO.standing(change, memory.at("Deployment", "api")) is Standing.AFTER
    assert UNDO.undo(change, memory.at("Deployment", "api")) is None


async def test_a_status_written_in_between_does_not_matter_a_template_does() -> None:
    api, memory = world()
    change = await plan(memory, api)
    assert change.request is not None
    seen = memory.at("Deployment", "api")
    seen["metadata"]["resourceVersion"] = "999"
    seen["status"]["replicas"] = 5
    await memory.send(change.request)
    seen = memory.at("Deployment", "api")
    seen["spec"]["template"] = template("hotfix")
    assert UNDO.standing(change, seen) is Standing.OTHER
    with pytest.raises(Conflict):
        await memory.send(change.request)
    assert version(memory, api) == "hotfix"


async def test_a_workload_made_anew_under_the_same_name_is_not_touched() -> None:
    api, memory = world()
    change = await plan(memory, api)
    assert change.request is not None
    memory.at("Deployment", "api")["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await memory.send(change.request)
    assert UNDO.standing(change, memory.at("Deployment", "api")) is Standing.GONE
    assert UNDO.standing(change, None) is Standing.GONE


async def test_annotations_of_others_survive() -> None:
    api, memory = world()
    kept = {"team/on-call": "anna", "fluxcd.io/pause": "true", "kubernetes.io/change-cause": "deploy 2"}
    api["metadata"]["annotations"] = kept
    memory.put(api, revision(api, 1, cause="deploy 1"))
    change = await plan(memory, api)
    assert change.request is not None
    memory.at("Deployment", "api")["metadata"]["annotations"]["added/since"] = "x"
    await memory.send(change.request)
    annotations = memory.at("Deployment", "api")["metadata"]["annotations"]
    assert annotations.items() >= {"team/on-call": "anna", "fluxcd.io/pause": "true", "added/since": "x"}.items()
    assert annotations["kubernetes.io/change-cause"] == "deploy 1"


async def test_annotations_that_appear_where_there_were_none_are_not_replaced() -> None:
    api, memory = world()
    change = await plan(memory, api)
    assert change.request is not None
    memory.at("Deployment", "api")["metadata"]["annotations"] = {"deployment.kubernetes.io/revision": "2"}
    with pytest.raises(Conflict):
        await memory.send(change.request)
    assert memory.at("Deployment", "api")["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "2"}
    assert (await plan(memory, api)).after == change.after, "planned again, it is the same revision"


async def test_two_bad_deploys_go_back_to_the_revision_that_still_runs() -> None:
    api, memory = world(now="3")
    memory.put(revision(api, 1, ready=2))
    change = await plan(memory, api)
    assert change.after["name"] == "api-h1"
    assert "2 of its pods are still ready" in change.summary
    assert not any("guess" in note for note in change.notes)


async def test_two_bad_deploys_that_are_fully_out_go_back_to_the_verified_revision() -> None:
    api, memory = world(now="3")
    memory.put(revision(api, 1, verified="2026-11-20T09:12:00Z"))
    change = await plan(memory, api)
    assert change.after["name"] == "api-h1"
    assert "verified 2026-11-20T09:12:00Z" in change.summary


async def test_of_several_that_still_run_a_verified_one_comes_first_then_the_oldest() -> None:
    api, memory = world(now="4")
    memory.put(revision(api, 2, ready=1), revision(api, 3, ready=1))
    assert (await plan(memory, api)).after["revision"] == 2
    memory.put(revision(api, 3, ready=1, verified="v"))
    assert (await plan(memory, api)).after["revision"] == 3


async def test_a_stateful_set_is_told_by_its_ready_pods() -> None:
    db, memory = world("StatefulSet", now="3")
    memory.put(pod(db, "api-0", 1), pod(db, "api-1", 3, ready=False), pod(db, "api-2", 2, ready=False))
    assert (await plan(memory, db)).after["name"] == "api-h1"


async def test_an_explicit_revision_is_taken_as_asked_for() -> None:
    api, memory = world(now="4")
    change = await plan(memory, api, toRevision=2)
    assert change.after["revision"] == 2
    assert "as asked for" in change.summary


async def test_an_explicit_revision_goes_further_back_after_a_rollback() -> None:
    api, memory = world(now="3")
    first = await plan(memory, api)
    assert first.request is not None
    await memory.send(first.request)
    change = await plan(memory, api, toRevision=1)
    assert change.request is not None
    await memory.send(change.request)
    assert version(memory, api) == "1"


async def test_an_explicit_revision_that_is_current_is_left_as_it_is() -> None:
    api, memory = world()
    change = await plan(memory, api, toRevision=2)
    assert change.request is None
    assert "at revision 2 already" in change.summary


async def test_an_explicit_revision_that_is_missing_names_those_there_are() -> None:
    api, memory = world(now="3")
    with pytest.raises(Stalled, match="toRevision 9 is not there; there are 1, 2, 3") as caught:
        await plan(memory, api, toRevision=9)
    assert caught.value.reason == "RevisionNotFound"


async def test_planned_again_after_its_own_rollback_the_renumbered_revision_is_no_fault() -> None:
    db, memory = world("StatefulSet")
    change = await plan(memory, db, toRevision=1)
    assert change.request is not None
    await memory.send(change.request)
    del memory.objects["ControllerRevision", "shop", "api-h1"]
    memory.put(revision(db, 3, "1"))
    assert (await plan(memory, db, toRevision=1)).request is None


@pytest.mark.parametrize("wrong", [0, -1, "2", True, 1.5])
async def test_a_revision_that_is_no_number_is_refused_by_name(wrong: Any) -> None:
    api, memory = world()
    with pytest.raises(Refused, match="toRevision must be a whole number of at least 1"):
        await plan(memory, api, toRevision=wrong)


@pytest.mark.parametrize("kind", KINDS)
async def test_without_an_earlier_revision_it_says_so_and_names_the_limit(kind: str) -> None:
    api = workload(kind, version="2", revisionHistoryLimit=0)
    memory = Memory(api, revision(api, 2))
    with pytest.raises(Stalled, match=r"no earlier revision is left \(spec.revisionHistoryLimit is 0\)") as caught:
        await plan(memory, api)
    assert caught.value.reason == "NoEarlierRevision"


async def test_a_paused_deployment_is_refused_with_the_command_that_helps() -> None:
    api, memory = world(paused=True)
    with pytest.raises(Refused, match="kubectl rollout resume deployment/api -n shop") as caught:
        await plan(memory, api)
    assert caught.value.reason == "Paused"


async def test_a_workload_that_a_custom_resource_controls_is_refused_and_named() -> None:
    api, memory = world()
    owner = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg", "uid": "u"}}
    memory.put(owned(api, owner))
    with pytest.raises(Refused, match="Cluster pg") as caught:
        await plan(memory, api)
    assert caught.value.reason == "ControllerOwned"


@pytest.mark.parametrize("field", ["labels", "annotations"])
async def test_a_protected_workload_is_refused(field: str) -> None:
    api, memory = world()
    api["metadata"][field] = {names.PROTECTED: "true"}
    memory.put(api)
    with pytest.raises(Refused) as caught:
        await plan(memory, api)
    assert caught.value.reason == "Protected"


async def test_a_moved_tag_is_pointed_out_and_a_digest_is_not() -> None:
    for image, warned in (("registry/api:latest", True), ("registry/api@sha256:abc", False)):
        api = workload(template=template("2", image=image))
        memory = Memory(
            api, revision_of(api, 1, template("1", image=image)), revision_of(api, 2, api["spec"]["template"])
        )
        change = await plan(memory, api)
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
    api, memory = world()
    api["metadata"] |= metadata
    memory.put(api)
    assert any(says in note for note in (await plan(memory, api)).notes)


async def test_on_delete_and_partition_are_pointed_out() -> None:
    db, memory = world("StatefulSet", updateStrategy={"type": "OnDelete"})
    assert any("OnDelete" in note for note in (await plan(memory, db)).notes)
    db, memory = world("StatefulSet", updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 1}})
    assert any("partition 1" in note for note in (await plan(memory, db)).notes)


async def test_what_the_pods_really_run_is_kept_for_comparison() -> None:
    api, memory = world()
    memory.put(pod(api, "bad", 2, image_id="sha256:bad"), pod(api, "good", 1, image_id="sha256:good"))
    assert (await plan(memory, api)).before["imageIDs"] == {"web": ["sha256:bad"]}


async def test_planned_twice_it_is_byte_for_byte_the_same() -> None:
    api, memory = world()
    first = await plan(memory, api)
    memory.at("Deployment", "api")["status"]["replicas"] = 7
    assert (await plan(memory, api)).ledger_value() == first.ledger_value()
