"""runJob: a Job as kubectl makes it from a CronJob, made once, and told apart by how it ends."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from incident_operator.actions import jobs
from incident_operator.actions.run_job import RunJob
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import NotFound, Refused, Stalled
from incident_operator.planning.plan import Change, Release, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, a_cluster, done, later, stamp, target, workload
from unit.actions.restoring import cron_job, job_pod, make, put_back, standing_of, unknown_uid

RUN = RunJob()


async def planned(fake: FakeCluster, params: Any = None) -> Change:
    params = {"cronJob": "dump"} if params is None else params
    (change,) = await RUN.plan(fake, OCCASION, target(workload()), params)
    return change


async def begun(**status: Any) -> tuple[FakeCluster, Change]:
    """A cluster in which the Job was made, with this status."""
    fake = a_cluster(cron_job())
    (change,) = await make(fake, (await planned(fake),))
    fake.at("Job", change.target.name)["status"] = status
    return fake, change


async def settle(fake: FakeCluster, change: Change) -> Settlement:
    return await RUN.settle(fake, done((change,)), since=SINCE, now=later(60))


async def test_the_job_is_as_kubectl_makes_it_with_the_labels_that_say_whose_it_is() -> None:
    source = cron_job(template={"labels": {"team": "data"}, "annotations": {"note": "x"}}, job={"parallelism": 2})
    fake = a_cluster(source)
    change = await planned(fake)
    assert change.request is not None
    body = change.request.body
    assert body["spec"] == source["spec"]["jobTemplate"]["spec"]
    assert body["metadata"]["annotations"] == {"cronjob.kubernetes.io/instantiate": "manual", "note": "x"}
    assert body["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "CronJob", "name": "dump", "uid": "dump-uid", "controller": True}
    ]
    assert body["metadata"]["labels"] == {
        "team": "data",
        names.MANAGED_BY: names.FIELD_MANAGER,
        names.INCIDENT_LABEL: "api-5xx",
        names.INCIDENT_UID: "incident-uid-1",
    }
    assert change.confidential, "its template may hold passwords in environment variables"
    body["spec"]["parallelism"] = 9
    assert fake.at("CronJob", "dump")["spec"]["jobTemplate"]["spec"]["parallelism"] == 2, "it is a copy"


async def test_a_template_without_metadata_is_taken_too_and_its_own_annotation_wins_as_in_kubectl() -> None:
    source = cron_job()
    del source["spec"]["jobTemplate"]["metadata"]
    change = await planned(a_cluster(source))
    assert change.request is not None
    assert change.request.body["metadata"]["annotations"] == {jobs.INSTANTIATE: "manual"}
    own = cron_job(template={"annotations": {jobs.INSTANTIATE: "by-me"}})
    change = await planned(a_cluster(own))
    assert change.request is not None
    assert change.request.body["metadata"]["annotations"] == {jobs.INSTANTIATE: "by-me"}


async def test_a_retry_makes_no_second_job_and_adopts_the_first_whatever_the_target() -> None:
    fake = a_cluster(cron_job())
    first = await planned(fake)
    (other,) = await RUN.plan(fake, OCCASION, target(workload("StatefulSet", "db")), {"cronJob": "dump"})
    assert (other.key, other.request) == (first.key, first.request), "one Job for a step, however many targets"
    await make(fake, (first,))
    with pytest.raises(Stalled, match="already exists"):
        await make(fake, (first,))
    assert await standing_of(fake, unknown_uid(first), RUN) is Standing.AFTER
    assert [key for key in fake.objects if key[0] == "Job"] == [("Job", "shop", first.target.name)]


async def test_another_step_another_incident_and_another_cron_job_run_jobs_of_their_own() -> None:
    fake = a_cluster(cron_job(), cron_job("check"))
    occasions = [
        OCCASION,
        dataclasses.replace(OCCASION, step="again"),
        dataclasses.replace(OCCASION, uid="incident-uid-2"),
    ]
    found = {(await jobs.job_change(fake, each, "dump", verb="run")).key for each in occasions}
    found.add((await jobs.job_change(fake, OCCASION, "check", verb="run")).key)
    assert len(found) == 4


@pytest.mark.parametrize("name", ["d", "a" * 52, "a" * 51 + "-b", "dump.nightly-" + "x" * 30])
async def test_the_jobs_name_fits_the_label_that_its_pods_get(name: str) -> None:
    change = await jobs.job_change(a_cluster(cron_job(name)), OCCASION, name, verb="run")
    assert len(change.target.name) <= 63
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?-[0-9a-f]{8}", change.target.name)


async def test_somebody_elses_job_of_the_name_is_not_taken_for_ours() -> None:
    fake = a_cluster(cron_job())
    change = await planned(fake)
    await make(fake, (change,))
    fake.at("Job", change.target.name)["metadata"]["labels"] = {}
    assert await standing_of(fake, unknown_uid(change), RUN) is Standing.OTHER
    settlement = await settle(fake, change)
    assert (settlement.state, settlement.reason) == ("Failed", "JobGone")


async def test_a_job_that_was_made_again_in_its_place_is_not_taken_for_the_first() -> None:
    fake, change = await begun(active=1)
    fake.at("Job", change.target.name)["metadata"]["uid"] = "made-again"
    assert await standing_of(fake, change, RUN) is Standing.GONE
    assert (await settle(fake, change)).reason == "JobGone"


async def test_a_cron_job_that_is_not_there_is_not_found() -> None:
    with pytest.raises(NotFound, match="dump"):
        await planned(a_cluster())


@pytest.mark.parametrize("params", [{}, {"cronJob": ""}, {"cronJob": 3}])
async def test_a_name_must_be_given(params: Any) -> None:
    with pytest.raises(Refused, match="cronJob must be the name of a CronJob"):
        await planned(a_cluster(cron_job()), params)


async def test_a_protected_cron_job_is_not_run() -> None:
    with pytest.raises(Refused) as caught:
        await planned(a_cluster(cron_job(metadata={"annotations": {names.PROTECTED: "true"}})))
    assert caught.value.reason == "Protected"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"successfulJobsHistoryLimit": 0}, "successfulJobsHistoryLimit"),
        ({"job": {"ttlSecondsAfterFinished": 0}}, "ttlSecondsAfterFinished"),
    ],
)
async def test_a_job_that_would_be_deleted_before_its_end_is_seen_is_refused(more: Any, field: str) -> None:
    with pytest.raises(Refused, match=f"{field} is 0.*kubectl edit cronjob dump") as caught:
        await planned(a_cluster(cron_job(**more)))
    assert caught.value.reason == "JobWouldVanish"
    assert await planned(a_cluster(cron_job(successfulJobsHistoryLimit=1, job={"ttlSecondsAfterFinished": 600})))


async def test_a_suspended_cron_job_is_run_and_one_that_runs_already_is_pointed_out() -> None:
    source = cron_job(suspend=True)
    assert len((await planned(a_cluster(source))).notes) == 1
    source["status"] = {"active": [{"name": "dump-123"}]}
    assert any("dump-123" in note for note in (await planned(a_cluster(source))).notes)
    waiting = await planned(a_cluster(cron_job(job={"suspend": True})))
    assert any("begins only when a person resumes it" in note for note in waiting.notes)


async def test_a_complete_job_is_settled_with_its_duration() -> None:
    fake, change = await begun(
        startTime=stamp(later(0)),
        completionTime=stamp(later(42)),
        conditions=[
            {"type": "SuccessCriteriaMet", "status": "True"},
            {"type": "Complete", "status": "True", "lastTransitionTime": stamp(later(43))},
        ],
    )
    settlement = await settle(fake, change)
    assert settlement.state == "Settled"
    assert settlement.message == f"Job {change.target.name} completed in 42 s"
    assert settlement.facts == {"job": change.target.name, "seconds": "42"}


async def test_a_job_whose_pods_are_still_ending_is_not_over() -> None:
    for kind in ("SuccessCriteriaMet", "FailureTarget"):
        fake, change = await begun(conditions=[{"type": kind, "status": "True"}], active=0, terminating=1)
        assert (await settle(fake, change)).state == "Pending"


FAILED = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "it has reached\nthe limit"}


async def test_a_failed_job_says_why_and_how_its_last_container_ended_in_one_line() -> None:
    fake, change = await begun(conditions=[FAILED], failed=3)
    job = fake.at("Job", change.target.name)
    end = {"exitCode": 3, "reason": "Error", "message": "table users:\n7 rows missing"}
    fake.put(
        job_pod(job, "p", phase="Failed", terminated={"exitCode": 1, "message": "an earlier one"}),
        job_pod(job, "pp", phase="Failed", terminated=end),
    )
    settlement = await settle(fake, change)
    assert (settlement.state, settlement.reason) == ("Failed", "JobFailed")
    assert settlement.message == (
        f"Job {change.target.name} failed: BackoffLimitExceeded (it has reached the limit); "
        "pod pp: container main ended with exit code 3: table users: 7 rows missing"
    )


async def test_nothing_of_a_log_is_shown_where_the_kubelet_puts_it_in_place_of_the_message() -> None:
    fake, change = await begun(conditions=[FAILED], failed=1)
    job = fake.at("Job", change.target.name)
    end = {"exitCode": 137, "reason": "OOMKilled", "message": "password=hunter2"}
    fake.put(job_pod(job, "p", phase="Failed", terminated=end, terminationMessagePolicy="FallbackToLogsOnError"))
    message = (await settle(fake, change)).message
    assert "hunter2" not in message
    assert message.endswith("container main ended with exit code 137 (OOMKilled)")


async def test_an_evicted_pod_and_pods_of_others_are_told_apart() -> None:
    fake, change = await begun(conditions=[FAILED])
    job = fake.at("Job", change.target.name)
    evicted, foreign = job_pod(job, "p", phase="Failed"), job_pod(job, "pp", phase="Failed", terminated={"exitCode": 9})
    evicted["status"] = {"phase": "Failed", "reason": "Evicted"}
    foreign["metadata"]["ownerReferences"][0]["uid"] = "another"
    fake.put(evicted, foreign)
    assert (await settle(fake, change)).message.endswith("; pod p: Evicted")


async def test_a_running_job_says_how_far_it_is_and_what_is_in_its_way() -> None:
    fake, change = await begun(active=1, failed=1)
    job = fake.at("Job", change.target.name)
    stuck = job_pod(job, "pp", phase="Pending")
    stuck["status"]["containerStatuses"] = [{"name": "main", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]
    fake.put(job_pod(job, "p", phase="Failed", terminated={"exitCode": 2}), stuck)
    settlement = await settle(fake, change)
    assert settlement.state == "Pending"
    assert settlement.message == (
        f"Job {change.target.name}: 1 pods active, 1 failed (backoffLimit 2), 0 succeeded; "
        "pod p: container main ended with exit code 2; pod pp: container main ImagePullBackOff"
    )


async def test_a_suspended_job_and_one_with_many_completions_say_so() -> None:
    fake, change = await begun(active=2, succeeded=3)
    fake.at("Job", change.target.name)["spec"]["completions"] = 5
    assert "3 of 5 succeeded" in (await settle(fake, change)).message
    fake.at("Job", change.target.name)["spec"]["suspend"] = True
    assert "a person must resume it" in (await settle(fake, change)).message


async def test_the_pods_are_found_by_the_selector_that_the_api_server_gave_the_job() -> None:
    fake, change = await begun(conditions=[FAILED])
    job = fake.at("Job", change.target.name)
    job["spec"]["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}}
    part = job_pod(job, "p", phase="Failed", terminated={"exitCode": 4})
    part["metadata"]["labels"] = {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}
    fake.put(part)
    assert "exit code 4" in (await settle(fake, change)).message


async def test_a_job_that_was_deleted_before_it_was_seen_complete_has_failed() -> None:
    fake, change = await begun(active=1)
    fake.take("Job", "shop", change.target.name)
    settlement = await settle(fake, change)
    assert (settlement.state, settlement.reason) == ("Failed", "JobGone")
    assert "a step with another name runs it again" in settlement.message
    assert await standing_of(fake, change, RUN) is Standing.GONE


async def test_nothing_is_undone_and_the_job_is_kept() -> None:
    fake, change = await begun(succeeded=1)
    assert await put_back(fake, (change,), RUN) == []
    assert fake.at("Job", change.target.name)
    assert (RUN.release, RUN.reversible) == (Release.NEVER, False)
