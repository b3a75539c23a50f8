"""``job``: the newest Job of a CronJob that was made since the last action has completed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.checks.seeing import unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import parsed
from incident_operator.planning.selectors import controller_of


class JobVerdict:
    """A Job has completed."""

    name: ClassVar[str] = "job"
    rules: ClassVar[tuple[Rule, ...]] = (Rule("batch", ("jobs",), ("list",), "see how the newest Job ended"),)
    asks: ClassVar[tuple[Rule, ...]] = ()

    async def look(
        self,
        reader: Reader,
        namespace: str,
        targets: tuple[Ref, ...],  # noqa: ARG002 - part of the contract
        params: Mapping[str, Any],
        *,
        since: datetime,
    ) -> Finding:
        """Pass when it has completed, Fail when it has failed; Unknown as long as it runs or there is none."""
        name = str(params.get("cronJob") or "")
        try:
            jobs = await reader.list("Job", namespace)
        except Fault as fault:
            return unseen(fault)
        mine = [job for job in jobs if _is_of(job, name) and _made(job) >= since.replace(microsecond=0)]
        if not mine:
            return unknown(f"no Job of CronJob {name} was made since {since:%H:%M:%S}")
        job = max(mine, key=_made)
        ended, reason = _ended(job)
        if ended == "Complete":
            return Finding(Verdict.PASS, f"Job {job['metadata']['name']} has completed")
        if ended == "Failed":
            return Finding(Verdict.FAIL, f"Job {job['metadata']['name']} has failed: {reason or 'no reason given'}")
        return unknown(f"Job {job['metadata']['name']} has not ended yet")


def _is_of(job: Manifest, name: str) -> bool:
    owner = controller_of(job) or {}
    return (owner.get("kind"), owner.get("name")) == ("CronJob", name)


def _made(job: Manifest) -> datetime:
    found = parsed(job["metadata"].get("creationTimestamp"))
    return found or datetime.fromtimestamp(0).astimezone()


def _ended(job: Manifest) -> tuple[str, str]:
    """How it ended, with the controller's one-word reason (``BackoffLimitExceeded``); empty as long as it has not."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    ends = (each for each in conditions if each["type"] in ("Complete", "Failed") and each["status"] == "True")
    return next(((each["type"], str(each.get("reason") or "")) for each in ends), ("", ""))
