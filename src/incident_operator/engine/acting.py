"""Makes the writes of a stage, and tells what became of each.

Every write carries its own precondition, so the write itself is the question whether the
world is still as planned; only where it is refused the object is read again and judged.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable

import structlog

from incident_operator.actions.contract import Action, Rechecks
from incident_operator.api import names
from incident_operator.cluster.port import Hands
from incident_operator.faults import Conflict, Fault, NotFound, Stalled, Waiting
from incident_operator.planning.authorship import is_of_another
from incident_operator.planning.plan import Change, Entry, EntryState, Manifest, Request, Standing

SO_BY_ANOTHER = "somebody else made it so after it was planned: nothing was written, and nothing will be put back"

SO_ALREADY = {Standing.GONE: "it is gone already", Standing.BEFORE: "it was so again already"}
"""Where there is nothing to put back any more, and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One intended write that is about to be made."""

    action: Action
    entry: Entry
    is_first: bool = False
    """Whether it is known never to have been sent: what is as it wants it then is not of its making."""


def with_state(entry: Entry, state: EntryState, message: str = "") -> Entry:
    """The entry in another state."""
    return dataclasses.replace(entry, state=state, message=message)


async def act(hands: Hands, attempt: Attempt, now: str) -> Entry:
    """Make one intended write, or adopt it where it was made before.

    Raises Waiting when it is not known whether it was made (the API server went away in
    between): the entry stays Intended, and the next look makes or adopts it.
    """
    entry = attempt.entry
    request = entry.change.request
    if request is None:
        return with_state(entry, EntryState.SKIPPED, "it was so already")
    try:
        answer = await hands.send(request)
    except (Conflict, NotFound) as fault:
        return await _judge(hands, attempt, fault, now)
    except Stalled as fault:
        if fault.reason == "AlreadyExists":
            return await _judge(hands, attempt, fault, now)
        if attempt.is_first:
            return _failed(entry, fault)
        return await _refused(hands, attempt, fault, now)  # refused by now; a try before this one may have got through
    return _done(entry, request, answer, now)


async def _act(hands: Hands, attempt: Attempt, now: str) -> Entry:
    """As ``act``; what is logged meanwhile names the step."""
    with structlog.contextvars.bound_contextvars(step=attempt.entry.step):
        return await act(hands, attempt, now)


def _done(entry: Entry, request: Request, answer: Manifest | None, now: str) -> Entry:
    """The entry as done; a made object's UID goes on record, so that another of its name is not taken for it."""
    change = entry.change
    uid = (answer or {}).get("metadata", {}).get("uid", "")
    if request.verb == "create" and uid:
        change = dataclasses.replace(change, target=dataclasses.replace(change.target, uid=uid))
    return dataclasses.replace(entry, change=change, state=EntryState.DONE, done_at=now, message="")


def _adopted(attempt: Attempt, request: Request, current: Manifest | None, now: str) -> Entry:
    """The entry of a write whose target is as it wants it: made by a process before this one, or by somebody else.

    A made object bears the Incident's mark, else it would not stand as wanted. What a patch sets may be anybody's.
    """
    entry = attempt.entry
    if request.verb == "patch" and (attempt.is_first or _is_of_another(entry, current)):
        return with_state(entry, EntryState.SKIPPED, SO_BY_ANOTHER)
    return _done(entry, request, current, now)


def _is_of_another(entry: Entry, current: Manifest | None) -> bool:
    """Whether what a patch of an entry wants was made so by somebody else, where that can be told."""
    request = entry.change.request
    return request is not None and current is not None and is_of_another(current, request, names.FIELD_MANAGER)


async def _judge(hands: Hands, attempt: Attempt, fault: Fault, now: str) -> Entry:
    """What a refused precondition means, told from the object as it is now."""
    entry = attempt.entry
    target, request = entry.change.target, entry.change.request
    current = await hands.find(target.kind, target.namespace, target.name)
    standing = attempt.action.standing(entry.change, current)
    if standing is Standing.AFTER and request is not None:
        return _adopted(attempt, request, current, now)
    if standing is Standing.GONE:
        if request is not None and request.verb == "delete":
            return _done(entry, request, None, now)
        return with_state(
            entry, EntryState.FAILED, f"TargetGone: {target} was deleted or replaced since the plan was made"
        )
    is_passing = standing is Standing.BEFORE and isinstance(fault, Waiting)
    if is_passing and (request is None or not await _never_fits(hands, request, current)):
        raise fault
    return with_state(
        entry, EntryState.FAILED, f"ChangedSincePlanned: {target} was changed by somebody else since the plan was made"
    )


async def _never_fits(hands: Hands, request: Request, current: Manifest | None) -> bool:
    """Whether a write is refused by its target exactly as that is now, so that to try it again is in vain.

    What it tests may be more than what it sets: the annotations beside a template, say, of which there were none.
    """
    try:
        await hands.send(request, dry_run=True)
    except Conflict:
        now = await hands.find(request.ref.kind, request.ref.namespace, request.ref.name)
        return _version(now) == _version(current) != ""
    return False


def _version(thing: Manifest | None) -> str:
    found: str = "" if thing is None else thing["metadata"].get("resourceVersion", "")
    return found


async def act_all(hands: Hands, attempts: Iterable[Attempt], now: str) -> tuple[list[Entry], Fault | None]:
    """Make the writes of a stage at once; the entries that came to something, and why others are still undecided.

    That is the first reason to wait; or what keeps us from seeing whether a write was made that may have been:
    its entry stays Intended, for it is not to be forgotten.

    Whatever one write raises, the others are finished and reported: their results must get on record.
    """
    attempts = list(attempts)
    faults = await _rechecked(hands, attempts)
    results = await asyncio.gather(
        *(
            _refused(hands, attempt, faults[attempt.entry.step], now)
            if attempt.entry.step in faults
            else _act(hands, attempt, now)
            for attempt in attempts
        ),
        return_exceptions=True,
    )
    done: list[Entry] = []
    waiting: Waiting | None = None
    unseen: Fault | None = None
    for attempt, result in zip(attempts, results, strict=True):
        if isinstance(result, Entry):
            done.append(result)
        elif isinstance(result, Waiting):
            waiting = waiting or result
        elif isinstance(result, Fault) and attempt.is_first:
            done.append(_failed(attempt.entry, result))
        elif isinstance(result, Fault):
            unseen = unseen or result
        else:
            raise result
    return done, waiting or unseen


async def _rechecked(hands: Hands, attempts: Iterable[Attempt]) -> dict[str, Fault]:
    """The steps whose plan rests on what is not so any more, and why; the writes of a step are made all or none."""
    asked: dict[str, tuple[Rechecks, list[Change]]] = {}
    for each in attempts:
        if isinstance(each.action, Rechecks):
            asked.setdefault(each.entry.step, (each.action, []))[1].append(each.entry.change)
    faults: dict[str, Fault] = {}
    for step, (asking, changes) in asked.items():
        try:
            await asking.recheck(hands, changes)
        except Fault as fault:
            faults[step] = fault
    return faults


async def _refused(hands: Hands, attempt: Attempt, fault: Fault, now: str) -> Entry:
    """A write that is not made any more; one that a process before this one has made is adopted."""
    if isinstance(fault, Waiting):
        raise fault
    entry = attempt.entry
    target, request = entry.change.target, entry.change.request
    current = await hands.find(target.kind, target.namespace, target.name)
    if request is not None and attempt.action.standing(entry.change, current) is Standing.AFTER:
        return _adopted(attempt, request, current, now)
    return _failed(entry, fault)


def _failed(entry: Entry, fault: Fault) -> Entry:
    return with_state(entry, EntryState.FAILED, f"{fault.reason}: {fault.message}")


async def release(hands: Hands, action: Action, entry: Entry, now: str) -> Entry:
    """Put back what one entry did, if it still stands as we left it; Waiting and Stalled are for the caller."""
    target = entry.change.target
    current = await hands.find(target.kind, target.namespace, target.name)
    standing = action.standing(entry.change, current)
    if current is None or standing in SO_ALREADY:
        return _released(entry, now, SO_ALREADY[Standing.GONE if current is None else standing])
    if standing is Standing.OTHER:
        return with_state(
            entry, EntryState.CONFLICT, "it was changed by somebody else since; put it back by hand if need be"
        )
    if entry.state is EntryState.INTENDED and _is_of_another(entry, current):
        return with_state(entry, EntryState.SKIPPED, SO_BY_ANOTHER)
    request = action.undo(entry.change, current)
    if request is None:
        return with_state(entry, EntryState.KEPT, "it cannot be undone")
    try:
        await hands.send(request)
    except NotFound:
        return _released(entry, now, SO_ALREADY[Standing.GONE])
    return _released(entry, now, "")


def _released(entry: Entry, now: str, message: str) -> Entry:
    return dataclasses.replace(entry, state=EntryState.RELEASED, released_at=now, message=message)
