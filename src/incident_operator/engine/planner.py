"""From what is asked for and what is there to a plan; reads only, as the Incident's ServiceAccount."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from incident_operator.actions.contract import Action, InParts, Occasion, Once, Stops
from incident_operator.cluster.port import Reader
from incident_operator.engine.wishes import StepWish
from incident_operator.faults import Refused
from incident_operator.planning.clashes import clash
from incident_operator.planning.plan import GATES, Change, Entry, EntryState, Manifest, Plan, PlannedStep, Ref, Release

MOST_NAME = 63
"""Characters of a step's name."""
Found = Mapping[tuple[str, Ref], tuple[Change, ...]]
"""The changes by step and target."""


async def make_plan(
    reader: Reader,
    catalogue: Mapping[str, Action],
    incident: Manifest,
    wishes: Sequence[StepWish],
    held: Sequence[Entry] = (),
    done: Collection[str] = (),
) -> Plan:
    """The plan for all steps, resolved to concrete objects and values; nothing is written.

    ``held`` is what the Incident has in force already: what it has stopped so is given back by its recovery, too.
    ``done`` are the steps that were done: of these what may be done only once is not planned again.
    Raises the first fault in the order of the steps, whichever read failed first, so that
    the same Incident always says the same.
    """
    meta = incident["metadata"]
    wishes = _in_parts(catalogue, wishes)
    found: dict[tuple[str, Ref], tuple[Change, ...]] = {}
    keys, jobs = [], []
    for wish in wishes:
        if wish.action == GATES:
            continue
        occasion = Occasion(meta["namespace"], meta["name"], meta["uid"], wish.name)
        action = _action(catalogue, wish)
        for target in wish.targets:
            params = _params(wish, target)
            if params is None:
                continue
            kept = _kept(action, wish, target, params, held) if wish.name in done else ()
            if kept:
                found[wish.name, target] = kept
            else:
                keys.append((wish.name, target))
                jobs.append(_changes(reader, action, occasion, wish, target, params))
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    found |= zip(keys, (result for result in results if not isinstance(result, BaseException)), strict=True)
    planned = [_planned(wish, catalogue, _of(wish, catalogue, found, held)) for wish in wishes]
    # What was not stopped need not be started.
    steps = tuple(step for step in planned if step.changes or not step.brings_back)
    said = clash(steps, {each.place for each in held})
    if said:
        raise Refused("StepsClash", said)
    return Plan(steps)


def _in_parts(catalogue: Mapping[str, Action], wishes: Sequence[StepWish]) -> tuple[StepWish, ...]:
    """The steps, those that have parts as several; Refused where two have one name then."""
    found = tuple(part for wish in wishes for part in _parts(catalogue.get(wish.action), wish))
    taken: set[str] = set()
    for wish in found:
        if wish.name in taken:
            raise Refused("Invalid", f"two steps are called {wish.name}, one of them a part of another: rename one")
        taken.add(wish.name)
    return found


def _parts(action: Action | None, wish: StepWish) -> list[StepWish]:
    """A step as its parts, which run one after the other.

    What comes before the step itself must be done, so it never goes on to the next; ``Continue`` is for the rest.
    """
    parts = action.parts(wish.params) if isinstance(action, InParts) else ()
    if len(parts) <= 1:
        return [wish]
    found, is_before = [], True
    for end, params in parts:
        name = f"{wish.name[: MOST_NAME - len(end) - 1]}-{end}" if end else wish.name
        is_before = is_before and bool(end)
        on_failure = "Halt" if is_before and wish.on_failure == "Continue" else wish.on_failure
        found.append(dataclasses.replace(wish, name=name, params=params, stage="", on_failure=on_failure))
    return found


def _kept(
    action: Action, wish: StepWish, target: Ref, params: Mapping[str, Any], held: Sequence[Entry]
) -> tuple[Change, ...]:
    """What a step that is done has done to a target, where that is not to be done again; empty: it is planned."""
    if not isinstance(action, Once):
        return ()
    mine = (each for each in held if (each.step, each.action, each.state) == (wish.name, wish.action, EntryState.DONE))
    return tuple(
        dataclasses.replace(each.change, request=None)
        for each in mine
        if action.is_answered(each.change, target, params)
    )


def _params(wish: StepWish, target: Ref) -> Mapping[str, Any] | None:
    """What to plan one target with; None: it follows from what an earlier step of the plan does to it."""
    if not wish.brings_back:
        return wish.params
    return {"replicas": wish.replicas[target]} if target in wish.replicas else None


def _of(wish: StepWish, catalogue: Mapping[str, Action], found: Found, held: Sequence[Entry]) -> tuple[Change, ...]:
    """All changes of a step: planned ones, or those that take back what earlier steps of the plan do."""
    changes: list[Change] = []
    for target in wish.targets:
        own = found.get((wish.name, target), ())
        if not wish.brings_back:
            changes += own
            continue
        back = _taken_back(wish, catalogue, found, target, held)
        given = {change.key for change in back}
        changes += [*back, *(change for change in map(_started, own) if change is not None and change.key not in given)]
    return tuple(changes)


def _started(change: Change) -> Change | None:
    """A workload that had no replicas when it began, with the number that its tier says; its autoscaler is not held."""
    if change.before is None or change.before.get("replicas") != 0:
        return None
    return dataclasses.replace(change, after={**change.after, "given_back": True})


def _taken_back(
    wish: StepWish, catalogue: Mapping[str, Action], found: Found, target: Ref, held: Sequence[Entry]
) -> list[Change]:
    """The changes that give a target back what the steps before have taken from it, or an earlier plan has."""
    action = catalogue.get(wish.action)
    stopped = [change for name in wish.brings_back for change in found.get((name, target), ())]
    if not isinstance(action, Stops):
        return []
    taken = {each.change.key: each.change for each in held if each.action == wish.action}
    done = (taken.get(each.key, each) if each.request is None else each for each in stopped)
    back = (action.back(change) for change in done)
    return [dataclasses.replace(change, later=True) for change in back if change is not None]


def _action(catalogue: Mapping[str, Action], wish: StepWish) -> Action:
    """The action a step asks for."""
    action = catalogue.get(wish.action)
    if action is None:
        known = ", ".join(sorted(catalogue))
        raise Refused("Invalid", f"step {wish.name}: there is no action {wish.action}; use one of {known}")
    return action


async def _changes(
    reader: Reader,
    action: Action,
    occasion: Occasion,
    wish: StepWish,
    target: Ref,
    params: Mapping[str, Any],
) -> tuple[Change, ...]:
    """The changes of one step to one target."""
    if target.kind not in action.kinds:
        kinds = ", ".join(sorted(action.kinds))
        raise Refused("Invalid", f"step {wish.name}: {action.name} works on {kinds}, not on {target}")
    return await action.plan(reader, occasion, target, params)


def _planned(wish: StepWish, catalogue: Mapping[str, Action], changes: tuple[Change, ...]) -> PlannedStep:
    """The step with its changes, the same one named twice only once."""
    unique = {change.key: change for change in changes}
    own = Release.NEVER if wish.action == GATES else _action(catalogue, wish).release
    release = wish.release or own
    return PlannedStep(
        name=wish.name,
        phase=wish.phase,
        action=wish.action,
        changes=tuple(unique.values()),
        release=release,
        stage=wish.stage,
        timeout_seconds=wish.timeout_seconds,
        on_failure=wish.on_failure,
        expires_seconds=wish.expires_seconds if release is not Release.NEVER else 0.0,
        approval=wish.approval,
        tier=wish.tier,
        gates=wish.gates,
        brings_back=wish.brings_back,
        expected_seconds=wish.expected_seconds,
    )
