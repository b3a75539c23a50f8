"""Writes that turn out to be needed on the way: named in the plan, reviewed, and let through the gate like others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from incident_operator.actions import undo_settling
from incident_operator.actions.rollout_undo import RolloutUndo
from incident_operator.api import names
from incident_operator.cluster.fake_rights import rights_of
from incident_operator.engine import changes, surveying
from unit.actions.objects import pod, revision, workload
from unit.engine.shop import SPACE, Shop

DB = ("StatefulSet", "db")
UNDO = [{"name": "undo", "rolloutUndo": {}}]


def blocked(shop: Shop) -> None:
    """A StatefulSet whose second revision never gets ready: after a rollback its pod is in the way."""
    thing = workload("StatefulSet", "db", version="2", replicas=1)
    status = {"observedGeneration": 9, "replicas": 1, "currentRevision": "db-h1", "updateRevision": "db-h1"}
    thing["status"] = status
    shop.fake.put(thing, revision(thing, 1), revision(thing, 2), pod(thing, "db-0", 2, ready=False))


async def undone(shop: Shop, *, times: int = 6) -> None:
    """Rolled back, and looked at again when the pod has had its time to be replaced."""
    await shop.look("undo", times=2)
    shop.now += timedelta(seconds=30)
    await shop.look("undo", times=times)


async def test_the_pod_that_blocks_a_rollback_is_deleted_as_the_plan_says() -> None:
    shop = Shop()
    blocked(shop)
    shop.incident("undo", DB, containment=UNDO, mode="Observe")
    await shop.look("undo")
    plan = shop.status("undo")["plan"]
    (change,) = plan["steps"][0]["changes"]
    assert change["further"] == ["delete Pod"]
    assert any("may also delete pods of the bad revision" in note for note in change["notes"])
    assert "delete pods (core)" in plan["rights"]
    await shop.change("undo", mode="Enforce")
    await undone(shop)
    assert shop.there("Pod") == []
    deleted = next(each for each in shop.status("undo")["ledger"] if each["key"] == "Pod/db-0")
    assert (deleted["verb"], deleted["state"]) == ("delete", "Done")


async def test_a_right_that_may_be_needed_later_is_asked_for_before_anything_is_written() -> None:
    shop = Shop()
    blocked(shop)
    declared = rights_of((*RolloutUndo.rules, *surveying.RULES, *changes.RULES))
    rights = declared - {("", "pods", "delete")}
    shop.fake.grant(SPACE, names.RESPONDER, rights)
    shop.incident("undo", DB, containment=UNDO)
    await shop.look("undo")
    reason, text = shop.ready("undo")
    assert (reason, "delete pods (core)" in text) == ("Forbidden", True), text
    assert shop.fake.at(*DB)["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":2")


@pytest.mark.parametrize("how", ["by its label", "by a policy", "by a policy that comes later"])
async def test_a_protected_pod_is_not_deleted_though_it_blocks(how: str) -> None:
    shop = Shop()
    blocked(shop)
    shop.fake.edit("Pod", SPACE, "db-0", lambda thing: thing["metadata"]["labels"].update(crown="true"))
    crown: dict[str, Any] = {"protected": [{"name": "crown", "selector": {"matchLabels": {"crown": "true"}}}]}
    if how == "by its label":
        label = {names.PROTECTED: "true"}
        shop.fake.edit("Pod", SPACE, "db-0", lambda thing: thing["metadata"]["labels"].update(label))
    if how == "by a policy":
        shop.policy(**crown)
    shop.incident("undo", DB, containment=UNDO)
    await shop.look("undo", times=2)
    if how == "by a policy that comes later":
        shop.policy(**crown)
    shop.now += timedelta(seconds=30)
    await shop.look("undo", times=4)
    assert shop.there("Pod") == ["db-0"]
    assert shop.ready("undo")[0] == "Protected"


async def test_a_write_that_the_plan_has_not_named_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undo_settling, "may_delete", lambda _: ())
    shop = Shop()
    blocked(shop)
    shop.incident("undo", DB, containment=UNDO)
    await undone(shop)
    assert shop.ready("undo")[0] == "NotPlanned"
    assert shop.there("Pod") == ["db-0"]


async def test_what_may_follow_is_known_after_a_restart() -> None:
    shop = Shop()
    blocked(shop)
    shop.incident("undo", DB, containment=UNDO)
    await shop.look("undo", times=2)
    shop.restart()
    shop.now += timedelta(seconds=30)
    await shop.look("undo", times=4)
    assert shop.there("Pod") == []
