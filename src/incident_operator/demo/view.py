"""A live view of one Incident: a line for each thing that happens, with the seconds since it was created."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
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


def created(incident: Status) -> float:
    """When the Incident was made, in seconds since 1970."""
    return datetime.fromisoformat(incident["metadata"]["creationTimestamp"]).timestamp()


def _lines(incident: Status) -> list[str]:
    """Everything worth a line, as it stands now."""
    status = incident.get("status", {})
    lines = []
    if status.get("plan"):
        for step in status["plan"].get("steps", ()):
            for change in step.get("changes", ()):
                lines.append(f"plan {status['plan']['hash']}: {step['name']}: {change['summary']}")
                lines += [f"     note: {note}" for note in change.get("notes", ())]
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
        if condition(incident, "Ready")[0] == "True" or condition(incident, "Stalled")[0] == "True":
            return incident
        time.sleep(0.1)
    raise LabError(f"{path.rsplit('/', 1)[1]} was neither Ready nor Stalled after {seconds:g} s; see kubectl describe")
