"""restore.volume, once it is written: when it is settled, and what keeps it from it."""

from __future__ import annotations

from incident_operator.cluster.fake import FakeCluster
from incident_operator.planning.plan import Standing
from unit.actions.objects import done, later, pod, stamp
from unit.actions.restoring import (
    RESTORE,
    database,
    make,
    mounted,
    move,
    settle,
    settle_entries,
    standing_of,
    with_data,
)

CLAIM = "PersistentVolumeClaim"


def ready(fake: FakeCluster, kind: str = "Deployment") -> None:
    """The workload's controller has replaced all pods."""
    there = fake.at(kind, "db")
    there["status"] = {
        "observedGeneration": there["metadata"]["generation"],
        **dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "readyReplicas"), 2),
    }


async def test_it_is_settled_when_the_claim_is_bound_and_the_workload_ready() -> None:
    fake = with_data()
    changes = await make(fake, await move(fake))
    name = changes[0].target.name
    settlement = await settle(fake, changes)
    assert settlement.state == "Pending"
    assert f"claim {name} is Pending: kubectl describe pvc {name}" in settlement.message
    assert "the controller has not seen the change yet" in settlement.message
    ready(fake)
    assert (await settle(fake, changes)).state == "Pending", "the pods may still be those of before"
    fake.at(CLAIM, name)["status"] = {"phase": "Bound"}
    settlement = await settle(fake, changes)
    assert settlement.state == "Settled"
    assert settlement.facts == {"claim": name}


async def test_a_workload_without_replicas_does_not_wait_for_a_claim_that_waits_for_its_pod() -> None:
    fake = with_data(database(replicas=0))
    changes = await make(fake, await move(fake))
    fake.at("Deployment", "db")["status"] = {"observedGeneration": 9}
    settlement = await settle(fake, changes)
    assert settlement.state == "Settled"
    assert "bound only when a pod needs it" in settlement.message


async def test_a_claim_that_is_lost_or_gone_has_failed() -> None:
    fake = with_data()
    changes = await make(fake, await move(fake))
    fake.at(CLAIM, changes[0].target.name)["status"] = {"phase": "Lost"}
    assert (await settle(fake, changes)).reason == "ClaimLost"
    fake.take(CLAIM, "shop", changes[0].target.name)
    assert (await settle(fake, changes)).reason == "ClaimGone"


async def test_a_workload_that_is_put_back_by_somebody_else_has_failed() -> None:
    fake = with_data()
    changes = await make(fake, await move(fake))
    fake.at(CLAIM, changes[0].target.name)["status"] = {"phase": "Bound"}
    fake.at("Deployment", "db")["spec"]["template"]["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"] = "data"
    settlement = await settle(fake, changes)
    assert (settlement.state, settlement.reason) == ("Failed", "Reverted")
    assert "put back to the volume that it had before" in settlement.message
    fake.take("Deployment", "shop", "db")
    assert (await settle(fake, changes)).reason == "TargetGone"


async def test_the_crashing_pod_with_the_old_volume_that_blocks_a_stateful_set_is_deleted_once() -> None:
    fake = with_data(kind="StatefulSet")
    changes = await make(fake, await move(fake, "StatefulSet"))
    fake.at(CLAIM, changes[0].target.name)["status"] = {"phase": "Bound"}
    thing = fake.at("StatefulSet", "db")
    thing["status"] = {
        "observedGeneration": 9,
        "updateRevision": "db-h2",
        "currentRevision": "db-h1",
        "readyReplicas": 0,
    }
    fake.put(pod(thing, "db-0", 1, ready=False, waiting="CrashLoopBackOff", spec=mounted("data")["spec"]))
    assert (await settle(fake, changes, seconds=19)).further == ()
    settlement = await settle(fake, changes, seconds=21)
    assert settlement.state == "Pending"
    (further,) = settlement.further
    assert (further.key, further.request and further.request.verb) == ("Pod/db-0", "delete")
    assert "blocks the change to the restored volume" in further.summary
    assert RESTORE.standing(further, fake.at("Pod", "db-0")) is Standing.BEFORE
    await make(fake, (further,))
    assert await standing_of(fake, further) is Standing.GONE
    fake.put(pod(thing, "db-0", 1, ready=False, spec=mounted("data")["spec"]))
    again = await settle_entries(fake, done((*changes, further)), seconds=60)
    assert again.further == ()
    assert "came back with the old revision" in again.message


async def test_a_pod_that_is_being_deleted_stands_as_wanted() -> None:
    fake = with_data(kind="StatefulSet")
    thing = fake.at("StatefulSet", "db")
    changes = await make(fake, await move(fake, "StatefulSet"))
    thing = fake.at("StatefulSet", "db")
    thing["status"] = {"observedGeneration": 9, "updateRevision": "db-h2"}
    fake.put(pod(thing, "db-0", 1, ready=False))
    (further,) = (await settle(fake, changes, seconds=60)).further
    fake.at("Pod", "db-0")["metadata"]["deletionTimestamp"] = stamp(later(60))
    assert await standing_of(fake, further) is Standing.AFTER
    assert RESTORE.undo(further, fake.at("Pod", "db-0")) is None
