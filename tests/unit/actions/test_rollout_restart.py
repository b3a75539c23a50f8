"""rolloutRestart: every pod made anew, once for each step, and no further."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from incident_operator.actions.contract import Occasion
from incident_operator.actions.rollout_restart import RESTARTED, RolloutRestart, mark_of
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict, Refused
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, a_cluster, done, later, owned, pod, stamp, target, template, workload

RESTART = RolloutRestart()
KINDS = ["Deployment", "StatefulSet", "DaemonSet"]
WHOLE = {
    "replicas": 2,
    "readyReplicas": 2,
    "updatedReplicas": 2,
    "availableReplicas": 2,
    "desiredNumberScheduled": 2,
    "updatedNumberScheduled": 2,
    "numberAvailable": 2,
}
BEGUN = {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}


async def plan(fake: FakeCluster, kind: str = "Deployment", occasion: Occasion = OCCASION) -> Change:
    (change,) = await RESTART.plan(fake, occasion, target(fake.at(kind, "api")), {})
    return change


async def make(fake: FakeCluster, change: Change) -> None:
    assert change.request is not None
    await fake.send(change.request)


async def restarted(kind: str = "Deployment", **spec: Any) -> tuple[FakeCluster, Change]:
    """A world in which the restart is written, and nothing has followed yet."""
    fake = a_cluster(workload(kind, **spec))
    change = await plan(fake, kind)
    await make(fake, change)
    return fake, change


def seen(fake: FakeCluster, kind: str = "Deployment", **status: Any) -> dict[str, Any]:
    """The controller has seen the newest generation and wrote a status."""
    found = fake.at(kind, "api")
    found["status"] = {"observedGeneration": found["metadata"]["generation"], **status}
    return found


async def settle(fake: FakeCluster, *changes: Change, after: float = 1) -> Settlement:
    return await RESTART.settle(fake, done(changes), since=SINCE, now=later(after))


def standing(fake: FakeCluster, change: Change, kind: str = "Deployment") -> Standing:
    return RESTART.standing(change, fake.at(kind, "api"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "annotations", [None, {}, {"team": "shop"}, {"team": "shop", RESTARTED: "2026-01-01T00:00:00Z"}]
)
async def test_the_template_gets_the_one_annotation_and_nothing_else(
    kind: str, annotations: dict[str, str] | None
) -> None:
    pods = template("1")
    if annotations is not None:
        pods["metadata"]["annotations"] = annotations
    fake = a_cluster(workload(kind, template=pods))
    change = await plan(fake, kind)
    await make(fake, change)
    written = {
        "metadata": {"labels": {"app": "api"}, "annotations": {**(annotations or {}), RESTARTED: mark_of(OCCASION)}}
    }
    assert fake.at(kind, "api")["spec"]["template"] == {**pods, **written}
    assert "annotations" not in fake.at(kind, "api")["metadata"]
    assert change.summary == "api: restart its pods"
    assert change.reach is not None
    assert change.reach.how == "replaced"


async def test_a_template_without_any_metadata_is_restarted_too() -> None:
    bare = {"spec": template("1")["spec"]}
    fake = a_cluster(workload(template=bare))
    change = await plan(fake)
    await make(fake, change)
    assert fake.at("Deployment", "api")["spec"]["template"]["metadata"] == {
        "annotations": {RESTARTED: mark_of(OCCASION)}
    }
    assert standing(fake, change) is Standing.AFTER


async def test_the_plan_is_exact_and_the_same_each_time() -> None:
    fake = a_cluster(workload())
    first, second = await plan(fake), await plan(fake)
    assert first == second
    assert "incident-uid-1" in first.after["restartedAt"]


@pytest.mark.parametrize("kind", KINDS)
async def test_planned_again_after_it_was_done_it_restarts_nothing(kind: str) -> None:
    fake, _ = await restarted(kind)
    again = await plan(fake, kind)
    assert again.request is None
    assert again.summary == "api: was restarted by this step already"
    assert again.reach is None
    assert standing(fake, again, kind) is Standing.AFTER


@pytest.mark.parametrize(
    "other",
    [
        Occasion("shop", "api-5xx", "incident-uid-1", "again"),
        Occasion("shop", "api-5xx", "incident-uid-2", "undo"),
        Occasion("shop", "another", "incident-uid-3", "undo"),
    ],
)
async def test_another_step_or_incident_restarts_again(other: Occasion) -> None:
    fake, first = await restarted()
    second = await plan(fake, occasion=other)
    await make(fake, second)
    assert standing(fake, second) is Standing.AFTER
    assert standing(fake, first) is Standing.OTHER


async def test_the_same_write_made_again_is_refused_and_recognised_as_made() -> None:
    fake = a_cluster(workload())
    change = await plan(fake)
    assert standing(fake, change) is Standing.BEFORE
    await make(fake, change)
    with pytest.raises(Conflict):
        await make(fake, change)
    assert standing(fake, change) is Standing.AFTER
    assert RESTART.undo(change, fake.at("Deployment", "api")) is None


async def test_a_restart_by_somebody_else_in_between_is_not_overwritten() -> None:
    fake = a_cluster(workload())
    change = await plan(fake)
    fake.at("Deployment", "api")["spec"]["template"]["metadata"]["annotations"] = {RESTARTED: "now"}
    with pytest.raises(Conflict):
        await make(fake, change)
    assert standing(fake, change) is Standing.OTHER


async def test_another_deployment_of_the_name_is_not_touched() -> None:
    fake = a_cluster(workload())
    change = await plan(fake)
    fake.at("Deployment", "api")["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await make(fake, change)
    assert standing(fake, change) is Standing.GONE
    assert RESTART.standing(change, None) is Standing.GONE


async def test_protected_controlled_and_paused_workloads_are_refused_with_the_remedy() -> None:
    api = workload()
    api["metadata"]["annotations"] = {names.PROTECTED: "true"}
    with pytest.raises(Refused, match="could not restart Deployment shop/api") as caught:
        await plan(a_cluster(api))
    assert caught.value.reason == "Protected"
    rollout = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "r", "uid": "u"}}
    with pytest.raises(Refused, match="Rollout r") as caught:
        await plan(a_cluster(owned(workload(), rollout)))
    assert caught.value.reason == "ControllerOwned"
    with pytest.raises(Refused, match=r"could not restart .* kubectl rollout resume deployment/api -n shop") as caught:
        await plan(a_cluster(workload(paused=True)))
    assert caught.value.reason == "Paused"


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("StatefulSet", {"updateStrategy": {"type": "OnDelete"}}, "a person must delete the pods"),
        ("DaemonSet", {"updateStrategy": {"type": "OnDelete"}}, "a person must delete the pods"),
        ("StatefulSet", {"updateStrategy": {"rollingUpdate": {"partition": 1}}}, "partition 1"),
        ("StatefulSet", {}, "may also delete old pods that are not ready and block the restart"),
        ("Deployment", {"strategy": {"type": "Recreate"}}, "all pods stop before the first new one"),
        ("Deployment", {"replicas": 0}, "nothing to restart"),
        (
            "Deployment",
            {"template": template("1", volumes=[{"name": "tmp", "emptyDir": {}}])},
            "emptyDir volumes (tmp)",
        ),
    ],
)
async def test_what_a_person_should_know_is_said(kind: str, spec: dict[str, Any], said: str) -> None:
    change = await plan(a_cluster(workload(kind, **spec)), kind)
    assert [note for note in change.notes if said in note]


async def test_there_is_nothing_to_say_of_a_plain_deployment() -> None:
    assert (await plan(a_cluster(workload()))).notes == ()


@pytest.mark.parametrize("kind", KINDS)
async def test_it_settles_when_the_rollout_is_finished(kind: str) -> None:
    fake, change = await restarted(kind)
    assert (await settle(fake, change)).state == "Pending", "the controller has not seen it"
    seen(fake, kind, **{**WHOLE, "updatedReplicas": 1, "updatedNumberScheduled": 1})
    assert (await settle(fake, change)).state == "Pending"
    seen(fake, kind, **WHOLE)
    assert (await settle(fake, change)).state == "Settled"


async def test_what_was_restarted_already_is_still_waited_for() -> None:
    fake, _ = await restarted()
    again = await plan(fake)
    seen(fake, **BEGUN)
    assert (await settle(fake, again)).state == "Pending"
    seen(fake, **WHOLE)
    assert (await settle(fake, again)).state == "Settled"


@pytest.mark.parametrize(("seconds", "state"), [(-30, "Pending"), (0, "Pending"), (30, "Failed")])
async def test_a_missed_deadline_fails_unless_it_is_that_of_the_rollout_before(seconds: float, state: str) -> None:
    fake, change = await restarted()
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    seen(fake, **BEGUN, conditions=[condition | {"lastUpdateTime": stamp(later(seconds))}])
    found = await settle(fake, change, after=60)
    assert (found.state, found.reason) == (state, "ProgressDeadlineExceeded" if state == "Failed" else "")


async def test_a_new_pod_that_does_not_start_is_named_an_old_one_is_not() -> None:
    fake, change = await restarted()
    api = seen(fake, **BEGUN)
    new = pod(api, "new", 2, waiting="ImagePullBackOff")
    new["metadata"]["annotations"] = {RESTARTED: mark_of(OCCASION)}
    fake.put(pod(api, "old", 1, waiting="CrashLoopBackOff"), new)
    found = await settle(fake, change)
    assert "pod new: container web ImagePullBackOff" in found.message
    assert "old:" not in found.message


async def test_put_back_it_fails_and_restarted_again_by_somebody_else_it_goes_on() -> None:
    fake, change = await restarted()
    api = fake.at("Deployment", "api")
    api["metadata"]["labels"] = {"kustomize.toolkit.fluxcd.io/name": "apps"}
    api["spec"]["template"]["metadata"]["annotations"] = {RESTARTED: "later"}
    seen(fake, **BEGUN)
    assert (await settle(fake, change)).state == "Pending"
    seen(fake, **WHOLE)
    assert (await settle(fake, change)).state == "Settled"
    del api["spec"]["template"]["metadata"]["annotations"]
    found = await settle(fake, change)
    assert (found.state, found.reason) == ("Failed", "Reverted")
    assert "Flux Kustomization" in found.message


async def test_a_workload_that_is_gone_fails() -> None:
    fake, change = await restarted()
    fake.take("Deployment", "shop", "api")
    found = await settle(fake, change)
    assert (found.reason, "after it was restarted" in found.message) == ("TargetGone", True)


async def stuck(**spec: Any) -> tuple[FakeCluster, Change]:
    """An ordered StatefulSet of three whose last pod is old, broken, and blocks the restart."""
    fake, change = await restarted("StatefulSet", replicas=3, **spec)
    db = seen(fake, "StatefulSet", readyReplicas=2, updatedReplicas=0, updateRevision="api-h2")
    fake.put(pod(db, "api-0", 1), pod(db, "api-1", 1), pod(db, "api-2", 1, ready=False, waiting="CrashLoopBackOff"))
    return fake, change


async def test_the_broken_pod_that_blocks_an_ordered_stateful_set_is_deleted_after_a_grace_period() -> None:
    fake, change = await stuck()
    assert not (await settle(fake, change, after=19)).further
    (deletion,) = (await settle(fake, change, after=21)).further
    assert deletion.key == "Pod/api-2"
    assert deletion.summary.endswith("blocks the restart")
    assert RESTART.standing(deletion, fake.at("Pod", "api-2")) is Standing.BEFORE
    await make(fake, deletion)
    assert {name for kind, _, name in fake.objects if kind == "Pod"} == {"api-0", "api-1"}
    assert RESTART.standing(deletion, None) is Standing.GONE


async def test_a_pod_that_comes_back_old_is_left_to_a_person() -> None:
    fake, change = await stuck()
    (deletion,) = (await settle(fake, change, after=21)).further
    fake.at("Pod", "api-2")["metadata"]["uid"] = "the replacement"
    found = await settle(fake, change, deletion, after=60)
    assert not found.further
    assert "api-2 came back with the old revision: kubectl delete pod" in found.message


@pytest.mark.parametrize(
    "spec",
    [
        {"podManagementPolicy": "Parallel"},
        {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}},
        {"updateStrategy": {"type": "OnDelete"}},
    ],
)
async def test_a_broken_pod_is_left_alone_where_deleting_it_is_not_ours(spec: dict[str, Any]) -> None:
    fake, change = await stuck(**spec)
    assert not (await settle(fake, change, after=600)).further


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_on_delete_names_the_pods_that_a_person_must_delete(kind: str) -> None:
    fake, change = await restarted(kind, updateStrategy={"type": "OnDelete"})
    owner = seen(fake, kind, readyReplicas=2, updatedReplicas=1, desiredNumberScheduled=2, updatedNumberScheduled=1)
    new = pod(owner, "api-0", 2)
    new["metadata"]["annotations"] = {RESTARTED: mark_of(OCCASION)}
    fake.put(new, pod(owner, "api-1", 1))
    found = await settle(fake, change, after=600)
    assert (found.state, found.further) == ("Pending", ())
    assert "kubectl delete pod api-1 -n shop" in found.message


async def test_entries_that_failed_are_not_waited_for() -> None:
    fake, change = await restarted()
    (entry,) = done([change])
    failed = dataclasses.replace(entry, state=type(entry.state).FAILED)
    assert (await RESTART.settle(fake, (failed,), since=SINCE, now=later(1))).state == "Settled"
