"""What an Incident has done for good is not done again because it is planned anew for another reason."""

from __future__ import annotations

from typing import Any

import pytest

from unit.engine.shop import API, Shop, scaled

MIGRATE = {"name": "mig", "runJob": {"cronJob": "migrate"}}
PROMOTE = {"name": "fo", "failover": {"cloudNativePG": {}}, "targets": [{"kind": "Cluster", "name": "pg"}]}


def cron_job(shop: Shop) -> None:
    pod = {"spec": {"containers": [{"name": "main", "image": "x"}], "restartPolicy": "Never"}}
    spec = {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": pod}}}
    meta = {"name": "migrate", "namespace": "shop", "uid": "migrate-uid"}
    shop.fake.put({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": spec})


def cluster(shop: Shop, primary: str) -> None:
    status = {
        "phase": "Cluster in healthy state",
        "currentPrimary": primary,
        "targetPrimary": primary,
        "instanceNames": ["pg-1", "pg-2"],
        "instancesStatus": {"healthy": ["pg-1", "pg-2"]},
    }
    meta = {"name": "pg", "namespace": "shop", "uid": "pg-uid"}
    thing = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": {"instances": 2}}
    shop.fake.put({**thing, "status": status})


def promoting(primary: str) -> Shop:
    """A shop with a CloudNativePG Cluster, where nobody has to agree to a failover."""
    shop = Shop(groups=["postgresql.cnpg.io"])
    shop.policy(approvals=[{"name": "waived", "when": ["Destructive"], "actions": ["failover"], "count": 0}])
    cluster(shop, primary)
    return shop


EDITS: dict[str, list[dict[str, Any]]] = {
    "another number": scaled(0),
    "other terms": scaled(1, expiresAfter="2h"),
    "asked again": scaled(1),
}


@pytest.mark.parametrize("edit", EDITS)
async def test_a_job_that_ran_to_its_end_is_not_run_again_once_it_is_gone(edit: str) -> None:
    shop = Shop()
    shop.deployment("api")
    cron_job(shop)
    shop.incident("i", API, containment=scaled(1), remediation=[MIGRATE])
    await shop.look("i")
    shop.settle("api")
    await shop.look("i")
    (job,) = shop.there("Job")
    complete = {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}
    shop.fake.edit("Job", "shop", job, lambda each: each.__setitem__("status", complete))
    await shop.look("i")
    assert shop.ready("i")[0] == "Contained"
    shop.fake.take("Job", "shop", job)
    await shop.change("i", containment=EDITS[edit])
    await shop.ask_again("i")
    for _ in range(3):
        await shop.look("i")
        shop.settle("api")
    assert (shop.ready("i")[0], shop.there("Job")) == ("Contained", [])


async def promoted() -> Shop:
    """``pg-2`` has taken over, and something else is still held."""
    shop = promoting("pg-1")
    shop.deployment("api")
    shop.incident("i", API, containment=scaled(1), remediation=[PROMOTE])
    await shop.look("i")
    shop.settle("api")
    await shop.look("i")
    assert shop.fake.at("Cluster", "pg")["status"]["targetPrimary"] == "pg-2", shop.ready("i")
    cluster(shop, "pg-2")
    await shop.look("i")
    assert shop.ready("i")[0] == "Contained"
    return shop


@pytest.mark.parametrize("edit", EDITS)
async def test_a_replica_that_has_taken_over_is_not_failed_away_from_again(edit: str) -> None:
    shop = await promoted()
    await shop.change("i", containment=EDITS[edit])
    await shop.ask_again("i")
    for _ in range(3):
        await shop.look("i")
        shop.settle("api")
    assert shop.fake.at("Cluster", "pg")["status"]["targetPrimary"] == "pg-2"
    assert shop.ready("i")[0] == "Contained"


async def test_who_names_another_to_take_over_gets_another() -> None:
    shop = await promoted()
    await shop.change("i", remediation=[{**PROMOTE, "failover": {"cloudNativePG": {"to": "pg-1"}}}])
    await shop.look("i")
    assert shop.fake.at("Cluster", "pg")["status"]["targetPrimary"] == "pg-1"
