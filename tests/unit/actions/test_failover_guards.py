"""failover leaves alone what changed meanwhile, and does nothing twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from incident_operator.faults import Conflict, Refused
from incident_operator.planning.plan import EntryState, Standing
from unit.actions.objects import done
from unit.actions.test_failover import (
    ACTION,
    NEW,
    OLD,
    a_cluster,
    a_database,
    begun,
    ends,
    look,
    planned,
    promotion,
    replica,
)

Edit = Callable[[dict[str, Any]], Any]


def selecting(labels: dict[str, str]) -> Edit:
    return lambda service: service["spec"].__setitem__("selector", dict(labels))


@pytest.mark.parametrize(
    "edit",
    [
        lambda pod: pod["status"].__setitem__("phase", "Failed"),
        lambda pod: pod["status"].__setitem__("phase", "Pending"),
        lambda pod: pod["metadata"].__setitem__("deletionTimestamp", "2026-11-23T10:00:00Z"),
    ],
    ids=["ended", "not begun", "leaving"],
)
async def test_a_pod_that_does_not_run_is_no_replica(edit: Edit) -> None:
    fake = a_database()
    fake.edit("Pod", "shop", "db-replica-0", edit)
    with pytest.raises(Refused, match="that runs") as caught:
        await planned(fake)
    assert caught.value.reason == "NoReplica"


async def test_a_service_that_a_controller_would_point_back_is_refused() -> None:
    fake = a_database()
    owner = {"apiVersion": "x/v1", "kind": "Database", "name": "db", "uid": "u", "controller": True}
    fake.edit("Service", "shop", "db", lambda it: it["metadata"].__setitem__("ownerReferences", [owner]))
    with pytest.raises(Refused, match="make the change on Database db"):
        await planned(fake)


async def test_a_service_that_selects_the_replica_already_runs_no_job_a_second_time() -> None:
    fake = a_database()
    fake.edit("Service", "shop", "db", selecting(NEW))
    (change,) = await planned(fake)
    entries = done([change])
    assert (change.request, change.traits, entries[0].state) == (None, (), EntryState.SKIPPED)
    assert "already" in change.summary
    found = await look(fake, entries)
    assert (found.state, found.message) == ("Settled", "the Job was not run; Service db selects app=db,role=replica")
    fake.take("Pod", "shop", "db-replica-0")
    fake.put(replica(ready=False))
    assert (await look(fake, entries)).state == "Pending"
    fake.edit("Service", "shop", "db", selecting(OLD))
    assert (await look(fake, entries)).reason == "Reverted"
    fake.take("Service", "shop", "db")
    assert (await look(fake, entries)).reason == "TargetGone"


async def test_a_service_that_was_pointed_elsewhere_while_the_job_ran_is_left_so_and_said() -> None:
    fake = a_database()
    entries = await begun(fake)
    fake.edit("Service", "shop", "db", selecting({"app": "third"}))
    ends(fake, entries, "Complete")
    found = await look(fake, entries)
    assert (found.state, found.reason, found.further) == ("Failed", "Reverted", ())
    assert "was changed to app=third" in found.message


async def test_a_service_that_was_made_anew_while_the_job_ran_is_not_taken_for_the_first() -> None:
    fake = a_database()
    entries = await begun(fake)
    fake.edit("Service", "shop", "db", lambda it: it["metadata"].__setitem__("uid", "another"))
    ends(fake, entries, "Complete")
    found = await look(fake, entries)
    assert (found.reason, found.further) == ("TargetGone", ())


async def test_a_person_who_was_faster_with_the_same_selector_is_no_trouble() -> None:
    fake = a_database()
    entries = await begun(fake)
    fake.edit("Service", "shop", "db", selecting(NEW))
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    assert follow.request is None
    assert (await look(fake, (*entries, *done([follow])))).state == "Settled"


async def test_a_change_between_the_look_and_the_write_is_not_overwritten() -> None:
    fake = a_database()
    entries = await begun(fake)
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    assert follow.request is not None
    fake.edit("Service", "shop", "db", selecting({"app": "third"}))
    with pytest.raises(Conflict):
        await fake.send(follow.request)
    assert ACTION.standing(follow, fake.at("Service", "db")) is Standing.OTHER


async def test_a_service_without_a_selector_gets_one() -> None:
    fake = a_database()
    fake.edit("Service", "shop", "db", lambda it: it["spec"].pop("selector"))
    entries = await begun(fake)
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    assert follow.request is not None
    await fake.send(follow.request)
    assert fake.at("Service", "db")["spec"]["selector"] == NEW


async def test_a_job_that_is_cleaned_up_after_the_service_followed_is_not_missed() -> None:
    fake = a_database()
    entries = await begun(fake)
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    assert follow.request is not None
    await fake.send(follow.request)
    fake.take("Job", "shop", entries[0].change.target.name)
    found = await look(fake, (*entries, *done([follow])))
    assert found.state == "Settled"
    assert found.facts == {"job": entries[0].change.target.name}


async def test_a_job_that_is_gone_before_it_was_seen_complete_leaves_the_service_alone() -> None:
    fake = a_database()
    entries = await begun(fake)
    fake.take("Job", "shop", entries[0].change.target.name)
    found = await look(fake, entries)
    assert (found.reason, found.further) == ("JobGone", ())


@pytest.mark.parametrize(
    ("target", "to", "words"),
    [
        ("pending", "", "fails over by itself already.*kubectl cnpg promote pg INSTANCE -n shop"),
        ("pending", "pg-2", "fails over by itself already"),
        ("pg-3", "pg-2", "promotes pg-3 already"),
        ("pg-3", "pg-1", "promotes pg-3 already"),
    ],
)
async def test_what_cloudnativepg_has_begun_is_not_overtaken(target: str, to: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        await promotion(a_cluster(targetPrimary=target, phase="Failing over"), **({"to": to} if to else {}))
    assert caught.value.reason == "FailoverUnderWay"


@pytest.mark.parametrize("form", [{}, {"to": "pg-3"}], ids=str)
async def test_the_same_promotion_under_way_is_waited_for_and_not_asked_for_again(form: dict[str, str]) -> None:
    fake, change = await promotion(a_cluster(targetPrimary="pg-3", phase="Switchover in progress"), **form)
    assert (change.request, change.after, change.traits) == (None, {"primary": "pg-3"}, ())
    entries = done([change])
    assert (await look(fake, entries)).state == "Pending"
    now = a_cluster(currentPrimary="pg-3", targetPrimary="pg-3")["status"]
    fake.edit("Cluster", "shop", "pg", lambda it: it.__setitem__("status", now))
    assert (await look(fake, entries)).state == "Settled"


@pytest.mark.parametrize("target", ["pending", "pg-3"])
async def test_a_failover_that_begins_after_the_plan_is_not_overwritten(target: str) -> None:
    fake, change = await promotion(a_cluster())
    assert change.request is not None
    fake.edit("Cluster", "shop", "pg", lambda it: it["status"].__setitem__("targetPrimary", target))
    with pytest.raises(Conflict):
        await fake.send(change.request)
    assert fake.at("Cluster", "pg")["status"]["targetPrimary"] == target
    assert ACTION.standing(change, fake.at("Cluster", "pg")) is Standing.OTHER


async def test_how_a_cluster_stands_to_its_promotion() -> None:
    _, change = await promotion(a_cluster())
    for status, standing in (
        ({}, Standing.BEFORE),
        ({"targetPrimary": "pg-2"}, Standing.AFTER),
        ({"currentPrimary": "pg-2", "targetPrimary": "pg-2"}, Standing.AFTER),
        ({"currentPrimary": "pg-2", "targetPrimary": "pg-3"}, Standing.OTHER),
        ({"currentPrimary": "pg-3", "targetPrimary": "pg-3"}, Standing.OTHER),
    ):
        assert ACTION.standing(change, a_cluster(**status)) is standing, status
    assert ACTION.standing(change, None) is Standing.GONE


async def test_a_primary_that_is_left_again_at_once_is_not_settled() -> None:
    fake, change = await promotion(a_cluster())
    now = a_cluster(currentPrimary="pg-2", targetPrimary="pg-3")["status"]
    fake.edit("Cluster", "shop", "pg", lambda it: it.__setitem__("status", now))
    assert (await look(fake, done([change]))).reason == "Reverted"


async def test_the_replica_on_the_newest_timeline_is_chosen() -> None:
    told = {"pg-2": {"isPrimary": False, "timeLineID": 3}, "pg-3": {"isPrimary": False, "timeLineID": 4}}
    _, change = await promotion(a_cluster(instancesReportedState=told))
    assert change.after == {"primary": "pg-3"}


async def test_a_cluster_whose_primary_nobody_knows_gets_one() -> None:
    fake, change = await promotion(a_cluster(currentPrimary="", targetPrimary=""))
    fake.edit(
        "Cluster", "shop", "pg", lambda it: [it["status"].pop(key) for key in ("currentPrimary", "targetPrimary")]
    )
    assert change.request is not None
    await fake.send(change.request)
    assert fake.at("Cluster", "pg")["status"]["targetPrimary"] == "pg-1"
