"""What policies make of a plan: the strictest holds, and every no has its numbers."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.planning.policy import (
    BUILT_IN_POLICY,
    MODES,
    ApprovalRule,
    Budget,
    Facts,
    Policy,
    Protection,
    Touched,
    judge,
    over_budget,
    selected,
)
from incident_operator.planning.reach import Blast
from incident_operator.planning.windows import Window

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
API = Touched("Deployment", "api", "shop", {"app": "api"})


def facts(**more: Any) -> Facts:
    given_: dict[str, Any] = {
        "mode": "Enforce",
        "severity": "SEV-2",
        "type": "Outage",
        "actions": ("scale",),
        "traits": frozenset(),
        "destructive": frozenset(),
        "touched": (API,),
        "blasts": (Blast("Deployment/api", 2, 3, 10, "removed"),),
        "now": NOW,
    }
    return Facts(**{**given_, **more})


def test_with_no_policy_the_built_in_one_holds_and_lets_a_small_reversible_plan_run() -> None:
    assert selected((), {}) == (BUILT_IN_POLICY,)
    ruling = judge((BUILT_IN_POLICY,), facts())
    assert (ruling.mode, ruling.approvals, ruling.refusal) == ("Enforce", (), None)


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"traits": frozenset({"Destructive"})}, "destructive"),
        ({"blasts": (Blast("Deployment/api", 51, 51, 60, "removed"),)}, "blast-radius"),
        ({"blasts": (Blast("Deployment/api", -1, unknown=("Pod",)),)}, "blast-radius"),
        ({"approval_asked": True}, "asked-for"),
        ({"mode": "Propose"}, "propose"),
    ],
)
def test_the_built_in_policy_asks_a_person(more: dict[str, Any], rule: str) -> None:
    assert [each.name for each in judge((BUILT_IN_POLICY,), facts(**more)).approvals] == [rule]


def test_the_built_in_policy_protects_the_control_plane() -> None:
    ruling = judge((BUILT_IN_POLICY,), facts(touched=(Touched("Deployment", "coredns", "kube-system"),)))
    assert ruling.refusal is not None
    assert ruling.refusal.message == (
        "Deployment kube-system/coredns is protected by the built-in policy (protected: control-plane)"
    )


def test_of_several_policies_the_lowest_mode_all_approvals_and_the_longest_cooldown_hold() -> None:
    first = Policy("a", max_mode="Propose", approvals=(ApprovalRule("one", "a"),), cooldown=timedelta(minutes=1))
    second = Policy("b", approvals=(ApprovalRule("two", "b", count=2),), cooldown=timedelta(minutes=9))
    ruling = judge((first, second), facts(last_touched={"Deployment shop/api": NOW - timedelta(minutes=5)}))
    assert ruling.mode == "Propose"
    assert [rule.name for rule in ruling.approvals] == ["one", "two"]
    assert ruling.wait_until == NOW + timedelta(minutes=4)
    assert "ResponsePolicy b has a cooldown of 540 s" in ruling.wait_why


def test_an_action_is_forbidden_by_any_policy_whatever_another_allows() -> None:
    ruling = judge((Policy("a", allowed=("scale",)), Policy("b", forbidden=("scale",))), facts())
    assert ruling.refusal is not None
    assert (ruling.refusal.reason, ruling.refusal.message) == ("ActionForbidden", "ResponsePolicy b forbids scale")
    ruling = judge((Policy("a", allowed=("isolate",)),), facts())
    assert ruling.refusal is not None
    assert ruling.refusal.message == "ResponsePolicy a allows isolate, and not scale"


@pytest.mark.parametrize(
    ("rule", "is_hit"),
    [
        (Protection("x", kinds=("Deployment",)), True),
        (Protection("x", kinds=("StatefulSet",)), False),
        (Protection("x", kinds=("Deployment",), names=("web",)), False),
        (Protection("x", namespaces=("shop",)), True),
        (Protection("x", selector={"matchLabels": {"app": "api"}}), True),
        (Protection("x", selector={"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}), False),
    ],
)
def test_every_given_condition_of_a_protection_must_hold(rule: Protection, is_hit: bool) -> None:
    assert (judge((Policy("p", protected=(rule,)),), facts()).refusal is not None) is is_hit


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        (Budget(pods=2), ""),
        (Budget(pods=1), "ResponsePolicy p allows 1 pods, the plan takes 2 (blastRadius.pods)"),
        (Budget(workloads=0), "allows 0 workloads, the plan takes 1 (blastRadius.workloads)"),
        (Budget(pods_percent=20), ""),
        (Budget(pods_percent=19), "19 % of the namespace's 10 pods, rounded down 1, the plan takes 2"),
        (Budget(workload_percent=66), "66 % of the 3 pods of Deployment/api, rounded down 1, the plan takes 2"),
        (Budget(workload_percent=67), ""),
    ],
)
def test_budgets_are_rounded_down_and_said_with_both_numbers(budget: Budget, says: str) -> None:
    said = over_budget(Policy("p", budget=budget), facts().blasts)
    assert said.endswith(says) if not says else says in said


SINGLES = tuple(Blast(f"Pod/api-{n}", 1, 3, 10, "cut off", owner="Deployment/api") for n in range(3))


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (1, ""),
        (2, "50 % of the 3 pods of Deployment/api, rounded down 1, the plan takes 2"),
        (3, "50 % of the 3 pods of Deployment/api, rounded down 1, the plan takes 3"),
    ],
)
def test_the_share_of_a_workload_is_that_of_the_whole_plan(count: int, says: str) -> None:
    said = over_budget(Policy("p", budget=Budget(workload_percent=50)), SINGLES[:count])
    assert said.endswith(says) if not says else says in said
    assert over_budget(Policy("p", budget=Budget(workloads=1)), SINGLES) == "", "they are of one workload"


def test_what_is_taken_twice_is_not_more_than_all() -> None:
    twice = (Blast("Deployment/api", 3, 3, 10, "replaced"), *SINGLES)
    assert "the plan takes 3" in over_budget(Policy("p", budget=Budget(workload_percent=99)), twice)
    assert over_budget(Policy("p", budget=Budget(workload_percent=100)), twice) == ""
    assert over_budget(Policy("p", budget=Budget(pods=3, pods_percent=30)), twice) == ""
    assert "the plan takes 3" in over_budget(Policy("p", budget=Budget(pods_percent=29)), twice)


DESTROYS = {"traits": frozenset({"Destructive"}), "destructive": frozenset({"failover"})}
WAIVER = ApprovalRule("by-itself", "p", when=("Destructive",), count=0)


@pytest.mark.parametrize(
    ("policies", "asked"),
    [
        ((Policy("p"),), ["destructive"]),
        ((Policy("p", approvals=(ApprovalRule("guesses", when=("Guess",)),)),), ["destructive"]),
        ((Policy("p", approvals=(ApprovalRule("low", severities=("SEV-4",)),)),), ["destructive"]),
        ((Policy("p", approvals=(ApprovalRule("dba", when=("Destructive",), groups=("dba",)),)),), ["dba"]),
        ((Policy("p", approvals=(ApprovalRule("four-eyes", count=2),)),), ["four-eyes"]),
        ((Policy("p", max_mode="Propose"),), ["propose"]),
        ((Policy("p", approvals=(WAIVER,)),), []),
        ((Policy("p", approvals=(dataclasses.replace(WAIVER, severities=("SEV-1",)),)),), ["destructive"]),
        ((Policy("p", approvals=(dataclasses.replace(WAIVER, when=("Irreversible",)),)),), ["destructive"]),
        ((Policy("p", approvals=(dataclasses.replace(WAIVER, actions=("failover",)),)),), []),
        ((Policy("p", approvals=(dataclasses.replace(WAIVER, actions=("suspend",)),)),), ["destructive"]),
        ((Policy("p", approvals=(WAIVER,)), Policy("q")), ["destructive"]),
        ((Policy("p", approvals=(WAIVER,)), Policy("q", approvals=(WAIVER,))), []),
    ],
)
def test_somebody_agrees_to_what_is_destructive_unless_every_policy_says_otherwise(
    policies: tuple[Policy, ...], asked: list[str]
) -> None:
    ruling = judge(policies, facts(actions=("suspend", "failover"), **DESTROYS))
    assert (ruling.refusal, [rule.name for rule in ruling.approvals]) == (None, asked)


def test_who_waives_it_for_one_destructive_action_does_not_for_another() -> None:
    suspend, failover = (dataclasses.replace(WAIVER, actions=(action,)) for action in ("suspend", "failover"))
    both = facts(actions=("suspend", "failover"), **{**DESTROYS, "destructive": frozenset({"suspend", "failover"})})
    for rules, asked in (((suspend,), ["destructive"]), ((failover,), ["destructive"]), ((suspend, failover), [])):
        ruling = judge((Policy("p", approvals=rules),), both)
        assert [rule.name for rule in ruling.approvals] == asked


def test_what_is_always_protected_is_whatever_policies_say() -> None:
    own = (Protection("operator", namespaces=("incident-operator",)),)
    there = (Touched("Deployment", "incident-operator", "incident-operator"),)
    for policies in ((BUILT_IN_POLICY,), (Policy("p"),)):
        ruling = judge(policies, facts(touched=there), own)
        assert ruling.refusal is not None
        assert ruling.refusal.message == (
            "Deployment incident-operator/incident-operator is protected by the built-in policy (protected: operator)"
        )
        assert judge(policies, facts(), own).refusal is None


def test_what_is_not_known_is_over_any_limit_and_within_none() -> None:
    unknown = (Blast("Deployment/api", -1, unknown=("Pod",)),)
    assert "is not known" in over_budget(Policy("p", budget=Budget(pods=1000)), unknown)
    assert over_budget(Policy("p"), unknown) == ""


def test_a_refusing_budget_refuses_and_an_asking_one_asks() -> None:
    refused = judge((Policy("p", budget=Budget(pods=1)),), facts())
    assert refused.refusal is not None
    assert (refused.refusal.reason, bool(refused.exceeded)) == ("BlastRadiusExceeded", True)
    asked = judge((Policy("p", budget=Budget(pods=1, exceeded="RequireApproval")),), facts())
    assert (asked.refusal, [rule.name for rule in asked.approvals]) == (None, ["blast-radius"])


@pytest.mark.parametrize(
    ("rule", "is_needed"),
    [
        (ApprovalRule("r"), True),
        (ApprovalRule("r", severities=("SEV-1",)), False),
        (ApprovalRule("r", types=("Outage",)), True),
        (ApprovalRule("r", actions=("isolate",)), False),
        (ApprovalRule("r", when=("Guess",)), False),
        (ApprovalRule("r", actions=("scale", "isolate"), severities=("SEV-2",)), True),
    ],
)
def test_an_approval_is_needed_where_every_condition_holds(rule: ApprovalRule, is_needed: bool) -> None:
    assert bool(judge((Policy("p", approvals=(rule,)),), facts()).approvals) is is_needed


def test_a_freeze_window_makes_plans_wait_but_for_the_severities_it_lets_through() -> None:
    window = Window("closing", NOW - timedelta(hours=1), NOW + timedelta(hours=1), except_severities=("SEV-1",))
    frozen = judge((Policy("p", windows=(window,)),), facts())
    assert (frozen.mode, [rule.name for rule in frozen.approvals]) == ("Propose", ["propose"])
    assert "freeze window closing of ResponsePolicy p until 2026-11-23 13:00" in frozen.why[0]
    assert judge((Policy("p", windows=(window,)),), facts(severity="SEV-1")).mode == "Enforce"


def test_a_storm_makes_new_plans_wait() -> None:
    policy = Policy("p", storm=(3, timedelta(minutes=10)))
    asked: list[datetime] = []

    def count(since: datetime) -> int:
        asked.append(since)
        return 3

    ruling = judge((policy,), facts(enforced_since=count))
    assert ruling.mode == "Propose"
    assert asked == [NOW - timedelta(minutes=10)]
    assert judge((policy,), facts(enforced_since=lambda _: 2)).mode == "Enforce"


MONDAY_EVENING = Window(
    "w", days=("Monday",), opens=time(22), closes=time(6), zone="Europe/Berlin"
)  # 21:00 UTC on Monday to 05:00 UTC on Tuesday, in winter


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-11-23T20:59:59Z", False),
        ("2026-11-23T21:00:00Z", True),
        ("2026-11-24T04:59:59Z", True),
        ("2026-11-24T05:00:00Z", False),
        ("2026-11-24T21:30:00Z", False),
        ("2026-07-06T20:00:00Z", True),
        ("2026-07-06T19:59:59Z", False),
    ],
)
def test_a_weekly_window_follows_its_zone_over_midnight_and_summer_time(at: str, is_open: bool) -> None:
    assert (MONDAY_EVENING.until(datetime.fromisoformat(at)) is not None) is is_open


modes = st.sampled_from(MODES)
policies = st.builds(
    Policy,
    st.sampled_from(["a", "b", "c"]),
    max_mode=modes,
    forbidden=st.lists(st.sampled_from(["scale", "isolate"]), max_size=2),
    approvals=st.lists(
        st.builds(ApprovalRule, st.just("r"), when=st.sampled_from([(), ("Destructive",)]), count=st.integers(0, 3)),
        max_size=2,
    ),
    budget=st.builds(Budget, pods=st.none() | st.integers(0, 4)),
)


@given(st.lists(policies, min_size=1, max_size=4), policies, modes, st.sampled_from(["Destructive", "Guess"]))
def test_one_more_policy_never_allows_more(some: list[Policy], more: Policy, mode: Any, trait: str) -> None:
    known = facts(mode=mode, traits=frozenset({trait}))
    before, after = judge(some, known), judge([*some, more], known)
    assert MODES.index(after.mode) <= MODES.index(before.mode) or before.refusal is not None
    if before.refusal is not None:
        assert after.refusal is not None
    elif after.refusal is None:
        assert after.approvals or after.mode == "Observe" or not before.approvals
        kept = [rule for rule in before.approvals if rule.name not in ("propose", "destructive")]
        assert all(rule in after.approvals for rule in kept)
