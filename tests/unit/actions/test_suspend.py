"""suspend: no more Jobs of a CronJob, no more pods of a Job, and as it was again."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.actions.contract import Stops
from incident_operator.actions.suspend import Suspend
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict, NotFound, Refused
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, Object, a_cluster, done, later, owned, pod, target

SUSPEND = Suspend()
KINDS = ["CronJob", "Job"]
SUSPENDED = {"type": "Suspended", "status": "True"}


def cron_job(**spec: Any) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "shop", "uid": "nightly-uid"},
        "spec": {"schedule": "0 3 * * *", "suspend": False, **spec},
        "status": {},
    }


def job(**spec: Any) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "nightly", "namespace": "shop", "uid": "nightly-uid"},
        "spec": {"suspend": False, "selector": {"matchLabels": {"app": "nightly"}}, **spec},
        "status": {},
    }


def of_kind(kind: str, **spec: Any) -> Object:
    return cron_job(**spec) if kind == "CronJob" else job(**spec)


def worker(owner: Object, name: str, **more: Any) -> Object:
    """A pod of a Job."""
    made = pod(None, name, **more)
    made["metadata"]["labels"] = {"app": owner["metadata"]["name"]}
    return owned(made, owner)


async def plan(fake: FakeCluster, kind: str = "CronJob") -> Change:
    (change,) = await SUSPEND.plan(fake, OCCASION, target(fake.at(kind, "nightly")), {})
    return change


async def make(fake: FakeCluster, change: Change | None) -> None:
    assert change is not None
    assert change.request is not None
    await fake.send(change.request)


async def settle(fake: FakeCluster, change: Change) -> Settlement:
    return await SUSPEND.settle(fake, done([change]), since=SINCE, now=later(1))


def standing(fake: FakeCluster, change: Change) -> Standing:
    return SUSPEND.standing(change, fake.at(change.target.kind, "nightly"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [False, None])
async def test_it_is_suspended_and_goes_back_exactly(kind: str, before: bool | None) -> None:
    thing = of_kind(kind, suspend=before)
    if before is None:
        del thing["spec"]["suspend"]
    fake = a_cluster(thing)
    change = await plan(fake, kind)
    assert change.key == f"{kind}/nightly"
    assert standing(fake, change) is Standing.BEFORE
    await make(fake, change)
    assert fake.at(kind, "nightly")["spec"] == {**thing["spec"], "suspend": True}
    assert standing(fake, change) is Standing.AFTER
    undo = SUSPEND.undo(change, fake.at(kind, "nightly"))
    assert undo is not None
    await fake.send(undo)
    assert fake.at(kind, "nightly")["spec"] == thing["spec"]
    assert standing(fake, change) is Standing.BEFORE


@pytest.mark.parametrize("kind", KINDS)
async def test_planned_twice_it_is_suspended_once_and_what_was_suspended_before_stays_so(kind: str) -> None:
    fake = a_cluster(of_kind(kind))
    first = await plan(fake, kind)
    assert first == await plan(fake, kind)
    await make(fake, first)
    with pytest.raises(Conflict):
        await make(fake, first)
    again = await plan(fake, kind)
    assert again.request is None
    assert "is suspended already" in again.summary
    assert standing(fake, again) is Standing.AFTER
    assert SUSPEND.undo(again, fake.at(kind, "nightly")) is None
    assert SUSPEND.back(again) is None


@pytest.mark.parametrize("kind", KINDS)
async def test_another_one_of_the_name_is_not_touched(kind: str) -> None:
    fake = a_cluster(of_kind(kind))
    change = await plan(fake, kind)
    fake.at(kind, "nightly")["metadata"]["uid"] = "another"
    with pytest.raises(Conflict):
        await make(fake, change)
    assert standing(fake, change) is Standing.GONE
    assert SUSPEND.standing(change, None) is Standing.GONE


async def test_one_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound):
        await SUSPEND.plan(a_cluster(), OCCASION, target(cron_job()), {})


@pytest.mark.parametrize("kind", KINDS)
async def test_protected_and_controlled_ones_are_refused(kind: str) -> None:
    thing = of_kind(kind)
    thing["metadata"]["labels"] = {names.PROTECTED: "true"}
    with pytest.raises(Refused, match=f"could not suspend {kind} shop/nightly") as caught:
        await plan(a_cluster(thing), kind)
    assert caught.value.reason == "Protected"
    owner = {"apiVersion": "example.org/v1", "kind": "Backups", "metadata": {"name": "all", "uid": "u"}}
    with pytest.raises(Refused, match="Backups all") as caught:
        await plan(a_cluster(owned(of_kind(kind), owner)), kind)
    assert caught.value.reason == "ControllerOwned"


async def test_a_job_of_a_cron_job_is_suspended_for_the_cron_job_never_changes_it() -> None:
    owner = cron_job()
    fake = a_cluster(owned(job(), owner))
    assert (await plan(fake, "Job")).request is not None


async def test_jobs_that_a_cron_job_runs_already_are_named() -> None:
    thing = cron_job()
    thing["status"]["active"] = [{"name": f"nightly-{number}"} for number in range(5)]
    fake = a_cluster(thing)
    change = await plan(fake)
    assert change.notes[0] == (
        "Jobs that run already go on (nightly-0, nightly-1, nightly-2 and 2 more): suspend them, too"
    )
    assert (change.traits, change.reach) == ((), None)
    await make(fake, change)
    found = await settle(fake, change)
    assert found.state == "Settled"
    assert "starts no more Jobs; nightly-0, nightly-1, nightly-2 and 2 more still running" in found.message


@pytest.mark.parametrize(("deadline", "said"), [(None, "no startingDeadlineSeconds"), (200, "in the last 200 s")])
async def test_it_is_said_that_a_missed_run_may_start_at_once(deadline: int | None, said: str) -> None:
    fake = a_cluster(cron_job(**({"startingDeadlineSeconds": deadline} if deadline else {})))
    change = await plan(fake)
    back = SUSPEND.back(change)
    assert back is not None
    for notes in (change.notes, back.notes):
        assert [note for note in notes if said in note and "may start at once" in note]


async def test_only_a_job_with_active_pods_is_destructive_and_names_them() -> None:
    thing = job()
    old = worker(thing, "nightly-old", status={"phase": "Succeeded"})
    fake = a_cluster(thing, worker(thing, "nightly-a"), worker(thing, "nightly-b"), old)
    change = await plan(fake, "Job")
    assert change.traits == ("Destructive",)
    assert change.notes[0].startswith("its active pods are deleted (nightly-a, nightly-b)")
    assert change.reach is not None
    assert (change.reach.how, change.reach.lost) == ("removed", 2)
    fake = a_cluster(thing, old, worker({**thing, "metadata": {**thing["metadata"], "uid": "another"}}, "nightly-c"))
    change = await plan(fake, "Job")
    assert (change.traits, change.reach) == ((), None)


async def test_pods_that_only_the_status_knows_of_count() -> None:
    thing = job()
    thing["status"]["active"] = 3
    change = await plan(a_cluster(thing), "Job")
    assert change.traits == ("Destructive",)
    assert change.notes[0].startswith("its active pods are deleted (3)")


async def test_a_job_that_kueue_starts_is_said_to_be() -> None:
    thing = job()
    thing["metadata"]["labels"] = {"kueue.x-k8s.io/queue-name": "batch"}
    assert any("Kueue" in note for note in (await plan(a_cluster(thing), "Job")).notes)


@pytest.mark.parametrize(("kind", "said"), [("Complete", "has completed"), ("Failed", "has failed")])
async def test_a_job_that_is_over_is_left_alone_and_may_go(kind: str, said: str) -> None:
    thing = job()
    thing["status"]["conditions"] = [{"type": kind, "status": "True"}]
    fake = a_cluster(thing)
    change = await plan(fake, "Job")
    assert (change.request, said in change.summary) == (None, True)
    assert standing(fake, change) is Standing.AFTER
    assert SUSPEND.back(change) is None
    fake.take("Job", "shop", "nightly")
    assert (await settle(fake, change)).state == "Settled", "its ttlSecondsAfterFinished is over"


async def test_a_job_settles_when_its_last_pod_has_really_gone() -> None:
    thing = job()
    fake = a_cluster(thing, worker(thing, "nightly-a", metadata={"deletionTimestamp": "now"}))
    change = await plan(fake, "Job")
    await make(fake, change)
    assert "has not seen" in (await settle(fake, change)).message
    fake.at("Job", "nightly")["status"]["conditions"] = [SUSPENDED]
    assert "1 pods are still terminating" in (await settle(fake, change)).message
    fake.take("Pod", "shop", "nightly-a")
    assert (await settle(fake, change)).state == "Settled"


async def test_a_job_that_ended_meanwhile_has_settled() -> None:
    fake = a_cluster(job())
    change = await plan(fake, "Job")
    await make(fake, change)
    fake.at("Job", "nightly")["status"]["conditions"] = [{"type": "Complete", "status": "True"}]
    found = await settle(fake, change)
    assert (found.state, "has completed meanwhile" in found.message) == ("Settled", True)


@pytest.mark.parametrize("kind", KINDS)
async def test_resumed_by_somebody_else_it_fails_and_says_who_it_probably_was(kind: str) -> None:
    fake = a_cluster(of_kind(kind))
    change = await plan(fake, kind)
    await make(fake, change)
    thing = fake.at(kind, "nightly")
    thing["spec"]["suspend"] = False
    thing["metadata"]["annotations"] = {"argocd.argoproj.io/tracking-id": "shop:batch/CronJob:shop/nightly"}
    found = await settle(fake, change)
    assert (found.state, found.reason) == ("Failed", "Reverted")
    assert "Argo CD Application shop" in found.message
    fake.take(kind, "shop", "nightly")
    assert (await settle(fake, change)).reason == "TargetGone"


def test_it_can_plan_how_what_it_stops_starts_again() -> None:
    assert isinstance(SUSPEND, Stops)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [False, None])
async def test_its_way_back_is_planned_beforehand_and_resumes_exactly(kind: str, before: bool | None) -> None:
    thing = of_kind(kind, suspend=before)
    if before is None:
        del thing["spec"]["suspend"]
    fake = a_cluster(thing)
    change = await plan(fake, kind)
    back = SUSPEND.back(change)
    assert back is not None
    assert (back.key, back.target) == (change.key, change.target)
    assert back.summary == f"{kind} nightly: resume, as before"
    with pytest.raises(Conflict):
        await make(fake, back)
    assert standing(fake, back) is Standing.AFTER, "not suspended yet, it is as the way back wants it"
    await make(fake, change)
    assert standing(fake, back) is Standing.BEFORE
    await make(fake, back)
    assert fake.at(kind, "nightly")["spec"] == thing["spec"]
    assert standing(fake, back) is Standing.AFTER


async def test_a_resumed_cron_job_has_settled_at_once_and_a_job_when_its_controller_has_seen_it() -> None:
    for kind in KINDS:
        fake = a_cluster(of_kind(kind))
        change = await plan(fake, kind)
        back = SUSPEND.back(change)
        assert back is not None
        await make(fake, change)
        assert (await settle(fake, back)).reason == "Reverted"
        fake.at(kind, "nightly")["status"]["conditions"] = [SUSPENDED]
        await make(fake, back)
        assert (await settle(fake, back)).state == ("Settled" if kind == "CronJob" else "Pending")
        fake.at(kind, "nightly")["status"]["conditions"] = [SUSPENDED | {"status": "False"}]
        assert (await settle(fake, back)).state == "Settled"
