"""What somebody else made as it was planned, before we came to it, is theirs: it does not go back."""

from __future__ import annotations

import contextlib

from incident_operator.cluster.fake import Call
from incident_operator.faults import Waiting
from unit.engine.shop import Shop, is_on_target, scaled


def with_incident(replicas: int = 0) -> Shop:
    shop = Shop()
    shop.deployment("api", 3)
    shop.incident("i", ("Deployment", "api"), containment=scaled(replicas))
    return shop


async def died_before_it_was_sent(shop: Shop) -> None:
    """The intent is on record, and no more."""

    class DeadError(BaseException):
        pass

    def die(call: Call) -> None:
        if is_on_target(call) and call.when == "before":
            raise DeadError

    shop.fake.on_call(die)
    with contextlib.suppress(DeadError):
        await shop.look("i", times=1)
    shop.fake.on_call()
    assert [each["state"] for each in shop.status("i")["ledger"]] == ["Intended"]
    shop.restart()


async def in_the_end(shop: Shop) -> tuple[str, int]:
    """What became of the entry, and how many replicas there are, once it is released."""
    for _ in range(3):
        await shop.look("i")
        shop.settle("api")
    (entry,) = shop.status("i")["ledger"]
    if entry["state"] == "Skipped":
        assert "somebody else made it so" in entry["message"]
    await shop.change("i", release=True)
    await shop.look("i", times=8)
    assert shop.ready("i")[0] == "Resolved"
    return entry["state"], shop.fake.at("Deployment", "api")["spec"]["replicas"]


async def test_made_in_the_moment_before_our_first_try_it_is_theirs() -> None:
    shop = with_incident()

    def race(call: Call) -> None:
        if is_on_target(call) and call.when == "before":
            shop.fake.on_call()
            shop.by_hand("api", 0)

    shop.fake.on_call(race)
    assert await in_the_end(shop) == ("Skipped", 0)


async def test_made_while_no_process_was_there_it_is_theirs_where_the_api_server_knows() -> None:
    shop = with_incident(5)
    await died_before_it_was_sent(shop)
    shop.by_hand("api", 5, "kubectl-edit")
    assert await in_the_end(shop) == ("Skipped", 5)


async def test_made_by_a_process_that_died_it_is_ours_and_goes_back() -> None:
    shop = with_incident(5)
    await died_before_it_was_sent(shop)
    shop.by_hand("api", 5, "incident-operator")
    assert await in_the_end(shop) == ("Done", 3)


async def test_where_nobody_is_kept_it_is_taken_for_ours() -> None:
    """After ``kubectl scale --replicas=0`` the API server keeps nobody, nor does it after our own."""
    shop = with_incident()
    await died_before_it_was_sent(shop)
    shop.by_hand("api", 0)
    assert await in_the_end(shop) == ("Done", 3)


async def test_sent_and_not_answered_it_is_ours() -> None:
    shop = with_incident()
    shop.fake.fail(Waiting("ApiUnreachable", "no answer"), of=is_on_target, when="after")
    assert await in_the_end(shop) == ("Done", 3)
