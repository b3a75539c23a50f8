"""``restore.job``: a Job of one's own that loads a dump, told how old the newest one is by the CronJob that writes it.

What is in a dump only its own programs can read: ``check`` names a CronJob whose Job must complete before the load
begins. Source: kubernetes.io, "CronJobStatus" (``lastSuccessfulTime``: when a Job of it last completed).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from incident_operator.actions import backups, jobs
from incident_operator.actions.contract import Occasion
from incident_operator.actions.run_job import cron_job_of
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import Change, Ref

VERB = "restore"


async def plan(
    reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any], now: datetime
) -> tuple[Change, ...]:
    """The Job that loads; Refused where the newest dump is too old, or there is none."""
    made = await jobs.job_change(reader, occasion, cron_job_of(params), verb=VERB)
    made = dataclasses.replace(made, traits=("Irreversible",))
    if not params.get("dumpedBy"):
        return (dataclasses.replace(made, notes=(*made.notes, "how old what it loads is, is not looked at")),)
    said, age = await usable(reader, target, params, now)
    note = f"it is for the Job to load the newest dump, which is as old as the last completed Job of {said}"
    return (dataclasses.replace(made, summary=f"{made.summary}, from a dump {age}", notes=(*made.notes, note)),)


async def usable(reader: Reader, target: Ref, params: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """Who writes the dumps and how old the newest is; Refused where it is too old or there is none."""
    name = str(params["dumpedBy"])
    source = await reader.get("CronJob", target.namespace, name)
    said = f"CronJob {target.namespace}/{name}"
    done = (source.get("status") or {}).get("lastSuccessfulTime")
    if not done:
        raise Refused(
            "NoBackup",
            f"could not {VERB} {target} from a dump of {said}: no Job of it has completed yet (its "
            "status.lastSuccessfulTime is not set), so that there is no dump; name the CronJob that writes them in "
            f"restore.job.dumpedBy, or where there is a dump that it did not write, leave that out",
        )
    return said, backups.aged(VERB, f"the newest dump of {said}", done, params, now)
