"""The cycle: one look at one Incident, as far as it goes without waiting."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from incident_operator.actions.contract import Action
from incident_operator.api import names
from incident_operator.checks.contract import Check
from incident_operator.cluster.port import Cluster
from incident_operator.engine import (
    endings,
    hearing,
    ledgers,
    preparing,
    resolving,
    resting,
    restoring,
    resuming,
    stepping,
    tiers,
    verifying,
    waking,
    wishes,
)
from incident_operator.engine.case import Case, Memory
from incident_operator.engine.claims import Claims
from incident_operator.engine.clockwork import Clockwork, Looked
from incident_operator.engine.confirming import Confirmer
from incident_operator.engine.echoes import Echoes
from incident_operator.engine.gate import Gate, Pause
from incident_operator.engine.identity import IdBook
from incident_operator.engine.keys import Behind, Key
from incident_operator.engine.policies import PolicyBook
from incident_operator.engine.preview import Preview
from incident_operator.engine.reading import Lists
from incident_operator.engine.settings import EngineSettings
from incident_operator.engine.triaging import Triager
from incident_operator.engine.unchanged import Unchanged
from incident_operator.faults import Conflict, Fault, Waiting
from incident_operator.planning.plan import Manifest, PlannedStep
from incident_operator.planning.progress import agreed, is_recovering, next_move
from incident_operator.planning.record import OVER, Moment
from incident_operator.telemetry.metrics import Metrics

NOT_LOOKED = Looked(is_news=False, again=None)


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
        wake: Callable[[Key], None] = lambda _: None,
        is_busy: Callable[[], bool] = lambda: False,
        follow: Callable[[Key, str, Collection[str]], None] = lambda *_: None,
        namespaces: Sequence[str] = (),
        triager: Triager | None = None,
        confirmer: Confirmer | None = None,
        clockwork: Clockwork | None = None,
        unchanged: Unchanged | None = None,
    ) -> None:
        """Work on a cluster with a repertoire.

        ``wake`` is told of Incidents that need wait no longer; ``is_busy`` whether others wait for their turn:
        then book-keeping waits until they are contained. ``follow`` is told, with the ServiceAccount and the
        kinds they ask for, of those that wait for the world to move.
        """
        self._cluster = cluster
        self._actions = actions
        self._checks = checks
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._is_busy = is_busy
        self._follow = follow
        self._clockwork = clockwork
        self._confirmer = confirmer or Confirmer(None)
        self._claims = Claims(cluster, wake, namespaces)
        policies = PolicyBook(cluster)
        self._gate = Gate(policies, self._claims, actions, settings.always_protected)
        self._lists = Lists(unchanged)
        self._preparer = preparing.Preparer((actions, checks), policies, Preview(), self._lists, triager or Triager())
        self._ids = IdBook(cluster, namespaces)
        self._memories: dict[Key, Memory] = {}
        self._echoes = Echoes()

    def is_news(self, key: Key, seen: Manifest | None) -> bool:
        """Whether an Incident as the watch saw it needs a look: it does not, where we wrote that ourselves."""
        return self._echoes.is_news(key, seen, is_known=key in self._memories)

    async def step(self, key: Key) -> timedelta | None:
        """Look at one Incident and do what is due; when to look again, or None: when it changes.

        Raises Waiting to be stepped again after its delay. Every other outcome is in status.
        """
        self._echoes.take(key)
        try:
            again = await self._step(key)
        finally:
            is_news = self._echoes.put_down(key)
        return timedelta(0) if is_news and not isinstance(again, Behind) else again

    async def _step(self, key: Key) -> timedelta | None:
        """One look at one Incident."""
        incident = self._echoes.unread(key) or self._left_unsaved(key)
        if incident is None:
            incident = await self._cluster.find("Incident", key.namespace, key.name)
        if incident is None:
            memory = self._memories.pop(key, None)
            if memory is not None:
                self._claims.drop(memory.uid)
            return None
        case = await self._open(key, incident)
        try:
            again = await self._look(case)
        except Waiting as fault:
            await self._retrying(case, fault)
            raise
        case.memory.faults = 0
        case.memory.due = None if again is None or case.record.outcome else self._clock() + again
        return again if self._clockwork is None else resting.soonest(again, self._clockwork.halted(case))

    def _left_unsaved(self, key: Key) -> Manifest | None:
        """The Incident as a look left it whose results are still to be written: were it changed since, that fails."""
        memory = self._memories.get(key)
        return memory.unsaved[0] if memory is not None and memory.unsaved is not None else None

    async def _open(self, key: Key, incident: Manifest) -> Case:
        meta = incident["metadata"]
        memory = self._memories.get(key)
        if memory is None or memory.uid != meta["uid"]:
            if memory is not None:
                self._claims.drop(memory.uid)
            memory = self._memories[key] = Memory(meta["uid"])
        await ledgers.read(self._cluster, incident, memory.pages)
        long = ledgers.contents_of(incident, memory.pages)
        record, news = restoring.from_incident(incident, long), list[Moment]()
        unsaved, memory.unsaved = memory.unsaved, None
        if unsaved is not None and unsaved[0] is incident:
            _, record, news = unsaved
        wished = wishes.read(incident, record.resolved)
        record = dataclasses.replace(record, signals=(wished.signals.known, len(wished.signals.firing)))
        account = record.account or wished.service_account or names.RESPONDER
        hands = self._cluster.acting_as(key.namespace, account)
        return Case(
            self._cluster, incident, record, wished, hands, memory, self._clock, self._echoes.written, news
        )  # fmt: skip

    async def _retrying(self, case: Case, fault: Waiting) -> None:
        """Say in the conditions that something is being tried again, once it has gone on for a while."""
        case.memory.faults += 1
        if case.memory.faults < self._settings.retries_before_said or isinstance(fault, Conflict):
            return
        record = restoring.from_incident(case.incident, ledgers.contents_of(case.incident, case.memory.pages))
        case.record = dataclasses.replace(record, signals=case.record.signals, overdue=case.record.overdue)
        case.change(retrying=fault.message, reason=fault.reason, outcome="")
        try:
            await case.save()
        except Fault:
            return  # the API server is what is being waited for: it will be said when it is back

    async def _look(self, case: Case) -> timedelta | None:
        """Everything that is due now; when to look again at what is left, or at the clocks."""
        looked = NOT_LOOKED
        try:
            if case.meta.get("deletionTimestamp"):
                await endings.leave(case, self._actions, self._settings)
                return None
            looked = self._clockwork.look(case) if self._clockwork is not None else looked
            if looked.is_news:
                await case.save()  # at once: what is not on record is said again
            if resting.is_at_rest(case):
                return resting.soonest(resting.until_expiry(case), looked.again)
            return resting.soonest(await self._advance(case), looked.again)
        except Waiting:
            raise
        except Fault as fault:
            await endings.halt(case, fault.reason, fault.message, self._metrics)
            return looked.again
        finally:
            if case.fastening is not None:
                await asyncio.gather(case.fastening, return_exceptions=True)
            self._keep_claims(case)
            await case.tell()

    def _keep_claims(self, case: Case) -> None:
        """Others may have the targets as soon as nothing is held and nothing is going on."""
        uid = case.meta["uid"]
        self._claims.saw(uid, case.record)
        has_left = case.meta.get("deletionTimestamp") and names.FINALIZER not in case.meta.get("finalizers", ())
        if has_left or not case.record.claims():
            self._claims.drop(uid)

    async def _advance(self, case: Case) -> timedelta | None:
        """Plan if there is no plan for this spec, then go on with it."""
        case.record = hearing.heard(case)
        generation, record = case.meta["generation"], case.record
        if await self._ended(case):
            return None
        if hearing.stays_at_rest(case):
            case.change(generation=generation)
            await case.save()
            return resting.until_expiry(case)
        asked, is_resumed = case.requested, resuming.is_resumed(record)
        if record.generation != generation and record.asked != case.wishes.asked:
            endings.reopen(case)
        case.change(asked=case.wishes.asked)
        is_new, is_asked = record.plan_basis != case.wishes.basis, asked != record.handled_request
        # Before anything that may fail or wait: what has expired goes back, whatever becomes of a new plan.
        if not case.wishes.suspend and await endings.expire(case, self._actions, self._metrics, may_end=not is_new):
            return None
        is_new = case.record.plan_basis != case.wishes.basis
        if is_new or is_asked:
            if case.wishes.suspend:
                await self._pause(case)
                return None
            pause = await self._begin(case, asked, plans=is_new or not is_resumed)
            if pause is not None:
                return await self._wait(case, pause)
        case.change(outcome="", reason="", message="", retrying="", paused=False, generation=generation)
        return await self._go_on(case)

    async def _begin(self, case: Case, asked: str, *, plans: bool) -> Pause | None:
        """Make another plan, or go on with the one that has begun; a Pause if that may not be now."""
        record = case.record
        if plans:
            resuming.refuse_another(record)
            return await self._plan(case, asked)
        # What is made again passes the policies as they are by now; what is put back asks nobody.
        pause = await self._gate.check(case) if is_recovering(record) else None
        if pause is None:
            resuming.resume(case, asked)
        return pause

    async def _ended(self, case: Case) -> bool:
        """Whether it is over, as it was already or because a person or its alerts say so."""
        if case.record.outcome in OVER and not hearing.is_left(case):
            case.change(generation=case.meta["generation"], handled_request=case.requested)
            if case.wishes.suspend or not await endings.expire(case, self._actions, self._metrics):
                await case.save()
        elif case.wishes.cancel or case.wishes.release:
            outcome: Literal["Cancelled", "Resolved"] = "Cancelled" if case.wishes.cancel else "Resolved"
            await endings.close(case, self._actions, self._metrics, outcome, everything=True)
        elif (untold := hearing.untold_end(case)) is not None:
            await endings.conclude(case, self._metrics, untold)
        elif hearing.is_over_by_itself(case):
            case.note("AlertResolved", "the alert was over before anything was done")
            await endings.close(case, self._actions, self._metrics, "Resolved", everything=False)
        else:
            return False
        return True

    async def _plan(self, case: Case, asked: str) -> Pause | None:
        """Make the plan, from the runbook as it is now; a Pause while another Incident has a target."""
        resolved = await resolving.taken(self._cluster, case.incident)
        if not case.record.plan_hash:  # whom it says to tell is told of a halt that comes before any plan
            case.change(resolved=resolved)
            case.wishes = wishes.to_tell(case.wishes, case.incident, resolved)
        await resolving.refuse_unclear(self._cluster, case.incident, resolved)
        case.change(resolved=resolved)
        case.wishes = wishes.read(case.incident, case.record.resolved)
        pause = None if case.wishes.mode == "Observe" else await self._gate.busy(case)
        if pause is None:
            await self._preparer.plan(case, asked, self._ids.next_known(case.now))
        return pause

    async def _pause(self, case: Case) -> None:
        """Suspended before there is a plan."""
        case.change(generation=case.meta["generation"], paused=True)
        text = "spec.suspend is true; set it to false to go on"
        case.change(outcome="Waiting", reason="Suspended", message=text)
        await case.save()

    async def _go_on(self, case: Case) -> timedelta | None:
        """Make one move after the other until one has to wait or an outcome is reached."""
        if case.wishes.suspend:
            await self._pause(case)
            return None
        while True:
            move = next_move(case.record, has_checks=bool(case.wishes.checks), release_asked=False)
            if move.kind == "skip":
                tiers.skip(case, move.steps)
                continue
            pause = await self._held_up(case, move.kind)
            if pause is not None:
                return await self._wait(case, pause)
            if move.kind == "agree":
                case.record = agreed(case.record, move.steps)
                continue
            again = await self._make(case, move.kind, move.steps)
            if again is not None:
                return again
            if case.record.outcome:
                return resting.until_expiry(case)

    async def _held_up(self, case: Case, kind: str) -> Pause | None:
        """None if a move may be made now."""
        if kind == "intend":
            pause = self._confirmer.held(case) or await self._gate.check(case)
            return pause or await self._confirmer.doubt(case)
        if kind == "agree":
            return await self._gate.check(case)
        if kind == "act" and case.wishes.mode == "Observe":
            text = "spec.mode is Observe by now: what was begun and not made yet is not made until it is Enforce"
            return Pause("Observing", text)
        return None

    async def _make(self, case: Case, kind: str, steps: tuple[PlannedStep, ...]) -> timedelta | None:
        """One move; when to look again, or None: make the next one, unless an outcome was reached."""
        match kind:
            case "intend":
                await stepping.intend(case, steps)
            case "act":
                await stepping.act(case, steps, self._actions, self._metrics)
                if self._is_busy():
                    case.memory.unsaved = (case.incident, case.record, case.news)
                    case.news = []
                    return Behind()
            case "settle":
                reader = self._lists.settling(case.hands, case.record.account)
                if not await stepping.settle(case, reader, steps, self._actions, self._checks, self._metrics):
                    key = Key(case.meta["namespace"], case.meta["name"])
                    self._follow(key, case.record.account, waking.asked_for(case.record, steps))
                    return self._look_delay(case, steps)
            case "fail":
                await endings.fail(case, self._actions, self._metrics, steps)
            case "verify":
                if not await self._verify(case):
                    return self._settings.look_check
            case "hold":
                await self._number(case)
                await self._preparer.triage(case)
                await endings.hold(case, self._metrics)
            case _:
                await self._number(case)
                await endings.close(case, self._actions, self._metrics, "Resolved", everything=False)
        return None

    async def _number(self, case: Case) -> None:
        """Give the Incident its number, if it was contained before the numbers were known."""
        if not case.record.id:
            case.change(id=await self._ids.next(case.now))

    async def _wait(self, case: Case, pause: Pause) -> timedelta | None:
        """Stop before the next stage, and say why."""
        reason, message = pause.reason, pause.message
        case.change(outcome=pause.outcome, reason=reason, message=message, generation=case.meta["generation"])
        if reason == "TargetBusy" and not case.record.has_begun():
            case.change(plan_basis="")  # what is there when its turn comes is another thing than now
        await self._number(case)
        await self._preparer.triage(case)
        if reason not in {condition.reason for condition in case.record.conditions}:
            case.note(reason, message, event=True)
            if pause.outcome == "Waiting":
                self._metrics.refused(reason)
        await case.save()
        return pause.again

    def _look_delay(self, case: Case, steps: Sequence[PlannedStep]) -> timedelta:
        """When the windows of gates are over that all pass; else soon at first, then less and less often."""
        over = [verifying.window_left(case, step) for step in steps]
        if over and all(left is not None for left in over):
            return min(max(left for left in over if left is not None), self._settings.look_most)
        case.memory.looks += 1
        factor: int = 2 ** min(case.memory.looks - 1, 6)
        return min(self._settings.look_first * factor, self._settings.look_most)

    async def _verify(self, case: Case) -> bool:
        await self._number(case)
        await self._preparer.triage(case)
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
        elif before != [(check.verdict, check.passed) for check in looked] or resting.has_unsaved_results(case):
            await case.save()
        return passed
