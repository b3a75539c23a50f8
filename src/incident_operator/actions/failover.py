"""``failover``: a replica of a database takes over; what it had not received is lost, and nothing goes back by itself.

Two forms: a CloudNativePG Cluster is told to promote an instance, as ``kubectl cnpg promote`` does
(cloudnative-pg ``internal/cmd/plugin/promote``); for plain streaming replication a Job promotes the replica,
and only when it has completed does the Service follow.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from incident_operator.actions import failover_cnpg, guards, jobs
from incident_operator.actions.contract import Occasion, plain
from incident_operator.actions.patches import is_there, patch, ref_of, test
from incident_operator.actions.settling import LIVE, combined, who
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
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
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import is_ready

VERB = "fail over"
SERVICE = "Service"
SELECTOR = "/spec/selector"
CLUSTERS = Rule("postgresql.cnpg.io", ("clusters/status",), ("patch",))
SERVICES = Rule("", ("services",), ("patch",))
FORMS = ("cloudNativePG", "job")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Failover:
    """Lets a replica take over."""

    name: ClassVar[str] = "failover"
    kinds: ClassVar[frozenset[str]] = frozenset({"Deployment", "StatefulSet", "Cluster"})
    rules: ClassVar[tuple[Rule, ...]] = (
        *jobs.RULES,
        Rule("apps", ("deployments", "statefulsets"), ("get",), "see whether it may be touched"),
        Rule("", ("services",), ("get", "patch"), "point the Service at the new primary"),
        Rule("postgresql.cnpg.io", ("clusters",), ("get",), "see which instances are well"),
        Rule("postgresql.cnpg.io", ("clusters/status",), ("patch",), "promote an instance, and nothing else"),
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "Deployment": (*jobs.ASKS, SERVICES),
        "StatefulSet": (*jobs.ASKS, SERVICES),
        "Cluster": (CLUSTERS,),
    }
    release: ClassVar[Release] = Release.MANUAL
    reversible: ClassVar[bool] = False
    destructive: ClassVar[bool] = True
    """Rows that the replica has not received are lost."""

    clock: Callable[[], datetime] = _now

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """The promotion: of an instance, or by a Job that says which Service follows it."""
        form = next((each for each in FORMS if params.get(each) is not None), "")
        if (form == "cloudNativePG") != (target.kind == failover_cnpg.KIND) or not form:
            raise Refused(
                "Invalid", f"failover of a {target.kind} is asked for by failover.{_form_of(target.kind)}, not {form!r}"
            )
        if form == "cloudNativePG":
            thing = await reader.get(target.kind, target.namespace, target.name)
            guards.refuse_protected(VERB, thing)
            return (failover_cnpg.promotion(thing, str(params[form].get("to") or ""), self.clock()),)
        return (await _by_job(reader, occasion, target, params[form]),)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the Job's name, the Service's selector, or who the primary is."""
        if change.target.kind == jobs.KIND:
            return jobs.standing(change, current)
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        if change.target.kind == failover_cnpg.KIND:
            return failover_cnpg.standing(change, current)
        now = plain(current["spec"].get("selector") or {})
        if now == change.after["selector"]:
            return Standing.AFTER
        return Standing.BEFORE if now == change.before["selector"] else Standing.OTHER

    def undo(self, change: Change, current: Manifest) -> Request | None:  # noqa: ARG002 - part of the contract
        """Only the Service's selector: who the primary is, a person decides."""
        if change.target.kind != SERVICE:
            return None
        return _selecting(change.target, change.after["selector"], change.before["selector"])

    async def settle(
        self,
        reader: Reader,
        entries: tuple[Entry, ...],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
        now: datetime,
    ) -> Settlement:
        """The Job has completed, then the Service follows, then a ready pod answers behind it."""
        live = [entry.change for entry in entries if entry.state in LIVE]
        followed = {change.target.name: change for change in live if change.target.kind == SERVICE}
        return combined(
            await asyncio.gather(
                *(self._one(reader, change, followed, now) for change in live if change.target.kind != SERVICE)
            )
        )

    async def _one(self, reader: Reader, change: Change, followed: Mapping[str, Change], now: datetime) -> Settlement:
        """One promotion."""
        target = change.target
        if target.kind == failover_cnpg.KIND:
            return failover_cnpg.settlement(change, await reader.find(target.kind, target.namespace, target.name))
        promoted = await jobs.job_settlement(reader, change, now)
        if promoted.state != "Settled":
            return promoted
        return await _followed(reader, change, promoted, is_asked=change.after["service"] in followed)


async def _followed(reader: Reader, change: Change, promoted: Settlement, *, is_asked: bool) -> Settlement:
    """Whether the Service has followed the promotion; the write that lets it, if that is not made yet."""
    namespace, name, wanted = change.target.namespace, change.after["service"], change.after["selector"]
    service = await reader.find(SERVICE, namespace, name)
    if service is None:
        return failed("TargetGone", f"Service {name} was deleted after the replica was promoted")
    if not is_asked:
        return pending(f"{promoted.message}; now Service {name} follows", further=[_following(service, wanted)])
    if plain(service["spec"].get("selector") or {}) != wanted:
        return failed("Reverted", f"the selector of Service {name} was changed after the failover, {who(service)}")
    pods = await reader.list("Pod", namespace, {"matchLabels": wanted})
    if not any(is_ready(pod) for pod in pods):
        return pending(f"Service {name} selects {_said(wanted)}, and no such pod is ready")
    return settled(f"{promoted.message}; Service {name} selects {_said(wanted)}", promoted.facts)


def _form_of(kind: str) -> str:
    return "cloudNativePG" if kind == failover_cnpg.KIND else "job"


async def _by_job(reader: Reader, occasion: Occasion, target: Ref, form: Mapping[str, Any]) -> Change:
    """The Job, with what is to follow it; refused where nothing would answer behind the Service."""
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
    if not pods:
        raise Refused(
            "NoReplica",
            f"could not {VERB} to {_said(wanted)}: no pod of namespace {target.namespace} has these labels; "
            "failover.job.selector must select the replica's pods",
        )
    change = await jobs.job_change(reader, occasion, str(form["cronJob"]), verb=VERB)
    now = plain(service["spec"].get("selector") or {})
    follows = f"Service {name}: selector {_said(now)} -> {_said(wanted)}"
    return dataclasses.replace(
        change,
        after={**change.after, "service": name, "selector": wanted},
        summary=f"{change.summary}; when it has completed, {follows}",
        notes=(
            *change.notes,
            "what the replica has not received yet is lost",
            "the old primary must not come back as one: stop it first",
            *guards.gitops_notes(service),
        ),
        traits=(*change.traits, "Destructive"),
    )


def _said(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "nothing"


def _selecting(ref: Ref, old: Mapping[str, str], new: Mapping[str, str]) -> Request:
    """From exactly one selector to another."""
    return patch(ref, [test(SELECTOR, old), {"op": "replace", "path": SELECTOR, "value": new}])


def _following(service: Manifest, wanted: Mapping[str, str]) -> Change:
    """The write that points a Service at the promoted pods."""
    ref, now = ref_of(service, SERVICE), plain(service["spec"].get("selector") or {})
    return Change(
        key=f"{SERVICE}/{ref.name}",
        target=ref,
        request=None if now == wanted else _selecting(ref, now, wanted),
        before={"selector": now},
        after={"selector": dict(wanted)},
        summary=f"Service {ref.name}: selector {_said(now)} -> {_said(wanted)}",
        notes=guards.gitops_notes(service),
    )
