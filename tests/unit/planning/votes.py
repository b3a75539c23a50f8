"""A policy that wants every plan agreed to, and those who agree to it or do not."""

from __future__ import annotations

from incident_operator.cluster.fake import FakeCluster
from unit.engine.shop import FOUR_EYES, admission, policy, vote
from unit.planning.machine_world import INCIDENT, Clock, status_of

REPORTER = "bob"
"""Declared the Incident, and so has no say about its plan."""
POLICY = ("ResponsePolicy", "", "four-eyes")


def four_eyes(fake: FakeCluster) -> None:
    """One person who has not reported the Incident agrees to each plan; approvers are who they say they are."""
    fake.put(*admission(), policy(POLICY[2], **FOUR_EYES))


def no_policy(fake: FakeCluster) -> None:
    """Nobody has to agree to anything."""
    if POLICY in fake.objects:
        fake.take(*POLICY)


def approve(fake: FakeCluster, clock: Clock, decision: str, by: str) -> None:
    """Somebody's yes or no to the plan as it is now."""
    count = sum(1 for kind, _, _ in fake.objects if kind == "IncidentApproval")
    plan = status_of(fake)["plan"]["hash"]
    fake.put(vote(f"vote-{count}", INCIDENT, plan, by, clock.now, decision=decision))


def is_agreed(fake: FakeCluster) -> bool:
    """Whether somebody but the reporter has said yes to the plan as it is, and nobody but the reporter no."""
    plan = status_of(fake)["plan"]["hash"]
    votes = [each["spec"] for (kind, _, _), each in fake.objects.items() if kind == "IncidentApproval"]
    said = {vote["decision"] for vote in votes if vote["planHash"] == plan and vote["approver"] != REPORTER}
    return said == {"Approved"}
