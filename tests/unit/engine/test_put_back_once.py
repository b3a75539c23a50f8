"""What goes back goes back once and all of it: through crashes, refusals and long absences, and whoever asks."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.cluster.fake import Call
from incident_operator.faults import Conflict, Stalled, Waiting
from unit.engine.shop import API, SPACE, WEB, Shop, is_on_target, scaled

REFUSED = Stalled("Forbidden", "no rights any more")
UP = {"name": "up", "rollout": {}}


def shop_of_two(**more: Any) -> Shop:
    shop = Shop()
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("i", API, WEB, **{"containment": scaled(1), **more})
    return shop


async def looked(shop: Shop, times: int = 6) -> None:
    """As the workers do it, with controllers that follow at once."""
    for _ in range(times):
        with contextlib.suppress(Stalled):
            await shop.look("i", times=1)
        for name in ("api", "web"):
            shop.settle(name)


def writes(shop: Shop, name: str) -> list[int]:
    """How many replicas a Deployment was given, one after the other."""
    found = [
        each for each in shop.fake.journal if (each.request.ref.kind, each.request.ref.name) == ("Deployment", name)
    ]
    return [each.after["spec"]["replicas"] for each in found if each.before != each.after]


def refuse(shop: Shop, name: str, fault: Exception = REFUSED) -> None:
    """Whatever is written to one Deployment fails, until further notice."""

    def hook(call: Call) -> None:
        if is_on_target(call) and call.ref.name == name and call.when == "before":
            raise fault

    shop.fake.on_call(hook)


@pytest.mark.parametrize("fault", [Conflict("somebody touched it"), Waiting("ApiServerError", "503")], ids=repr)
async def test_what_a_failing_step_puts_back_is_not_made_again_where_that_could_not_be_told(fault: Waiting) -> None:
    shop = shop_of_two(containment=scaled(1, onFailure="Release"))
    given_back = []

    def hook(call: Call) -> None:
        if call.when == "before" and is_on_target(call) and call.ref.name == "web":
            raise REFUSED
        if call.ref.kind == "Incident" and call.is_write and call.when == "before" and writes(shop, "api") == [1, 3]:
            given_back.append(call)
            if len(given_back) == 1:
                raise fault

    shop.fake.on_call(hook)
    await looked(shop)
    assert given_back, "its end was not recorded at first"
    assert writes(shop, "api") == [1, 3]
    assert shop.replicas("web") == 3


async def test_a_put_back_that_was_refused_half_way_is_gone_on_with_and_nothing_is_done_again() -> None:
    shop = shop_of_two(verification=[UP])
    released: list[str] = []

    def hook(call: Call) -> None:
        if call.when == "before" and is_on_target(call) and writes(shop, "web") == [1, 3] and call.ref.name == "api":
            released.append(call.ref.name)
            raise REFUSED

    shop.fake.on_call(hook)
    await looked(shop, 8)
    assert (released != [], shop.ready("i")[0]) == (True, "Forbidden")
    shop.fake.on_call()
    await shop.ask_again("i")
    await looked(shop, 8)
    assert shop.ready("i")[0] == "Resolved"
    assert (writes(shop, "api"), writes(shop, "web")) == ([1, 3], [1, 3])


async def test_an_expiry_that_was_refused_half_way_is_gone_on_with_and_nothing_is_done_again() -> None:
    shop = shop_of_two(expiresAfter="1h")
    await looked(shop)
    shop.now += timedelta(hours=1)
    refuse(shop, "api")
    await looked(shop)
    assert shop.ready("i")[0] == "Forbidden"
    before = len(shop.fake.journal)
    await looked(shop)
    assert len(shop.fake.journal) == before, "it is tried again by itself, and said once"
    shop.fake.on_call()
    await shop.ask_again("i")
    await looked(shop)
    assert shop.ready("i")[0] == "Expired"
    assert (writes(shop, "api"), writes(shop, "web")) == ([1, 3], [1, 3])


async def test_of_a_deleted_incident_all_goes_back_but_for_what_cannot() -> None:
    shop = shop_of_two()
    await looked(shop)
    await shop.delete("i")
    refuse(shop, "web")
    await looked(shop)
    assert shop.replicas("api") == 1, "in its order, while there is time"
    shop.now += timedelta(minutes=3)
    await looked(shop)
    assert ("Incident", SPACE, "i") not in shop.fake.objects
    assert (shop.replicas("api"), shop.replicas("web")) == (3, 1)
    notes = [each["note"] for key, each in shop.fake.objects.items() if key[0] == "Event"]
    assert any("gone without putting back Deployment shop/web: " in note for note in notes), notes


async def test_a_deletion_of_long_ago_is_not_given_up_for_what_passes_by_itself() -> None:
    shop = shop_of_two()
    await looked(shop)
    await shop.delete("i")
    shop.now += timedelta(hours=1)
    shop.restart()
    refuse(shop, "web", Waiting("TooManyRequests", "come again"))
    await looked(shop)
    assert ("Incident", SPACE, "i") in shop.fake.objects
    shop.fake.on_call()
    await looked(shop)
    assert ("Incident", SPACE, "i") not in shop.fake.objects
    assert (shop.replicas("api"), shop.replicas("web")) == (3, 3)


async def answer_lost(shop: Shop) -> None:
    """The write of ``api`` gets through, and nobody is told."""

    def hook(call: Call) -> None:
        if is_on_target(call) and call.ref.name == "api" and call.when == "after":
            raise Waiting("Timeout", "no answer")

    shop.fake.on_call(hook)
    await shop.look("i", times=1)
    assert writes(shop, "api") == [1]
    shop.fake.on_call()


async def test_what_may_have_been_made_is_not_forgotten_where_its_second_try_is_refused() -> None:
    shop = shop_of_two()
    await answer_lost(shop)
    refuse(shop, "api")
    await looked(shop)
    shop.fake.on_call()
    assert {each["state"] for each in shop.status("i")["ledger"]} == {"Done"}
    await shop.change("i", release=True)
    await looked(shop)
    assert (shop.ready("i")[0], shop.replicas("api")) == ("Resolved", 3)


async def test_what_may_have_been_made_and_cannot_be_seen_is_kept_on_record() -> None:
    shop = shop_of_two()
    await answer_lost(shop)
    shop.fake.on_call(_blind)
    await looked(shop)
    shop.fake.on_call()
    assert shop.ready("i")[0] == "Forbidden"
    assert "Intended" in {each["state"] for each in shop.status("i")["ledger"]}
    await shop.ask_again("i")
    await looked(shop)
    assert shop.ready("i")[0] == "Contained"
    await shop.change("i", release=True)
    await looked(shop)
    assert (shop.replicas("api"), shop.replicas("web")) == (3, 3)


def _blind(call: Call) -> None:
    if call.ref.kind == "Deployment" and call.when == "before":
        raise REFUSED


async def test_what_somebody_else_made_as_it_was_intended_is_theirs_at_the_end_too() -> None:
    shop = shop_of_two()
    refuse(shop, "api", Waiting("Timeout", "not even sent"))
    await shop.look("i", times=1)
    shop.fake.on_call()
    shop.by_hand("api", 1, "kubectl-edit")
    await shop.change("i", cancel=True)
    await looked(shop)
    assert (shop.ready("i")[0], shop.replicas("api"), shop.replicas("web")) == ("Cancelled", 1, 3)


async def resolved_with_one_kept(shop: Shop) -> None:
    await looked(shop, 8)
    assert shop.ready("i")[0] == "Resolved"
    assert (shop.status("i")["phase"], shop.replicas("api")) == ("Monitoring", 1)


async def test_what_a_person_is_to_put_back_goes_back_when_one_says_so_after_the_end() -> None:
    shop = shop_of_two(containment=scaled(1, release="Manual"), verification=[UP])
    await resolved_with_one_kept(shop)
    await shop.change("i", release=True)
    await looked(shop)
    assert (shop.status("i")["phase"], shop.replicas("api"), shop.replicas("web")) == ("Resolved", 3, 3)


async def test_what_a_person_is_to_put_back_goes_back_when_its_time_is_over() -> None:
    shop = shop_of_two(containment=scaled(1, release="Manual"), verification=[UP], expiresAfter="1h")
    await resolved_with_one_kept(shop)
    shop.now += timedelta(hours=1)
    await looked(shop)
    assert (shop.status("i")["phase"], shop.replicas("api"), shop.replicas("web")) == ("Resolved", 3, 3)


async def test_what_a_person_is_to_put_back_is_nobody_else_s_after_a_restart() -> None:
    shop = shop_of_two(containment=scaled(1, release="Manual"), verification=[UP])
    await resolved_with_one_kept(shop)
    shop.restart()
    shop.incident("next", API, containment=scaled(0))
    await shop.look("next")
    assert (shop.ready("next")[0], shop.replicas("api")) == ("TargetBusy", 1)


async def test_what_has_expired_goes_back_though_a_new_plan_cannot_be_made() -> None:
    shop = shop_of_two(expiresAfter="1h")
    await looked(shop)
    await shop.change("i", targets=[{"kind": "Deployment", "name": "no-such"}])
    await looked(shop)
    assert shop.ready("i")[0] not in ("Contained", "Expired")
    assert shop.replicas("api") == 1
    shop.now += timedelta(hours=1)
    await looked(shop)
    assert (shop.replicas("api"), shop.replicas("web")) == (3, 3)
    before = len(shop.fake.journal)
    await looked(shop)
    assert len(shop.fake.journal) == before, "it says so once"


async def test_an_expiry_is_not_the_end_while_checks_are_under_way() -> None:
    ready = {"name": "ready", "podsReady": {}, "for": "2h", "timeout": "3h"}
    shop = shop_of_two(containment=scaled(2), expiresAfter="1h", verification=[ready])
    await looked(shop)
    shop.now += timedelta(hours=1)
    await looked(shop)
    assert shop.replicas("api") == 3
    assert shop.ready("i")[0] == "Progressing"


async def test_an_expiry_is_not_the_end_while_another_step_settles() -> None:
    undo = {"name": "undo", "rolloutUndo": {}, "targets": [{"kind": "Deployment", "name": "web"}]}
    shop = Shop()
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("i", API, containment=[{**scaled(1)[0], "expiresAfter": "5m"}], remediation=[undo])
    await shop.look("i", times=1)
    shop.settle("api")
    await shop.look("i", times=2)
    assert {each["name"]: each["phase"] for each in shop.status("i")["steps"]} == {"less": "Done", "undo": "Settling"}
    shop.now += timedelta(minutes=5)
    await shop.look("i", times=1)
    assert shop.replicas("api") == 3
    assert shop.ready("i")[0] == "Progressing"


async def test_taking_the_request_away_asks_for_nothing() -> None:
    shop = shop_of_two()
    refuse(shop, "web")
    await looked(shop)
    await shop.ask_again("i")
    await looked(shop)
    assert shop.ready("i")[0] == "Forbidden"
    stamp, before = shop.status("i")["lastHandledRequest"], len(shop.fake.journal)
    shop.fake.on_call()
    await shop.ask_again("i", wanted=False)
    await looked(shop)
    assert len(shop.fake.journal) == before + 1
    assert (shop.replicas("web"), shop.status("i")["lastHandledRequest"]) == (3, stamp)


async def test_time_in_which_nobody_looked_is_no_part_of_a_window() -> None:
    ready = {"name": "ready", "podsReady": {}, "for": "2m", "timeout": "1h"}
    shop = shop_of_two(containment=scaled(2), verification=[ready])
    await looked(shop)
    assert shop.status("i")["phase"] == "Verification"
    shop.now += timedelta(minutes=3)
    await looked(shop, 2)
    assert (shop.ready("i")[0], shop.replicas("api")) == ("Progressing", 2)
    await looked(shop, 125)
    assert (shop.ready("i")[0], shop.replicas("api")) == ("Resolved", 3)


async def test_what_has_gone_back_stays_so_where_the_spec_changes_with_the_request_to_try_again() -> None:
    """``web`` could not be put back: it is asked for once more, with another severity."""
    shop = Shop()
    for name in ("api", "web"):
        shop.deployment(name)
    web = {"name": "w", "scale": {"replicas": 1}, "targets": [{"kind": "Deployment", "name": "web"}]}
    check = {"name": "rolled", "rollout": {}, "for": "0s"}
    shop.incident("i", API, containment=[web, *scaled(1)], verification=[check])
    refused = Stalled("Forbidden", "may not")

    def refuse(call: Call) -> None:
        if is_on_target(call) and call.ref.name == "web" and shop.replicas("api") == 3 and call.when == "before":
            raise refused

    for _ in range(4):
        await shop.look("i")
        for name in ("api", "web"):
            shop.settle(name)
        if shop.replicas("web") == 1 and shop.replicas("api") == 1:
            shop.fake.on_call(refuse)
    assert (shop.ready("i")[0], shop.replicas("api"), shop.replicas("web")) == ("Forbidden", 3, 1)
    shop.fake.on_call()
    seen = []
    shop.fake.on_call(lambda call: seen.append(call.ref.name) if is_on_target(call) and call.when == "before" else None)
    await shop.change("i", severity="SEV-1")
    await shop.ask_again("i")
    for _ in range(3):
        await shop.look("i")
        shop.settle("web")
    assert (set(seen), shop.replicas("api"), shop.replicas("web")) == ({"web"}, 3, 3)


@pytest.mark.parametrize("order", [1, -1], ids=["the other first", "it first"])
async def test_of_two_that_fail_at_once_the_one_that_gives_back_decides(order: int) -> None:
    shop = Shop()
    for name in ("api", "web"):
        shop.deployment(name)
    more = {"stage": "s", "timeout": "5s"}
    web = {"name": "w", "scale": {"replicas": 1}, "targets": [{"kind": "Deployment", "name": "web"}], **more}
    steps = [web, *scaled(1, onFailure="Release", **more)]
    shop.incident("i", API, containment=steps[::order])
    await shop.look("i")
    shop.now += timedelta(seconds=10)
    await shop.look("i")
    assert (shop.ready("i")[0], shop.replicas("api"), shop.replicas("web")) == ("TimedOut", 3, 3)
