"""Outages after which the database is restored from a dump into a new volume, and the broken one is kept."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from incident_operator.demo.outages.course import TIERS, Outage, Span, step_of
from incident_operator.demo.outages.shop import Thing, verdict
from incident_operator.demo.outages.watching import IN_PROGRESS, stamp, tiers_of
from incident_operator.demo.view import Status
from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for

DUMP = "last-night"
DESTROY = 'rm -rf "$PGDATA"/base "$PGDATA"/global/pg_filenode.map; kill -KILL -1'
"""The files go, and every process of the container with them: nothing is flushed, nobody says goodbye."""
CORRUPTED = 3
CORRUPT = "update rows set body = 'corrupted' where n in (select n from rows order by n limit :n)"
EACH_MINUTE = "* * * * *"


class Restore(Outage):
    """The database loses its files."""

    title = "The database loses its files after last night's dump, and its processes are killed"

    by_schedule: ClassVar[bool] = False
    """Whether the CronJob's own schedule takes the dump. Else it is taken from the CronJob by hand: a night is long."""

    def dump(self) -> float:
        """Write rows, have a dump taken, write on; when it was there."""
        begun = self.writes()
        if self.by_schedule:
            begun = self._await_schedule()
        else:
            completed, said = self.shop.run_job("dump", DUMP)
            if not completed:
                raise LabError(f"no dump was taken: {said}")
        dumped = time.time()
        self.writes()
        self.spans.append(Span("written before the dump", 0, begun))
        self.old = self.shop.claim()
        return dumped

    def _await_schedule(self) -> float:
        """Let the CronJob take a dump in the next minute, and wait for that one; when its Job was made."""
        nightly = self._schedule(EACH_MINUTE)
        known = {each["metadata"]["uid"] for each in self._scheduled()}
        try:
            wait_for(lambda: self._dumped(known), 150, "the CronJob dump to make a Job that completes", every=0.2)
        finally:
            self._schedule(nightly)
        made = [job for job in self._scheduled() if job["metadata"]["uid"] not in known]
        return min(stamp(job["metadata"]["creationTimestamp"]) for job in made)

    def _schedule(self, schedule: str) -> str:
        """Change when the CronJob takes a dump; when it did before."""
        before: str = self.shop.json("cronjob", "dump")["spec"]["schedule"]
        self.shop("patch", "cronjob/dump", "--type=merge", "-p", json.dumps({"spec": {"schedule": schedule}}))
        return before

    def _scheduled(self) -> list[Thing]:
        """The Jobs that the CronJob made by itself, which say for when."""
        mark = "batch.kubernetes.io/cronjob-scheduled-timestamp"
        jobs = self.shop.json("jobs")["items"]
        owned = [job for job in jobs if _owner(job) == "dump"]
        return [job for job in owned if mark in job["metadata"].get("annotations", {})]

    def _dumped(self, known: set[str]) -> bool:
        """Whether a Job of the schedule that was not there before has completed."""
        return any(verdict(job) == "Complete" for job in self._scheduled() if job["metadata"]["uid"] not in known)

    def plans(self) -> list[Thing]:
        """The plan, with the claim that the database is on now: an earlier restore has left db-data behind."""
        found = super().plans()
        for step in (step for plan in found for tier in plan["spec"]["tiers"] for step in tier.get("steps", ())):
            if "volume" in step.get("restore", {}):
                step["restore"]["volume"]["claim"] = self.old
        return found

    def strike(self) -> None:
        """Take a dump; then the files go."""
        dumped = self.dump()
        how = "by its schedule" if self.by_schedule else "by hand from its CronJob, as it does each night"
        self.say(f"   a dump was taken {how}; {self.rows.lately()}")
        self.shop.crash(DESTROY)
        self.await_word("errors", 90)
        self.spans.append(Span("written after it", dumped, time.time(), "lost"))

    def proves(self) -> None:
        """The database is on a new volume, and the broken one is kept."""
        new, kept = self.shop.claim(), self.shop.json("persistentvolumeclaim", self.old)
        if new == self.old or kept["status"]["phase"] != "Bound":
            raise LabError(f"the database is on {new}, and {self.old} is {kept['status']['phase']}")
        self.say(f"   the broken volume        kept, as the claim {self.old}; the database is on {new}")


class Corruption(Restore):
    """A table is corrupted: the integrity Job finds it, writes are stopped, and a dump is restored."""

    title = "Somebody changes rows behind the application's back; every part of it stays green"
    spec: Mapping[str, Any] = {
        "title": "The integrity Job found rows that are not as they were written",
        "type": "Data",
        "containment": [
            {
                "name": "stop-writes",
                "targets": [{"kind": "Deployment", "name": "api"}],
                "scale": {"replicas": 0},
            }
        ],
    }

    def strike(self) -> None:
        """Take a dump; corrupt; let the Job find it."""
        self.dumped = self.dump()
        self.shop.psql(CORRUPT, n=CORRUPTED)
        completed, said = self.shop.run_job("integrity", "nightly-integrity")
        if completed or f"does not hold: {CORRUPTED}" not in said:
            raise LabError(f"the integrity Job did not find what was corrupted: {said}")
        self.say(f"   the Job integrity failed: {said.strip().splitlines()[-1]}")

    def prove(self) -> None:
        """Every row since the dump is lost until writes were stopped, and then none was taken."""
        last = self.contained() - 1
        self.spans.append(Span("written after it", self.dumped, last, "lost"))
        super().prove()

    def proves(self) -> None:
        """Nothing of what was corrupted is left, and nothing was written while it was contained."""
        super().proves()
        left = self.shop.psql("select count(*) from rows where body = 'corrupted'")
        integrity = step_of(self.incident, "database-integrity").get("phase")
        if left != "0" or integrity != "Done":
            raise LabError(f"{left} corrupted rows are left; the step database-integrity is {integrity}")
        begun = next(each["startedAt"] for each in tiers_of(self.incident) if each["name"] == "api")
        written = self.rows.acknowledged(self.contained(), stamp(begun))
        if written:
            raise LabError(f"rows were acknowledged while writes were stopped: {written}")


class Killed(Restore):
    """As Restore; and the operator is killed in each tier, in the middle of what it does there."""

    title = "The database loses its files; and the operator is killed in each tier of the recovery"
    MOMENTS: ClassVar[dict[str, str]] = {
        "database": "database-load-dump",
        "api": "gates-api",
        "bot": "start-bot",
        "frontend": "gates-frontend",
        "auxiliary": "start-auxiliary",
    }
    """For each tier the step in the midst of which it is killed."""

    def strike(self) -> None:
        """As Restore."""
        self.killed: dict[str, str] = {}
        super().strike()
        self.generations = self.shop.deployments("metadata.generation")

    def meanwhile(self, incident: Status) -> bool:
        """Kill the operator where it is time, see that it was, and have another one go on."""
        for tier in tiers_of(incident):
            moment = self.MOMENTS[tier["name"]]
            if tier["name"] in self.killed or not _is_open(incident, moment):
                continue
            self.operator.kill()
            left = self.look()
            phase = next(each["phase"] for each in tiers_of(left) if each["name"] == tier["name"])
            if phase not in IN_PROGRESS or not _is_open(left, moment):
                raise LabError(f"the operator was killed too late: tier {tier['name']} was {phase}")
            self.killed[tier["name"]] = phase
            self.say(f"             {tier['name']:<10} KILLED the operator, in step {moment}")
            self.operator.start()
        return False

    def proves(self) -> None:
        """It was killed in each tier; and all was stopped, restored and started once."""
        super().proves()
        if list(self.killed) != list(TIERS):
            raise LabError(f"the operator was killed in {', '.join(self.killed)} only")
        now = self.shop.deployments("metadata.generation")
        changed = {name: now[name] - before for name, before in self.generations.items()}
        if set(changed.values()) != {2}:
            raise LabError(f"not each was stopped once and started once: {changed}")
        mark = f"incident-operator.dev/incident-uid={self.incident['metadata']['uid']}"
        ran = sorted(_owner(job) for job in self.shop.json("jobs", "-l", mark)["items"])
        if ran != ["check-dump", "integrity", "restore-dump"]:
            raise LabError(f"not each Job ran once: {', '.join(ran)}")
        self.say(f"   killed in                {', '.join(f'{name} ({how})' for name, how in self.killed.items())}")
        self.say("   each workload            stopped once, started once; each Job ran once")


def _is_open(incident: Status, step: str) -> bool:
    """Whether a step has been begun and is not over."""
    return step_of(incident, step).get("phase") in ("Acting", "Settling")


def _owner(thing: Thing) -> str:
    return next((each["name"] for each in thing["metadata"].get("ownerReferences", ())), "")
