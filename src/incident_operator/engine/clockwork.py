"""Runs the clocks of an Incident's severity: says what is overdue, and tells the hooks what needs a person.

They are told that nobody has taken it on, until somebody has; and the first of them, whoever has, of each
clock that runs out and of each halt.

A hook may be slow or away, so nobody waits for one: what is told goes on beside the look that began it, and
the Incident is woken when it has ended. That it was told is put on record afterwards, so a process that ends
in between tells it once more, under the same key.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from incident_operator.api.configuration import Configuration
from incident_operator.api.schema import parse_duration
from incident_operator.engine import endings, restoring
from incident_operator.engine.case import Case
from incident_operator.engine.claims import RECOVERED
from incident_operator.engine.keys import Key
from incident_operator.faults import Fault, Stalled, Waiting
from incident_operator.notify.hooks import message
from incident_operator.planning import clocks
from incident_operator.planning.clocks import CLOCKS, Due, Escalation, Telling
from incident_operator.planning.plan import Manifest, digest
from incident_operator.planning.record import OVER, Moment, Record
from incident_operator.planning.summary import phase

ESCALATED, FAILED = "Escalated", "EscalationFailed"
OWN = frozenset({*(f"{clock.capitalize()}Overdue" for clock in CLOCKS), ESCALATED, FAILED})
"""Reasons of what is said here: it keeps no clock from running."""
FIRST_SECONDS, MOST_SECONDS = 2.0, 300.0
"""How soon a hook that could not be reached is tried again at first, and at most."""
FAILURES_BEFORE_SAID = 3
HALTED = "halt-"
"""Before the digest by which a halt is on record as told."""
MOST_SEEN = 1400
"""Characters of why it halted, so that the command to go on has room behind it."""
LOOK = timedelta(seconds=5)
"""How often to look at what is being told, should nobody be woken by its end."""
FORGOTTEN = timedelta(hours=1)
"""After so long nobody asks for what became of a post: its Incident is gone."""


class Posts(Protocol):
    """What tells people: the hooks, or a stand-in for them."""

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        """Tell; raises the fault if that did not go well."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Judged:
    """What the clocks say."""

    overdue: Mapping[str, str]
    """The clocks that are overdue, the one that was due first in front, each with what stays true about it."""
    news: tuple[tuple[str, str], ...]
    """Reason and message for each that was not overdue on record."""
    message: str
    """All that is overdue, and for how long by now."""
    tellings: tuple[Telling, ...]
    """What hooks are to be told now."""
    again: timedelta | None
    """When one of this changes by itself."""


NOTHING = Judged({}, (), "", (), None)


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """What a look has come to."""

    is_news: bool
    """Whether the record is to be saved."""
    again: timedelta | None
    """When to look again."""


@dataclasses.dataclass(slots=True)
class _Post:
    """Something that is being told, or is to be told again."""

    task: asyncio.Task[Fault | None]
    begun: float
    failures: int = 0
    again: float = 0.0
    """When to try again what has failed; 0 until that was seen."""


class Clockwork:
    """The clocks of all Incidents."""

    def __init__(
        self,
        configuration: Configuration,
        hooks: Posts,
        clock: Callable[[], datetime],
        wake: Callable[[Key], None] = lambda _: None,
        *,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin nothing; ``wake`` is told of Incidents for which a hook has answered.

        ``clock`` gives the time of day, and ``elapsed`` the seconds between two tries, whatever that does.
        """
        self._clocks = configuration.clocks
        self._hours = configuration.business_hours
        self._hooks = hooks
        self._clock = clock
        self._wake = wake
        self._time = elapsed
        self._posts: dict[tuple[str, str], _Post] = {}

    async def close(self) -> None:
        """Tell nobody any more; what is not on record as told is told by the next process."""
        tasks = [post.task for post in self._posts.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._posts.clear()

    def look(self, case: Case) -> Looked:
        """Put on record what is overdue and who was told, and tell whom it is time to tell.

        What is news is to be saved at once: what is not on record is said again.
        """
        record = case.record
        # What is overdue anew is told anew.
        case.change(escalated=tuple(each for each in record.escalated if each not in CLOCKS or each in record.overdue))
        judged = self._judge(case)
        for reason, text in judged.news:
            case.note(reason, text, warning=True, event=True)
        case.change(overdue=judged.overdue)
        pending = self.escalate(case, judged.tellings)
        new = case.record
        is_news = record.overdue.keys() != new.overdue.keys() or record.timeline != new.timeline
        return Looked(is_news, min((each for each in (judged.again, pending) if each is not None), default=None))

    def halted(self, case: Case) -> timedelta | None:
        """Begin to tell that a look has ended in a halt; when to look whether it was told, None if there is no need."""
        if case.record.outcome != "Halted" or case.meta.get("deletionTimestamp"):
            return None
        uid = case.meta["uid"]
        new = [
            each
            for each in self._judge(case).tellings
            if each.name.startswith(HALTED) and (uid, each.name) not in self._posts
        ]
        for each in new:
            self._begin(case, each, failures=0)
        return LOOK if new else None

    def _judge(self, case: Case) -> Judged:
        wished = case.wishes
        return self.judge(
            case.record,
            wished.severity,
            created=case.meta["creationTimestamp"],
            acknowledged=bool(wished.acknowledged_by),
            escalations=escalations_of(wished.escalation),
            again=endings.AGAIN.format(name=case.meta["name"], namespace=case.meta["namespace"]),
        )

    def is_due(self, incident: Manifest) -> bool:
        """Whether there is news of an Incident that is at rest; told from what a list has of it.

        After a restart nobody else would look at it again.
        """
        spec, status = incident["spec"], incident.get("status") or {}
        timeline = tuple(Moment(each["at"], each["reason"], "") for each in (status.get("timeline") or ())[-5:])
        said = {each.type: each for each in restoring.conditions_of(incident)}
        record = Record(
            timers=status.get("timers") or {},
            overdue=dict.fromkeys(status.get("overdue") or (), ""),
            escalated=tuple(status.get("escalated") or ()),
            timeline=timeline,
            outcome="Halted" if "Stalled" in said else "Resolved" if status.get("phase") in RECOVERED else "",
            reason=said["Stalled"].reason if "Stalled" in said else "",
            handled_request=status.get("lastHandledRequest", ""),
            asked=status.get("asked", ""),
        )
        resolved = (restoring.resolved_of(status) or {}).get("spec", "")
        taken = json.loads(resolved).get("escalation") if "escalation" in resolved else ()
        told = spec.get("escalation") or taken or ()
        judged = self.judge(
            record,
            spec.get("severity", ""),
            created=incident["metadata"].get("creationTimestamp", ""),
            acknowledged=bool(spec.get("acknowledgedBy")),
            escalations=[Escalation(parse_duration(each["after"]), each["hook"]) for each in told],
        )
        return bool(judged.news or judged.tellings or set(judged.overdue) != set(record.overdue))

    def judge(
        self,
        record: Record,
        severity: str,
        *,
        created: str = "",
        acknowledged: bool = False,
        escalations: Sequence[Escalation] = (),
        again: str = "",
    ) -> Judged:
        """What is overdue, whom to tell, and when that changes; counted from ``created`` where no plan was made yet.

        ``again`` says how to go on once the cause of a halt is put right.
        """
        now, is_over = self._clock(), record.outcome in OVER
        timers = {"detected": created, **record.timers}
        if acknowledged:
            timers.setdefault("acknowledged", "said by the spec")
        detected = clocks.instant(timers["detected"])
        if detected is None:
            return NOTHING
        running = clocks.dues(
            self._clocks.of(severity),
            self._hours,
            timers=timers,
            last_said=_last_said(record, detected),
            now=now,
            is_over=is_over,
        )
        taken = is_over or bool(timers.get("acknowledged"))
        done = record.escalated
        late = [each for each in running if each.is_over]
        overdue = clocks.overdue_message(running, now)
        more = "; ".join(each for each in (overdue, record.message) if each)
        later = clocks.escalations_later(escalations, detected=detected, acknowledged=taken, done=done, now=now)
        tellings = (
            *_halt(record, escalations, again),
            *clocks.overdue_tellings(escalations, running, done=done, now=now, more=record.message),
            *clocks.escalations_due(escalations, detected=detected, acknowledged=taken, done=done, now=now, more=more),
        )
        return Judged(
            overdue={each.clock: clocks.was_due(each) for each in late},
            news=tuple(_news(each, now) for each in late if each.clock not in record.overdue),
            message=overdue,
            tellings=tellings,
            again=clocks.next_look(running, later, now),
        )

    def escalate(self, case: Case, tellings: Sequence[Telling]) -> timedelta | None:
        """Tell the hooks what is due, and put on record what they were told; when to look for the rest.

        What fails is tried again for as long as it is due, less and less often.
        """
        uid, later = case.meta["uid"], []
        self._forget(uid, {each.name for each in tellings})
        for each in tellings:
            post = self._posts.get((uid, each.name))
            if post is not None and not post.task.done():
                later.append(LOOK)
            elif post is None or post.task.cancelled() or 0 < post.again <= self._time():
                self._begin(case, each, failures=post.failures if post else 0)
                later.append(LOOK)
            elif not self._ended(case, each, post):
                later.append(timedelta(seconds=max(post.again - self._time(), 0.0)))
        return min(later, default=None)

    def _begin(self, case: Case, telling: Telling, *, failures: int) -> None:
        """Tell one hook, beside whatever else is done."""
        record, key = case.record, Key(case.meta["namespace"], case.meta["name"])
        incident = {**case.incident, "status": {"id": record.id, "phase": phase(record)}}
        told = message(incident, telling.reason, telling.text, at=self._clock(), key=telling.key)
        task = asyncio.create_task(self._tell(telling.hook, told), name=f"tell hook {telling.hook}")
        task.add_done_callback(lambda ended: None if ended.cancelled() else self._wake(key))
        self._posts[case.meta["uid"], telling.name] = _Post(task, self._time(), failures)

    async def _tell(self, hook: str, told: Mapping[str, Any]) -> Fault | None:
        """The fault, if it did not go well."""
        try:
            await self._hooks.post(hook, told)
        except Fault as fault:
            return fault
        except Exception as error:  # noqa: BLE001 - the Incident goes on, and the error's text may hold a secret
            return Stalled("HookFailed", f"hook {hook} could not be told, which is a bug: {type(error).__name__}")
        return None

    def _ended(self, case: Case, telling: Telling, post: _Post) -> bool:
        """Whether it was told; put on record, as is a failure when it is seen first.

        One that was told is kept until a later look finds it on record: should this one not be saved, it is not
        told again.
        """
        fault = post.task.result()
        if fault is None:
            known = case.record.escalated
            if telling.name.startswith(HALTED):  # earlier halts are over
                known = tuple(each for each in known if not each.startswith(HALTED))
            case.change(escalated=(*known, telling.name))
            case.note(ESCALATED, f"hook {telling.hook} was told that {telling.about}", event=True)
            return True
        if post.again:
            return False
        post.failures += 1
        is_passing = isinstance(fault, Waiting)
        wait = min(FIRST_SECONDS * 2 ** min(post.failures - 1, 20), MOST_SECONDS) if is_passing else MOST_SECONDS
        wait = max(wait, fault.delay.total_seconds()) if isinstance(fault, Waiting) else wait
        post.again = self._time() + wait
        is_known = any((each.reason, each.message) == (FAILED, fault.message) for each in case.record.timeline)
        if not is_known and (not is_passing or post.failures >= FAILURES_BEFORE_SAID):
            case.note(FAILED, fault.message, warning=True, event=True)
        return False

    def _forget(self, uid: str, due: Collection[str]) -> None:
        """Stop telling what is not due any more, and forget what nobody asks for."""
        old = self._time() - FORGOTTEN.total_seconds()
        for key, post in list(self._posts.items()):
            is_left = post.task.done() and max(post.begun, post.again) < old
            if is_left or (key[0] == uid and key[1] not in due):
                post.task.cancel()
                del self._posts[key]


def escalations_of(wished: Sequence[tuple[float, str]]) -> tuple[Escalation, ...]:
    """The escalations as the spec has them: seconds, and the hook."""
    return tuple(Escalation(timedelta(seconds=seconds), hook) for seconds, hook in wished)


def _halt(record: Record, escalations: Sequence[Escalation], again: str) -> tuple[Telling, ...]:
    """What to tell of a halt, if it has come to one that nobody was told of.

    It is the same halt until a person asks it to go on, or asks for something else.
    """
    if record.outcome != "Halted":
        return ()
    name = HALTED + digest([record.reason, record.handled_request, record.asked])[:16]
    failed = [each for each in record.plan if record.step(each.name).state == "Failed"]
    tier = next((f" in tier {each.tier}" for each in failed if each.tier and each.on_failure != "Continue"), "")
    seen = record.message.partition(endings.AGAIN.partition("kubectl")[0])[0][:MOST_SEEN]
    text = f"halted{tier}, and needs a person: {record.reason}: {seen}{again}"
    return clocks.halt_telling(escalations, name, text, done=record.escalated)


def _news(due: Due, now: datetime) -> tuple[str, str]:
    """What to say once about a clock that has become overdue."""
    return f"{due.clock.capitalize()}Overdue", clocks.overdue_message([due], now)


def _last_said(record: Record, detected: datetime) -> datetime:
    """When something was said about it that people may want to know, beside that a clock is overdue."""
    said = next((clocks.instant(each.at) for each in reversed(record.timeline) if each.reason not in OWN), None)
    return max(said or detected, detected)
