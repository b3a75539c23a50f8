"""A Job promotes the replica of plain streaming replication; only when it has completed, the Service follows.

The Service is never pointed back: behind its old selector is a primary that lacks what was written since, or one
that still takes writes of its own (PostgreSQL documentation, "Failover"). To fail back is for a person.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from incident_operator.actions import guards, jobs
from incident_operator.actions.contract import Occasion, plain
from incident_operator.actions.patches import is_there, patch, ref_of, swap
from incident_operator.actions.run_job import cron_job_of
from incident_operator.actions.settling import who
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Further,
    Manifest,
    Ref,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)
from incident_operator.planning.rollouts import is_ready
from incident_operator.planning.selectors import is_leaving

VERB = "fail over"
SERVICE = "Service"
Labels = Mapping[str, str]


async def promotion(reader: Reader, occasion: Occasion, target: Ref, form: Mapping[str, Any]) -> Change:
    """The Job, with what is to follow it; nothing where the Service selects that already.

    Raises Refused where nothing would answer behind the Service, or somebody else would point it back.
    """
    name, wanted = str(form.get("service") or ""), plain(form.get("selector") or {})
    if not name or not wanted:
        raise Refused("Invalid", "failover.job needs service and selector: which Service follows, and to which pods")
    workload, service, pods = await asyncio.gather(
        reader.get(target.kind, target.namespace, target.name),
        reader.get(SERVICE, target.namespace, name),
        reader.list("Pod", target.namespace, {"matchLabels": wanted}),
    )
    for each in (workload, service):
        guards.refuse_protected(VERB, each)
    guards.refuse_controlled(VERB, service)
    if not any(_is_running(pod) for pod in pods):
        raise Refused(
            "NoReplica",
            f"could not {VERB} to {_said(wanted)}: no pod of namespace {target.namespace} that runs has these labels; "
            "failover.job.selector must select the replica's pods",
        )
    change = await jobs.job_change(reader, occasion, cron_job_of(form), verb=VERB)
    now = _selector(service)
    if now == wanted:
        return _already(service, wanted)
    return dataclasses.replace(
        change,
        after={**change.after, "service": name, "uid": service["metadata"]["uid"], "old": now, "selector": wanted},
        summary=f"{change.summary}; when it has completed, Service {name}: selector {_said(now)} -> {_said(wanted)}",
        notes=(
            *change.notes,
            "what the replica has not received yet is lost",
            "the old primary must not come back as one: stop it first",
            "the Service is never pointed back, whatever becomes of the Incident: to fail back is for a person",
            *guards.gitops_notes(service),
        ),
        traits=(*change.traits, "Destructive"),
        # Who could not move the clients must not promote: there would be two primaries. So the right is asked for.
        further=(Further("patch", SERVICE),),
    )


def standing(change: Change, current: Manifest | None) -> Standing:
    """How the Service's selector stands."""
    if not is_there(change.target, current) or current is None:
        return Standing.GONE
    now = _selector(current)
    if now == change.after["selector"]:
        return Standing.AFTER
    return Standing.BEFORE if now == change.before["selector"] else Standing.OTHER


async def settlement(reader: Reader, change: Change, now: datetime, *, is_asked: bool) -> Settlement:
    """The Job has completed, then the Service follows, then a ready pod answers behind it.

    ``is_asked``: the Service's write is on record, so the Job was seen complete; it may be deleted since
    (``ttlSecondsAfterFinished``, the CronJob's history limits).
    """
    promoted = await jobs.job_settlement(reader, change, now)
    if promoted.state != "Settled" and not is_asked:
        return promoted
    if promoted.state != "Settled":
        promoted = settled(f"Job {change.target.name} completed", {"job": change.target.name})
    namespace, name, wanted = change.target.namespace, change.after["service"], change.after["selector"]
    service = await reader.find(SERVICE, namespace, name)
    if service is None or service["metadata"]["uid"] != change.after["uid"]:
        return failed("TargetGone", f"Service {name} was deleted or replaced after the replica was promoted")
    if is_asked:
        return await _answers(reader, service, wanted, promoted)
    if _selector(service) not in (change.after["old"], wanted):
        return failed(
            "Reverted",
            f"{promoted.message}, and meanwhile the selector of Service {name} was changed to "
            f"{_said(_selector(service))}, {who(service)}: it is left so; point it at {_said(wanted)} if that is right",
        )
    return pending(f"{promoted.message}; now Service {name} follows", further=[_following(service, wanted)])


async def there_already(reader: Reader, change: Change) -> Settlement:
    """A Service that selected the replica before anything was done still does, and a ready pod answers."""
    service = await reader.find(SERVICE, change.target.namespace, change.target.name)
    if not is_there(change.target, service) or service is None:
        return failed("TargetGone", f"Service {change.target.name} was deleted or replaced since the plan was made")
    return await _answers(reader, service, change.after["selector"], settled("the Job was not run"))


async def _answers(reader: Reader, service: Manifest, wanted: Labels, promoted: Settlement) -> Settlement:
    """Whether the Service selects the replica, and one of its pods is ready."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    if _selector(service) != wanted:
        return failed("Reverted", f"the selector of Service {name} was changed after the failover, {who(service)}")
    pods = await reader.list("Pod", namespace, {"matchLabels": wanted})
    if not any(is_ready(pod) for pod in pods):
        return pending(f"Service {name} selects {_said(wanted)}, and no such pod is ready")
    return settled(f"{promoted.message}; Service {name} selects {_said(wanted)}", promoted.facts)


def _is_running(pod: Manifest) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running" and not is_leaving(pod)


def _selector(service: Manifest) -> dict[str, str]:
    """Empty where there is none: the API server leaves an empty one out."""
    found: dict[str, str] = plain(service["spec"].get("selector") or {})
    return found


def _said(labels: Labels) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "nothing"


def _selecting(ref: Ref, old: Labels, new: Labels) -> Request:
    """From exactly one selector to another."""
    return patch(ref, swap("/spec/selector", dict(old) or None, dict(new)))


def _following(service: Manifest, wanted: Labels) -> Change:
    """The write that points a Service at the promoted pods."""
    ref, now = ref_of(service, SERVICE), _selector(service)
    return Change(
        key=f"{SERVICE}/{ref.name}",
        target=ref,
        request=None if now == wanted else _selecting(ref, now, wanted),
        before={"selector": now},
        after={"selector": dict(wanted)},
        summary=f"Service {ref.name}: selector {_said(now)} -> {_said(wanted)}",
        notes=guards.gitops_notes(service),
    )


def _already(service: Manifest, wanted: Labels) -> Change:
    """The Service has followed before: a Job that promotes a primary would fail, or worse."""
    change = _following(service, wanted)
    return dataclasses.replace(
        change,
        after={**change.after, "already": True},
        summary=f"Service {change.target.name}: selects {_said(wanted)} already, so the Job is not run",
        notes=("whether these pods take writes is not looked at here: the gate sql tells", *change.notes),
    )
