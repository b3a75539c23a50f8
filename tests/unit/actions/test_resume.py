"""resume: a CronJob or Job that somebody had suspended goes on, and could be suspended again as it was."""

from __future__ import annotations

import pytest

from incident_operator.actions.resume import Resume
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Conflict, Refused
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, a_cluster, done, later, target
from unit.actions.test_suspend import SUSPENDED, cron_job, job, make, of_kind

RESUME = Resume()
KINDS = ["CronJob", "Job"]


async def plan(fake: FakeCluster, kind: str = "CronJob") -> Change:
    (change,) = await RESUME.plan(fake, OCCASION, target(fake.at(kind, "nightly")), {})
    return change


async def settle(fake: FakeCluster, change: Change) -> Settlement:
    return await RESUME.settle(fake, done((change,)), since=SINCE, now=later(60))


@pytest.mark.parametrize("kind", KINDS)
async def test_it_goes_on_and_undo_suspends_it_as_it_was(kind: str) -> None:
    fake = a_cluster(of_kind(kind, suspend=True))
    change = await plan(fake, kind)
    assert change.summary == f"{kind} nightly: resume"
    assert RESUME.standing(change, fake.at(kind, "nightly")) is Standing.BEFORE
    await make(fake, change)
    assert fake.at(kind, "nightly")["spec"]["suspend"] is False
    assert RESUME.standing(change, fake.at(kind, "nightly")) is Standing.AFTER
    assert (await settle(fake, change)).state == "Settled"
    request = RESUME.undo(change, fake.at(kind, "nightly"))
    assert request is not None
    await fake.send(request)
    assert fake.at(kind, "nightly")["spec"]["suspend"] is True


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_done_to_what_is_not_suspended(kind: str) -> None:
    fake = a_cluster(of_kind(kind))
    change = await plan(fake, kind)
    assert (change.request, change.summary) == (None, f"{kind} nightly: is not suspended")
    assert (await settle(fake, change)).state == "Settled"
    assert RESUME.undo(change, fake.at(kind, "nightly")) is None


async def test_a_job_that_is_over_stays_over() -> None:
    thing = job(suspend=True)
    thing["status"]["conditions"] = [{"type": "Failed", "status": "True"}]
    change = await plan(a_cluster(thing), "Job")
    assert (change.request, change.summary) == (None, "Job nightly: has failed; nothing to resume")


async def test_a_job_goes_on_only_when_its_controller_has_seen_it() -> None:
    thing = job(suspend=True)
    thing["status"]["conditions"] = [SUSPENDED]
    fake = a_cluster(thing)
    change = await plan(fake, "Job")
    await make(fake, change)
    assert (await settle(fake, change)).state == "Pending"
    fake.edit("Job", "shop", "nightly", lambda each: each["status"].__setitem__("conditions", []))
    assert (await settle(fake, change)).message == "nightly: goes on"


async def test_a_run_that_was_missed_is_told() -> None:
    change = await plan(a_cluster(cron_job(suspend=True)))
    assert change.notes == (
        "it has no startingDeadlineSeconds: when it is resumed a run that was missed may start at once",
    )


async def test_one_that_somebody_suspends_again_is_told_and_not_fought() -> None:
    fake = a_cluster(cron_job(suspend=True))
    change = await plan(fake)
    await make(fake, change)
    fake.edit("CronJob", "shop", "nightly", lambda each: each["spec"].__setitem__("suspend", True))
    found = await settle(fake, change)
    assert (found.state, found.reason) == ("Failed", "Reverted")
    assert found.message == "CronJob shop/nightly was suspended again, by somebody else"


async def test_another_one_of_its_name_is_not_resumed() -> None:
    fake = a_cluster(cron_job(suspend=True))
    change = await plan(fake)
    fake.edit("CronJob", "shop", "nightly", lambda each: each["metadata"].__setitem__("uid", "another"))
    assert change.request is not None
    with pytest.raises(Conflict):
        await fake.send(change.request)


async def test_what_something_else_controls_is_left_to_that() -> None:
    thing = cron_job(suspend=True)
    owner = {"apiVersion": "x/v1", "kind": "Backup", "name": "b", "uid": "u", "controller": True}
    thing["metadata"]["ownerReferences"] = [owner]
    with pytest.raises(Refused, match="could not resume"):
        await plan(a_cluster(thing))
