"""The three worked policies of docs/policy.md, judged as they are written in examples/policies, rule by rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from incident_operator.engine.policies import policy_of
from incident_operator.planning.policy import Facts, Policy, Ruling, Touched, judge, selected
from incident_operator.planning.reach import Blast

EXAMPLES = Path(__file__).resolve().parents[3] / "examples/policies"
THURSDAY = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def policies(name: str) -> tuple[Policy, ...]:
    found = yaml.safe_load_all((EXAMPLES / f"{name}.yaml").read_text())
    return tuple(policy_of(each) for each in found)


BANK, START_UP, SECURITY = policies("bank"), policies("start-up"), policies("security-team")
PLAIN = Facts(
    mode="Enforce",
    severity="SEV-2",
    type="Outage",
    actions=("scale",),
    traits=frozenset(),
    destructive=frozenset(),
    touched=(Touched("Deployment", "api", "shop", {"app": "api"}),),
    blasts=(Blast("Deployment/api", 2, 3, 10, "removed"),),
    now=THURSDAY,
)


def ruled(by: Sequence[Policy], namespace: str = "shop", labels: Any = None, **more: Any) -> Ruling:
    """What the policies that select a namespace of these labels make of a plan."""
    there = {"kubernetes.io/metadata.name": namespace, **(labels or {})}
    return judge(selected(by, there), dataclasses.replace(PLAIN, **more))


def asked(ruling: Ruling) -> list[str]:
    return [f"{rule.name}: {rule.count} from {rule.who}" for rule in ruling.approvals]


def refused(ruling: Ruling) -> str:
    return ruling.refusal.message if ruling.refusal else ""


def banks(**more: Any) -> Ruling:
    return ruled(BANK, labels={"environment": "production"}, **more)


FOUR_EYES = "four-eyes: 2 from group incident-approvers"


class TestBank:
    def test_it_is_for_production_alone(self) -> None:
        assert banks().policies == ("bank",)
        assert ruled(BANK, labels={"environment": "test"}).policies == ("built-in",)

    def test_two_agree_to_every_plan_on_a_working_day(self) -> None:
        assert (banks().mode, asked(banks())) == ("Enforce", [FOUR_EYES])
        for trait in ("Irreversible", "Destructive", "Unknown"):
            assert asked(banks(traits=frozenset({trait}))) == [FOUR_EYES]

    def test_a_guess_needs_an_owner_of_the_service_too(self) -> None:
        guess = banks(actions=("rolloutUndo",), traits=frozenset({"Guess"}))
        assert asked(guess) == [FOUR_EYES, "no-guesses: 1 from group service-owners"]

    @pytest.mark.parametrize(
        ("blasts", "says"),
        [
            ([Blast("Deployment/api", 5, 5, 10)], ""),
            ([Blast("Deployment/api", 5, 5, 11)], ""),
            ([Blast("Deployment/api", 6, 6, 11)], "50 % of the namespace's 11 pods, rounded down 5, the plan takes 6"),
            ([Blast("Deployment/api", 1, 3, 10), Blast("Deployment/web", 1, 3, 10)], "1 workloads, the plan takes 2"),
            ([Blast(f"Pod/api-{n}", 1, 3, 10, owner="Deployment/api") for n in range(3)], ""),
            ([Blast("Deployment/api", -1, unknown=("Pod",))], "which is not known"),
        ],
    )
    def test_half_of_the_pods_and_one_workload_are_the_most(self, blasts: list[Blast], says: str) -> None:
        found = banks(blasts=blasts)
        assert says in refused(found)
        assert bool(found.refusal) is bool(says)

    @pytest.mark.parametrize(
        ("thing", "rule"),
        [
            (Touched("Deployment", "orders", "shop", {"incident-operator.dev/tier": "database"}), "databases"),
            (Touched("Pod", "orders-0", "shop", {"incident-operator.dev/tier": "database"}), "databases"),
            (Touched("StatefulSet", "end-of-day", "shop"), "batch-runs"),
            (Touched("Deployment", "end-of-day", "shop"), ""),
            (Touched("StatefulSet", "other", "shop"), ""),
            (Touched("Deployment", "api", "shop", {"incident-operator.dev/tier": "api"}), ""),
        ],
    )
    def test_databases_and_the_runs_at_the_end_of_the_day_are_out_of_bounds(self, thing: Touched, rule: str) -> None:
        assert (f"ResponsePolicy bank (protected: {rule})" in refused(banks(touched=(thing,)))) is bool(rule)

    @pytest.mark.parametrize(
        ("at", "window"),
        [
            ("2026-11-27T22:59:59Z", ""),  # Friday, a second before midnight in Berlin
            ("2026-11-27T23:00:00Z", "weekend"),
            ("2026-11-28T12:00:00Z", "weekend"),
            ("2026-11-28T23:00:00Z", "weekend"),  # Saturday's is over, Sunday's has begun
            ("2026-11-29T22:59:59Z", "weekend"),
            ("2026-11-29T23:00:00Z", ""),
            ("2026-07-03T21:59:59Z", ""),  # in summer midnight is an hour earlier in UTC
            ("2026-07-03T22:00:00Z", "weekend"),
            ("2026-12-29T23:59:59Z", ""),
            ("2026-12-30T00:00:00Z", "year-end-closing"),
            ("2026-12-31T23:59:59Z", "year-end-closing"),
            ("2027-01-04T00:00:00Z", ""),  # a Monday
        ],
    )
    def test_the_weekend_and_the_closing_of_the_year_are_frozen(self, at: str, window: str) -> None:
        found = banks(now=datetime.fromisoformat(at))
        assert found.mode == ("Propose" if window else "Enforce")
        assert any(f"freeze window {window} of ResponsePolicy bank" in text for text in found.why) is bool(window)
        assert asked(found) == [FOUR_EYES], "frozen or not, two agree"

    def test_no_severity_is_let_through(self) -> None:
        assert banks(severity="SEV-1", now=datetime.fromisoformat("2026-11-28T12:00:00Z")).mode == "Propose"

    def test_an_object_rests_for_a_quarter_of_an_hour(self) -> None:
        touched = {"Deployment shop/api": THURSDAY - timedelta(minutes=14)}
        assert banks(last_touched=touched).wait_until == THURSDAY + timedelta(minutes=1)
        assert banks(last_touched={"Deployment shop/api": THURSDAY - timedelta(minutes=15)}).wait_until is None


class TestStartUp:
    def test_it_is_for_every_namespace_and_acts_by_itself(self) -> None:
        assert ruled(START_UP, "anything").policies == ("start-up",)
        found = ruled(START_UP, actions=("rolloutUndo",), traits=frozenset({"Irreversible", "Guess"}))
        assert (found.mode, asked(found)) == ("Enforce", [])

    def test_somebody_agrees_to_a_failover_though_it_does_not_speak_of_it(self) -> None:
        found = ruled(
            START_UP,
            actions=("failover",),
            traits=frozenset({"Irreversible", "Destructive"}),
            destructive=frozenset({"failover"}),
        )
        assert [rule.name for rule in found.approvals] == ["destructive"]

    @pytest.mark.parametrize(
        ("blasts", "says"),
        [
            ([Blast("Deployment/api", 20, 20, 100)], ""),
            ([Blast("Deployment/api", 21, 21, 100)], "allows 20 pods, the plan takes 21 (blastRadius.pods)"),
            ([Blast(f"Deployment/{n}", 1, 1, 100) for n in range(3)], ""),
            ([Blast(f"Deployment/{n}", 1, 1, 100) for n in range(4)], "3 workloads, the plan takes 4"),
        ],
    )
    def test_more_than_twenty_pods_or_three_workloads_need_a_second_pair_of_eyes(
        self, blasts: list[Blast], says: str
    ) -> None:
        found = ruled(START_UP, blasts=blasts)
        assert (found.refusal, [rule.name for rule in found.approvals]) == (None, ["blast-radius"] if says else [])
        assert says in found.exceeded

    @pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease"])
    def test_the_control_plane_is_out_of_bounds(self, namespace: str) -> None:
        found = ruled(START_UP, namespace, touched=(Touched("Deployment", "coredns", namespace),))
        assert "ResponsePolicy start-up (protected: control-plane)" in refused(found)

    def test_ten_within_ten_minutes_are_a_storm(self) -> None:
        since: list[datetime] = []

        def count(moment: datetime) -> int:
            since.append(moment)
            return 10

        found = ruled(START_UP, enforced_since=count)
        assert (found.mode, since) == ("Propose", [THURSDAY - timedelta(minutes=10)])
        assert ruled(START_UP, enforced_since=lambda _: 9).mode == "Enforce"


TEAM = "keep-the-traces: 1 from security-lead or group security-response"


class TestSecurityTeam:
    @pytest.mark.parametrize(
        ("kind", "action", "rules"),
        [
            ("Security", "isolate", []),
            ("Security", "scale", [TEAM]),
            ("Security", "rolloutUndo", [TEAM]),
            ("Outage", "scale", []),
            ("Data", "rolloutUndo", []),
        ],
    )
    def test_the_team_agrees_to_what_ends_pods_in_a_security_incident(
        self, kind: str, action: str, rules: list[str]
    ) -> None:
        found = ruled(SECURITY, type=kind, actions=(action,))
        assert (found.policies, found.mode, asked(found)) == (("security-team",), "Enforce", rules)

    @pytest.mark.parametrize("action", ["rolloutRestart", "runJob", "restore", "failover", "suspend"])
    def test_only_three_actions_are_allowed(self, action: str) -> None:
        said = refused(ruled(SECURITY, actions=("isolate", action)))
        assert said == f"ResponsePolicy security-team allows isolate, scale, rolloutUndo, and not {action}"

    def test_two_hundred_pods_are_the_most_and_a_whole_workload_is_not_too_much(self) -> None:
        assert ruled(SECURITY, blasts=[Blast("Deployment/api", 200, 200, 300)]).refusal is None
        said = refused(ruled(SECURITY, blasts=[Blast("Deployment/api", 201, 201, 300)]))
        assert "allows 200 pods, the plan takes 201 (blastRadius.pods)" in said

    @pytest.mark.parametrize("namespace", ["kube-system", "forensics"])
    def test_two_namespaces_are_only_planned_for(self, namespace: str) -> None:
        found = ruled(SECURITY, namespace)
        assert (found.policies, found.mode) == (("hands-off",), "Observe")

    def test_whom_incidents_act_as(self) -> None:
        assert [policy.service_account for policy in SECURITY] == ["incident-responder", ""]
