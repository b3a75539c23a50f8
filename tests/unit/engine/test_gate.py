"""The gate before every stage: nothing slips past a policy by its timing, by its name, or through another object."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from unit.engine.shop import ISOLATE, Shop, scaled

API = ("Deployment", "api")
FOUR_EYES: dict[str, Any] = {"approvals": [{"name": "four-eyes", "count": 1}]}


async def test_a_storm_stops_at_its_number_however_many_come_at_the_same_time() -> None:
    shop = Shop()
    shop.policy(storm={"incidents": 3, "within": "10m"})
    apps = [f"app-{number}" for number in range(8)]
    for name in apps:
        shop.deployment(name, 1)
        shop.incident(name, ("Deployment", name), containment=ISOLATE)
    await shop.look(*apps)
    assert len(shop.there("NetworkPolicy")) == 3
    waiting = [shop.ready(name)[1] for name in apps if shop.ready(name)[0] == "AwaitingApproval"]
    assert len(waiting) == 5
    assert all("storm: 3 Incidents were carried out within 10 min" in text for text in waiting)


async def test_an_approval_is_used_up_with_its_incident() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    shop.vote("v", "load", expiresAfter="168h")
    await shop.look("load")
    assert shop.replicas("api") == 1
    plan = shop.status("load")["plan"]["hash"]
    shop.fake.edit("Incident", "shop", "load", lambda thing: thing["metadata"].__setitem__("finalizers", []))
    shop.fake.take("Incident", "shop", "load")
    shop.fake.take("Deployment", "shop", "api")
    shop.deployment("api")
    shop.restart()
    shop.now += timedelta(days=3)
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    assert shop.status("load")["plan"]["hash"] == plan, "the very same plan"
    reason, text = shop.ready("load")
    assert (reason, "about an earlier Incident of this name: alice" in text) == ("AwaitingApproval", True)
    assert shop.replicas("api") == 3


async def test_a_rejected_plan_stays_rejected_when_the_rejection_is_deleted_and_nobody_need_agree_any_more() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    shop.vote("no", "load", decision="Rejected")
    await shop.look("load")
    assert shop.ready("load")[0] == "Rejected"
    first = shop.status("load")["plan"]["hash"]
    assert shop.status("load")["policy"]["rejectedPlans"] == [{"hash": first, "by": "alice"}]
    shop.fake.take("IncidentApproval", "shop", "no")
    shop.policy()
    await shop.ask_again("load")
    await shop.look("load")
    assert shop.status("load")["lastHandledRequest"], "it was looked at anew"
    assert shop.ready("load")[0] == "Rejected"
    assert shop.replicas("api") == 3
    await shop.change("load", containment=scaled(2))
    await shop.look("load")
    assert shop.replicas("api") == 2, "another plan is another question"


TWO_STAGES = [*scaled(2), {"name": "cut", "isolate": {}, "targets": [{"kind": "Deployment", "name": "web"}]}]


async def test_an_approval_is_counted_again_before_each_stage_where_a_policy_asks_for_more_since() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("load", API, containment=TWO_STAGES)
    await shop.look("load")
    shop.vote("v", "load", expiresAfter="1m")
    await shop.look("load", times=1)
    assert shop.replicas("api") == 2
    assert shop.there("NetworkPolicy") == [], "the second stage waits until the first has settled"
    shop.policy(approvals=[{"name": "four-eyes", "count": 2}])
    shop.now += timedelta(minutes=5)
    shop.settle("api")
    await shop.look("load")
    reason, text = shop.ready("load")
    assert (reason, "1 of 2" in text) == ("AwaitingApproval", True), "what was used has not expired"
    assert shop.there("NetworkPolicy") == []
    shop.vote("w", "load", by="carol")
    await shop.look("load", times=1)
    assert len(shop.there("NetworkPolicy")) == 1


async def test_a_rejection_between_two_stages_stops_the_second() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("load", API, containment=TWO_STAGES)
    await shop.look("load")
    shop.vote("v", "load")
    await shop.look("load", times=1)
    shop.vote("no", "load", by="carol", decision="Rejected")
    shop.settle("api")
    await shop.look("load")
    assert shop.ready("load")[0] == "Rejected"
    assert shop.there("NetworkPolicy") == []


async def test_who_changed_the_steps_of_another_does_not_approve_them() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(2))
    await shop.look("load")
    await shop.change("load", containment=scaled(0), changedBy=["alice"])
    await shop.look("load")
    shop.vote("v", "load")
    await shop.look("load")
    assert "that of alice does not count, who changed it" in shop.ready("load")[1]
    shop.vote("w", "load", by="carol")
    await shop.look("load")
    assert shop.replicas("api") == 0
