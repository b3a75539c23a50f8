"""restore.velero, restore.job and the choice of a form."""

from __future__ import annotations

import re
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import NotFound, Refused, Stalled
from incident_operator.planning.plan import Change, Standing
from unit.actions.objects import a_cluster, later, stamp, target, workload
from unit.actions.restoring import (
    GROUPS,
    RESTORE,
    cron_job,
    made,
    make,
    plan,
    put_back,
    settle,
    standing_of,
    unknown_uid,
)

Object = dict[str, Any]
KIND = "Restore"


def backup(name: str = "daily", *, namespace: str = "velero", spec: Any = None, **status: Any) -> Object:
    seen = {"phase": "Completed", "completionTimestamp": stamp(later(-5 * 3600)), **status}
    return made("VeleroBackup", name, "velero.io/v1", namespace=namespace, spec=spec or {}, status=seen)


async def planned(fake: FakeCluster, **velero: Any) -> Change:
    (change,) = await plan(fake, workload(), {"velero": {"backup": "daily", **velero}})
    return change


def cluster(*objects: Object) -> FakeCluster:
    return a_cluster(*(objects or (backup(),)), groups=GROUPS)


async def test_a_restore_object_in_veleros_namespace_limited_to_that_of_the_incident() -> None:
    change = await planned(cluster())
    assert (change.target.kind, change.target.namespace) == (KIND, "velero")
    assert change.request is not None
    body = change.request.body
    assert body["apiVersion"] == "velero.io/v1"
    assert body["metadata"]["namespace"] == "velero"
    assert body["metadata"]["labels"][names.INCIDENT_UID] == "incident-uid-1"
    assert body["spec"] == {
        "backupName": "daily",
        "includedNamespaces": ["shop"],
        "existingResourcePolicy": "none",
    }
    assert "Velero backup velero/daily, 5 h 0 min old" in change.summary
    assert any("Velero overwrites nothing" in note for note in change.notes)
    assert change.traits == ("Irreversible",), "a policy may ask a person for it"


async def test_velero_may_run_in_another_namespace() -> None:
    change = await planned(cluster(backup(namespace="backup")), namespace="backup")
    assert change.target.namespace == "backup"
    with pytest.raises(NotFound):
        await planned(cluster(backup(namespace="backup")))


@pytest.mark.parametrize(
    "phase", ["", "New", "InProgress", "Finalizing", "PartiallyFailed", "Failed", "FailedValidation", "Deleting"]
)
async def test_a_backup_that_is_not_completed_is_refused_with_its_counts(phase: str) -> None:
    with pytest.raises(Refused, match=f"phase is {phase or 'New'}, 3 errors, 0 warnings") as caught:
        await planned(cluster(backup(phase=phase, errors=3)))
    assert caught.value.reason == "BackupIncomplete"


@pytest.mark.parametrize(("most", "fits"), [("5h", True), ("4h59m", False)])
async def test_a_backup_that_is_too_old_is_refused(most: str, fits: bool) -> None:
    if fits:
        assert await planned(cluster(), maxAge=most)
        return
    with pytest.raises(Refused, match="5 h 0 min ago") as caught:
        await planned(cluster(), maxAge=most)
    assert caught.value.reason == "BackupTooOld"


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"includedNamespaces": ["*"]}, True),
        ({"includedNamespaces": ["bank", "sh?p"]}, True),
        ({"includedNamespaces": ["bank"]}, False),
        ({"includedNamespaces": ["*"], "excludedNamespaces": ["shop"]}, False),
    ],
)
async def test_a_backup_without_the_namespace_in_it_is_refused(spec: Any, fits: bool) -> None:
    fake = cluster(backup(spec=spec))
    if fits:
        assert await planned(fake)
        return
    with pytest.raises(Refused, match="namespace shop is not in it") as caught:
        await planned(fake)
    assert caught.value.reason == "BackupOfOthers"


async def test_a_cluster_without_velero_is_refused() -> None:
    with pytest.raises(Refused, match=r"does not serve velero\.io; install Velero, or restore by a Job") as caught:
        await planned(a_cluster(backup()))
    assert caught.value.reason == "NotServed"


async def test_a_retry_restores_once() -> None:
    fake = cluster()
    first = await planned(fake)
    assert await standing_of(fake, first) is Standing.BEFORE
    await make(fake, (first,))
    again = await planned(fake)
    assert again.request == first.request
    with pytest.raises(Stalled, match="already exists"):
        await make(fake, (again,))
    assert await standing_of(fake, unknown_uid(again)) is Standing.AFTER


async def begun(**status: Any) -> tuple[FakeCluster, Change]:
    fake = cluster()
    (change,) = await make(fake, (await planned(fake),))
    fake.at(KIND, change.target.name, "velero")["status"] = status
    return fake, change


@pytest.mark.parametrize(
    "phase",
    ["", "New", "InProgress", "WaitingForPluginOperations", "WaitingForPluginOperationsPartiallyFailed", "Finalizing"],
)
async def test_a_restore_that_runs_is_waited_for(phase: str) -> None:
    fake, change = await begun(phase=phase, progress={"totalItems": 40, "itemsRestored": 7})
    settlement = await settle(fake, (change,))
    assert settlement.state == "Pending"
    assert settlement.message.endswith(f"is {phase or 'New'}, 7 of 40 items")


async def test_a_completed_restore_is_settled_with_its_warnings() -> None:
    fake, change = await begun(phase="Completed", warnings=2)
    settlement = await settle(fake, (change,))
    assert settlement.state == "Settled"
    assert settlement.message.endswith("is Completed: 0 errors, 2 warnings")


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"phase": "PartiallyFailed", "errors": 4, "warnings": 1}, "is PartiallyFailed, 4 errors, 1 warnings; see"),
        ({"phase": "Failed", "failureReason": "no object store"}, "0 warnings: no object store; see"),
        ({"phase": "FailedValidation", "validationErrors": ["a", "b"]}, "is FailedValidation, 0 errors.*: a; b; see"),
    ],
)
async def test_every_other_end_is_a_failure_with_counts_and_where_to_look(status: Any, why: str) -> None:
    fake, change = await begun(**status)
    settlement = await settle(fake, (change,))
    assert (settlement.state, settlement.reason) == ("Failed", "RestoreFailed")
    assert f"velero restore describe {change.target.name} --details -n velero" in settlement.message
    assert re.search(why, settlement.message)


async def test_a_restore_object_that_is_deleted_has_failed_and_one_that_is_done_is_kept() -> None:
    fake, change = await begun(phase="Completed")
    assert await put_back(fake, (change,)) == []
    fake.take(KIND, "velero", change.target.name)
    assert (await settle(fake, (change,))).reason == "RestoreGone"


async def test_a_job_restores_like_any_other_job_and_cannot_be_taken_back() -> None:
    fake = a_cluster(cron_job("load"))
    changes = await plan(fake, workload(), {"job": {"cronJob": "load"}})
    assert changes[0].traits == ("Irreversible",)
    (change,) = await make(fake, changes)
    fake.at("Job", change.target.name)["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    assert (await settle(fake, (change,))).state == "Settled"
    assert await standing_of(fake, change) is Standing.AFTER
    assert await put_back(fake, (change,)) == []


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"velero": {"backup": "daily"}, "job": {"cronJob": "load"}},
        {"velero": None},
        {"velero": {"namespace": "velero"}},
        {"volume": {}},
    ],
)
async def test_exactly_one_form_with_its_name_must_be_given(params: Any) -> None:
    with pytest.raises(Refused) as caught:
        await plan(a_cluster(workload(), groups=GROUPS), workload(), params)
    assert caught.value.reason == "Invalid"
    assert "restore" in caught.value.message


@pytest.mark.parametrize(("form", "kind"), [("volume", "DaemonSet"), ("cloudNativePG", "StatefulSet")])
async def test_each_form_says_which_kinds_it_works_on(form: str, kind: str) -> None:
    with pytest.raises(Refused, match=rf"restore\.{form} works on .*, not on {kind} shop/api"):
        await plan(a_cluster(), workload(kind), {form: {"claim": "x", "backup": "x"}})
    assert target(workload(kind)).kind in RESTORE.kinds
