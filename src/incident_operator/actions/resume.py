"""``resume``: a CronJob starts Jobs again, a Job its pods: also one that was suspended by hand before the Incident.

What the Incident itself has suspended goes back by itself; it needs no step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from incident_operator.actions import guards
from incident_operator.actions.contract import Occasion
from incident_operator.actions.patches import patch, ref_of
from incident_operator.actions.suspend import (
    Suspend,
    ended_how,
    is_suspended,
    on_resume,
    over,
    refuse_controlled,
    swapped,
)
from incident_operator.cluster.port import Reader
from incident_operator.planning.plan import Change, Manifest, Ref, Release
from incident_operator.planning.rights import Rule

VERB = "resume"


class Resume(Suspend):
    """Lets a CronJob or a Job go on; all but the plan is as in ``suspend``, with the other value of the field."""

    name: ClassVar[str] = VERB
    rules: ClassVar[tuple[Rule, ...]] = (Rule("batch", ("cronjobs", "jobs"), ("get", "patch"), "read and resume it"),)
    release: ClassVar[Release] = Release.NEVER

    async def plan(
        self,
        reader: Reader,
        occasion: Occasion,  # noqa: ARG002 - part of the contract
        target: Ref,
        params: Mapping[str, Any],  # noqa: ARG002 - part of the contract
    ) -> tuple[Change, ...]:
        """One field; nothing where it goes on already, or is over."""
        thing = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, thing)
        refuse_controlled(VERB, thing)
        ended = ended_how(thing)
        return (over(VERB, thing, ended) if ended else _change(thing),)


def _change(thing: Manifest) -> Change:
    """The write of the field."""
    ref = ref_of(thing)
    key, text = f"{ref.kind}/{ref.name}", f"{ref.kind} {ref.name}"
    before = {"suspend": thing["spec"].get("suspend")}
    if not is_suspended(thing):
        return Change(key, ref, None, before, {"suspend": False}, f"{text}: is not suspended")
    if ref.kind == "CronJob":
        before["deadline"] = thing["spec"].get("startingDeadlineSeconds")
    after = {"suspend": False}
    return Change(
        key=key,
        target=ref,
        request=patch(ref, swapped(before, after)),
        before=before,
        after=after,
        summary=f"{text}: resume",
        notes=(*on_resume(ref.kind, before), *guards.gitops_notes(thing)),
    )
