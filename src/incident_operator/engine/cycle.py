"""The cycle: one look at one Incident, as far as it goes without waiting."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from incident_operator.actions.contract import Action
from incident_operator.api import names
from incident_operator.checks.contract import Check
from incident_operator.cluster.port import Cluster
from incident_operator.engine import planner, releasing, statuses, stepping, verifying, wishes
from incident_operator.engine.case import Case, Memory
from incident_operator.engine.identity import IdBook
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings
from incident_operator.faults import Conflict, Fault, Waiting
from incident_operator.planning.plan import Manifest, Plan
from incident_operator.planning.progress import merged, next_move
from incident_operator.planning.record import Record
from incident_operator.planning.summary import containment
from incident_operator.telemetry.metrics import Metrics

AGAIN = (
    "; when that is put right: kubectl annotate incident/{name} -n {namespace} "
    + names.REQUESTED_AT
    + '="$(date -u +%FT%TZ)" --overwrite'
)


class Engine:
    """Steps Incidents, one at a time per key; the caller sees to it that a key is not stepped twice at once."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        actions: Mapping[str, Action],
        checks: Mapping[str, Check],
        settings: EngineSettings,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        """Work on a cluster with a repertoire."""
        self._cluster = cluster
        self._actions = actions
        self._checks = checks
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._ids = IdBook(cluster)
        self._memories: dict[Key, Memory] = {}

    async def step(self, key: Key) -> timedelta | None:
        """Look at one Incident and do what is due; when to look again, or None: when it changes.

        Raises Waiting to be stepped again after its delay. Every other outcome is in status.
        """
        incident = await self._cluster.find("Incident", key.namespace, key.name)
        if incident is None:
            self._memories.pop(key, None)
            return None
        case = self._open(key, incident)
        try:
            again = await self._look(case)
        except Waiting as fault:
            await self._retrying(case, fault)
            raise
        case.memory.faults = 0
        return again

    def _open(self, key: Key, incident: Manifest) -> Case:
        uid = incident["metadata"]["uid"]
        memory = self._memories.get(key)
        if memory is None or memory.uid != uid:
            memory = self._memories[key] = Memory(uid)
        wished = wishes.read(incident)
        hands = self._cluster.acting_as(key.namespace, wished.service_account)
        return Case(self._cluster, incident, statuses.from_incident(incident), wished, hands, memory, self._clock)

    async def _retrying(self, case: Case, fault: Waiting) -> None:
        """Say in the conditions that something is being tried again, once it has gone on for a while."""
        case.memory.faults += 1
        if case.memory.faults < self._settings.retries_before_said or isinstance(fault, Conflict):
            return
        case.record = statuses.from_incident(case.incident)
        case.change(retrying=fault.message, reason=fault.reason)
        try:
            await case.save()
        except Fault:
            return  # the API server is what is being waited for: it will be said when it is back

    async def _look(self, case: Case) -> timedelta | None:
        """Everything that is due now."""
        try:
            if case.meta.get("deletionTimestamp"):
                return await self._leave(case)
            if self._is_at_rest(case):
                return None
            return await self._advance(case)
        except Waiting:
            raise
        except Fault as fault:
            await self._halt(case, fault.reason, fault.message)
            return None
        finally:
            await case.tell()

    def _is_at_rest(self, case: Case) -> bool:
        """Whether it has come to an outcome, and nobody has asked for anything since."""
        record = case.record
        if record.outcome == "Resolved":
            return bool(record.generation == case.meta["generation"])
        asked = case.meta.get("annotations", {}).get(names.REQUESTED_AT, "") != record.handled_request
        return bool(record.outcome and record.generation == case.meta["generation"]) and not asked

    async def _advance(self, case: Case) -> timedelta | None:
        """Plan if there is no plan for this spec, then go on with it."""
        generation = case.meta["generation"]
        if case.record.outcome == "Resolved":
            case.change(generation=generation)
            await case.save()
            return None
        if case.wishes.release:
            await self._resolve(case, everything=True)
            return None
        asked = case.meta.get("annotations", {}).get(names.REQUESTED_AT, "")
        if case.record.plan_generation != generation or asked != case.record.handled_request:
            await self._plan(case, generation, asked)
            if case.wishes.mode != "Enforce":
                await self._show(case)
                return None
        return await self._go_on(case)

    async def _plan(self, case: Case, generation: int, asked: str) -> None:
        """Make the plan; the finalizer goes on meanwhile, before anything can be written."""
        case.change(generation=generation, handled_request=asked, outcome="", reason="", message="", retrying="")
        case.record = case.record.timed("detected", case.meta["creationTimestamp"])
        targets = case.wishes.targets
        more = f" and {len(targets) - 1} more" if len(targets) > 1 else ""
        case.change(targets=f"{targets[0].kind}/{targets[0].name}{more}")
        if not case.record.id:
            case.change(id=await self._ids.next(case.now, case.meta["namespace"]))
        planning = planner.make_plan(case.hands, self._actions, case.incident, case.wishes)
        plan, fastened = await asyncio.gather(
            planning, case.set_finalizer(wanted=True) if case.wishes.mode == "Enforce" else _nothing(),
            return_exceptions=True,
        )  # fmt: skip
        for result in (fastened, plan):
            if isinstance(result, BaseException):
                raise result
        if isinstance(plan, Plan):
            self._adopt(case, plan, generation)

    def _adopt(self, case: Case, plan: Plan, generation: int) -> None:
        """Put the plan on record, and say whether it replaces another."""
        replaced = case.record.plan_hash and case.record.plan_hash != plan.hash
        timers = {name: at for name, at in case.record.timers.items() if name in ("detected", "contained")}
        record = merged(case.record, plan)
        case.record = dataclasses.replace(
            record, plan_generation=generation, planned_at=case.stamp, checks=(), timers=timers
        )
        case.memory.windows.clear()
        writes = sum(change.request is not None for step in plan.steps for change in step.changes)
        word = "new plan" if replaced else "plan"
        steps = f"{len(plan.steps)} step{'s' * (len(plan.steps) != 1)}"
        case.note("Planned", f"{word} {plan.hash}: {steps}, {writes} write{'s' * (writes != 1)}")

    async def _show(self, case: Case) -> None:
        """Stop at the plan, as the mode says."""
        if case.wishes.mode == "Observe":
            outcome, text = "Planned", "the plan is in status.plan; mode Observe makes no change"
        else:
            outcome = "AwaitingApproval"
            text = "the plan is in status.plan; set spec.mode to Enforce to carry it out"
        case.change(outcome=outcome, reason=outcome, message=text)
        await case.save()

    async def _go_on(self, case: Case) -> timedelta | None:
        """Make one move after the other until one has to wait or an outcome is reached."""
        case.change(retrying="")
        while True:
            move = next_move(case.record, has_checks=bool(case.wishes.checks), release_asked=False)
            match move.kind:
                case "intend":
                    await stepping.intend(case, move.steps)
                case "act":
                    await stepping.act(case, move.steps, self._actions, self._metrics)
                case "settle":
                    if not await stepping.settle(case, move.steps, self._actions, self._metrics):
                        return self._look_delay(case)
                case "fail":
                    await self._fail(case, move.steps[0].name, move.steps[0].on_failure)
                    return None
                case "verify":
                    if not await self._verify(case):
                        return self._settings.look_check
                case "hold":
                    await self._hold(case)
                    return None
                case _:
                    await self._resolve(case, everything=False)
                    return None

    def _look_delay(self, case: Case) -> timedelta:
        """Soon at first, then less and less often."""
        case.memory.looks += 1
        factor: int = 2 ** min(case.memory.looks - 1, 6)
        return min(self._settings.look_first * factor, self._settings.look_most)

    async def _verify(self, case: Case) -> bool:
        case.record = case.record.timed("mitigated", case.stamp)
        before = [(check.verdict, check.passed) for check in case.record.checks]
        try:
            passed = await verifying.look(case, self._checks)
        finally:
            looked = case.record.checks
        waiting = ", ".join(f"{check.name} {check.verdict.value}" for check in looked if not check.passed)
        case.change(message=f"verifying: {waiting}" if waiting else "verified")
        if passed:
            case.record = case.record.timed("recovered", case.stamp)
            case.note("VerificationPassed", f"every check passed over its window: {', '.join(c.name for c in looked)}")
        elif before != [(check.verdict, check.passed) for check in looked]:
            await case.save()
        return passed

    async def _fail(self, case: Case, name: str, on_failure: str) -> None:
        """A step failed and its policy is not to go on."""
        step = case.record.step(name)
        if on_failure == "Release":
            await releasing.release(case, self._actions, everything=True)
            step = dataclasses.replace(step, message=f"{step.message}; released: {releasing.told(case.record.entries)}")
        await self._halt(case, step.reason or "StepFailed", f"step {name}: {step.message}")

    async def _halt(self, case: Case, reason: str, message: str) -> None:
        """Stop and say what a person can do; nothing is retried until asked for."""
        again = AGAIN.format(name=case.meta["name"], namespace=case.meta["namespace"])
        asked = case.meta.get("annotations", {}).get(names.REQUESTED_AT, "")
        case.change(outcome="Halted", reason=reason, message=message + again)
        case.change(generation=case.meta["generation"], handled_request=asked, retrying="")
        case.note(reason, message, warning=True)
        self._metrics.refused(reason)
        await case.save()

    async def _hold(self, case: Case) -> None:
        """Contained, and nothing says how to tell that it is over: a person does."""
        found = containment(case.record, case.stamp)
        if found is not None and found.status != "True":
            await self._halt(case, found.reason, found.message)
            return
        text = "contained; when it is over, set spec.release to true or delete the Incident to put back what it did"
        case.change(outcome="Contained", reason="Contained", message=text)
        case.note("Contained", text)
        await case.save()

    async def _resolve(self, case: Case, *, everything: bool) -> None:
        """Put back what is due and close the Incident."""
        case.change(generation=case.meta["generation"])
        try:
            await releasing.release(case, self._actions, everything=everything)
        except Fault:
            await case.save()
            raise
        case.record = case.record.timed("mitigated", case.stamp).timed("resolved", case.stamp)
        told = releasing.told(case.record.entries)
        case.change(outcome="Resolved", reason="Resolved", message=f"resolved: {told}")
        case.note("Resolved", f"resolved: {told}")
        await case.save()
        self._metrics.resolved(_seconds_between(case.record, "detected", "resolved"))

    async def _leave(self, case: Case) -> timedelta | None:
        """The Incident is being deleted: put back what it did, within its time box, and let it go."""
        if names.FINALIZER not in case.meta.get("finalizers", ()):
            return None
        begun = datetime.fromisoformat(case.meta["deletionTimestamp"])
        overdue = case.now - begun > self._settings.release_box
        try:
            await releasing.release(case, self._actions, everything=True)
            case.note("Released", f"deleted: {releasing.told(case.record.entries)}")
        except Fault as fault:
            if not overdue:
                case.change(retrying=f"being deleted, and could not put back everything yet: {fault.message}")
                await case.save()
                raise Waiting("ReleaseBlocked", fault.message) from fault
            left = "; ".join(str(entry.change.target) for entry in case.record.held())
            case.note("ReleaseAbandoned", f"gone without putting back {left}: {fault.message}", warning=True)
        await case.tell()
        await case.set_finalizer(wanted=False)
        return None


async def _nothing() -> None:
    """Stands in where nothing is to be done beside the plan."""


def _seconds_between(record: Record, start: str, end: str) -> float:
    first, last = record.timers.get(start), record.timers.get(end)
    if not first or not last:
        return 0.0
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()
