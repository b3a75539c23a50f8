"""Outages of an application with real state: a client writes rows all the while, and what was promised since stays.

Each scenario is played as the demo plays it, and proves itself as it goes: tiers first ready in their order and after
the gates below, rows kept or lost in numbers, as many replicas as before. What a test adds is what only it can see.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from incident_operator.demo.outages.course import Outage
from incident_operator.demo.outages.lasting import Everything, Failover, Halted
from incident_operator.demo.outages.restoring import Corruption, Killed, Restore
from incident_operator.demo.outages.shop import Shop
from incident_operator.lab import Lab
from tests_support.cluster import Kubectl, Namespace, OperatorProcess
from tests_support.outage import make_shop

pytestmark = [pytest.mark.pods, pytest.mark.usefixtures("real_pods")]
EVERY_SECONDS = 0.05


class Place:
    """One application for all tests of the module; another one after a test that has not left it well."""

    def __init__(self, lab: Lab, kubectl: Kubectl) -> None:
        self._lab, self._kubectl = lab, kubectl
        self._space: Namespace | None = None
        self._shop: Shop | None = None
        self.is_well = False

    def give(self) -> tuple[Namespace, Shop]:
        if self._space is None or self._shop is None or not self.is_well:
            self.close()
            self._space, self._shop = make_shop(self._lab, self._kubectl, every=EVERY_SECONDS)
        self.is_well = False
        return self._space, self._shop

    def close(self) -> None:
        if self._space is not None:
            self._space.delete()


@pytest.fixture(scope="module")
def place(lab: Lab, kubectl: Kubectl, real_pods: None) -> Iterator[Place]:
    made = Place(lab, kubectl)
    yield made
    made.close()


@pytest.fixture
def shop(place: Place) -> Shop:
    return place.give()[1]


@pytest.fixture
def operator(lab: Lab, shop: Shop, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that looks after the application's namespace only."""
    process = OperatorProcess(lab.kubeconfig, shop.namespace, tmp_path / "operator.log")
    process.start()
    yield process
    process.stop()
    text = process.log.read_text()
    assert "Traceback" not in text, text[-6000:]


def played(outage: Outage, place: Place) -> Any:
    """The Incident of an outage that went as it must; the next test may have the application."""
    with outage:
        outage.play()
    place.is_well = True
    return outage.incident


def events(outage: Outage) -> list[str]:
    found = outage.shop.json("events.events.k8s.io")["items"]
    return [each["reason"] for each in found if each["regarding"].get("uid") == outage.incident["metadata"]["uid"]]


def test_everything_that_is_down_at_once_comes_back_by_labels_alone_and_no_row_is_lost(
    shop: Shop, operator: OperatorProcess, place: Place
) -> None:
    outage = Everything(shop, operator)
    played(outage, place)
    assert outage.losses["in all"].missing == ()
    assert events(outage).count("TierRecovered") == len(outage.replicas) + 1
    assert events(outage).count("RecoveryDone") == 1


def test_a_database_whose_files_are_gone_comes_back_from_the_dump_that_the_cron_job_took(
    shop: Shop, operator: OperatorProcess, place: Place
) -> None:
    class Scheduled(Restore):
        by_schedule = True

    done = played(Scheduled(shop, operator), place)
    kept = [entry for entry in done["status"]["ledger"] if entry["step"] == "database-new-volume"]
    assert {entry["release"] for entry in kept} == {"Never"}, (
        "nobody goes back to a broken volume by deleting the Incident"
    )


def test_a_corrupted_table_is_found_writes_are_stopped_and_it_is_restored_into_a_new_volume(
    shop: Shop, operator: OperatorProcess, place: Place
) -> None:
    outage = Corruption(shop, operator)
    done = played(outage, place)
    assert outage.losses["written after it"].missing, "the loss since the dump is said in numbers"
    assert done["status"]["timers"]["contained"] < done["status"]["timers"]["restored"]


def test_an_operator_killed_in_each_tier_stops_restores_and_starts_everything_once(
    shop: Shop, operator: OperatorProcess, place: Place
) -> None:
    outage = Killed(shop, operator)
    played(outage, place)
    assert outage.killed == {
        "database": "Restoring",
        "api": "Checking",
        "bot": "Restoring",
        "frontend": "Checking",
        "auxiliary": "Restoring",
    }


def test_an_api_that_never_passes_its_gate_halts_with_the_tiers_above_untouched_until_a_person_has_put_it_right(
    shop: Shop, operator: OperatorProcess, place: Place
) -> None:
    outage = Halted(shop, operator)
    done = played(outage, place)
    said = outage.halted["message"]
    assert "reads-the-database" in said, "which gate"
    assert "Service api:http/rows/max answered 500" in said, "what it saw"
    assert "kubectl annotate incident/all-down" in said, "what a person can do"
    assert outage.losses["in all"].missing == ()
    assert done["status"]["lastHandledRequest"] == outage.asked


def test_a_replica_takes_over_when_the_primary_is_gone_for_good(
    shop: Shop, operator: OperatorProcess, place: Place
) -> None:
    outage = Failover(shop, operator)
    done = played(outage, place)
    place.is_well = False  # it is on its replica now
    lost = outage.losses["held back, and lost"]
    assert len(lost.missing) == lost.acknowledged >= 20, "what the replica had not received is gone, and said so"
    tiers = {step["name"]: step.get("tier") for step in done["status"]["plan"]["steps"]}
    assert tiers["database-take-over"] == "database"
