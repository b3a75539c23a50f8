"""The application with real state, by itself and by hand: no operator, only kubectl and what the manifests have."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from incident_operator.demo.outages.shop import Shop
from incident_operator.demo.rows import Rows
from incident_operator.lab import Lab
from tests_support.cluster import Kubectl
from tests_support.outage import make_shop
from tests_support.waiting import eventually

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]


@pytest.fixture(scope="module")
def shop(lab: Lab, kubectl: Kubectl, real_pods: None) -> Iterator[Shop]:
    """The application, ready."""
    space, made = make_shop(lab, kubectl, every=0.02)
    yield made
    space.delete()


def written(shop: Shop, count: int = 20) -> Rows:
    """A client that has got so many rows acknowledged, beyond those that are there, and has stopped writing."""
    rows = shop.rows()
    try:
        eventually(lambda: len(rows.acknowledged()) >= count, within=60, what=f"{count} acknowledged rows")
    finally:
        rows.close()
    return rows


def test_rows_are_written_and_read_back_through_frontend_api_and_database(shop: Shop) -> None:
    rows = written(shop)
    assert {each.door for each in rows.answers if each.is_acknowledged} == {"api:http", "frontend:http"}
    assert rows.loss().missing == ()
    assert shop.ask("/rows/max")["max"] == max(rows.acknowledged())
    assert int(shop.psql("select count(*) from rows")) >= len(rows.acknowledged())
    gone = rows.acknowledged()[3]
    assert shop.psql("delete from rows where n = :n returning n", n=gone) == str(gone)
    assert rows.loss().missing == (gone,), "a lost row is said by its number"


def test_a_database_that_is_killed_by_force_comes_back_with_every_acknowledged_row(shop: Shop) -> None:
    rows = shop.rows()
    try:
        eventually(lambda: rows.word() == "normal", within=60, what="rows to be acknowledged by both doors")
        shop("delete", "pod", "db-0", "--force", "--grace-period=0")
        eventually(lambda: rows.word() == "errors", within=60, what="the client to see it")
        eventually(lambda: rows.word() == "normal", within=60, what="the client to be served again")
    finally:
        rows.close()
    assert rows.loss().missing == ()
    again = ("exec", "db-0", "--", "timeout", "-s", "KILL", "2", "/app")
    second = shop.lab.kubectl("-n", shop.namespace, *again, check=False)
    assert "starting PostgreSQL" not in second.stdout + second.stderr, "two servers never run on the same files"
    assert shop.psql("select 1") == "1"


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_what_asks_the_api_counts_its_answers_and_shows_the_highest_row(shop: Shop) -> None:
    rows = written(shop, 1)
    pod = shop.json("pods", "-l", "app=exporter")["items"][0]["metadata"]["name"]
    path = f"/api/v1/namespaces/{shop.namespace}/pods/{pod}:8080/proxy/metrics"

    def metrics() -> dict[str, str]:
        lines = shop("get", "--raw", path).splitlines()
        return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))

    eventually(lambda: metrics().get("rows_max") == str(max(rows.acknowledged())), within=20, what="rows_max")
    assert int(metrics()['http_requests_total{code="200",version=""}']) > 0


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_the_integrity_job_finds_a_row_and_an_index_that_are_not_as_they_were_written(shop: Shop) -> None:
    rows = written(shop)
    assert shop.run_job("integrity", "integrity-before") == (True, "rows whose checksum does not hold: 0\n")
    changed = rows.acknowledged()[0]
    shop.psql("update rows set body = 'changed' where n = :n", n=changed)
    completed, said = shop.run_job("integrity", "integrity-changed")
    assert not completed
    assert "rows whose checksum does not hold: 1" in said
    shop.psql("delete from rows where n = :n", n=changed)
    assert shop.run_job("integrity", "integrity-after")[0]
    # The index forgets a row that the table has; nobody writes pg_index by hand but to break something.
    shop.psql("update pg_index set indisready = false where indexrelid = 'rows_pkey'::regclass")
    shop.psql("insert into rows (n, body, sum) values (0, 'x', encode(sha256('0:x'), 'hex'))")
    shop.psql("update pg_index set indisready = true where indexrelid = 'rows_pkey'::regclass")
    completed, said = shop.run_job("integrity", "integrity-index")
    assert not completed
    assert "rows_pkey" in said
    shop.psql("delete from rows where body = 'x'; reindex table rows")
    assert shop.run_job("integrity", "integrity-mended")[0]


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_a_dump_is_restored_into_a_fresh_volume_and_the_old_one_is_kept(shop: Shop) -> None:
    before = written(shop)
    completed, said = shop.run_job("dump", "dump-1")
    assert completed, said
    after = written(shop)
    completed, said = shop.run_job("check-dump", "check-1")
    assert completed, said
    assert "TABLE DATA public rows app" in said
    old = shop.claim()
    fresh = {**manifests_claim(shop), "metadata": {"name": "db-data-fresh"}}
    shop.apply(fresh)
    repoint(shop, "db-data-fresh")
    shop("rollout", "status", "statefulset/db", "--timeout=120s")
    assert shop.psql("select to_regclass('rows') is null") == "t", "the new volume is empty"
    completed, said = shop.run_job("restore-dump", "restore-1")
    assert completed, said
    eventually(lambda: shop.ask("/rows/max"), within=60, what="the application to answer again")
    assert before.loss().missing == ()
    assert after.loss().missing == tuple(after.acknowledged()), "what came after the dump is lost, and said so"
    assert shop.json("persistentvolumeclaim", old)["status"]["phase"] == "Bound"
    assert shop.run_job("integrity", "integrity-restored")[0]
    assert written(shop).loss().missing == ()


@pytest.mark.slow  # the scenarios of test_outage do it with the operator
def test_a_replica_streams_and_is_promoted_when_the_primary_is_gone(shop: Shop) -> None:
    shop.apply(*shop.manifests("outage/replica.yaml"))
    shop("rollout", "status", "statefulset/db-replica", "--timeout=120s")
    rows = written(shop)
    highest = str(max(rows.acknowledged()))
    eventually(
        lambda: shop.psql("select max(n) from rows", pod="db-replica-0") == highest,
        within=30,
        what="the replica to have what the primary has",
    )
    assert shop.psql("select pg_is_in_recovery()", pod="db-replica-0") == "t"
    assert shop.psql("select pg_is_in_recovery()") == "f"
    shop("scale", "statefulset/db", "--replicas=0")
    shop("wait", "--for=delete", "pod/db-0", "--timeout=60s")
    completed, said = shop.run_job("promote", "promote-1")
    assert completed, said
    assert shop.psql("select pg_is_in_recovery()", pod="db-replica-0") == "f"
    shop("patch", "service/db", "--type=merge", "-p", json.dumps({"spec": {"selector": {"role": "replica"}}}))
    eventually(lambda: shop.ask("/rows/max"), within=60, what="the application to answer from the replica")
    assert rows.loss().missing == ()
    assert written(shop).loss().missing == ()
    completed, said = shop.run_job("promote", "promote-2")
    assert completed, f"promoting again does nothing: {said}"


def manifests_claim(shop: Shop) -> dict[str, object]:
    """The database's claim, as the manifest has it."""
    return next(each for each in shop.manifests("outage/application.yaml") if each["metadata"]["name"] == "db-data")


def repoint(shop: Shop, claim: str) -> None:
    """Let the database use another claim, as a person would."""
    path = "/spec/template/spec/volumes/0/persistentVolumeClaim/claimName"
    patch = [{"op": "replace", "path": path, "value": claim}]
    shop("patch", "statefulset/db", "--type=json", "-p", json.dumps(patch))
