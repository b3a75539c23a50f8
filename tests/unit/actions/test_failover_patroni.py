"""failover.patroni: another leader is asked for once, by those that could lead, and seen to lead."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from incident_operator.actions import failover_patroni
from incident_operator.actions.failover import Failover
from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.cluster.resources import resource
from incident_operator.faults import Conflict, Refused, Stalled
from incident_operator.planning.plan import Change, Settlement, Standing
from unit.actions.following_patroni import (
    ACTION,
    LABELS,
    LOCKS,
    SCOPE,
    STATEFUL,
    a_patroni,
    annotate,
    failover_object,
    follow,
    lock,
    member,
    request,
    take_back,
)
from unit.actions.objects import OCCASION, SINCE, Object, created, done, later, target
from unit.actions.restoring import made

KINDS = sorted(LOCKS)


async def asked(fake: FakeCluster, **form: Any) -> Change:
    """The request is made, as the engine makes it."""
    (change,) = await request(fake, **form)
    assert change.request is not None
    answer = await fake.send(change.request)
    return created(change, answer) if change.request.verb == "create" else change


async def look(fake: FakeCluster, change: Change) -> Settlement:
    return await ACTION.settle(fake, done([change]), since=SINCE, now=later(60))


def annotations(fake: FakeCluster, kind: str = "Endpoints") -> Object:
    found: Object = fake.at(kind, f"{SCOPE}-failover")["metadata"].get("annotations", {})
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("there", [True, False], ids=["made before", "first"])
async def test_the_replica_that_is_furthest_is_asked_for_and_settled_when_it_leads(kind: str, *, there: bool) -> None:
    fake = a_patroni(kind=kind, asked=there)
    change = await asked(fake)
    assert change.traits == ("Destructive",)
    assert change.summary == "Patroni shop-db: leader db-0 -> db-2"
    mark = {names.INCIDENT_UID: "incident-uid-1/undo"}
    assert annotations(fake, kind) == {"leader": "db-0", "member": "db-2", **mark}
    assert fake.at(kind, f"{SCOPE}-failover")["metadata"]["labels"] == LABELS, "Patroni sees only what has its labels"
    assert (await look(fake, change)).state == "Pending"
    assert follow(fake, kind) == "db-2"
    found = await look(fake, change)
    assert (found.state, found.facts) == ("Settled", {"primary": "db-2"})


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        ([member(1, position=90), member(2, position=95)], "db-2"),
        ([member(1, position=90, timeline=5), member(2, position=95)], "db-1"),
        ([member(1, position=95), member(2, position=95)], "db-1"),
        ([member(1, position=90), member(2, position=95, state="starting")], "db-1"),
        ([member(1, position=90), member(2, position=95, tags={"nofailover": True})], "db-1"),
        ([member(1, position=90), member(2, position=95, role="standby_leader")], "db-1"),
        ([member(1, position=None), member(2, timeline=None, position=5)], "db-1"),
    ],
)
async def test_which_replica_is_chosen(members: list[Object], wanted: str) -> None:
    (change,) = await request(a_patroni(member(0, role="primary"), *members))
    assert change.after["member"] == wanted


async def test_a_synchronous_replica_comes_first_whatever_the_positions() -> None:
    fake = a_patroni()
    fake.put(
        made("Endpoints", f"{SCOPE}-sync", metadata={"annotations": {"leader": "db-0", "sync_standby": "db-1, x"}})
    )
    (change,) = await request(fake)
    assert change.after["member"] == "db-1"
    (change,) = await request(fake, to="db-2")
    assert change.after["member"] == "db-2", "whom a person names is for Patroni to judge"


def broken(number: int, **status: Any) -> Object:
    found = member(number)
    found["status"].update(status)
    return found


@pytest.mark.parametrize(
    ("replica", "form", "words"),
    [
        (broken(1, phase="Failed"), {}, "shop-db: no replica can take over from db-0; replicas are none"),
        (broken(1, phase="Pending"), {}, r"replicas are db-1 \(its pod does not run\)"),
        (member(1, state="stopped"), {}, r"db-1 \(it is stopped\)"),
        (member(1, state=None), {"to": "db-1"}, "in no known state"),
        (
            member(1, tags={"nofailover": True}),
            {"to": "db-1"},
            r"to db-1: it cannot take over from db-0; replicas are db-1 \(it is tagged nofailover\)",
        ),
        (member(1), {"to": "db-9"}, r"to db-9: it cannot take over.*replicas are db-1 \(well\)"),
    ],
)
async def test_nobody_is_asked_for_who_could_not_lead(replica: Object, form: dict[str, str], words: str) -> None:
    with pytest.raises(Refused, match=words) as caught:
        await request(a_patroni(member(0, role="primary"), replica), **form)
    assert caught.value.reason == "NoReplica"


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
async def test_a_member_that_says_nothing_readable_is_no_replica(text: str) -> None:
    quiet = member(1)
    quiet["metadata"]["annotations"]["status"] = text
    with pytest.raises(Refused, match="says nothing of itself"):
        await request(a_patroni(member(0, role="primary"), quiet))


async def test_the_leader_of_now_need_not_be_asked_for() -> None:
    fake = a_patroni()
    (change,) = await request(fake, to="db-0")
    assert (change.request, change.summary) == (None, "shop-db: db-0 is the leader already")
    assert (await look(fake, change)).state == "Settled"


async def test_a_cluster_that_nobody_leads_gets_a_leader() -> None:
    fake = a_patroni(member(1), member(2, position=101), leader="")
    change = await asked(fake)
    assert "leader" not in annotations(fake)
    assert (await look(fake, change)).state == "Pending"
    assert follow(fake) == "db-2"
    assert (await look(fake, change)).message.endswith("is being promoted"), "it has the lock, and says replica still"
    fake.put(member(2, role="primary"))
    assert (await look(fake, change)).state == "Settled"


@pytest.mark.parametrize(
    ("things", "form", "reason", "words"),
    [
        ([], {"scope": ""}, "Invalid", "needs scope"),
        ([], {"scope": "other"}, "NoPatroni", "neither Endpoints other nor ConfigMap other-leader"),
        ([lock(kind="ConfigMap")], {}, "Ambiguous", "delete the one that Patroni does not use"),
        ([failover_object(member="db-1")], {}, "FailoverPending", "member db-1"),
        ([failover_object(leader="db-0")], {}, "FailoverPending", "leader db-0, member any"),
        ([failover_object(leader="db-9", member="db-2")], {}, "FailoverPending", "leader db-9"),
        (
            [failover_object(member="db-2", scheduled_at="2027-01-01T00:00:00")],
            {},
            "FailoverPending",
            "patronictl flush",
        ),
    ],
)
async def test_what_stands_in_the_way_is_refused_with_the_remedy(
    things: list[Object], form: dict[str, str], reason: str, words: str
) -> None:
    fake = a_patroni()
    fake.put(*things)
    with pytest.raises(Refused, match=words) as caught:
        await request(fake, **form)
    assert caught.value.reason == reason


async def test_a_services_endpoints_of_that_name_say_not_who_leads() -> None:
    fake = a_patroni(kind="ConfigMap")
    fake.put(made("Endpoints", SCOPE, metadata={"annotations": {"endpoints.kubernetes.io/last-change": "x"}}))
    (change,) = await request(fake)
    assert change.target.kind == "ConfigMap"


async def test_a_protected_workload_is_left_alone_and_other_kinds_are_not_asked() -> None:
    fake = a_patroni()
    fake.edit(
        "StatefulSet", "shop", "db", lambda it: it["metadata"].__setitem__("annotations", {names.PROTECTED: "true"})
    )
    with pytest.raises(Refused, match="StatefulSet shop/db"):
        await request(fake)
    other = dataclasses.replace(target(STATEFUL), kind="Deployment")
    with pytest.raises(Refused, match=r"asked for by failover\.job"):
        await ACTION.plan(fake, OCCASION, other, {"patroni": {"scope": SCOPE}})


async def test_the_same_request_of_somebody_else_is_waited_for_and_not_made_twice() -> None:
    fake = a_patroni()
    fake.put(failover_object(leader="db-0", member="db-2"))
    (change,) = await request(fake)
    assert change.request is None
    assert (await look(fake, change)).state == "Pending"
    follow(fake)
    assert (await look(fake, change)).state == "Settled"
    assert ACTION.undo(change, fake.at("Endpoints", SCOPE)) is None


async def test_a_request_of_somebody_else_since_the_plan_is_not_overwritten() -> None:
    for there in ({"member": "db-1"}, {"scheduled_at": "2027-01-01T00:00:00"}):
        for fake in (a_patroni(asked=True), a_patroni()):
            (change,) = await request(fake)
            assert change.request is not None
            fake.put(failover_object(**there))
            with pytest.raises((Conflict, Stalled)):
                await fake.send(change.request)
            assert ACTION.standing(change, fake.at("Endpoints", f"{SCOPE}-failover")) is Standing.OTHER
            assert annotations(fake) == there


async def test_after_a_crash_a_request_that_was_followed_already_is_known_by_its_mark() -> None:
    for there in (True, False):
        fake = a_patroni(asked=there)
        (change,) = await request(fake)
        assert change.request is not None
        current = fake.objects.get(("Endpoints", "shop", f"{SCOPE}-failover"))
        assert ACTION.standing(change, current) is Standing.BEFORE
        await fake.send(change.request)
        follow(fake)
        assert "member" not in annotations(fake)
        assert ACTION.standing(change, fake.at("Endpoints", f"{SCOPE}-failover")) is Standing.AFTER
        with pytest.raises((Conflict, Stalled)):
            await fake.send(change.request)


async def test_a_request_of_an_earlier_step_is_not_taken_for_this_one() -> None:
    fake = a_patroni()
    await asked(fake)
    follow(fake)
    again = dataclasses.replace(OCCASION, step="again")
    (change,) = await ACTION.plan(fake, again, target(STATEFUL), {"patroni": {"scope": SCOPE, "to": "db-0"}})
    assert ACTION.standing(change, fake.at("Endpoints", f"{SCOPE}-failover")) is Standing.BEFORE
    assert change.request is not None
    await fake.send(change.request)
    assert follow(fake) == "db-0"


async def test_what_patroni_declines_and_who_else_leads_is_said() -> None:
    fake = a_patroni()
    change = await asked(fake)
    take_back(fake)
    found = await look(fake, change)
    assert (found.state, found.reason) == ("Failed", "FailoverDeclined")
    annotate(fake, "Endpoints", SCOPE, leader="db-1")
    assert (await look(fake, change)).reason == "Reverted"
    annotate(fake, "Endpoints", SCOPE, leader=None)
    assert (await look(fake, change)).message == "Patroni shop-db: nobody leads yet"
    fake.take("Endpoints", "shop", SCOPE)
    assert (await look(fake, change)).reason == "TargetGone"


async def test_a_request_that_nobody_takes_up_is_withdrawn_on_release_and_a_followed_one_is_left() -> None:
    fake = a_patroni()
    change = await asked(fake)
    mine = fake.at("Endpoints", f"{SCOPE}-failover")
    back = ACTION.undo(change, mine)
    assert back is not None
    await fake.send(back)
    assert follow(fake) == "db-0", "there is nothing left to follow"
    followed = a_patroni()
    change = await asked(followed)
    late = ACTION.undo(change, followed.at("Endpoints", f"{SCOPE}-failover"))
    assert follow(followed) == "db-2"
    assert ACTION.undo(change, followed.at("Endpoints", f"{SCOPE}-failover")) is None
    assert late is not None
    with pytest.raises(Conflict):
        await followed.send(late)


async def test_an_object_that_was_deleted_or_made_anew_is_told_apart() -> None:
    fake = a_patroni()
    change = await asked(fake)
    assert ACTION.standing(change, None) is Standing.GONE
    fake.edit("Endpoints", "shop", f"{SCOPE}-failover", lambda it: it["metadata"].__setitem__("uid", "another"))
    assert ACTION.standing(change, fake.at("Endpoints", f"{SCOPE}-failover")) is Standing.GONE


def test_who_asks_needs_the_rights_of_the_form_alone() -> None:
    per_kind: dict[str, set[Any]] = {}
    for kinds in ACTION.forms.values():
        for kind, rules in kinds.items():
            per_kind.setdefault(kind, set()).update(rules)
    assert {kind: set(rules) for kind, rules in ACTION.asks.items()} == per_kind
    assert not any(rule.resources == ("endpoints",) for rule in ACTION.forms["job"]["StatefulSet"])


async def test_its_rights_are_those_it_declares() -> None:
    used: set[tuple[str, str]] = set()
    for kind in KINDS:
        for there in (True, False):
            fake = a_patroni(kind=kind, asked=there)
            fake.on_call(lambda call: used.add((resource(call.ref.kind).plural, call.verb)))
            change = await asked(fake)
            fake.on_call(lambda _: None)
            follow(fake, kind)
            fake.on_call(lambda call: used.add((resource(call.ref.kind).plural, call.verb)))
            await look(fake, change)
    (rule,) = failover_patroni.RULES
    assert {each for each in used if each[0] in rule.resources} == {(a, b) for a in rule.resources for b in rule.verbs}
    others = {(what, verb) for each in Failover.rules for what in each.resources for verb in each.verbs}
    assert used <= others
