"""job: the newest Job of a CronJob since the last action, with the reason of its failure and nothing of its logs."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.checks.job import JobVerdict
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Stalled
from incident_operator.planning.plan import Finding, Verdict
from unit.actions.objects import later
from unit.checks.test_asking import a_job


async def look(*jobs: dict[str, Any], fake: FakeCluster | None = None) -> Finding:
    return await JobVerdict().look(fake or FakeCluster(*jobs), "shop", (), {"cronJob": "integrity"}, since=later(0))


async def test_a_failure_says_its_reason_and_no_more() -> None:
    job = a_job("a", 5, "Failed")
    job["status"]["conditions"][0] |= {"reason": "BackoffLimitExceeded", "message": "password=hunter2"}
    found = await look(job)
    assert (found.verdict, found.message) == (Verdict.FAIL, "Job a has failed: BackoffLimitExceeded")
    assert (await look(a_job("a", 5, "Failed"))).message == "Job a has failed: no reason given"


@pytest.mark.parametrize("kind", ["SuccessCriteriaMet", "FailureTarget", "Suspended"])
async def test_a_condition_that_comes_before_the_end_is_not_it(kind: str) -> None:
    assert (await look(a_job("a", 5, kind))).verdict is Verdict.UNKNOWN


async def test_a_condition_that_is_not_true_says_nothing() -> None:
    job = a_job("a", 5, "Complete")
    job["status"]["conditions"][0]["status"] = "False"
    assert (await look(job)).verdict is Verdict.UNKNOWN


async def test_a_job_of_nobody_and_of_another_kind_do_not_count() -> None:
    alone, other = a_job("a", 5, "Complete"), a_job("b", 5, "Complete")
    del alone["metadata"]["ownerReferences"]
    other["metadata"]["ownerReferences"][0]["kind"] = "Other"
    found = await look(alone, other)
    assert (found.verdict, found.message) == (Verdict.UNKNOWN, "no Job of CronJob integrity was made since 10:00:00")


async def test_what_may_not_be_seen_is_unknown() -> None:
    fake = FakeCluster(a_job("a", 5, "Complete"))
    fake.fail(Stalled("Forbidden", "may not list jobs"), lasting=True, of=lambda call: call.ref.kind == "Job")
    found = await look(fake=fake)
    assert (found.verdict, found.message) == (Verdict.UNKNOWN, "Forbidden: may not list jobs")
