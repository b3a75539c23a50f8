"""Who has said yes or no to exactly this plan, and whether that is enough.

Pure. An approval counts if it names the plan's hash, has not expired, comes from somebody the
rule asks for, and not from the one who made the Incident. A rejection is final for that plan.
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


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """What the votes come to."""

    granted: bool
    rejected_by: str = ""
    message: str = ""
    by: tuple[str, ...] = ()
    """Who approved, as far as it counted."""


def tally(
    rules: Sequence[ApprovalRule], votes: Iterable[Vote], *, plan_hash: str, reporter: str, now: datetime
) -> Tally:
    """Whether every rule has its quorum; else what is missing and why votes did not count."""
    mine = [vote for vote in votes if vote.plan_hash == plan_hash]
    for vote in sorted(mine, key=lambda each: each.at):
        if not vote.approves:
            because = f": {vote.reason}" if vote.reason else ""
            return Tally(False, vote.by, f"{vote.by} rejected plan {plan_hash}{because}")
    if not rules:
        return Tally(True)
    if not reporter:
        return Tally(
            False,
            message="an approval is needed, and nobody approves their own Incident, but who made this one is not "
            "known: delete it and apply it again with spec.reportedBy (your user name: kubectl auth whoami)",
        )
    yes = {vote.by: vote for vote in mine if vote.approves and vote.by != reporter and now < vote.until}
    missing = []
    for rule in rules:
        count = sum(_fits(rule, vote) for vote in yes.values())
        if count < rule.count:
            missing.append(f"{count} of {rule.count} from {rule.who} (policy {rule.policy}, rule {rule.name})")
    if not missing:
        return Tally(True, by=tuple(sorted(yes)))
    own = any(vote.by == reporter and vote.approves for vote in mine)
    late = [vote.by for vote in mine if vote.approves and now >= vote.until]
    text = f"plan {plan_hash} has {'; '.join(missing)}"
    text += f"; that of {reporter} does not count, who made the Incident" if own else ""
    text += f"; expired: {', '.join(sorted(set(late)))}" if late else ""
    return Tally(False, message=text, by=tuple(sorted(yes)))


def _fits(rule: ApprovalRule, vote: Vote) -> bool:
    """Whether a vote is from somebody whom the rule asks for."""
    if not rule.users and not rule.groups:
        return True
    return vote.by in rule.users or any(group in rule.groups for group in vote.groups)
