"""The application with real state, by itself and by hand: no operator, only kubectl and what the manifests have."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from incident_operator.demo.rows import Rows
from incident_operator.lab import Lab
from tests_support.cluster import Kubectl, Namespace
from tests_support.outage import ask, bring_up, claim_of, manifests, psql, run_job
from tests_support.waiting import eventually
from tests_support.workloads import rollout

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]


@pytest.fixture(scope="module")
def shop(lab: Lab, kubectl: Kubectl, real_pods: None) -> Iterator[Namespace]:
    """The application, ready."""
    made = Namespace.create(kubectl)
    bring_up(lab, made)
    yield made
    made.delete()


def written(namespace: Namespace, count: int = 20) -> Rows:
    """A client that has got so many rows acknowledged, beyond those that are there, and has stopped writing."""
    highest = eventually(lambda: ask(namespace, "/rows/max"), within=60, what="the highest row, of the frontend")
    rows = Rows(namespace.kubectl.kubeconfig, namespace.name, first=highest["max"] + 1, every=0.02)
    try:
        eventually(lambda: len(rows.acknowledged()) >= count, within=60, what=f"{count} acknowledged rows")
    finally:
        rows.close()
    return rows


def test_rows_are_written_and_read_back_through_frontend_api_and_database(shop: Namespace) -> None:
    rows = written(shop)
    assert {each.door for each in rows.answers if each.is_acknowledged} == {"api:http", "frontend:http"}
    assert rows.loss().missing == ()
    assert ask(shop, "/rows/max")["max"] == max(rows.acknowledged())
    assert int(psql(shop, "select count(*) from rows")) >= len(rows.acknowledged())
    gone = rows.acknowledged()[3]
    assert psql(shop, "delete from rows where n = :n returning n", n=gone) == str(gone)
    assert rows.loss().missing == (gone,), "a lost row is said by its number"


def test_a_database_that_is_killed_by_force_comes_back_with_every_acknowledged_row(shop: Namespace) -> None:
    highest = eventually(lambda: ask(shop, "/rows/max"), within=60, what="the highest row, of the frontend")["max"]
    rows = Rows(shop.kubectl.kubeconfig, shop.name, first=highest + 1)
    try:
        eventually(lambda: rows.word() == "normal", within=60, what="rows to be acknowledged by both doors")
        shop("delete", "pod", "db-0", "--force", "--grace-period=0")
        eventually(lambda: rows.word() == "errors", within=60, what="the client to see it")
        eventually(lambda: rows.word() == "normal", within=60, what="the client to be served again")
    finally:
        rows.close()
    assert rows.loss().missing == ()
    second = shop.run("exec", "db-0", "--", "timeout", "-s", "KILL", "2", "/app")
    assert "starting PostgreSQL" not in second.stdout + second.stderr, "two servers never run on the same files"
    assert psql(shop, "select 1") == "1"


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_what_asks_the_api_counts_its_answers_and_shows_the_highest_row(shop: Namespace) -> None:
    rows = written(shop, 1)
    pod = shop.list("pods", "app=exporter")[0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{shop.name}/pods/{pod}:8080/proxy/metrics"

    def metrics() -> dict[str, str]:
        lines = shop.kubectl("get", "--raw", path).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    eventually(lambda: metrics().get("rows_max") == str(max(rows.acknowledged())), within=20, what="rows_max")
    assert int(metrics()['http_requests_total{code="200",version=""}']) > 0


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_the_integrity_job_finds_a_row_and_an_index_that_are_not_as_they_were_written(shop: Namespace) -> None:
    rows = written(shop)
    assert run_job(shop, "integrity", "integrity-before") == (True, "rows whose checksum does not hold: 0\n")
    changed = rows.acknowledged()[0]
    psql(shop, "update rows set body = 'changed' where n = :n", n=changed)
    completed, said = run_job(shop, "integrity", "integrity-changed")
    assert not completed
    assert "rows whose checksum does not hold: 1" in said
    psql(shop, "delete from rows where n = :n", n=changed)
    assert run_job(shop, "integrity", "integrity-after")[0]
    # The index forgets a row that the table has; nobody writes pg_index by hand but to break something.
    psql(shop, "update pg_index set indisready = false where indexrelid = 'rows_pkey'::regclass")
    psql(shop, "insert into rows (n, body, sum) values (0, 'x', encode(sha256('0:x'), 'hex'))")
    psql(shop, "update pg_index set indisready = true where indexrelid = 'rows_pkey'::regclass")
    completed, said = run_job(shop, "integrity", "integrity-index")
    assert not completed
    assert "rows_pkey" in said
    psql(shop, "delete from rows where body = 'x'; reindex table rows")
    assert run_job(shop, "integrity", "integrity-mended")[0]


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_a_dump_is_restored_into_a_fresh_volume_and_the_old_one_is_kept(shop: Namespace) -> None:
    before = written(shop)
    completed, said = run_job(shop, "dump", "dump-1")
    assert completed, said
    after = written(shop)
    completed, said = run_job(shop, "check-dump", "check-1")
    assert completed, said
    assert "TABLE DATA public rows app" in said
    old = claim_of(shop)
    fresh = {**manifests_claim(shop), "metadata": {"name": "db-data-fresh"}}
    shop.apply(fresh)
    repoint(shop, "db-data-fresh")
    rollout(shop, "statefulset/db", within=120)
    assert psql(shop, "select to_regclass('rows') is null") == "t", "the new volume is empty"
    completed, said = run_job(shop, "restore-dump", "restore-1")
    assert completed, said
    eventually(lambda: ask(shop, "/rows/max"), within=60, what="the application to answer again")
    assert before.loss().missing == ()
    assert after.loss().missing == tuple(after.acknowledged()), "what came after the dump is lost, and said so"
    assert shop.get("persistentvolumeclaim", old)["status"]["phase"] == "Bound"
    assert run_job(shop, "integrity", "integrity-restored")[0]
    assert written(shop).loss().missing == ()


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_a_replica_streams_and_is_promoted_when_the_primary_is_gone(shop: Namespace) -> None:
    shop.apply(*manifests(shop, "replica.yaml"))
    rollout(shop, "statefulset/db-replica", within=120)
    rows = written(shop)
    highest = str(max(rows.acknowledged()))
    eventually(
        lambda: psql(shop, "select max(n) from rows", pod="db-replica-0") == highest,
        within=30,
        what="the replica to have what the primary has",
    )
    assert psql(shop, "select pg_is_in_recovery()", pod="db-replica-0") == "t"
    assert psql(shop, "select pg_is_in_recovery()") == "f"
    shop("scale", "statefulset/db", "--replicas=0")
    shop("wait", "--for=delete", "pod/db-0", "--timeout=60s")
    completed, said = run_job(shop, "promote", "promote-1")
    assert completed, said
    assert psql(shop, "select pg_is_in_recovery()", pod="db-replica-0") == "f"
    shop("patch", "service/db", "--type=merge", "-p", json.dumps({"spec": {"selector": {"role": "replica"}}}))
    eventually(lambda: ask(shop, "/rows/max"), within=60, what="the application to answer from the replica")
    assert rows.loss().missing == ()
    assert written(shop).loss().missing == ()
    completed, said = run_job(shop, "promote", "promote-2")
    assert completed, f"promoting again does nothing: {said}"


def manifests_claim(namespace: Namespace) -> dict[str, object]:
    """The database's claim, as the manifest has it."""
    return next(each for each in manifests(namespace, "application.yaml") if each["metadata"]["name"] == "db-data")


def repoint(namespace: Namespace, claim: str) -> None:
    """Let the database use another claim, as a person would."""
    path = "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName"
    patch = [{"op": "replace", "path": path, "value": claim}]
    namespace("patch", "statefulset/db", "--type=json", "-p", json.dumps(patch))
