"""Jobs from a CronJob's template: made as kubectl makes them, once for each step, and watched to their end.

Source: kubectl ``pkg/cmd/create/create_job.go`` (``createJobFromCronJob``); for what becomes of a Job
kubernetes.io, "Jobs" and "Automatic cleanup for finished Jobs".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from incident_operator.actions import guards, making
from incident_operator.actions.contract import Occasion, plain
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Manifest,
    Ref,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import parsed, troubles
from incident_operator.planning.selectors import is_finished, owns

KIND = "Job"
INSTANTIATE = "cronjob.kubernetes.io/instantiate"
RULES: tuple[Rule, ...] = (
    Rule("batch", ("cronjobs",), ("get",), "read the template of the Job"),
    Rule("batch", ("jobs",), ("get", "create"), "make the Job, and see how it ends"),
    Rule("", ("pods",), ("list",), "tell why a Job failed or does not get on"),
)
"""What running a Job needs."""
ASKS: tuple[Rule, ...] = (Rule("batch", ("jobs",), ("create",)),)
"""What who asks for it must be allowed, too."""


async def job_change(reader: Reader, occasion: Occasion, cron_job: str, *, verb: str) -> Change:
    """The Job to make from a CronJob, suspended or not; its name is the same whenever this step asks for it.

    Raises NotFound, or Refused where the Job would be deleted before anybody could see how it ended.
    """
    source = await reader.get("CronJob", occasion.namespace, cron_job)
    guards.refuse_protected(verb, source)
    _refuse_vanishing(verb, source)
    name = making.name_of(cron_job, occasion.uid, occasion.step, KIND, cron_job)
    ref = Ref(KIND, name, occasion.namespace)
    return Change(
        key=f"{KIND}/{name}",
        target=ref,
        request=Request("create", ref, _body(occasion, source, name)),
        before={},
        after={"incident": occasion.uid, "cronJob": cron_job},
        summary=f"{name}: run a Job made from CronJob {cron_job}",
        notes=_notes(source),
        confidential=True,  # templates hold the values of environment variables
    )


def _body(occasion: Occasion, source: Manifest, name: str) -> dict[str, Any]:
    """The Job that ``kubectl create job --from`` would make, with the labels that say whose it is."""
    template = source["spec"]["jobTemplate"]
    given = template.get("metadata") or {}
    meta = source["metadata"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": meta["name"],
        "uid": meta["uid"],
        # No blockOwnerDeletion, as in kubectl: it would need a right on cronjobs/finalizers.
        "controller": True,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {**(given.get("labels") or {}), **making.labels_for(occasion)},
            "annotations": {INSTANTIATE: "manual", **(given.get("annotations") or {})},
            "ownerReferences": [owner],
        },
        "spec": plain(template["spec"]),
    }


def _refuse_vanishing(verb: str, source: Manifest) -> None:
    """A Job that is deleted as soon as it is complete leaves nobody anything to tell it by."""
    spec, name = source["spec"], source["metadata"]["name"]
    settings = {
        "successfulJobsHistoryLimit": spec.get("successfulJobsHistoryLimit"),
        "jobTemplate.spec.ttlSecondsAfterFinished": spec["jobTemplate"]["spec"].get("ttlSecondsAfterFinished"),
    }
    for field, value in settings.items():
        if value == 0:
            raise Refused(
                "JobWouldVanish",
                f"could not {verb} by {guards.named(source)}: its {field} is 0, so that the Job is deleted as soon as "
                f"it is complete and nobody can tell whether it was; set it higher: kubectl edit cronjob {name}",
            )


def _notes(source: Manifest) -> tuple[str, ...]:
    """What a person should know before it runs."""
    notes = ["what the Job does is not undone; the Job is kept as long as its CronJob's history limits say"]
    running = [each.get("name", "") for each in (source.get("status") or {}).get("active") or ()]
    if running:
        notes.append(f"a Job of this CronJob runs already ({', '.join(running)}): the two may be in each other's way")
    if source["spec"]["jobTemplate"]["spec"].get("suspend"):
        notes.append("its template has suspend: true: the Job begins only when a person resumes it")
    return tuple(notes)


def standing(change: Change, current: Manifest | None) -> Standing:
    """How the Job of that name stands to the one that was to be made."""
    return making.standing(change.target.uid, change.after["incident"], current)


async def job_settlement(reader: Reader, change: Change, now: datetime) -> Settlement:
    """How far the Job is: Complete is settled, Failed says why in a line, without anything from its logs."""
    target = change.target
    job = await reader.find(KIND, target.namespace, target.name)
    if standing(change, job) is not Standing.AFTER or job is None:
        return failed(
            "JobGone",
            f"{target} was deleted or replaced before it was seen complete; a step with another name runs it again",
        )
    status = job.get("status") or {}
    done, bad = _condition(status, "Complete"), _condition(status, "Failed")
    if done is not None:
        seconds = _seconds(status, done, now)
        return settled(f"Job {target.name} completed in {seconds} s", {"job": target.name, "seconds": str(seconds)})
    pods = await _pods(reader, job)
    if bad is not None:
        return failed("JobFailed", f"Job {target.name} failed: {_why(bad)}{_ended(pods)}", {"job": target.name})
    return pending(f"Job {target.name}: {_going(job, status)}{_ended(pods)}{troubles(_unfinished(pods))}")


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any] | None:
    """A condition that is true; FailureTarget and SuccessCriteriaMet come before the end and are not it."""
    found = (each for each in status.get("conditions") or () if each["type"] == kind and each["status"] == "True")
    return next(found, None)


def _seconds(status: Mapping[str, Any], done: Mapping[str, Any], now: datetime) -> int:
    begun = parsed(status.get("startTime"))
    ended = parsed(status.get("completionTime")) or parsed(done.get("lastTransitionTime")) or now
    return 0 if begun is None else max(0, int((ended - begun).total_seconds()))


def _why(condition: Mapping[str, Any]) -> str:
    said = making.one_line(condition.get("message", ""))
    reason = condition.get("reason") or "Failed"
    return f"{reason} ({said})" if said else str(reason)


def _going(job: Manifest, status: Mapping[str, Any]) -> str:
    """In numbers, how far it is."""
    active, bad, good = (status.get(key) or 0 for key in ("active", "failed", "succeeded"))
    if job["spec"].get("suspend"):
        return "it is suspended (spec.suspend): a person must resume it"
    wanted = job["spec"].get("completions")
    done = f"{good} of {wanted} succeeded" if wanted not in (None, 1) else f"{good} succeeded"
    limit = job["spec"].get("backoffLimit")
    allowed = "" if limit is None or not bad else f" (backoffLimit {limit})"
    return f"{active} pods active, {bad} failed{allowed}, {done}"


async def _pods(reader: Reader, job: Manifest) -> list[Manifest]:
    """The Job's own pods, oldest first; those that have ended are what tells why it failed."""
    selector = job["spec"].get("selector") or {"matchLabels": {"job-name": job["metadata"]["name"]}}
    found = await reader.list("Pod", job["metadata"]["namespace"], selector)
    own = [pod for pod in found if owns(job, pod)]
    return sorted(own, key=lambda pod: (str(pod["metadata"].get("creationTimestamp", "")), pod["metadata"]["name"]))


def _unfinished(pods: Sequence[Manifest]) -> list[Manifest]:
    return [pod for pod in pods if not is_finished(pod)]


def _ended(pods: Sequence[Manifest]) -> str:
    """How the last container that went wrong ended, in a line; begins with a semicolon, empty if none did."""
    for pod in reversed(pods):
        status = pod.get("status") or {}
        # Init containers last: one that is a sidecar is ended together with what it serves.
        for each in [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]:
            end = (each.get("state") or {}).get("terminated") or (each.get("lastState") or {}).get("terminated") or {}
            if end.get("exitCode"):
                return f"; {_end(pod, each['name'], end)}"
        if status.get("phase") == "Failed" and status.get("reason"):
            return f"; pod {pod['metadata']['name']}: {status['reason']}"
    return ""


def _end(pod: Manifest, container: str, end: Mapping[str, Any]) -> str:
    told = f"pod {pod['metadata']['name']}: container {container} ended with exit code {end['exitCode']}"
    if end.get("reason") not in (None, "", "Error"):
        told += f" ({end['reason']})"
    said = making.one_line(end.get("message", ""))
    # With this policy the kubelet puts the end of the log where the message is missing (Container API,
    # terminationMessagePolicy): which of the two it is cannot be told, and logs are not shown.
    is_log = any(
        each.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        for field in ("initContainers", "containers")
        for each in pod["spec"].get(field) or ()
        if each["name"] == container
    )
    return told if is_log or not said else f"{told}: {said}"
