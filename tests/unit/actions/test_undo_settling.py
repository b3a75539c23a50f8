"""rolloutUndo settles when the rollout has; and clears the one thing that nobody else clears."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from incident_operator.actions.rollout_undo import RolloutUndo
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.objects import (
    OCCASION,
    SINCE,
    a_cluster,
    done,
    later,
    pod,
    revision,
    stamp,
    target,
    template,
    workload,
)

UNDO = RolloutUndo()


async def rolled_back(kind: str = "Deployment", *before: Any, **spec: Any) -> tuple[FakeCluster, Change]:
    """A world in which the rollback from revision 2 to 1 is written, and nothing followed yet."""
    api = workload(kind, version="2", **spec)
    fake = a_cluster(api, revision(api, 1), revision(api, 2), *before)
    (change,) = await UNDO.plan(fake, OCCASION, target(api), {})
    assert change.request is not None
    await fake.send(change.request)
    return fake, change


def seen(fake: FakeCluster, kind: str = "Deployment", **status: Any) -> dict[str, Any]:
    """The controller has seen the newest generation and wrote a status."""
    found = fake.at(kind, "api")
    found["status"] = {"observedGeneration": found["metadata"]["generation"], **status}
    return found


async def settle(fake: FakeCluster, *changes: Change, after: float = 1) -> Settlement:
    return await UNDO.settle(fake, done(changes), since=SINCE, now=later(after))


WHOLE = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
BROKEN = {"replicas": 3, "updatedReplicas": 1, "availableReplicas": 2}


async def test_it_waits_for_the_controller_and_then_for_the_pods() -> None:
    fake, change = await rolled_back()
    assert (await settle(fake, change)).state == "Pending"
    seen(fake, **BROKEN)
    assert (await settle(fake, change)).state == "Pending"
    seen(fake, **WHOLE)
    assert (await settle(fake, change)).state == "Settled"


async def test_a_pod_of_the_good_revision_that_does_not_start_is_named_early_one_of_the_bad_is_not() -> None:
    fake, change = await rolled_back()
    api = seen(fake, **BROKEN)
    fake.put(pod(api, "old", 2, waiting="CrashLoopBackOff"), pod(api, "new", 1, waiting="ImagePullBackOff"))
    found = await settle(fake, change)
    assert "pod new: container web ImagePullBackOff" in found.message
    assert "old" not in found.message


@pytest.mark.parametrize(("seconds", "state"), [(-30, "Pending"), (0, "Pending"), (30, "Failed")])
async def test_a_missed_deadline_of_the_bad_rollout_is_not_ours(seconds: float, state: str) -> None:
    fake, change = await rolled_back()
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    seen(fake, **BROKEN, conditions=[condition | {"lastUpdateTime": stamp(later(seconds))}])
    assert (await settle(fake, change, after=60)).state == state


async def test_the_time_of_the_write_counts_where_the_step_began_earlier() -> None:
    fake, change = await rolled_back()
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    seen(fake, **BROKEN, conditions=[condition | {"lastUpdateTime": stamp(later(30))}])
    entries = done([change], at=later(40))
    assert (await UNDO.settle(fake, entries, since=SINCE, now=later(60))).state == "Pending"


async def test_put_back_by_git_ops_it_fails_and_names_who_it_probably_was() -> None:
    fake, change = await rolled_back()
    api = fake.at("Deployment", "api")
    api["metadata"]["labels"] = {"kustomize.toolkit.fluxcd.io/name": "apps"}
    api["spec"]["template"] = template("2")
    found = await settle(fake, change)
    assert (found.state, found.reason) == ("Failed", "Reverted")
    assert "Flux Kustomization" in found.message
    api["spec"]["template"] = template("3")
    assert (await settle(fake, change)).reason == "ChangedSince"


async def test_a_workload_that_is_gone_fails() -> None:
    fake, change = await rolled_back()
    del fake.objects["Deployment", "shop", "api"]
    assert (await settle(fake, change)).reason == "TargetGone"


async def test_the_same_image_as_before_settles_but_is_said() -> None:
    api = workload(version="2")
    fake, change = await rolled_back("Deployment", pod(api, "bad", 2, image_id="sha256:same"))
    fake.objects.pop(("Pod", "shop", "bad"))
    fake.put(pod(api, "good", 1, image_id="sha256:same"))
    seen(fake, **WHOLE)
    found = await settle(fake, change)
    assert (found.state, found.facts) == ("Settled", {"image": "Same"})
    fake.put(pod(api, "good", 1, image_id="sha256:good"))
    assert not (await settle(fake, change)).facts


async def test_what_was_rolled_back_already_is_still_waited_for() -> None:
    fake, _ = await rolled_back()
    (again,) = await UNDO.plan(fake, OCCASION, target(fake.at("Deployment", "api")), {})
    seen(fake, **BROKEN)
    assert (await settle(fake, again)).state == "Pending"
    seen(fake, **WHOLE)
    assert (await settle(fake, again)).state == "Settled"


STUCK = {"readyReplicas": 2, "updatedReplicas": 2, "updateRevision": "api-h1", "currentRevision": "api-h1"}


async def stuck(**spec: Any) -> tuple[FakeCluster, Change]:
    """An ordered StatefulSet of three whose last pod is broken, of the bad revision, and blocks."""
    fake, change = await rolled_back("StatefulSet", replicas=3, **spec)
    db = seen(fake, "StatefulSet", **STUCK)
    fake.put(pod(db, "api-0", 1), pod(db, "api-1", 1), pod(db, "api-2", 2, ready=False, waiting="CrashLoopBackOff"))
    return fake, change


async def test_the_broken_pod_that_blocks_an_ordered_stateful_set_is_deleted_after_a_grace_period() -> None:
    fake, change = await stuck()
    assert not (await settle(fake, change, after=19)).further
    found = await settle(fake, change, after=21)
    assert [each.key for each in found.further] == ["Pod/api-2"]
    (deletion,) = found.further
    assert deletion.request is not None
    assert UNDO.standing(deletion, fake.at("Pod", "api-2")) is Standing.BEFORE
    await fake.send(deletion.request)
    assert {name for kind, _, name in fake.objects if kind == "Pod"} == {"api-0", "api-1"}
    assert UNDO.standing(deletion, None) is Standing.GONE
    assert UNDO.undo(deletion, {}) is None


async def test_a_pod_that_was_replaced_in_the_meantime_is_not_deleted() -> None:
    fake, change = await stuck()
    (deletion,) = (await settle(fake, change, after=21)).further
    assert deletion.request is not None
    fake.at("Pod", "api-2")["metadata"]["uid"] = "the replacement"
    with pytest.raises(Conflict):
        await fake.send(deletion.request)
    assert UNDO.standing(deletion, fake.at("Pod", "api-2")) is Standing.GONE


async def test_a_pod_that_comes_back_with_the_bad_revision_is_left_to_a_person() -> None:
    fake, change = await stuck()
    (deletion,) = (await settle(fake, change, after=21)).further
    fake.at("Pod", "api-2")["metadata"]["uid"] = "the replacement"
    found = await settle(fake, change, deletion, after=60)
    assert not found.further
    assert "api-2 came back with the old revision: kubectl delete pod" in found.message


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"podManagementPolicy": "Parallel"}, "the controller replaces it by itself"),
        ({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}}}, "it is not to be updated"),
        ({"ordinals": {"start": 1}, "updateStrategy": {"rollingUpdate": {"partition": 2}}}, "ordinals begin at 1"),
        ({"updateStrategy": {"type": "OnDelete"}}, "a person decides"),
    ],
)
async def test_a_broken_pod_is_left_alone_where_deleting_it_is_not_ours(spec: dict[str, Any], why: str) -> None:
    fake, change = await stuck(**spec)
    assert not (await settle(fake, change, after=600)).further, why


async def test_healthy_pods_and_broken_ones_of_the_good_revision_are_never_deleted() -> None:
    fake, change = await stuck()
    db = fake.at("StatefulSet", "api")
    fake.put(pod(db, "api-1", 2), pod(db, "api-2", 1, ready=False))
    assert not (await settle(fake, change, after=600)).further


async def test_a_pod_that_is_unready_for_a_moment_is_not_deleted_however_long_ago_the_rollback_was() -> None:
    fake, change = await stuck()
    (condition,) = fake.at("Pod", "api-2")["status"]["conditions"]
    condition["lastTransitionTime"] = stamp(later(590))
    assert not (await settle(fake, change, after=609)).further
    assert [each.key for each in (await settle(fake, change, after=610)).further] == ["Pod/api-2"]


async def test_a_pod_that_says_nothing_of_being_ready_is_as_old_as_it_is() -> None:
    fake, change = await stuck()
    broken = fake.at("Pod", "api-2")
    broken["status"]["conditions"] = []
    broken["metadata"]["creationTimestamp"] = stamp(later(590))
    assert not (await settle(fake, change, after=609)).further
    assert (await settle(fake, change, after=610)).further
    del broken["metadata"]["creationTimestamp"]
    assert not (await settle(fake, change, after=900)).further


@pytest.mark.parametrize(
    ("number", "more"),
    [
        pytest.param(1, {"metadata": {"deletionTimestamp": stamp(later(599))}}, id="leaves"),
        pytest.param(1, {"ready": False}, id="is new and not ready yet"),
    ],
)
async def test_a_broken_pod_is_left_alone_while_another_is_being_replaced(number: int, more: dict[str, Any]) -> None:
    fake, change = await stuck()
    other = pod(fake.at("StatefulSet", "api"), "api-1", number, **more)
    other["status"]["conditions"][0]["lastTransitionTime"] = stamp(later(590))
    fake.put(other)
    assert not (await settle(fake, change, after=649)).further


async def test_a_new_pod_that_does_not_get_ready_holds_up_the_others_for_a_minute_for_it_may_need_them() -> None:
    fake, change = await stuck()
    fake.put(pod(fake.at("StatefulSet", "api"), "api-1", 1, ready=False))
    assert [each.key for each in (await settle(fake, change, after=600)).further] == ["Pod/api-2"]


async def test_of_several_broken_pods_one_is_deleted_at_a_time_the_last_one_first() -> None:
    fake, change = await stuck()
    db = fake.at("StatefulSet", "api")
    fake.put(*(pod(db, f"api-{number}", 2, ready=False) for number in (1, 2, 10)))
    deleted: list[Change] = []
    for name in ("api-10", "api-2", "api-1"):
        (deletion,) = (await settle(fake, change, *deleted, after=600)).further
        assert deletion.target.name == name
        assert deletion.request is not None
        await fake.send(deletion.request)
        deleted.append(deletion)


async def test_nothing_is_deleted_before_the_controller_has_seen_the_rollback() -> None:
    fake, change = await stuck()
    fake.at("StatefulSet", "api")["status"]["observedGeneration"] = 2
    assert not (await settle(fake, change, after=600)).further


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_on_delete_names_the_pods_that_a_person_must_delete(kind: str) -> None:
    fake, change = await rolled_back(kind, updateStrategy={"type": "OnDelete"})
    owner = seen(fake, kind, readyReplicas=2, updatedReplicas=1, desiredNumberScheduled=2, updatedNumberScheduled=1)
    fake.put(pod(owner, "api-0", 1), pod(owner, "api-1", 2))
    found = await settle(fake, change, after=600)
    assert (found.state, found.further) == ("Pending", ())
    assert "kubectl delete pod api-1 -n shop" in found.message


async def test_several_workloads_settle_together_and_the_worst_is_said() -> None:
    fake, change = await rolled_back()
    other = workload(name="web", version="2")
    fake.put(other, revision(other, 1), revision(other, 2))
    (second,) = await UNDO.plan(fake, OCCASION, target(other), {})
    assert second.request is not None
    await fake.send(second.request)
    seen(fake, **WHOLE)
    found = await settle(fake, change, second)
    assert found.state == "Pending"
    assert found.message.startswith("web:")
    del fake.objects["Deployment", "shop", "web"]
    assert (await settle(fake, change, second)).state == "Failed"


async def test_entries_that_failed_are_not_waited_for() -> None:
    fake, change = await rolled_back()
    (entry,) = done([change])
    failed = dataclasses.replace(entry, state=type(entry.state).FAILED)
    assert (await UNDO.settle(fake, (failed,), since=SINCE, now=later(1))).state == "Settled"
