"""What must hold in a namespace once it is quiet, whatever has happened: worked out from what is there alone."""

from __future__ import annotations

import collections
import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

OVER = frozenset({"Resolved", "Cancelled", "Expired"})


def ready(incident: Any) -> tuple[str, str]:
    """Status and reason of its condition Ready."""
    found = (incident.get("status") or {}).get("conditions") or ()
    return next(((each["status"], each["reason"]) for each in found if each["type"] == "Ready"), ("", ""))


def in_force(incident: Any) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Kind and name of each target that it holds, and what it has made of it."""
    for entry in (incident.get("status") or {}).get("ledger") or ():
        if entry["state"] == "Done":
            yield entry["target"]["kind"], entry["target"]["name"], json.loads(entry.get("after") or "{}")


def undecided(incident: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of each target that it may have changed: a step that was dropped since had died in between.

    It is held as well, and goes back with the rest from whichever of the two it is then.
    """
    for entry in (incident.get("status") or {}).get("ledger") or ():
        if entry["state"] == "Intended":
            yield entry["target"]["kind"], entry["target"]["name"]


def wrong(
    incidents: Collection[Any],
    policies: Collection[Any],
    replicas: Mapping[str, int],
    *,
    before: int,
    a_persons: Collection[str],
) -> list[str]:
    """Everything that may not be so, in words; ``a_persons``: workloads whose replicas a person has set."""
    found: list[str] = []
    holders: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for each in incidents:
        name = each["metadata"]["name"]
        held = list(in_force(each))
        for kind, target, after in held:
            holders[kind, target].append(name)
            if kind == "Deployment" and target not in a_persons and replicas[target] != after.get("replicas"):
                found.append(f"{name} has made {after} of {target}, which has {replicas[target]}")
        if ready(each)[1] in OVER and (left := list(_to_go_back(each))):
            found.append(f"{name} is {ready(each)[1]}, and still holds {left}")
        if ready(each) == ("True", "Contained") and not held:
            found.append(f"{name} is contained, and holds nothing")
    there = {each["metadata"]["name"] for each in policies}
    said = {target for kind, target in holders if kind == "NetworkPolicy"}
    maybe = {each for incident in incidents for each in undecided(incident)}
    nobodys = {each for each in there - said if ("NetworkPolicy", each) not in maybe}
    found += [f"NetworkPolicy {each} is nobody's" for each in sorted(nobodys)]
    found += [f"NetworkPolicy {each} is said to be in force, and is not there" for each in sorted(said - there)]
    found += [f"{what} is held by {by}" for what, by in holders.items() if len(by) > 1]
    free = {name for name in replicas if ("Deployment", name) not in maybe.union(holders) and name not in a_persons}
    return found + [f"nobody holds {name}, and it has {replicas[name]}" for name in free if replicas[name] != before]


def _to_go_back(incident: Any) -> Iterator[str]:
    for entry in incident["status"].get("ledger") or ():
        if entry["state"] in ("Intended", "Done") and entry["release"] == "OnResolve":
            yield f"{entry['step']}/{entry['key']}"
