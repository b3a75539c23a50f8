"""What an Incident says of the signals it was made from, and how further news of them is put into it; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from incident_operator.api import names
from incident_operator.api.signals import MOST_SIGNALS
from incident_operator.engine.calls import Call
from incident_operator.engine.claims import CLOSED
from incident_operator.engine.settings import stamp_of
from incident_operator.planning.plan import Manifest
from incident_operator.signals.naming import incident_name
from incident_operator.signals.signal import Signal

MOST_TITLE = 200
MOVING = frozenset({"Sentry", "Falco", "Trivy"})
"""Sources whose alerts begin anew with every event: while one is known to fire, that is no news."""


def incident(calls: Sequence[Call], first: Call, user: str) -> dict[str, Any]:
    """The Incident for some calls that are about the same; ``first`` names it, ``user`` makes it."""
    severity = min(call.severity for call in calls)
    modes = [call.mode for call in calls if call.mode]
    spec: dict[str, Any] = {
        "title": first.title[:MOST_TITLE],
        "type": first.type,
        "severity": severity,
        "source": first.signal.source,
        "signals": _merged([], calls),
    }
    if modes:
        spec["mode"] = min(modes, key=("Observe", "Propose", "Enforce").index)
    if first.description:
        spec["description"] = first.description
    if user:
        spec["reportedBy"] = user
    if first.hold_for:
        spec["holdFor"] = first.hold_for
    if first.runbook:
        spec["runbookRef"] = dict(first.runbook)
    if first.targets:
        spec["targets"] = [{"kind": kind, "name": name} for kind, name in first.targets]
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Incident",
        "metadata": {
            "name": incident_name(first.signal),
            "namespace": first.namespace,
            "labels": {names.SIGNAL: first.key},
            # There from the beginning, it costs no write of its own before containment.
            "finalizers": [names.FINALIZER],
        },
        "spec": spec,
    }


def misplaced(made: Manifest, namespace: str) -> dict[str, Any]:
    """The same for the operator's own namespace: with nothing to act on, and why."""
    spec = {key: value for key, value in made["spec"].items() if key != "targets"}
    text = f"namespace {namespace}, which it names, is not there"
    spec["signals"] = [
        {**each, "problem": "; ".join(filter(None, (each.get("problem"), text)))} for each in spec["signals"]
    ]
    return {**made, "spec": spec}


def changes(found: Manifest, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The JSON patch that has an Incident know what the calls say; empty if it knows that."""
    spec = found["spec"]
    old = list(spec.get("signals") or ())
    new = _merged(old, calls)
    made: list[dict[str, Any]] = []
    if new != old:
        made.append({"op": "add", "path": "/spec/signals", "value": new})
    firing = [call.severity for call in calls if call.signal.is_firing]
    if made and firing and min(firing) < spec["severity"]:
        made.append({"op": "replace", "path": "/spec/severity", "value": min(firing)})
    return made


def knows(found: Manifest, calls: Sequence[Call]) -> bool:
    """Whether an Incident was made from these very firings, whatever has become of them since."""
    known = {(each["fingerprint"], each["startsAt"]) for each in found["spec"].get("signals") or ()}
    return all((call.signal.fingerprint, stamp_of(call.signal.starts_at)) in known for call in calls)


def is_open(found: Manifest) -> bool:
    """Whether an Incident has not come to its end, and stays."""
    return not found["metadata"].get("deletionTimestamp") and (found.get("status") or {}).get("phase", "") not in CLOSED


def _merged(old: Sequence[dict[str, Any]], calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The signals with what is new: of one alert the latest firing counts, and once it ended it has."""
    known = {each["fingerprint"]: each for each in old}
    for call in sorted(calls, key=lambda call: call.signal.starts_at):
        there, said = known.get(call.signal.fingerprint), _said(call)
        if there is None:
            known[call.signal.fingerprint] = said
            continue
        since, now = datetime.fromisoformat(there["startsAt"]), datetime.fromisoformat(said["startsAt"])
        if call.signal.source in MOVING and call.signal.is_firing and "endsAt" not in there:
            continue
        if now > since:
            known[call.signal.fingerprint] = said
        elif now == since and "endsAt" in said and "endsAt" not in there:
            known[call.signal.fingerprint] = {**there, "endsAt": said["endsAt"]}
    if len(known) <= MOST_SIGNALS:
        return list(known.values())
    # Those that fire are what it waits for; of the others the newest are kept.
    kept = sorted(known.values(), key=lambda each: ("endsAt" not in each, each["startsAt"]))[-MOST_SIGNALS:]
    return [each for each in known.values() if each in kept]


def _said(call: Call) -> dict[str, Any]:
    """One signal as ``spec.signals`` has it."""
    signal: Signal = call.signal
    told: dict[str, Any] = {
        "name": signal.name,
        "fingerprint": signal.fingerprint,
        "startsAt": stamp_of(signal.starts_at),
    }
    more = {
        "endsAt": stamp_of(signal.ends_at) if signal.ends_at else "",
        "labels": dict(signal.labels),
        "annotations": dict(signal.annotations),
        "url": signal.url,
        "problem": call.problem,
    }
    return told | {key: value for key, value in more.items() if value}
