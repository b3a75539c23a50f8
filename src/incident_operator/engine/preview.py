"""Shows what a plan would do before anything is written: the API server's own dry run, and whether it may be done.

All of it as the Incident's ServiceAccount. A write that the API server would refuse (a right, a
quota, an admission policy) is found here, when nothing has been done yet.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from incident_operator.actions import guards
from incident_operator.cluster.port import Hands
from incident_operator.engine.fresh import Fresh
from incident_operator.engine.rights import Right, attributes, named, needed
from incident_operator.engine.surveying import Surveyor
from incident_operator.faults import Conflict, NotFound, Stalled
from incident_operator.planning.blast import Survey, marked, measure_all
from incident_operator.planning.differences import diff
from incident_operator.planning.plan import Change, Manifest, Plan, Request
from incident_operator.planning.reach import Blast

REVIEW_SECONDS = 10.0
"""How long a granted right is taken for granted; the write itself is the last word."""


class Preview:
    """Dry runs, access reviews and blast radius of plans."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.surveyor = Surveyor()
        self._granted: Fresh[tuple[str, str, Right], bool] = Fresh(REVIEW_SECONDS)

    async def of(self, hands: Hands, plan: Plan, survey: Survey, namespace: str, account: str) -> Plan:
        """The plan with the diff and the blast radius of each write.

        Raises Stalled("Forbidden") that names each right that is missing; Conflict if the world has moved since
        the plan was made; Refused("Protected") if it takes a pod away that no Incident touches.
        """
        _refuse_protected(plan, survey, namespace)
        changes = [change for step in plan.steps for change in step.changes]
        blasts = measure_all((change.reach for change in changes), survey)
        results = await asyncio.gather(
            self._refuse_forbidden(hands, changes, namespace, account),
            *(_seen(hands, change, blast) for change, blast in zip(changes, blasts, strict=True)),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result
        seen = iter([result for result in results if isinstance(result, Change)])
        steps = [dataclasses.replace(step, changes=tuple(next(seen) for _ in step.changes)) for step in plan.steps]
        return Plan(tuple(steps), account)

    async def _refuse_forbidden(self, hands: Hands, changes: Sequence[Change], namespace: str, account: str) -> None:
        """Ask for every right that the writes need; Stalled names all that are missing."""
        wanted = needed(changes)
        granted = await asyncio.gather(*(self._may(hands, right, namespace, account) for right in wanted))
        missing = [named(right, namespace) for right, is_granted in zip(wanted, granted, strict=True) if not is_granted]
        if missing:
            raise Stalled(
                "Forbidden",
                f"ServiceAccount {namespace}/{account} may not {', nor '.join(missing)} in namespace {namespace}; "
                "nothing was written: create it if it is not there, and grant it this with a Role: see "
                "manifests/responder",
            )

    async def _may(self, hands: Hands, right: Right, namespace: str, account: str) -> bool:
        try:
            return await self._granted.get((namespace, account, right), lambda: _review(hands, right))
        except _NotGrantedError:
            return False


def _refuse_protected(plan: Plan, survey: Survey, namespace: str) -> None:
    for step in plan.steps:
        for change in step.changes:
            if change.reach is not None and (pod := marked(change.reach, survey)) is not None:
                what = f"could not {step.action} {change.reach.workload}: pod {namespace}/{pod.name} may go, and its"
                raise guards.protected(what, pod.mark, f"pod/{pod.name} -n {namespace}")


async def _seen(hands: Hands, change: Change, blast: Blast | None) -> Change:
    """One change with what its dry run says, and what it takes away."""
    seen = change.summary if change.later else await _difference(hands, change.request)
    return dataclasses.replace(change, diff=seen, blast=blast)


class _NotGrantedError(Exception):
    """A right is missing; raised so that the answer is not kept."""


async def _review(hands: Hands, right: Right) -> bool:
    """Ask the API server whether the one who asks may do that."""
    if not await hands.review(attributes(right)):
        raise _NotGrantedError
    return True


async def _difference(hands: Hands, request: Request | None) -> str:
    """What the dry run of a write changes, in lines."""
    if request is None:
        return ""
    ref = request.ref
    try:
        if request.verb == "create":
            return diff(None, await hands.send(request, dry_run=True))
        current = await hands.find(ref.kind, ref.namespace, ref.name)
        after = await hands.send(request, dry_run=True)
    except NotFound as fault:
        raise Conflict(f"{ref} went away while the plan was made: {fault.message}") from fault
    except Stalled as fault:
        if fault.reason == "AlreadyExists":
            return ""  # ours from before, or somebody else's: the write will tell, and nothing is overwritten
        raise
    if request.verb == "delete":
        return f"- {ref}"
    return diff(_as_sent(current, request), _as_sent(after, request))


def _as_sent(thing: Manifest | None, request: Request) -> Manifest | None:
    """Of a subresource only what it has in common with its object: the replicas of a Scale."""
    if thing is None or request.subresource != "scale":
        return thing
    return {"spec": {"replicas": (thing.get("spec") or {}).get("replicas", 0)}}
