"""``suspend``: a CronJob starts no more Jobs, a Job runs no more pods, until it is given back.

The two are not alike (Kubernetes documentation, "Suspending a Job" and "Schedule suspension"):
a suspended CronJob lets the Jobs that run go on, a suspended Job has its active pods deleted.
What those had not finished is lost, which is why only that is destructive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import guards
from incident_operator.actions.contract import Occasion
from incident_operator.actions.patches import is_there, patch, ref_of, swap
from incident_operator.actions.settling import LIVE, combined, who
from incident_operator.cluster.port import Reader
from incident_operator.planning.plan import (
    Change,
    Entry,
    Manifest,
    Ref,
    Release,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.reach import Reach
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import controller_of, labels_of, pods_of

VERB = "suspend"
FIELD = "/spec/suspend"
ENDS = {"Complete": "has completed", "Failed": "has failed"}
KUEUE = "kueue.x-k8s.io/queue-name"
MOST_NAMED = 3


class Suspend:
    """Stops what a CronJob or a Job would start next."""

    name: ClassVar[str] = "suspend"
    kinds: ClassVar[frozenset[str]] = frozenset({"CronJob", "Job"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("batch", ("cronjobs", "jobs"), ("get", "patch"), "read and suspend it"),
        Rule("", ("pods",), ("list",), "tell which pods of a Job go, and see the last one gone"),
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "CronJob": (Rule("batch", ("cronjobs",), ("patch",)),),
        "Job": (Rule("batch", ("jobs",), ("patch",)),),
    }
    release: ClassVar[Release] = Release.ON_RESOLVE
    reversible: ClassVar[bool] = True
    destructive: ClassVar[bool] = False

    async def plan(
        self,
        reader: Reader,
        occasion: Occasion,  # noqa: ARG002 - part of the contract
        target: Ref,
        params: Mapping[str, Any],  # noqa: ARG002 - part of the contract
    ) -> tuple[Change, ...]:
        """One field; nothing where it is suspended already, or over."""
        thing = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, thing)
        refuse_controlled(VERB, thing)
        if thing["kind"] == "CronJob":
            return (_change(thing, notes=_cron_notes(thing)),)
        ended = ended_how(thing)
        if ended:
            return (over(VERB, thing, ended),)
        return (_of_job(thing, await _pods(reader, thing)),)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the one field, which is either so or not."""
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        return Standing.AFTER if is_suspended(current) == bool(change.after["suspend"]) else Standing.BEFORE

    def undo(self, change: Change, current: Manifest) -> Request | None:  # noqa: ARG002 - part of the contract
        """The field as it was, absent if it was."""
        return None if change.request is None else patch(change.target, swapped(change.after, change.before))

    def back(self, change: Change) -> Change | None:
        """From suspended to what was before; what was suspended by somebody else stays so."""
        if change.request is None:
            return None
        new, old = change.after, change.before
        return Change(
            key=change.key,
            target=change.target,
            request=patch(change.target, swapped(new, old)),
            before=new,
            after=old,
            summary=f"{change.target.kind} {change.target.name}: resume, as before",
            notes=on_resume(change.target.kind, old),
        )

    async def settle(
        self,
        reader: Reader,
        entries: tuple[Entry, ...],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
        now: datetime,  # noqa: ARG002 - part of the contract
    ) -> Settlement:
        """A Job's last pod has gone; of a CronJob nobody says more than that it is suspended."""
        live = [entry.change for entry in entries if entry.state in LIVE]
        return combined(await asyncio.gather(*(self._one(reader, change) for change in live)))

    async def _one(self, reader: Reader, change: Change) -> Settlement:
        """One CronJob or Job."""
        target = change.target
        if change.after.get("over"):
            return settled(change.summary)
        current = await reader.find(target.kind, target.namespace, target.name)
        standing = self.standing(change, current)
        if standing is Standing.GONE or current is None:
            done = "suspended" if change.after["suspend"] else "resumed"
            return failed("TargetGone", f"{target} was deleted or replaced after it was {done}")
        if standing is not Standing.AFTER:
            done = "resumed" if change.after["suspend"] else "suspended again"
            return failed("Reverted", f"{target} was {done}, {who(current)}")
        if target.kind == "CronJob":
            return settled(f"{target.name}: {_cron_said(current)}")
        return await _job_said(reader, current)


def refuse_controlled(verb: str, thing: Manifest) -> None:
    """Raise Refused for what something else sets again; a CronJob makes and deletes its Jobs, and never changes one."""
    owner = controller_of(thing) or {}
    if (thing["kind"], owner.get("kind")) != ("Job", "CronJob"):
        guards.refuse_controlled(verb, thing)


def is_suspended(thing: Manifest) -> bool:
    """Whether it is suspended now."""
    return bool(thing["spec"].get("suspend"))


def swapped(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """From exactly one value of the field to the other; None is absent."""
    return swap(FIELD, old["suspend"], new["suspend"])


def _change(thing: Manifest, *, notes: Sequence[str] = (), going: int = 0) -> Change:
    """The write of the field; ``going`` is how many pods are deleted for it."""
    ref, already = ref_of(thing), is_suspended(thing)
    key, text = f"{ref.kind}/{ref.name}", f"{ref.kind} {ref.name}"
    before = {"suspend": thing["spec"].get("suspend")}
    if ref.kind == "CronJob":
        before["deadline"] = thing["spec"].get("startingDeadlineSeconds")
    if already:
        return Change(key, ref, None, before, {"suspend": True}, f"{text}: is suspended already")
    selector = thing["spec"].get("selector") or {}
    return Change(
        key=key,
        target=ref,
        request=patch(ref, swapped(before, {"suspend": True})),
        before=before,
        after={"suspend": True},
        summary=f"{text}: suspend",
        notes=(*notes, *on_resume(ref.kind, before), *guards.gitops_notes(thing)),
        traits=("Destructive",) if going else (),
        reach=Reach(key, selector, "removed", going) if going else None,
    )


def _of_job(job: Manifest, pods: Sequence[Manifest]) -> Change:
    """A Job is suspended together with what it does."""
    # The list may be a moment old, and so may the status: what either knows of counts.
    going = max((job.get("status") or {}).get("active") or 0, len(pods))
    told = _few([pod["metadata"]["name"] for pod in pods]) or str(going)
    notes = [f"its active pods are deleted ({told}), and what they had not finished is lost"] if going else []
    if labels_of(job).get(KUEUE):
        notes.append("Kueue decides when it runs and may resume it: set spec.active of its Workload to false")
    return _change(job, notes=notes, going=going)


def over(verb: str, job: Manifest, ended: str) -> Change:
    """Nothing is left to suspend, or to resume."""
    ref, now = ref_of(job), job["spec"].get("suspend")
    text = f"{ref.kind} {ref.name}: {ended}; nothing to {verb}"
    return Change(f"{ref.kind}/{ref.name}", ref, None, {"suspend": now}, {"suspend": now, "over": True}, text)


def ended_how(job: Manifest) -> str:
    """How a Job ended; empty as long as it has not."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return next((ENDS[each["type"]] for each in conditions if each["type"] in ENDS and each["status"] == "True"), "")


def _cron_notes(cron_job: Manifest) -> list[str]:
    """What a suspended CronJob does not stop."""
    running = _running(cron_job)
    return [f"Jobs that run already go on ({_few(running)}): suspend them, too"] if running else []


def _running(cron_job: Manifest) -> list[str]:
    """The Jobs of a CronJob that run, as its controller says."""
    return [str(each.get("name")) for each in (cron_job.get("status") or {}).get("active") or ()]


def on_resume(kind: str, before: Mapping[str, Any]) -> tuple[str, ...]:
    """What happens when it goes on (kubernetes ``pkg/controller/cronjob/utils.go``, mostRecentScheduleTime)."""
    if kind != "CronJob":
        return ("when it is resumed it starts new pods, and activeDeadlineSeconds counts from then",)
    deadline = before.get("deadline")
    if deadline is None:
        return ("it has no startingDeadlineSeconds: when it is resumed a run that was missed may start at once",)
    return (f"when it is resumed a run that was missed in the last {deadline} s may start at once",)


def _few(names: Sequence[str]) -> str:
    """The first few of them."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(names[:MOST_NAMED])}{more}"


async def _pods(reader: Reader, job: Manifest) -> list[Manifest]:
    """The pods of a Job that have not run to their end; those being deleted included."""
    selector = job["spec"].get("selector") or {"matchLabels": {"controller-uid": job["metadata"]["uid"]}}
    return pods_of(job, await reader.list("Pod", job["metadata"]["namespace"], selector))


def _cron_said(cron_job: Manifest) -> str:
    if not is_suspended(cron_job):
        return "starts Jobs again"
    running = _running(cron_job)
    return f"starts no more Jobs; {_few(running)} still running" if running else "starts no more Jobs"


async def _job_said(reader: Reader, job: Manifest) -> Settlement:
    """Whether the controller has seen it, which it says in a condition, and whether the pods have followed."""
    name, ended = job["metadata"]["name"], ended_how(job)
    if ended:
        return settled(f"{name}: {ended} meanwhile")
    conditions = (job.get("status") or {}).get("conditions") or ()
    seen = any(each["type"] == "Suspended" and each["status"] == "True" for each in conditions)
    if seen is not is_suspended(job):
        return pending(f"{name}: the controller has not seen the change yet")
    if not seen:
        return settled(f"{name}: goes on")
    pods = await _pods(reader, job)
    if pods:
        return pending(f"{name}: {len(pods)} pods are still terminating")
    return settled(f"{name}: the last pod has gone")
