"""Who has said yes or no to exactly this plan, and whether that is enough.

Pure. An approval counts if it names the plan's hash, was made for this Incident and not for an earlier
one of its name, has not expired, comes from somebody the rule asks for, and from none of those who made
the Incident or changed what its plan is made from. A rejection is final for that plan.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime

from incident_operator.planning.policy import ApprovalRule


@dataclasses.dataclass(frozen=True, slots=True)
class Vote:
    """One IncidentApproval; who cast it was compared with the request's user when it was made."""

    name: str
    by: str
    groups: Sequence[str]
    approves: bool
    plan_hash: str
    at: datetime
    until: datetime
    reason: str = ""
    incident_uid: str = ""
    """The Incident it is for, where it says so; empty: any of the name that was there when it was made."""


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What is voted about."""

    plan_hash: str
    uid: str
    since: datetime
    """When the Incident was made: what is older was said about another one of its name."""
    reporter: str
    changers: frozenset[str] = frozenset()
    """Who has changed what the plan is made from."""

    def is_meant(self, vote: Vote) -> bool:
        """Whether a vote is about this plan of this Incident."""
        is_mine = vote.incident_uid in ("", self.uid) and vote.at >= self.since
        return is_mine and vote.plan_hash == self.plan_hash

    @property
    def own(self) -> frozenset[str]:
        """Whose approval does not count, because it is of their own."""
        return self.changers | {self.reporter}


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """What the votes come to."""

    granted: bool
    rejected_by: str = ""
    message: str = ""
    by: tuple[str, ...] = ()
    """Who approved, as far as it counted."""


def tally(
    rules: Sequence[ApprovalRule],
    votes: Sequence[Vote],
    subject: Subject,
    *,
    now: datetime,
    used: frozenset[str] = frozenset(),
) -> Tally:
    """Whether every rule has its quorum; else what is missing and why votes did not count.

    ``used`` are those whose approval was used for this plan already: theirs does not expire any more.
    """
    plan_hash = subject.plan_hash
    mine = [vote for vote in votes if subject.is_meant(vote)]
    for vote in sorted(mine, key=lambda each: each.at):
        if not vote.approves:
            because = f": {vote.reason}" if vote.reason else ""
            return Tally(False, vote.by, f"{vote.by} rejected plan {plan_hash}{because}")
    if not rules:
        return Tally(True)
    if not subject.reporter:
        return Tally(
            False,
            message="an approval is needed, and nobody approves their own Incident, but who made this one is not "
            "known: delete it and apply it again with spec.reportedBy (your user name: kubectl auth whoami)",
        )
    agreeing = [vote for vote in mine if vote.approves]
    yes = [vote for vote in agreeing if vote.by not in subject.own and (now < vote.until or vote.by in used)]
    by = tuple(sorted({vote.by for vote in yes}))
    missing = []
    for rule in rules:
        count = len({vote.by for vote in yes if _fits(rule, vote)})
        if count < rule.count:
            missing.append(f"{count} of {rule.count} from {rule.who} (policy {rule.policy}, rule {rule.name})")
    if not missing:
        return Tally(True, by=by)
    others = [vote for vote in votes if vote.approves and vote.plan_hash == plan_hash and vote not in mine]
    return Tally(
        False,
        message="; ".join(
            [
                f"plan {plan_hash} has {'; '.join(missing)}",
                *_because(agreeing, frozenset({subject.reporter}), "that of {} does not count, who made the Incident"),
                *_because(agreeing, subject.changers - {subject.reporter}, "that of {} does not count, who changed it"),
                *_because((vote for vote in agreeing if now >= vote.until), None, "expired: {}"),
                *_because(others, None, "about an earlier Incident of this name: {}"),
            ]
        ),
        by=by,
    )


def _because(votes: Iterable[Vote], of: frozenset[str] | None, text: str) -> list[str]:
    """Why votes do not count, if any are of these (None: of anybody)."""
    found = sorted({vote.by for vote in votes if of is None or vote.by in of})
    return [text.format(", ".join(found))] if found else []


def _fits(rule: ApprovalRule, vote: Vote) -> bool:
    """Whether a vote is from somebody whom the rule asks for."""
    if not rule.users and not rule.groups:
        return True
    return vote.by in rule.users or any(group in rule.groups for group in vote.groups)
