"""``failover``: a replica of a database takes over; what it had not received is lost, and nothing goes back by itself.

Three forms: a CloudNativePG Cluster is told to promote an instance, as ``kubectl cnpg promote`` does
(cloudnative-pg ``internal/cmd/plugin/promote``); Patroni is asked for another leader, as ``patronictl switchover``
asks; for plain streaming replication a Job promotes the replica, and only when it has completed does the Service
follow.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from incident_operator.actions import failover_cnpg, failover_job, failover_patroni, guards, jobs
from incident_operator.actions.contract import Occasion
from incident_operator.actions.failover_job import SERVICE, VERB
from incident_operator.actions.patches import is_there
from incident_operator.actions.settling import LIVE, combined
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Entry, Manifest, Ref, Release, Request, Settlement, Standing
from incident_operator.planning.rights import Rule

CLUSTERS = Rule("postgresql.cnpg.io", ("clusters/status",), ("patch",))
SERVICES = Rule("", ("services",), ("patch",))
PROMOTES = (*jobs.ASKS, SERVICES)
WORKLOADS = ("Deployment", "StatefulSet")


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
        *failover_patroni.RULES,
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "Deployment": PROMOTES,
        "StatefulSet": (*PROMOTES, *failover_patroni.ASKS),
        "Cluster": (CLUSTERS,),
    }
    forms: ClassVar[Mapping[str, Mapping[str, tuple[Rule, ...]]]] = {
        "cloudNativePG": {"Cluster": (CLUSTERS,)},
        "patroni": {"StatefulSet": failover_patroni.ASKS},
        "job": dict.fromkeys(WORKLOADS, PROMOTES),
    }
    elsewhere: ClassVar[Mapping[str, str]] = {}
    release: ClassVar[Release] = Release.NEVER
    reversible: ClassVar[bool] = False
    destructive: ClassVar[bool] = True
    """Rows that the replica has not received are lost."""

    clock: Callable[[], datetime] = _now

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """The promotion: of an instance, by Patroni, or by a Job that says which Service follows it."""
        form = next((each for each in self.forms if params.get(each) is not None), "")
        if target.kind not in self.forms.get(form, ()):
            fit = " or ".join(f"failover.{each}" for each, kinds in self.forms.items() if target.kind in kinds)
            raise Refused("Invalid", f"failover of a {target.kind} is asked for by {fit}, not {form!r}")
        match form:
            case "cloudNativePG":
                thing = await reader.get(target.kind, target.namespace, target.name)
                guards.refuse_protected(VERB, thing)
                return (failover_cnpg.promotion(thing, str(params[form].get("to") or ""), self.clock()),)
            case "patroni":
                return (await failover_patroni.request(reader, occasion, target, params[form]),)
            case _:
                return (await failover_job.promotion(reader, occasion, target, params[form]),)

    def is_answered(self, change: Change, target: Ref, params: Mapping[str, Any]) -> bool:
        """Whether it names nobody else to take over: whoever did is the primary, and is not failed away from again.

        A Job that has promoted a replica is told by the Service that follows it.
        """
        if change.target.kind == failover_cnpg.KIND:
            form = params.get("cloudNativePG")
            return form is not None and target.name == change.target.name and _fits(form, change.after["primary"])
        if not _is_patroni(change):
            return False
        form = params.get("patroni")
        return form is not None and form.get("scope") == change.after["scope"] and _fits(form, change.after["member"])

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the Job's name, the Service's selector, the mark of the request, or who the primary is."""
        if change.target.kind == jobs.KIND:
            return jobs.standing(change, current)
        if change.target.kind == SERVICE:
            return failover_job.standing(change, current)
        if _is_patroni(change):
            return failover_patroni.standing(change, current)
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        return failover_cnpg.standing(change, current)

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """Nothing but a request that nobody has followed yet: whatever becomes of the Incident, nobody is failed back.

        Not even the Service's selector: what is released by hand goes back when the Incident is deleted, too, and on
        ``onFailure: Release | Rollback``.
        """
        return failover_patroni.undo(change, current) if _is_patroni(change) else None

    async def settle(
        self,
        reader: Reader,
        entries: tuple[Entry, ...],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
        now: datetime,
    ) -> Settlement:
        """The promotion has come about, and who asks for the primary reaches it."""
        live = [entry.change for entry in entries if entry.state in LIVE]
        followed = {change.target.name for change in live if change.target.kind == SERVICE}
        # A Service that followed a Job is looked at with the Job.
        main = [change for change in live if change.target.kind != SERVICE or change.after.get("already")]
        return combined(await asyncio.gather(*(self._one(reader, change, followed, now) for change in main)))

    async def _one(self, reader: Reader, change: Change, followed: set[str], now: datetime) -> Settlement:
        """One promotion."""
        target = change.target
        if target.kind == failover_cnpg.KIND:
            return failover_cnpg.settlement(change, await reader.find(target.kind, target.namespace, target.name))
        if target.kind == SERVICE:
            return await failover_job.there_already(reader, change)
        if _is_patroni(change):
            return await failover_patroni.settlement(reader, change)
        return await failover_job.settlement(reader, change, now, is_asked=change.after["service"] in followed)


def _fits(form: Mapping[str, Any], who: str) -> bool:
    """Whether a form names this one to take over, or nobody."""
    return str(form.get("to") or who) == who


def _is_patroni(change: Change) -> bool:
    return change.target.kind in failover_patroni.LEADERS
