"""failover: a Job promotes the replica and the Service follows; a CloudNativePG Cluster promotes an instance."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from incident_operator.actions import failover_patroni
from incident_operator.actions.failover import Failover
from incident_operator.cluster.fake import Call, FakeCluster
from incident_operator.cluster.resources import resource
from incident_operator.engine.rights import needed
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Entry, EntryState, Release, Settlement, Standing
from unit.actions.objects import OCCASION, SINCE, created, done, later, pod, target, workload
from unit.actions.restoring import cron_job

NEW = {"app": "db", "role": "replica"}
OLD = {"app": "db", "role": "primary"}
BY_JOB: dict[str, Any] = {"job": {"cronJob": "promote", "service": "db", "selector": NEW}}
ACTION = Failover(clock=lambda: SINCE)


def service(selector: dict[str, str] = OLD) -> dict[str, Any]:
    meta = {"name": "db", "namespace": "shop", "uid": "service-uid"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": dict(selector)}}


def replica(*, ready: bool = True) -> dict[str, Any]:
    made = pod(workload("StatefulSet", "db-replica"), "db-replica-0", ready=ready)
    made["metadata"]["labels"] |= NEW
    return made


def a_database(*more: dict[str, Any], ready: bool = True) -> FakeCluster:
    return FakeCluster(
        workload("StatefulSet", "db-replica"), service(), replica(ready=ready), cron_job("promote"), *more
    )


async def planned(fake: FakeCluster, params: dict[str, Any] | None = None) -> tuple[Change, ...]:
    return await ACTION.plan(fake, OCCASION, target(workload("StatefulSet", "db-replica")), params or BY_JOB)


async def begun(fake: FakeCluster) -> tuple[Entry, ...]:
    """The Job is made."""
    (change,) = await planned(fake)
    assert change.request is not None
    return done([created(change, await fake.send(change.request))])


def ends(fake: FakeCluster, entries: tuple[Entry, ...], how: str) -> None:
    status = {"conditions": [{"type": how, "status": "True", "reason": "BackoffLimitExceeded"}]}
    fake.edit("Job", "shop", entries[0].change.target.name, lambda job: job.__setitem__("status", status))


async def look(fake: FakeCluster, entries: tuple[Entry, ...]) -> Settlement:
    return await ACTION.settle(fake, entries, since=SINCE, now=later(60))


async def test_the_service_follows_only_when_the_job_has_completed() -> None:
    fake = a_database()
    entries = await begun(fake)
    waiting = await look(fake, entries)
    assert (waiting.state, waiting.further) == ("Pending", ())
    ends(fake, entries, "Complete")
    found = await look(fake, entries)
    (follow,) = found.further
    assert found.state == "Pending"
    assert follow.request is not None
    assert fake.at("Service", "db")["spec"]["selector"] == OLD, "nothing is written by looking"
    await fake.send(follow.request)
    assert fake.at("Service", "db")["spec"]["selector"] == NEW
    after = await look(fake, (*entries, *done([follow])))
    assert (after.state, after.further) == ("Settled", ())


async def test_nothing_is_promoted_by_who_may_not_move_the_service_afterwards() -> None:
    assert ("patch", "Service", "", "shop") in needed(await planned(a_database()))


async def test_a_failed_job_leaves_the_service_alone() -> None:
    fake = a_database()
    entries = await begun(fake)
    ends(fake, entries, "Failed")
    found = await look(fake, entries)
    assert (found.state, found.reason, found.further) == ("Failed", "JobFailed", ())
    assert fake.at("Service", "db")["spec"]["selector"] == OLD


async def test_a_service_without_a_ready_pod_behind_it_is_waited_for() -> None:
    fake = a_database(ready=False)
    entries = await begun(fake)
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    assert follow.request is not None
    await fake.send(follow.request)
    found = await look(fake, (*entries, *done([follow])))
    assert (found.state, "no such pod is ready" in found.message) == ("Pending", True)


async def test_the_service_is_told_apart_and_never_pointed_back() -> None:
    fake = a_database()
    entries = await begun(fake)
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    assert follow.request is not None
    assert ACTION.standing(follow, service()) is Standing.BEFORE
    await fake.send(follow.request)
    now = fake.at("Service", "db")
    assert ACTION.standing(follow, now) is Standing.AFTER
    other = copy.deepcopy(now)
    other["spec"]["selector"] = {"app": "other"}
    assert ACTION.standing(follow, other) is Standing.OTHER
    assert ACTION.undo(follow, now) is None, "behind the old selector is a primary that lacks what was written since"
    assert ACTION.undo(entries[0].change, now) is None, "who the primary is, a person decides"
    assert Failover.release is Release.NEVER


async def test_a_selector_that_somebody_else_changed_is_said() -> None:
    fake = a_database()
    entries = await begun(fake)
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    found = await look(fake, (*entries, *done([follow])))
    assert (found.state, found.reason) == ("Failed", "Reverted")


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"job": {"cronJob": "promote", "service": "db", "selector": {"role": "nobody"}}}, "no pod of namespace shop"),
        ({"job": {"cronJob": "promote", "service": "db", "selector": {}}}, "needs service and selector"),
        ({"cloudNativePG": {}}, "asked for by failover.patroni or failover.job, not 'cloudNativePG'"),
        ({}, "asked for by failover.patroni or failover.job, not ''"),
    ],
)
async def test_what_could_not_take_over_is_refused_with_the_remedy(params: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused, match=words):
        await planned(a_database(), params or {"other": {}})


async def test_a_protected_service_is_left_alone() -> None:
    fake = a_database()
    fake.edit(
        "Service",
        "shop",
        "db",
        lambda it: it["metadata"].__setitem__("labels", {"incident-operator.dev/protected": "true"}),
    )
    with pytest.raises(Refused, match="Service shop/db"):
        await planned(fake)


def a_cluster(**status: Any) -> dict[str, Any]:
    given = {
        "currentPrimary": "pg-1",
        "targetPrimary": "pg-1",
        "phase": "Cluster in healthy state",
        "instanceNames": ["pg-1", "pg-2", "pg-3"],
        "instancesStatus": {"healthy": ["pg-1", "pg-3", "pg-2"]},
        **status,
    }
    meta = {"name": "pg", "namespace": "shop", "uid": "pg-uid", "annotations": {}}
    return {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": {}, "status": given}


async def promotion(cluster: dict[str, Any], **form: Any) -> tuple[FakeCluster, Change]:
    fake = FakeCluster(cluster, groups=("postgresql.cnpg.io",))
    (change,) = await ACTION.plan(fake, OCCASION, target(cluster), {"cloudNativePG": form})
    return fake, change


async def test_a_healthy_replica_is_promoted_and_settled_when_it_is_the_primary() -> None:
    fake, change = await promotion(a_cluster())
    assert change.after == {"primary": "pg-2"}
    assert change.request is not None
    assert change.request.subresource == "status"
    await fake.send(change.request)
    now = fake.at("Cluster", "pg")["status"]
    assert (now["targetPrimary"], now["phase"]) == ("pg-2", "Switchover in progress")
    assert ACTION.standing(change, fake.at("Cluster", "pg")) is Standing.AFTER
    assert (await look(fake, done([change]))).state == "Pending"
    fake.edit(
        "Cluster",
        "shop",
        "pg",
        lambda it: it.__setitem__("status", a_cluster(currentPrimary="pg-2", targetPrimary="pg-2")["status"]),
    )
    assert (await look(fake, done([change]))).state == "Settled"
    fake.edit("Cluster", "shop", "pg", lambda it: it.__setitem__("status", a_cluster()["status"]))
    assert (await look(fake, done([change]))).reason == "Reverted"


async def test_the_primary_of_now_needs_no_promotion() -> None:
    _, change = await promotion(a_cluster(), to="pg-1")
    assert change.request is None
    assert EntryState.SKIPPED is done([change])[0].state


@pytest.mark.parametrize(
    ("cluster", "form", "words"),
    [
        (a_cluster(instancesStatus={"healthy": ["pg-1"]}), {}, "no healthy replica"),
        (a_cluster(instancesStatus={}), {}, "no healthy replica"),
        (a_cluster(), {"to": "pg-9"}, "no instance pg-9; there are pg-1, pg-2, pg-3"),
    ],
)
async def test_nobody_is_promoted_who_is_not_there(cluster: dict[str, Any], form: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words):
        await promotion(cluster, **form)


@pytest.mark.parametrize(
    "mark",
    [
        {"cnpg.io/fencedInstances": '["*"]'},
        {"cnpg.io/hibernation": "on"},
        {"cnpg.io/reconciliationLoop": "disabled"},
        {"incident-operator.dev/protected": "true"},
    ],
)
async def test_a_cluster_that_would_not_do_it_is_refused(mark: dict[str, str]) -> None:
    cluster = a_cluster()
    cluster["metadata"]["annotations"] = mark
    with pytest.raises(Refused, match=next(iter(mark))):
        await promotion(cluster)


async def test_its_rights_are_those_it_declares() -> None:
    used: set[tuple[str, str, str]] = set()

    def note(call: Call) -> None:
        found = resource(call.ref.kind)
        plural = f"{found.plural}/{call.subresource}" if call.subresource else found.plural
        used.add((found.group, plural, call.verb))

    fake = a_database()
    fake.on_call(note)
    entries = await begun(fake)
    ends(fake, entries, "Complete")
    (follow,) = (await look(fake, entries)).further
    assert follow.request is not None
    await fake.send(follow.request)
    plain = workload("Deployment", "db-replica")
    other = FakeCluster(plain, service(), replica(), cron_job("promote"))
    other.on_call(note)
    await ACTION.plan(other, OCCASION, target(plain), BY_JOB)
    cnpg = FakeCluster(a_cluster(), groups=("postgresql.cnpg.io",))
    cnpg.on_call(note)
    (change,) = await ACTION.plan(cnpg, OCCASION, target(a_cluster()), {"cloudNativePG": {}})
    assert change.request is not None
    await cnpg.send(change.request)
    ours = [rule for rule in Failover.rules if rule not in failover_patroni.RULES]
    declared = {(rule.group, what, verb) for rule in ours for what in rule.resources for verb in rule.verbs}
    assert used == declared
