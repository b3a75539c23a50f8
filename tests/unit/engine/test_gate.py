"""The gate before every stage: nothing slips past a policy by its timing, by its name, or through another object."""

from __future__ import annotations

from unit.engine.shop import ISOLATE, Shop


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
