"""restore.job: how old the newest dump is, and what is checked before it, after it, and once more when it begins."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from incident_operator.actions.restore import Restore
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Fault, NotFound, Refused
from incident_operator.planning.plan import Change
from unit.actions.objects import a_cluster, later, stamp, workload
from unit.actions.restoring import (
    GROUPS,
    RESTORE,
    cron_job,
    database,
    move,
    plan,
    snapshot,
    with_data,
)
from unit.actions.test_restore_cnpg import backup as postgres_backup
from unit.actions.test_restore_cnpg import postgres
from unit.actions.test_restore_velero import backup as velero_backup

Object = dict[str, Any]
LOAD: Object = {"cronJob": "load", "dumpedBy": "dump"}


def dumped(hours: float | None, name: str = "dump") -> Object:
    done = {} if hours is None else {"lastSuccessfulTime": stamp(later(-3600 * hours))}
    return {**cron_job(name), "status": done}


async def planned(*objects: Object, **more: Any) -> Change:
    (change,) = await plan(a_cluster(cron_job("load"), *objects), workload(), {"job": {**LOAD, **more}})
    return change


async def test_a_dump_is_as_old_as_the_last_job_that_wrote_one() -> None:
    change = await planned(dumped(5), maxAge="5h")
    assert change.summary.endswith("run a Job made from CronJob load, from a dump 5 h 0 min old")
    assert change.traits == ("Irreversible",)
    assert any("CronJob shop/dump" in note for note in change.notes)


async def test_a_dump_that_is_too_old_is_refused_with_its_age_and_the_remedy() -> None:
    with pytest.raises(Refused) as caught:
        await planned(dumped(5), maxAge="4h59m")
    assert caught.value.reason == "BackupTooOld"
    assert "the newest dump of CronJob shop/dump" in caught.value.message
    assert "5 h 0 min ago, and maxAge is 4h59m; name a younger one, or allow more" in caught.value.message


@pytest.mark.parametrize("more", [{}, {"maxAge": "24h"}])
async def test_without_a_job_that_completed_there_is_no_dump_to_load(more: Object) -> None:
    with pytest.raises(Refused, match=r"status\.lastSuccessfulTime is not set.*restore\.job\.dumpedBy") as caught:
        await planned(dumped(None), **more)
    assert caught.value.reason == "NoBackup"


async def test_a_cron_job_that_is_not_there_writes_no_dumps() -> None:
    with pytest.raises(NotFound, match="dump"):
        await planned()


async def test_where_nobody_says_who_writes_the_dumps_the_plan_says_that_nobody_looks() -> None:
    (change,) = await plan(a_cluster(cron_job("load")), workload(), {"job": {"cronJob": "load"}})
    assert "how old what it loads is, is not looked at" in change.notes


def test_what_is_checked_before_and_after_are_parts_of_their_own_in_that_order() -> None:
    job = {**LOAD, "check": "check-dump"}
    given = {"job": job, "verifyIntegrity": "integrity"}
    assert list(RESTORE.parts(given)) == [
        ("check", {"job": {"cronJob": "check-dump"}}),
        ("", given),
        ("verify", {"job": {"cronJob": "integrity"}}),
    ]
    volume = {"volume": {"claim": "data"}, "verifyIntegrity": "integrity"}
    assert [end for end, _ in RESTORE.parts(volume)] == ["", "verify"]
    assert list(RESTORE.parts({"velero": {"backup": "daily"}})) == [("", {"velero": {"backup": "daily"}})]


def aging(hours: float) -> Restore:
    """The action so many hours after the plan was made."""
    return Restore(clock=lambda: later(3600 * hours))


async def recheck(fake: FakeCluster, changes: tuple[Change, ...], hours: float) -> str:
    """Why it is not good any more; empty if it is."""
    try:
        await aging(hours).recheck(fake, changes)
    except Fault as fault:
        return fault.reason
    return ""


def leaving(thing: Object) -> Object:
    return {**thing, "metadata": {**thing["metadata"], "deletionTimestamp": stamp(later(0)), "finalizers": ["x"]}}


FORMS: dict[str, tuple[FakeCluster, Object, Object, Object | None]] = {
    "volume": (
        with_data(),
        database(),
        {"volume": {"claim": "data", "snapshot": "nightly", "maxAge": "24h"}},
        leaving(snapshot()),
    ),
    "velero": (
        a_cluster(velero_backup(), groups=GROUPS),
        workload(),
        {"velero": {"backup": "daily", "maxAge": "24h"}},
        velero_backup(phase="Deleting"),
    ),
    "cloudNativePG": (
        a_cluster(postgres(), postgres_backup(), groups=GROUPS),
        postgres(),
        {"cloudNativePG": {"backup": "nightly", "maxAge": "24h"}},
        postgres_backup(phase="failed"),
    ),
    "job": (
        a_cluster(cron_job("load"), dumped(5)),
        workload(),
        {"job": {**LOAD, "maxAge": "24h"}},
        None,
    ),
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_backup_that_was_good_when_it_was_planned_is_looked_at_again(form: str) -> None:
    fake, thing, params, broken = FORMS[form]
    changes = await plan(fake, thing, params)
    stored = tuple(dataclasses.replace(each, request=None) for each in changes)  # what a restart leaves of a plan
    assert await recheck(fake, stored, 1) == ""
    assert await recheck(fake, stored, 25) == "BackupTooOld"
    if broken is not None:
        fake.put(broken)
        assert await recheck(fake, stored, 1) == "BackupIncomplete"


async def test_an_empty_volume_rests_on_no_backup() -> None:
    changes = await move(with_data())
    assert await recheck(a_cluster(), changes, 1000) == ""
