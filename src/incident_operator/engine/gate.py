"""The gate before the writes of a stage: policies, approvals, other Incidents; every no has its reason and numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from incident_operator.actions.contract import Action
from incident_operator.engine import touching
from incident_operator.engine.case import Case
from incident_operator.engine.claims import Claims, Rival, made_by, names_of
from incident_operator.engine.keys import Key
from incident_operator.engine.policies import PolicyBook, votes
from incident_operator.faults import Refused
from incident_operator.planning.approvals import Subject, tally
from incident_operator.planning.merging import counted
from incident_operator.planning.plan import GATES, Entry, EntryState, PlannedStep, Ref
from incident_operator.planning.policy import Facts, Policy, Protection, Ruling, judge
from incident_operator.planning.reach import Blast
from incident_operator.planning.record import LIVE, PolicyRecord

BUSY_AGAIN = timedelta(seconds=5)
"""How often a queued Incident looks by itself; it is woken when the other one is over."""
APPROVAL_AGAIN = timedelta(seconds=15)
"""How often approvals are looked for where their watch says nothing; also notices that one expires."""
KEPT = timedelta(days=2)
MOST_REJECTED = 64
LET_GO = frozenset({EntryState.RELEASED, EntryState.KEPT})
"""States of entries, of an earlier plan maybe, that nothing more is done about."""
REJECTED = "this is final, and no more is done; a changed spec makes another plan"


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """Not now: why, and when to look again (None: when something changes)."""

    reason: str
    message: str
    again: timedelta | None = None
    outcome: str = "Waiting"


class Gate:
    """Decides whether the next stage of an Incident may be carried out now."""

    def __init__(
        self, policies: PolicyBook, claims: Claims, actions: Mapping[str, Action], always: Sequence[Protection] = ()
    ) -> None:
        """Judge by these policies; ``always`` is protected, whatever they say."""
        self._always = always
        self._policies = policies
        self._claims = claims
        self._actions = actions

    async def busy(self, case: Case) -> Pause | None:
        """A Pause if another Incident has a target: the plan is made when that is over, from what is there then."""
        await self._claims.learn()
        return await self._claimed(case)

    async def check(self, case: Case) -> Pause | None:
        """None: go. A Pause: not yet. Refused: no, with the policy and the numbers."""
        if case.wishes.suspend:
            case.change(paused=True)
            return Pause("Suspended", "spec.suspend is true; set it to false to go on")
        policies = await self._policies.of(case.meta["namespace"])
        history = any(policy.storm or policy.cooldown for policy in policies)
        await self._claims.learn(everything=history)
        ruling = judge(policies, await self._facts(case, policies), self._always)
        self._record(case, ruling)
        if ruling.refusal is not None:
            raise Refused(ruling.refusal.reason, f"{ruling.refusal.message}; nothing was changed")
        if ruling.mode == "Observe":
            return Pause("Planned", _observed(case, ruling), outcome="Planned")
        pause = await self._approved(case, ruling)
        if pause is not None:
            return pause
        if ruling.wait_until is not None:
            return Pause("Cooldown", ruling.wait_why, max(ruling.wait_until - case.now, timedelta(seconds=1)))
        # Nothing is waited for between what the ruling counts and this: so no other Incident comes in between.
        rival = self._claims.take(case.meta["uid"], _key(case), _named(case), case.now)
        if rival is None:
            return None
        return _busy(rival) if await self._claims.confirm(rival) else await self.check(case)

    async def _facts(self, case: Case, policies: tuple[Policy, ...]) -> Facts:
        """What the policies look at, from the plan on record."""
        record, wishes, uid = case.record, case.wishes, case.meta["uid"]
        steps = [step for step in record.plan if step.action != GATES]
        # An earlier plan's writes that are in force are of this Incident, too; what went back is of none.
        entries = [entry for entry in record.entries if entry.state is EntryState.PLANNED or entry.state in LIVE]
        blasts = [each.change.blast for each in counted(entries) if each.change.blast is not None]
        planned = {step.name for step in steps}
        mine = [entry for entry in entries if entry.step in planned]
        destructive = self._destructive(steps, mine)
        targets = {*wishes.targets, *(target for step in wishes.steps for target in step.targets)}
        in_tiers = {step.name for step in steps if step.tier}
        touched_there = (entry.change.target for entry in record.entries if entry.step in in_tiers)
        targets |= {Ref(each.kind, each.name, each.namespace) for each in touched_there}
        written = [entry.change for entry in record.entries if entry.state not in LET_GO]
        closely = touching.is_close((*self._always, *(each for policy in policies for each in policy.protected)))
        claimed = names_of(record, targets)
        self._claims.forget_before(case.now - KEPT)
        mode = wishes.mode
        return Facts(
            mode=mode,
            severity=wishes.severity,
            type=wishes.type,
            actions=tuple(dict.fromkeys(step.action for step in steps)),
            traits=self._traits(steps, mine, blasts) | ({"Destructive"} if destructive else set()),
            destructive=destructive,
            touched=await touching.touched(case.hands, targets, written, closely=closely),
            blasts=blasts,
            now=case.now,
            approval_asked=any(step.approval == "Required" for step in record.plan),
            last_touched=self._claims.last_changed(uid, claimed - made_by(record)),
            enforced_since=lambda since: 0 if record.has_begun() else self._claims.begun_since(since, uid),
        )

    def _destructive(self, steps: Sequence[PlannedStep], entries: Sequence[Entry]) -> frozenset[str]:
        """The actions of a plan that are destructive: by what they are, or by what they find."""
        found = {entry.action for entry in entries if "Destructive" in entry.change.traits}
        return frozenset(found | {step.action for step in steps if self._actions[step.action].destructive})

    def _traits(
        self, steps: Sequence[PlannedStep], entries: Sequence[Entry], blasts: Sequence[Blast]
    ) -> frozenset[str]:
        """What else a plan has, as policies call it."""
        traits = {trait for entry in entries for trait in entry.change.traits}
        traits |= {"Irreversible"} if any(not self._actions[step.action].reversible for step in steps) else set()
        return frozenset(traits | ({"Unknown"} if any(blast.pods < 0 for blast in blasts) else set()))

    def _record(self, case: Case, ruling: Ruling) -> None:
        """Put on record what the policies say, and keep who has approved this plan."""
        old = case.record.policy or PolicyRecord((), "Enforce")
        if old.approved_plan != case.record.plan_hash:
            old = PolicyRecord((), "Enforce", rejected=old.rejected)
        new = dataclasses.replace(old, names=ruling.policies, mode=ruling.mode, why=ruling.why)
        case.change(policy=new, exceeded=ruling.exceeded)
        who = new.rejected.get(case.record.plan_hash)
        if who is not None:
            raise Refused("Rejected", f"{who} rejected plan {case.record.plan_hash}; {REJECTED}")

    async def _approved(self, case: Case, ruling: Ruling) -> Pause | None:
        """None if nobody need agree and nobody has rejected the plan, or enough have agreed.

        An approval that was used once holds for its plan, and for the rules that it was enough for: where a
        policy asks for more since, it is counted anew before the next stage.
        """
        plan, known = case.record.plan_hash, case.record.policy or PolicyRecord((), "Enforce")
        if not ruling.approvals and not (case.incident.get("status") or {}).get("plan"):
            return None  # nobody can have read a plan of it yet, so none was rejected
        found = await votes(case.cluster, case.meta["namespace"], case.meta["name"])
        made = datetime.fromisoformat(case.meta["creationTimestamp"])
        subject = Subject(plan, case.meta["uid"], made, case.wishes.reporter, case.wishes.changers)
        used = frozenset(known.approved_by) if known.approved_plan == plan else frozenset()
        counted = tally(ruling.approvals, found, subject, now=case.now, used=used)
        if counted.rejected_by:
            rejected = {**known.rejected, plan: counted.rejected_by}
            case.change(policy=dataclasses.replace(known, rejected=dict(list(rejected.items())[-MOST_REJECTED:])))
            raise Refused("Rejected", f"{counted.message}; {REJECTED}")
        if not ruling.approvals:
            return None
        asked = tuple(dict.fromkeys(rule.id for rule in ruling.approvals))
        if known.approved_plan == plan and set(asked) <= set(known.approved_for):
            return None
        if not counted.granted:
            why = f" ({'; '.join(ruling.why)})" if ruling.why else ""
            without = "; or set spec.mode to Enforce" if case.wishes.mode == "Propose" else ""
            return Pause("AwaitingApproval", f"{counted.message}{without}{why}", APPROVAL_AGAIN)
        approved = dataclasses.replace(
            known,
            approved_by=counted.by,
            approved_at=case.stamp,
            approved_plan=plan,
            approved_for=asked,
        )
        case.change(policy=approved)
        case.note("Approved", f"plan {plan} was approved by {', '.join(counted.by)}", event=True)
        return None

    async def _claimed(self, case: Case) -> Pause | None:
        """None if no other Incident has one of the targets."""
        uid, key, targets = case.meta["uid"], _key(case), _named(case)
        rival = self._claims.look(uid, key, targets)
        while rival is not None and not await self._claims.confirm(rival):
            rival = self._claims.look(uid, key, targets)
        return None if rival is None else _busy(rival)


def _key(case: Case) -> Key:
    return Key(case.meta["namespace"], case.meta["name"])


def _named(case: Case) -> frozenset[str]:
    """The objects that the Incident is about, as claims have them."""
    steps = (target for step in case.wishes.steps for target in step.targets)
    return names_of(case.record, (*case.wishes.targets, *steps))


def _busy(rival: Rival) -> Pause:
    text = f"{rival.target} is in the hands of Incident {rival.key} until that is resolved, released or deleted"
    return Pause("TargetBusy", text, BUSY_AGAIN)


def _observed(case: Case, ruling: Ruling) -> str:
    if case.wishes.mode == "Observe":
        return "the plan is in status.plan; mode Observe makes no change"
    return f"the plan is in status.plan, and no change is made: {'; '.join(ruling.why)}"
