"""Who has said yes or no, and whether that is enough."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from incident_operator.planning.approvals import Subject, Tally, Vote, tally
from incident_operator.planning.policy import ApprovalRule

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MADE = NOW - timedelta(hours=3)
"""When the Incident was made."""
PLAN, OTHER = "a" * 16, "b" * 16


def vote(by: str, *, approves: bool = True, plan: str = PLAN, groups: tuple[str, ...] = (), age: int = 0) -> Vote:
    at = NOW - timedelta(minutes=age)
    return Vote(f"v-{by}", by, groups, approves, plan, at, at + timedelta(hours=1))


def counted(
    *votes: Vote,
    rules: tuple[ApprovalRule, ...] = (ApprovalRule("r"),),
    reporter: str = "bob",
    changers: tuple[str, ...] = (),
    used: frozenset[str] = frozenset(),
) -> Tally:
    return tally(rules, votes, Subject(PLAN, "uid", MADE, reporter, frozenset(changers)), now=NOW, used=used)


def test_one_other_person_is_enough_unless_the_rule_wants_more() -> None:
    assert counted(vote("alice")).granted
    two = (ApprovalRule("r", count=2),)
    assert not counted(vote("alice"), rules=two).granted
    assert counted(vote("alice"), vote("carol"), rules=two).granted


def test_the_same_person_twice_is_one_person() -> None:
    assert not counted(vote("alice"), vote("alice"), rules=(ApprovalRule("r", count=2),)).granted


def test_nobody_approves_their_own_and_nobody_does_where_the_maker_is_not_known() -> None:
    own = counted(vote("bob"))
    assert (own.granted, "that of bob does not count" in own.message) == (False, True)
    unknown = counted(vote("alice"), reporter="")
    assert (unknown.granted, "spec.reportedBy" in unknown.message) == (False, True)


def test_an_approval_of_another_plan_is_none() -> None:
    assert not counted(vote("alice", plan=OTHER)).granted


def test_a_vote_about_an_earlier_incident_of_the_name_is_none_whatever_it_says() -> None:
    rules = (ApprovalRule("r"),)
    old = dataclasses.replace(vote("alice", age=181), until=NOW + timedelta(days=6))
    found = counted(old, rules=rules)
    assert (found.granted, "about an earlier Incident of this name: alice" in found.message) == (False, True)
    assert counted(dataclasses.replace(old, at=MADE), rules=rules).granted, "in the second in which it was made"
    assert counted(vote("alice"), dataclasses.replace(old, approves=False)).granted


def test_a_vote_that_names_a_uid_is_for_that_incident_alone() -> None:
    assert counted(dataclasses.replace(vote("alice"), incident_uid="uid")).granted
    assert not counted(dataclasses.replace(vote("alice"), incident_uid="other")).granted


def test_who_has_changed_the_plan_of_another_does_not_approve_it() -> None:
    own = counted(vote("alice"), changers=("alice",))
    assert (own.granted, "that of alice does not count, who changed it" in own.message) == (False, True)
    assert counted(vote("alice"), vote("carol"), changers=("alice",)).granted


def test_an_approval_that_was_used_in_time_does_not_expire_any_more() -> None:
    late = vote("alice", age=60)
    assert counted(late, used=frozenset({"alice"})).granted
    assert not counted(late, used=frozenset({"carol"})).granted
    assert not counted(late, rules=(ApprovalRule("r", count=2),), used=frozenset({"alice"})).granted


def test_an_approval_that_waited_too_long_is_none_and_that_is_said() -> None:
    late = counted(vote("alice", age=60))
    assert (late.granted, "expired: alice" in late.message) == (False, True)


def test_one_rejection_is_final_for_its_plan_even_one_s_own_and_however_many_agree() -> None:
    found = counted(vote("alice"), vote("carol"), vote("bob", approves=False))
    assert (found.granted, found.rejected_by) == (False, "bob")
    assert counted(vote("alice"), vote("bob", approves=False, plan=OTHER)).granted


def test_only_who_is_asked_for_counts_by_name_or_by_group() -> None:
    rules = (ApprovalRule("r", users=("carol",), groups=("security",)),)
    assert not counted(vote("alice"), rules=rules).granted
    assert counted(vote("carol"), rules=rules).granted
    assert counted(vote("alice", groups=("security",)), rules=rules).granted


def test_of_several_votes_of_one_person_each_counts_for_what_it_says() -> None:
    rules = (ApprovalRule("r", groups=("security",)), ApprovalRule("s", groups=("owners",)))
    both = (vote("alice", groups=("security",)), vote("alice", groups=("owners",)), vote("alice"))
    assert counted(*both, rules=rules).granted
    assert counted(*both[::-1], rules=rules).by == ("alice",)


def test_every_rule_wants_its_own_quorum() -> None:
    rules = (ApprovalRule("any", count=2), ApprovalRule("security", groups=("security",)))
    assert not counted(vote("alice"), vote("carol"), rules=rules).granted
    assert counted(vote("alice"), vote("carol", groups=("security",)), rules=rules).granted


votes = st.builds(
    vote,
    st.sampled_from(["alice", "bob", "carol"]),
    approves=st.booleans(),
    plan=st.sampled_from([PLAN, OTHER]),
    groups=st.sampled_from([(), ("security",)]),
    age=st.integers(0, 120),
)
rules = st.lists(
    st.builds(ApprovalRule, st.just("r"), count=st.integers(1, 3), groups=st.sampled_from([(), ("security",)])),
    min_size=1,
    max_size=2,
)


@given(st.lists(votes, max_size=6), rules)
def test_what_is_granted_has_its_quorum_of_others_for_this_plan_in_time(given_: Any, wanted: Any) -> None:
    found = counted(*given_, rules=tuple(wanted))
    if not found.granted:
        return
    fit = {v.by for v in given_ if v.approves and v.plan_hash == PLAN and v.by != "bob" and v.until > NOW}
    assert len(fit) >= max(rule.count for rule in wanted)
    assert not any(v.plan_hash == PLAN and not v.approves for v in given_)
