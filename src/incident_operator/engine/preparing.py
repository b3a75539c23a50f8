"""Makes the plan of an Incident and puts it on record: resolved, previewed, its rights and its reach checked."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from incident_operator.actions.contract import Action
from incident_operator.api import names
from incident_operator.checks.contract import Check
from incident_operator.engine import levels, planner, recovering
from incident_operator.engine.case import Case
from incident_operator.engine.policies import PolicyBook
from incident_operator.engine.preview import Preview
from incident_operator.engine.reading import Lists
from incident_operator.engine.triaging import UNDO, Triager, with_reasons
from incident_operator.faults import Refused
from incident_operator.planning.blast import Survey
from incident_operator.planning.changes import Ranked
from incident_operator.planning.merging import merged
from incident_operator.planning.plan import Plan
from incident_operator.planning.record import LIVE

TIMERS_KEPT = ("detected", "acknowledged", "contained")


class Preparer:
    """Makes plans."""

    def __init__(
        self,
        repertoire: tuple[Mapping[str, Action], Mapping[str, Check]],
        policies: PolicyBook,
        preview: Preview,
        lists: Lists,
        triager: Triager,
    ) -> None:
        """Plan with these actions and checks."""
        actions, self._checks = repertoire
        self._triager = triager
        self._actions = actions
        self._policies = policies
        self._preview = preview
        self._lists = lists

    async def plan(self, case: Case, asked: str, number: str) -> None:
        """Make the plan; the finalizer goes on meanwhile, before anything can be written."""
        generation, meta = case.meta["generation"], case.meta
        case.change(generation=generation, handled_request=asked, outcome="", reason="", message="", retrying="")
        case.record = case.record.timed("detected", meta["creationTimestamp"])
        targets = case.wishes.targets
        more = f" and {len(targets) - 1} more" if len(targets) > 1 else ""
        case.change(targets=f"{targets[0].kind}/{targets[0].name}{more}")
        if not case.record.id:
            case.change(id=number)
        account = await self._account(case)
        case.hands = case.cluster.acting_as(meta["namespace"], account)
        if case.wishes.mode == "Enforce":
            case.fasten()
        self._adopt(case, await self._made(case, account), account)

    async def _account(self, case: Case) -> str:
        """Whom to act as: whom the Incident names, else whom the first policy with a default names.

        The API server asks whether who made an Incident may use the account that it names, or the shipped one
        where it names none; so another one is not taken on for somebody who has not named it.
        """
        if case.wishes.service_account:
            return case.wishes.service_account
        policies = await self._policies.of(case.meta["namespace"])
        policy = next((each for each in policies if each.service_account), None)
        account = policy.service_account if policy else names.RESPONDER
        is_from_alert = case.wishes.reporter == names.OPERATOR_USER and not case.wishes.changers
        if policy is not None and account != names.RESPONDER and not is_from_alert:
            raise Refused(
                "AccountNotNamed",
                f"ResponsePolicy {policy.name} has Incidents here act as ServiceAccount {account}, and whether who "
                f"asks may use it is told only where the Incident names it: set spec.serviceAccountName to {account}",
            )
        return account

    async def _made(self, case: Case, account: str) -> Plan:
        namespace = case.meta["namespace"]
        reader = self._lists.reader(case.hands, account)
        # The survey is begun beside the first reads, because everything after them waits for it.
        survey = asyncio.create_task(self._preview.surveyor.of(reader, namespace, account))
        begun: list[asyncio.Task[Any]] = [survey]
        try:
            more = await recovering.steps(case.cluster, reader, namespace, case.wishes)
            wishes = (*case.wishes.steps, *more)
            # A rollback says why; all else is contained first, and asks about the past afterwards.
            is_wanted = any(wish.action == UNDO for wish in wishes)
            looking = asyncio.create_task(self._looked(case, account, survey, is_wanted=is_wanted))
            begun.append(looking)
            done = {step.name for step in case.record.steps if step.state == "Done"}
            held = [entry for entry in case.record.entries if entry.state in LIVE]
            plan = await planner.make_plan(reader, self._actions, case.incident, wishes, held, done)
            plan = with_reasons(await levels.measured(self._checks, plan), await looking)
            return await self._preview.of(case.hands, plan, await survey, namespace, account)
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def triage(self, case: Case) -> None:
        """Find out about the past and the surroundings what is not on record yet."""
        account, namespace = case.record.account, case.meta["namespace"]
        if case.record.triage is None and account:
            reader = self._lists.reader(case.hands, account)
            survey = asyncio.create_task(self._preview.surveyor.of(reader, namespace, account))
            await self._looked(case, account, survey, is_wanted=True)

    async def _looked(
        self, case: Case, account: str, survey: asyncio.Task[Survey], *, is_wanted: bool
    ) -> Sequence[Ranked]:
        """What triage finds, put on record; nothing if it is not wanted yet."""
        if not is_wanted:
            return ()
        found = await self._triager.look(case, self._lists.reader(case.hands, account), await survey)
        case.change(triage=found.triage)
        return found.changes

    def _adopt(self, case: Case, plan: Plan, account: str) -> None:
        """Put the plan on record, and say whether it replaces another."""
        replaced = case.record.plan_hash and case.record.plan_hash != plan.hash
        timers = {name: at for name, at in case.record.timers.items() if name in TIMERS_KEPT}
        record = merged(case.record, plan, is_same=case.record.plan_basis == case.wishes.basis)
        case.record = dataclasses.replace(
            record,
            plan_generation=case.meta["generation"],
            plan_basis=case.wishes.basis,
            account=account,
            planned_at=case.stamp,
            checks=(),
            timers=timers,
        )
        case.memory.windows.clear()
        writes = sum(change.request is not None for step in plan.steps for change in step.changes)
        word = "new plan" if replaced else "plan"
        steps = f"{len(plan.steps)} step{'s' * (len(plan.steps) != 1)}"
        case.note("Planned", f"{word} {plan.hash}: {steps}, {writes} write{'s' * (writes != 1)}")
