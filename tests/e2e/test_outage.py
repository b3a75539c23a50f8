"""Outages of an application with real state: a client writes rows all the while, and what was promised since stays."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import yaml

from incident_operator.demo.rows import Rows
from incident_operator.lab import Lab
from tests_support.cluster import ROOT, Namespace, OperatorProcess, incident
from tests_support.outage import bring_up, claim_of, manifests, psql, run_job
from tests_support.waiting import eventually
from tests_support.workloads import rollout

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]
ORDER = ["database", "api", "bot", "frontend", "auxiliary"]
COUNTS = {"api": 2, "bot": 1, "frontend": 1, "exporter": 1}
WITHIN = 240


@pytest.fixture
def shop(lab: Lab, namespace: Namespace) -> Namespace:
    """The application, ready, in a namespace with the responder."""
    bring_up(lab, namespace)
    return namespace


@pytest.fixture
def rows(shop: Namespace) -> Iterator[Rows]:
    """A client that writes all the while."""
    made = Rows(shop.kubectl.kubeconfig, shop.name, every=0.05)
    yield made
    made.close()


def example(file: str) -> dict[str, Any]:
    """A manifest of the examples, for whichever namespace it is put into."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "examples" / file).read_text())
    del found["metadata"]["namespace"]
    return found


def writes(rows: Rows, count: int) -> float:
    """Wait until so many more rows are acknowledged; when that was."""
    begun = time.time()
    eventually(lambda: len(rows.acknowledged(begun)) >= count, within=60, what=f"{count} acknowledged rows")
    return time.time()


def is_down(rows: Rows) -> None:
    eventually(lambda: rows.word() == "errors", within=90, what="the client to see errors only")


def replicas(namespace: Namespace) -> dict[str, int]:
    return {each["metadata"]["name"]: each["spec"]["replicas"] for each in namespace.list("deployments")}


def resolved(namespace: Namespace) -> Any:
    """The Incident once it is over, everything as many as before and each tier back after the one below."""
    done = namespace.await_condition("all-down", "Ready", within=WITHIN)
    assert done["status"]["phase"] == "Resolved"
    tiers = done["status"]["recovery"]["tiers"]
    assert [(tier["name"], tier["phase"]) for tier in tiers] == [(name, "Up") for name in ORDER]
    for below, above in itertools.pairwise(tiers):
        assert below["finishedAt"] <= above["startedAt"], f"{above['name']} began before {below['name']} was back"
    assert replicas(namespace) == COUNTS
    assert first_ready(namespace) == sorted(first_ready(namespace)), "first ready in the order of the tiers"
    return done


def first_ready(namespace: Namespace) -> list[datetime]:
    """For each workload, from the database up, when its pods of now were ready for the first time."""
    found = []
    for app in ("db", *COUNTS):
        times = [
            datetime.fromisoformat(condition["lastTransitionTime"])
            for pod in namespace.list("pods", f"app={app}")
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]
        found.append(min(times))
    return found


def stamp(done: Any, timer: str) -> float:
    """A timer of an Incident, in seconds; status has whole ones, so what happened in that second is left out."""
    return datetime.fromisoformat(done["status"]["timers"][timer]).timestamp() + 1


def test_a_database_whose_files_are_gone_comes_back_from_the_dump_and_all_else_after_it(
    shop: Namespace, rows: Rows, operator: OperatorProcess
) -> None:
    begun = writes(rows, 20)
    completed, said = run_job(shop, "dump", "dump-1")
    assert completed, said
    dumped = time.time()
    writes(rows, 20)
    old = claim_of(shop)
    shop("exec", "db-0", "--", "sh", "-c", 'rm -rf "$PGDATA"/base "$PGDATA"/global/pg_filenode.map')
    shop("delete", "pod", "db-0", "--grace-period=0", "--force")
    is_down(rows)
    broken = time.time()
    shop.apply(example("outage/recovery-plan.yaml"), example("incidents/outage.yaml"))
    done = resolved(shop)
    writes(rows, 20)
    rows.close()
    new = claim_of(shop)
    assert new != old
    assert shop.get("persistentvolumeclaim", old)["status"]["phase"] == "Bound", "the broken volume is kept"
    before = rows.loss(end=begun)
    assert before.acknowledged >= 20
    assert before.missing == (), "what the dump had is there"
    lost = rows.loss(dumped, broken)
    assert len(lost.missing) == lost.acknowledged > 0, f"what came after the dump is gone, and said so: {lost}"
    assert rows.loss(stamp(done, "restored")).missing == (), "no row acknowledged since is lost"
    assert next(word for _, word in rows.course()) == "normal"
    assert rows.word() in ("normal", "silence")
    kept = [entry for entry in done["status"]["ledger"] if entry["step"] == "database-new-volume"]
    assert {entry["release"] for entry in kept} == {"Never"}, (
        "nobody goes back to a broken volume by deleting the Incident"
    )


def test_a_corrupted_table_is_found_writes_are_stopped_and_it_is_restored_into_a_new_volume(
    shop: Namespace, rows: Rows, operator: OperatorProcess
) -> None:
    writes(rows, 20)
    completed, said = run_job(shop, "dump", "dump-1")
    assert completed, said
    psql(shop, "update rows set body = 'corrupted' where n <= 3")
    old = claim_of(shop)
    api = [{"kind": "Deployment", "name": "api"}]
    data = example("incidents/outage.yaml")
    data["spec"] |= {
        "type": "Data",
        "containment": [{"name": "stop-writes", "targets": api, "scale": {"replicas": 0}}],
        "remediation": [{"name": "look", "runJob": {"cronJob": "integrity"}, "onFailure": "Continue"}],
    }
    shop.apply(example("outage/recovery-plan.yaml"), data)
    done = resolved(shop)
    writes(rows, 20)
    rows.close()
    look = next(step for step in done["status"]["steps"] if step["name"] == "look")
    assert (look["phase"], look["reason"]) == ("Failed", "JobFailed"), "the Job has found it"
    integrity = next(step for step in done["status"]["steps"] if step["name"] == "database-integrity")
    assert integrity["phase"] == "Done", "and finds nothing after the restore"
    assert claim_of(shop) != old
    assert psql(shop, "select count(*) from rows where body = 'corrupted'") == "0"
    assert rows.loss(stamp(done, "restored")).missing == ()
    assert rows.acknowledged(stamp(done, "contained"), stamp(done, "contained") + 2) == [], "no write while contained"


def test_a_replica_takes_over_when_the_primary_is_gone_for_good(
    shop: Namespace, rows: Rows, operator: OperatorProcess
) -> None:
    shop.apply(*manifests(shop, "replica.yaml"))
    rollout(shop, "statefulset/db-replica", within=120)
    writes(rows, 20)
    before = time.time()
    eventually(lambda: received(shop) >= max(rows.acknowledged(end=before)), within=30, what="the replica to follow")
    selects = {"matchLabels": {"kubernetes.io/metadata.name": shop.name}}
    waived = [{"name": "by-itself", "when": ["Destructive"], "count": 0}]
    spec = {"namespaceSelector": selects, "approvals": waived}
    policy = {"kind": "ResponsePolicy", "metadata": {"name": shop.name}, "spec": spec}
    shop.apply({"apiVersion": "incident-operator.dev/v1alpha1", **policy})
    shop("scale", "statefulset/db", "--replicas=0")
    is_down(rows)
    replica = [{"kind": "StatefulSet", "name": "db-replica"}]
    job = {"cronJob": "promote", "service": "db", "selector": {"app": "db", "role": "replica"}}
    check = {"name": "writes", "http": {"service": "api", "port": "http", "path": "/rows/max"}, "for": "2s"}
    steps = [{"name": "take-over", "failover": {"job": job}}]
    shop.apply(incident("lost", targets=replica, remediation=steps, verification=[check]))
    try:
        done = shop.await_condition("lost", "Ready", within=WITHIN)
    finally:
        shop.kubectl("delete", "responsepolicy", shop.name)
    assert done["status"]["phase"] == "Resolved"
    assert shop.get("service", "db")["spec"]["selector"] == {"app": "db", "role": "replica"}
    assert psql(shop, "select pg_is_in_recovery()", pod="db-replica-0") == "f"
    writes(rows, 20)
    rows.close()
    assert rows.loss(end=before).missing == (), "what the replica had received is there"
    assert rows.loss(stamp(done, "resolved")).missing == ()


def received(namespace: Namespace) -> int:
    """The highest row that the replica has."""
    return int(psql(namespace, "select coalesce(max(n), 0) from rows", pod="db-replica-0"))
