"""runJob, snapshotVolumes and restore use the rights that they declare, and no others."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.actions.contract import Action
from incident_operator.actions.restore import EVERY, PER_FORM, Restore
from incident_operator.actions.run_job import RunJob
from incident_operator.actions.snapshot_volumes import SnapshotVolumes
from incident_operator.cluster.fake import Call, FakeCluster
from incident_operator.cluster.resources import RESOURCES, resource
from unit.actions.objects import later, pod, stamp, workload
from unit.actions.restoring import (
    GROUPS,
    RESTORE,
    claim,
    cron_job,
    database,
    made,
    make,
    mounted,
    plan,
    put_back,
    settle,
    snapshot,
)

Object = dict[str, Any]
CNPG = "postgresql.cnpg.io/v1"
POSTGRES = made("Cluster", "pg", CNPG, spec={"instances": 1, "storage": {"size": "1Gi"}})
BASE = made("Backup", "base", CNPG, spec={"cluster": {"name": "pg"}}, status={"phase": "completed"})
DAILY = made("VeleroBackup", "daily", "velero.io/v1", namespace="velero", spec={}, status={"phase": "Completed"})
DUMPED = {**cron_job(), "status": {"lastSuccessfulTime": stamp(later(-3600))}}
VOLUME: Object = {"volume": {"claim": "data", "snapshot": "nightly"}}
ASKED: dict[str, list[tuple[Object, Object]]] = {
    "runJob": [(workload(), {"cronJob": "dump"})],
    "snapshotVolumes": [
        (database(), {}),
        (database("StatefulSet"), {}),
        (pod(None, "bare", spec=mounted()["spec"]), {}),
    ],
    "restore": [
        (database(), VOLUME),
        (database("StatefulSet"), VOLUME),
        (workload(), {"velero": {"backup": "daily"}}),
        (POSTGRES, {"cloudNativePG": {"backup": "base"}}),
        (workload(), {"job": {"cronJob": "dump", "dumpedBy": "dump"}}),
    ],
}


async def used_by(action: Action, thing: Object, params: Object) -> set[tuple[str, str, str]]:
    """Every right that an action uses from its plan to its release, as the API server would ask for it."""
    used = set()
    fake = FakeCluster(thing, claim(), snapshot(), DUMPED, BASE, DAILY, groups=GROUPS)

    def see(call: Call) -> None:
        found = resource(call.ref.kind)
        used.add((found.group, found.plural, call.verb))

    if thing["kind"] == "StatefulSet":
        fake.at("StatefulSet", "db")["status"] = {"observedGeneration": 9, "updateRevision": "db-h2"}
        fake.put(pod(thing, "db-0", 1, ready=False))
    fake.on_call(see)
    changes = await make(fake, await plan(fake, thing, params, action))
    further = (await settle(fake, changes, action, seconds=60)).further
    await put_back(fake, (*changes, *further), action)
    await make(fake, further)
    return used


@pytest.mark.parametrize("action", [RunJob(), SnapshotVolumes(), RESTORE], ids=lambda action: action.name)
async def test_the_declared_rights_are_sufficient_and_necessary(action: Action) -> None:
    used = set()
    for thing, params in ASKED[action.name]:
        used |= await used_by(action, thing, params)
    declared = {(rule.group, what, verb) for rule in action.rules for what in rule.resources for verb in rule.verbs}
    assert used == declared
    assert all(rule.why for rule in action.rules)


@pytest.mark.parametrize("action", [RunJob(), SnapshotVolumes(), Restore()], ids=lambda action: action.name)
def test_who_asks_must_be_allowed_what_is_made_for_them(action: Action) -> None:
    assert set(action.asks) == set(action.kinds)
    rules = [rule for found in action.asks.values() for rule in found]
    assert all(len(rule.resources) == len(rule.verbs) == 1 for rule in rules), "one right a rule"
    assert all(rule.verbs[0] in ("create", "patch") for rule in rules)
    assert action.kinds <= set(RESOURCES)


def test_every_form_of_restore_works_on_kinds_that_restore_works_on() -> None:
    assert set().union(*PER_FORM.values()) == Restore.kinds
    assert Restore.forms.keys() == {*PER_FORM, "verifyIntegrity"}
    assert all(set(EVERY) <= set(rules) for rules in Restore.asks.values())
