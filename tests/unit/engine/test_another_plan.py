"""An Incident whose spec is changed once it has done something: the gate judges all of it, on the terms agreed to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from incident_operator.faults import Waiting
from unit.engine.shop import API, FOUR_EYES, TWO_STAGES, WEB, Shop, is_on_target, scaled


async def done(shop: Shop, *, approved: bool = False, **more: Any) -> None:
    """An Incident that has scaled ``api`` down."""
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1, **more))
    await shop.look("load")
    if approved:
        shop.vote("v", "load")
        await shop.look("load")
    shop.settle("api")
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("api")) == ("Contained", 1)


@pytest.mark.parametrize("terms", [{"release": "Never"}, {"expiresAfter": "720h"}], ids=str)
async def test_what_was_agreed_to_for_half_an_hour_stays_so_until_the_new_plan_is_agreed_to(
    terms: dict[str, Any],
) -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    await done(shop, approved=True, expiresAfter="30m")
    await shop.change("load", containment=scaled(1, **terms))
    await shop.look("load")
    assert shop.ready("load")[0] == "AwaitingApproval"
    (entry,) = shop.status("load")["ledger"]
    assert (entry["release"], entry["state"]) == ("OnResolve", "Done")
    shop.now += timedelta(minutes=31)
    await shop.look("load")
    assert shop.replicas("api") == 3, "nobody has agreed to more than half an hour"


CUT = [{"name": "cut", "isolate": {}}]
EDITS = {
    "another number": (scaled(1), scaled(0)),
    "another step besides": (CUT, [*CUT, *scaled(0)]),
    "another direction": (CUT, [{"name": "cut", "isolate": {"direction": "Egress"}}]),
    "another action": ([{"name": "x", "scale": {"replicas": 0}}], [{"name": "x", "rolloutUndo": {}}]),
    "another target": (scaled(1), scaled(1, targets=[{"kind": "Deployment", "name": "web"}])),
}


@pytest.mark.parametrize("is_agreed", [False, True], ids=["waits", "agreed"])
@pytest.mark.parametrize("edit", EDITS)
async def test_what_is_in_force_goes_back_whatever_becomes_of_the_plan_after_it(edit: str, is_agreed: bool) -> None:
    before, after = EDITS[edit]
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("load", API, containment=before)
    await shop.look("load")
    shop.vote("v", "load")
    await shop.look("load")
    shop.settle("api")
    await shop.look("load")
    for containment in (after, before, after):
        await shop.change("load", containment=containment)
        await shop.look("load")
    assert shop.ready("load")[0] == "AwaitingApproval"
    if is_agreed:
        shop.vote("w", "load", by="carol")
        for _ in range(3):
            await shop.look("load")
            shop.settle("api")
            shop.settle("web")
    await shop.delete("load")
    await shop.look("load")
    assert ("Incident", "shop", "load") not in shop.fake.objects
    assert (shop.replicas("api"), shop.replicas("web"), shop.there("NetworkPolicy")) == (3, 3, [])


async def test_once_the_new_terms_are_agreed_to_they_hold() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    await done(shop, approved=True, expiresAfter="30m")
    await shop.change("load", containment=scaled(1, expiresAfter="2h"))
    await shop.look("load")
    shop.vote("w", "load", by="carol")
    await shop.look("load")
    assert shop.ready("load")[0] == "Contained"
    shop.now += timedelta(minutes=31)
    await shop.look("load")
    assert shop.replicas("api") == 1
    shop.now += timedelta(hours=2)
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("api")) == ("Expired", 3)


async def test_what_an_earlier_plan_took_counts_for_the_budget_after_a_restart_too() -> None:
    shop = Shop()
    shop.policy(blastRadius={"pods": 5, "exceeded": "RequireApproval"})
    shop.deployment("web")
    shop.deployment("api")
    shop.incident("load", API, containment=[{"name": "one", "isolate": {}}])
    await shop.look("load")
    assert len(shop.there("NetworkPolicy")) == 1
    await shop.change(
        "load", targets=[{"kind": "Deployment", "name": "web"}], containment=[{"name": "two", "isolate": {}}]
    )
    for _ in range(3):
        await shop.look("load")
        assert shop.ready("load")[0] == "AwaitingApproval"
        assert "the plan takes 6" in shop.ready("load")[1]
        shop.restart()
    assert len(shop.there("NetworkPolicy")) == 1


async def test_what_has_gone_back_counts_for_no_budget() -> None:
    shop = Shop()
    shop.policy(blastRadius={"pods": 5})
    shop.deployment("web")
    shop.deployment("api")
    shop.incident("load", API, containment=[{"name": "one", "isolate": {}, "expiresAfter": "5m"}, *TWO_STAGES[:1]])
    await shop.look("load")
    assert len(shop.there("NetworkPolicy")) == 1
    shop.now += timedelta(minutes=6)
    await shop.look("load", times=1)
    assert shop.there("NetworkPolicy") == []
    await shop.change(
        "load", targets=[{"kind": "Deployment", "name": "web"}], containment=[{"name": "two", "isolate": {}}]
    )
    await shop.look("load")
    assert len(shop.there("NetworkPolicy")) == 1, shop.ready("load")


async def test_a_plan_that_was_rejected_while_it_was_only_looked_at_is_not_carried_out() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1), mode="Observe")
    await shop.look("load")
    shop.vote("no", "load", by="carol", decision="Rejected")
    await shop.change("load", mode="Enforce")
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("api")) == ("Rejected", 3)


async def test_a_rejection_stops_the_second_stage_of_a_plan_that_nobody_need_agree_to() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("load", API, containment=TWO_STAGES)
    await shop.look("load", times=1)
    assert shop.replicas("api") == 2
    shop.vote("no", "load", by="carol", decision="Rejected")
    shop.settle("api")
    await shop.look("load")
    assert shop.ready("load")[0] == "Rejected"
    assert shop.there("NetworkPolicy") == []


async def test_who_has_begun_elsewhere_waits_for_the_cooldown_of_what_another_has_changed() -> None:
    shop = Shop()
    shop.policy(cooldown="15m")
    shop.deployment("web")
    shop.incident("other", WEB, containment=scaled(2))
    await shop.look("other")
    await shop.change("other", cancel=True)
    await shop.look("other")
    await done(shop)
    await shop.change("load", targets=[{"kind": "Deployment", "name": "web"}], containment=scaled(0))
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("web")) == ("Cooldown", 3)


async def test_who_changes_on_what_it_has_changed_itself_waits_for_no_cooldown() -> None:
    shop = Shop()
    shop.policy(cooldown="15m")
    await done(shop)
    await shop.change("load", containment=scaled(0))
    await shop.look("load")
    assert shop.replicas("api") == 0


async def test_an_incident_whose_targets_were_taken_away_keeps_nobody_from_being_looked_at() -> None:
    shop = Shop()
    await done(shop)
    shop.fake.edit("Incident", "shop", "load", lambda each: each["spec"].pop("targets"))
    shop.restart()
    shop.deployment("web")
    shop.incident("next", WEB, containment=scaled(1))
    await shop.look("next")
    assert shop.replicas("web") == 1
    shop.incident("same", API, containment=scaled(0))
    await shop.look("same")
    assert shop.ready("same")[0] == "TargetBusy", "what it holds is still its own"


async def waiting(shop: Shop, first: dict[str, Any], second: dict[str, Any]) -> None:
    """``api`` is scaled to 1, as was agreed to; to scale it to 0 is not yet."""
    shop.policy(**FOUR_EYES)
    await done(shop, approved=True, **first)
    await shop.change("load", containment=scaled(0, **second))
    await shop.look("load")
    assert shop.ready("load")[0] == "AwaitingApproval"


async def test_a_plan_whose_beginning_has_gone_back_meanwhile_is_made_anew_and_not_taken_for_done() -> None:
    shop = Shop()
    await waiting(shop, {"expiresAfter": "30m"}, {})
    first = shop.status("load")["plan"]["hash"]
    shop.now += timedelta(minutes=31)
    await shop.look("load")
    assert shop.replicas("api") == 3
    assert (shop.ready("load")[0], shop.status("load")["plan"]["hash"] != first) == ("AwaitingApproval", True)
    await shop.ask_again("load")
    await shop.look("load")
    assert shop.ready("load")[0] == "AwaitingApproval"
    shop.vote("w", "load", by="carol")
    await shop.look("load")
    assert shop.replicas("api") == 0


async def test_what_was_intended_and_is_not_wanted_any_more_is_not_made() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    shop.fake.fail(Waiting("ApiServerError", "503"), of=is_on_target)
    await shop.look("load", times=1)
    assert [each["state"] for each in shop.status("load")["ledger"]] == ["Intended"]
    await shop.change("load", containment=scaled(3))
    await shop.look("load")
    assert shop.replicas("api") == 3
    await shop.change("load", cancel=True)
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("api")) == ("Cancelled", 3)


async def test_a_conflict_of_what_an_earlier_plan_may_have_made_is_told() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    shop.vote("v", "load")
    shop.fake.fail(Waiting("ApiServerError", "503"), of=is_on_target)
    await shop.look("load", times=1)
    await shop.change("load", containment=scaled(0))
    await shop.look("load")
    assert {each["step"]: each["state"] for each in shop.status("load")["ledger"]} == {
        "less": "Planned",
        "less~1": "Intended",
    }
    shop.fake.edit("Deployment", "shop", "api", lambda each: each["spec"].__setitem__("replicas", 5))
    await shop.change("load", cancel=True)
    await shop.look("load")
    assert "ReleaseConflict" in {each["type"] for each in shop.status("load")["conditions"]}
    assert shop.replicas("api") == 5


@pytest.mark.parametrize("replicas", [1, 0])
async def test_a_step_by_another_name_goes_on_from_what_it_did_by_the_old_one(replicas: int) -> None:
    shop = Shop()
    await done(shop, expiresAfter="5m")
    await shop.change("load", containment=[{"name": "fewer", "scale": {"replicas": replicas}, "expiresAfter": "2h"}])
    for _ in range(3):
        await shop.look("load")
        shop.settle("api")
    shop.now += timedelta(minutes=6)
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("api")) == ("Contained", replicas), "two hours are asked for"
    shop.now += timedelta(hours=2)
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("api")) == ("Expired", 3)


async def test_a_second_step_about_what_one_has_done_already_is_refused_as_it_is_in_one_plan() -> None:
    shop = Shop()
    await done(shop, expiresAfter="30m")
    await shop.change("load", containment=[*scaled(1, expiresAfter="30m"), {"name": "b", "scale": {"replicas": 0}}])
    await shop.look("load")
    assert (shop.ready("load")[0], shop.replicas("api")) == ("StepsClash", 1)
    await shop.change("load", containment=scaled(0, expiresAfter="30m"))
    await shop.look("load")
    assert shop.replicas("api") == 0
    shop.now += timedelta(minutes=31)
    await shop.look("load")
    assert shop.replicas("api") == 3


async def test_two_that_want_the_same_for_different_times_are_refused() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("load", API, containment=[*scaled(1, expiresAfter="5m"), {"name": "b", "scale": {"replicas": 1}}])
    await shop.look("load")
    reason, text = shop.ready("load")
    assert (reason, "to go back at different times" in text, shop.replicas("api")) == ("StepsClash", True, 3)
