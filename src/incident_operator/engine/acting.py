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
from incident_operator.cluster.port import Hands
from incident_operator.faults import Conflict, Fault, NotFound, Stalled, Waiting
from incident_operator.planning.plan import Change, Entry, EntryState, Manifest, Request, Standing


def with_state(entry: Entry, state: EntryState, message: str = "") -> Entry:
    """The entry in another state."""
    return dataclasses.replace(entry, state=state, message=message)


async def act(hands: Hands, action: Action, entry: Entry, now: str) -> Entry:
    """Make one intended write, or adopt it where it was made before.

    Raises Waiting when it is not known whether it was made (the API server went away in
    between): the entry stays Intended, and the next look makes or adopts it.
    """
    request = entry.change.request
    if request is None:
        return with_state(entry, EntryState.SKIPPED, "it was so already")
    try:
        answer = await hands.send(request)
    except (Conflict, NotFound) as fault:
        return await _judge(hands, action, entry, fault, now)
    except Stalled as fault:
        if fault.reason == "AlreadyExists":
            return await _judge(hands, action, entry, fault, now)
        return with_state(entry, EntryState.FAILED, f"{fault.reason}: {fault.message}")
    return _done(entry, request, answer, now)


async def _act(hands: Hands, action: Action, entry: Entry, now: str) -> Entry:
    """As ``act``; what is logged meanwhile names the step."""
    with structlog.contextvars.bound_contextvars(step=entry.step):
        return await act(hands, action, entry, now)


def _done(entry: Entry, request: Request, answer: Manifest | None, now: str) -> Entry:
    """The entry as done; a made object's UID goes on record, so that another of its name is not taken for it."""
    change = entry.change
    uid = (answer or {}).get("metadata", {}).get("uid", "")
    if request.verb == "create" and uid:
        change = dataclasses.replace(change, target=dataclasses.replace(change.target, uid=uid))
    return dataclasses.replace(entry, change=change, state=EntryState.DONE, done_at=now, message="")


async def _judge(hands: Hands, action: Action, entry: Entry, fault: Fault, now: str) -> Entry:
    """What a refused precondition means, told from the object as it is now."""
    target, request = entry.change.target, entry.change.request
    current = await hands.find(target.kind, target.namespace, target.name)
    standing = action.standing(entry.change, current)
    if standing is Standing.AFTER and request is not None:
        return _done(entry, request, current, now)
    if standing is Standing.GONE:
        if request is not None and request.verb == "delete":
            return _done(entry, request, None, now)
        return with_state(
            entry, EntryState.FAILED, f"TargetGone: {target} was deleted or replaced since the plan was made"
        )
    if standing is Standing.BEFORE and isinstance(fault, Waiting):
        raise fault
    return with_state(
        entry, EntryState.FAILED, f"ChangedSincePlanned: {target} was changed by somebody else since the plan was made"
    )


async def act_all(
    hands: Hands, entries: Iterable[tuple[Action, Entry]], now: str
) -> tuple[list[Entry], Waiting | None]:
    """Make the writes of a stage at once; the entries that came to something, and the first reason to wait.

    Whatever one write raises, the others are finished and reported: their results must get on record.
    """
    pairs = list(entries)
    faults = await _rechecked(hands, pairs)
    results = await asyncio.gather(
        *(
            _refused(hands, action, entry, faults[entry.step], now)
            if entry.step in faults
            else _act(hands, action, entry, now)
            for action, entry in pairs
        ),
        return_exceptions=True,
    )
    done: list[Entry] = []
    waiting: Waiting | None = None
    for (_, entry), result in zip(pairs, results, strict=True):
        if isinstance(result, Entry):
            done.append(result)
        elif isinstance(result, Waiting):
            waiting = waiting or result
        elif isinstance(result, Fault):
            done.append(with_state(entry, EntryState.FAILED, f"{result.reason}: {result.message}"))
        else:
            raise result
    return done, waiting


async def _rechecked(hands: Hands, pairs: Iterable[tuple[Action, Entry]]) -> dict[str, Fault]:
    """The steps whose plan rests on what is not so any more, and why; the writes of a step are made all or none."""
    asked: dict[str, tuple[Rechecks, list[Change]]] = {}
    for action, entry in pairs:
        if isinstance(action, Rechecks):
            asked.setdefault(entry.step, (action, []))[1].append(entry.change)
    faults: dict[str, Fault] = {}
    for step, (asking, changes) in asked.items():
        try:
            await asking.recheck(hands, changes)
        except Fault as fault:
            faults[step] = fault
    return faults


async def _refused(hands: Hands, action: Action, entry: Entry, fault: Fault, now: str) -> Entry:
    """A write that is not made any more; one that a process before this one has made is adopted."""
    if isinstance(fault, Waiting):
        raise fault
    target, request = entry.change.target, entry.change.request
    current = await hands.find(target.kind, target.namespace, target.name)
    if request is not None and action.standing(entry.change, current) is Standing.AFTER:
        return _done(entry, request, current, now)
    return with_state(entry, EntryState.FAILED, f"{fault.reason}: {fault.message}")


async def release(hands: Hands, action: Action, entry: Entry, now: str) -> Entry:
    """Put back what one entry did, if it still stands as we left it; Waiting and Stalled are for the caller."""
    target = entry.change.target
    current = await hands.find(target.kind, target.namespace, target.name)
    standing = action.standing(entry.change, current)
    if standing is Standing.GONE or current is None:
        return _released(entry, now, "it is gone already")
    if standing is Standing.BEFORE:
        return _released(entry, now, "it was so again already")
    if standing is Standing.OTHER:
        return with_state(
            entry, EntryState.CONFLICT, "it was changed by somebody else since; put it back by hand if need be"
        )
    request = action.undo(entry.change, current)
    if request is None:
        return with_state(entry, EntryState.KEPT, "it cannot be undone")
    try:
        await hands.send(request)
    except NotFound:
        return _released(entry, now, "it is gone already")
    return _released(entry, now, "")


def _released(entry: Entry, now: str, message: str) -> Entry:
    return dataclasses.replace(entry, state=EntryState.RELEASED, released_at=now, message=message)
