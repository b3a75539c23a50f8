"""``runJob``: what an application's owner has prepared as a CronJob, run now and to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import jobs
from incident_operator.actions.contract import Occasion
from incident_operator.actions.settling import LIVE, combined
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Entry, Manifest, Ref, Release, Request, Settlement, Standing
from incident_operator.planning.rights import Rule

VERB = "run a Job"


class RunJob:
    """Runs a Job made from a CronJob; the targets only say what it is about."""

    name: ClassVar[str] = "runJob"
    kinds: ClassVar[frozenset[str]] = frozenset(
        {"Deployment", "StatefulSet", "DaemonSet", "Pod", "CronJob", "Job", "Cluster"}
    )
    rules: ClassVar[tuple[Rule, ...]] = jobs.RULES
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = dict.fromkeys(sorted(kinds), jobs.ASKS)
    release: ClassVar[Release] = Release.NEVER
    reversible: ClassVar[bool] = False
    destructive: ClassVar[bool] = False

    async def plan(
        self,
        reader: Reader,
        occasion: Occasion,
        target: Ref,  # noqa: ARG002 - part of the contract: one Job, however many targets it is about
        params: Mapping[str, Any],
    ) -> tuple[Change, ...]:
        """The one Job of this step."""
        return (await jobs.job_change(reader, occasion, cron_job_of(params), verb=VERB),)

    def is_answered(self, change: Change, target: Ref, params: Mapping[str, Any]) -> bool:  # noqa: ARG002 - as in plan
        """Whether it was made from the same CronJob: the Job may be gone by now, by its TTL or as one of too many."""
        return bool(change.after.get("cronJob") == params.get("cronJob"))

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """By the Job's name and whose it is."""
        return jobs.standing(change, current)

    def undo(self, change: Change, current: Manifest) -> Request | None:  # noqa: ARG002 - part of the contract
        """Nothing: what a Job did stays done, and the Job is kept as a record of it."""
        return None

    async def settle(
        self,
        reader: Reader,
        entries: tuple[Entry, ...],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
        now: datetime,
    ) -> Settlement:
        """The Job has run to its end, and well."""
        live = [entry for entry in entries if entry.state in LIVE and entry.change.target.kind == jobs.KIND]
        return combined(await asyncio.gather(*(jobs.job_settlement(reader, entry.change, now) for entry in live)))


def cron_job_of(params: Mapping[str, Any]) -> str:
    """The CronJob that is asked for; Refused("Invalid") names the field."""
    found = params.get("cronJob")
    if not isinstance(found, str) or not found:
        raise Refused("Invalid", f"cronJob must be the name of a CronJob, not {found!r}")
    return found
