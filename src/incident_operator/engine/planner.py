"""From what is asked for and what is there to a plan; reads only, as the Incident's ServiceAccount."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from incident_operator.actions.contract import Action, Occasion
from incident_operator.cluster.port import Reader
from incident_operator.engine.wishes import StepWish, Wishes
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Manifest, Plan, PlannedStep, Ref, Release


async def make_plan(reader: Reader, catalogue: Mapping[str, Action], incident: Manifest, wishes: Wishes) -> Plan:
    """The plan for all steps, resolved to concrete objects and values; nothing is written.

    Raises the first fault in the order of the steps, whichever read failed first, so that
    the same Incident always says the same.
    """
    meta = incident["metadata"]
    jobs = []
    for wish in wishes.steps:
        occasion = Occasion(meta["namespace"], meta["name"], meta["uid"], wish.name)
        action = _action(catalogue, wish)
        jobs += [_changes(reader, action, occasion, wish, target) for target in wish.targets]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    found = iter([result for result in results if not isinstance(result, BaseException)])
    steps = []
    for wish in wishes.steps:
        changes = [change for _ in wish.targets for change in next(found)]
        steps.append(_planned(wish, _action(catalogue, wish), tuple(changes)))
    return Plan(tuple(steps))


def _action(catalogue: Mapping[str, Action], wish: StepWish) -> Action:
    """The action a step asks for."""
    action = catalogue.get(wish.action)
    if action is None:
        known = ", ".join(sorted(catalogue))
        raise Refused("Invalid", f"step {wish.name}: there is no action {wish.action}; use one of {known}")
    return action


async def _changes(
    reader: Reader, action: Action, occasion: Occasion, wish: StepWish, target: Ref
) -> tuple[Change, ...]:
    """The changes of one step to one target."""
    if target.kind not in action.kinds:
        kinds = ", ".join(sorted(action.kinds))
        raise Refused("Invalid", f"step {wish.name}: {action.name} works on {kinds}, not on {target}")
    return await action.plan(reader, occasion, target, wish.params)


def _planned(wish: StepWish, action: Action, changes: tuple[Change, ...]) -> PlannedStep:
    """The step with its changes, the same one named twice only once."""
    unique = {change.key: change for change in changes}
    return PlannedStep(
        name=wish.name,
        phase=wish.phase,
        action=wish.action,
        changes=tuple(unique.values()),
        release=wish.release or action.release,
        stage=wish.stage,
        timeout_seconds=wish.timeout_seconds,
        on_failure=wish.on_failure,
        expires_seconds=wish.expires_seconds if (wish.release or action.release) is not Release.NEVER else 0.0,
        approval=wish.approval,
    )
