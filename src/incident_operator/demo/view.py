"""A live view of one Incident: a line for each thing that happens, with the seconds since it was created."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from incident_operator.demo.api import Api
from incident_operator.lab.faults import LabError

Status = dict[str, Any]


def condition(incident: Status, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of a condition; empty if it is not there."""
    for each in incident.get("status", {}).get("conditions", ()):
        if each["type"] == kind:
            return each["status"], each["reason"], each.get("message", "")
    return "", "", ""


def await_plan(api: Api, path: str, seconds: float = 60) -> Status:
    """The Incident once its plan is there and nothing is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        incident = api.object(path) or {}
        if condition(incident, "Ready")[1] == "Planned":
            return incident
        time.sleep(0.1)
    raise LabError(f"{path.rsplit('/', 1)[1]} had no plan after {seconds:g} s; see kubectl describe")


def show_plan(incident: Status) -> None:
    """Print the plan as status has it: each write with its diff, what it takes away, and which rights it needs."""
    status = incident["status"]
    plan = status["plan"]
    print(f"\n   PLAN {plan['hash']}, as status.plan has it; nothing is changed yet", flush=True)
    for step in plan["steps"]:
        for change in step["changes"]:
            print(f"   {step['name']}: {change['summary']}")
            for line in change.get("diff", "").splitlines():
                print(f"     {line[:160]}")
            blast = change.get("blast")
            if blast:
                print(f"     takes: {blast['pods']} of {blast['of']} pods of {blast['workload']}, {blast['how']}")
                for name in blast.get("consumers", ()):
                    print(f"     used by: {name}")
            for note in change.get("notes", ()):
                print(f"     note: {note}")
    print(f"   as ServiceAccount {plan['serviceAccountName']}, who may: {', '.join(plan.get('rights', ()))}")
    print(f"   policy: {', '.join(status.get('policy', {}).get('names', ()))}", flush=True)


def _lines(incident: Status) -> list[str]:
    """Everything worth a line, as it stands now."""
    status = incident.get("status", {})
    lines = []
    lines += [f"{item['reason']}: {item['message']}" for item in status.get("timeline", ())]
    lines += [
        f"check {check['name']}: {check['verdict']}: {check.get('message', '')}"
        for check in status.get("verification", ())
    ]
    return lines


def follow(api: Api, path: str, begun: float, *, beside: Callable[[], str], seconds: float = 180) -> Status:
    """Print what happens until the Incident is Ready or Stalled; the Incident as it is then."""
    seen: set[str] = set()
    phase, end = "", time.monotonic() + seconds
    while time.monotonic() < end:
        incident = api.object(path) or {}
        at = time.time() - begun
        if incident.get("status", {}).get("phase", "") != phase:
            phase = incident["status"]["phase"]
            print(f"  {at:5.1f} s  [{phase}]  {beside()}".rstrip(), flush=True)
        for line in _lines(incident):
            if line not in seen:
                seen.add(line)
                print(f"  {at:5.1f} s    {line[:200]}", flush=True)
        status, reason, _ = condition(incident, "Ready")
        if (status == "True" and reason != "Planned") or condition(incident, "Stalled")[0] == "True":
            return incident
        time.sleep(0.1)
    raise LabError(f"{path.rsplit('/', 1)[1]} was neither Ready nor Stalled after {seconds:g} s; see kubectl describe")
