"""What an Incident says of the signals it was made from, and how further news of them is put into it; pure."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from incident_operator.api import names
from incident_operator.api.signals import MOST_SIGNALS
from incident_operator.engine import firings
from incident_operator.engine.calls import PROBLEM, Call
from incident_operator.engine.claims import RECOVERED
from incident_operator.engine.settings import stamp_of
from incident_operator.planning.plan import Manifest
from incident_operator.signals.naming import incident_name
from incident_operator.signals.signal import FIRST, cut
from incident_operator.signals.vocabulary import MODES, MOST_TARGETS

MOST_TITLE = 200
MOST_BYTES = 512 << 10
"""Of all signals of an Incident together; etcd takes 1.5 MiB, and there is a status to come."""
MOST_SHORT = 128
"""Characters of a label that are kept where that is too much."""
MOVING = frozenset({"Sentry", "Falco", "Trivy"})
"""Sources whose alerts begin anew with every event: while one is known to fire, that is no news."""
WITHOUT_RUNBOOK = frozenset({"RunbookNotFound", "NoRunbook"})
"""Why an Incident waits where a later word of its alert may name the runbook that was meant."""
Pairs = list[tuple[str, str]]
"""Targets: kind and name of each."""


def incident(calls: Sequence[Call], first: Call, user: str) -> dict[str, Any]:
    """The Incident for some calls that are about the same; ``first`` names it, ``user`` makes it."""
    modes = [call.mode for call in calls if call.mode]
    firing = [call for call in calls if call is not first and call.signal.is_firing]
    over = [call for call in calls if call is not first and not call.signal.is_firing]
    targets, told = _targets_joined([*first.targets], firing, is_planned=False)
    signals = _merged([], [first, *told, *over], first.signal.source)
    spec: dict[str, Any] = {
        "title": first.title[:MOST_TITLE],
        "type": first.type,
        "severity": min(call.severity for call in calls),
        "source": first.signal.source,
        "signals": signals,
    }
    if modes:
        spec["mode"] = min(modes, key=MODES.index)
    if first.description:
        spec["description"] = first.description
    if user:
        spec["reportedBy"] = user
    if first.hold_for:
        spec["holdFor"] = first.hold_for
    if first.runbook:
        spec["runbookRef"] = dict(first.runbook)
    if targets:
        spec["targets"] = _listed(targets)
    return {
        "apiVersion": names.API_VERSION,
        "kind": "Incident",
        "metadata": {
            "name": incident_name(first.signal),
            "namespace": first.namespace,
            "labels": {names.SIGNAL: first.key},
            "annotations": {names.FIRINGS: firings.written(signals)},
            # There from the beginning, it costs no write of its own before containment.
            "finalizers": [names.FINALIZER],
        },
        "spec": spec,
    }


def misplaced(call: Call, namespace: str) -> Call:
    """The same for the operator's own namespace: with nothing to act on, and why; said once, however often it is led.

    It is the call that says so, and not only what is made of it: a repeat would count as put right by now.
    """
    text = f"namespace {namespace}, which it names, is not there"
    return dataclasses.replace(
        call, targets=(), problem=call.problem if text in call.problem else _also(text, call.problem)
    )


def changes(found: Manifest, calls: Sequence[Call]) -> list[dict[str, Any]]:
    """The JSON patch that has an Incident know what the calls say; empty if it knows that.

    Only an alert that it did not know, or whose words are put right by now, adds to what it asks for: what a
    person has set since is not undone by an alert that is repeated.
    """
    spec, meta = found["spec"], found["metadata"]
    old = list(spec.get("signals") or ())
    adding = [call for call in calls if _adds(old, call)]
    others = [call for call in calls if not _adds(old, call)]
    targets = [(each["kind"], each["name"]) for each in spec.get("targets") or ()]
    joined, noted = _targets_joined(targets, adding, is_planned=_is_planned(found))
    new = _merged(old, [*noted, *others], str(spec.get("source", "")))
    made: list[dict[str, Any]] = []
    if new != old:
        made.append({"op": "add", "path": "/spec/signals", "value": new})
    known = firings.written(new)
    if made and known != (meta.get("annotations") or {}).get(names.FIRINGS):
        if not meta.get("annotations"):
            made.append({"op": "add", "path": "/metadata/annotations", "value": {}})
        made.append({"op": "add", "path": f"/metadata/annotations/{_escaped(names.FIRINGS)}", "value": known})
    firing = [call.severity for call in calls if call.signal.is_firing]
    if made and firing and min(firing) < spec["severity"]:
        made.append({"op": "replace", "path": "/spec/severity", "value": min(firing)})
    if joined != targets:
        made.append({"op": "add", "path": "/spec/targets", "value": _listed(joined)})
    return [*made, *_asked(found, adding, [call for call in calls if call.signal.is_firing])]


def _asked(found: Manifest, adding: Sequence[Call], firing: Sequence[Call]) -> list[dict[str, Any]]:
    """What alerts that joined ask for: a lower mode, and where it has none, how long to hold, and what to do."""
    spec, made = found["spec"], list[dict[str, Any]]()
    modes = [call.mode for call in adding if call.mode]
    lowest = min(modes, key=MODES.index, default="Enforce")
    if MODES.index(lowest) < MODES.index(spec.get("mode", "Enforce")):
        made.append({"op": "add", "path": "/spec/mode", "value": lowest})
    held = [call.hold_for for call in adding if call.hold_for]
    if held and not spec.get("holdFor") and not _is_planned(found):
        made.append({"op": "add", "path": "/spec/holdFor", "value": held[0]})
    runbook = next((call.runbook for call in firing if call.has_runbook), None)
    if runbook and runbook != spec.get("runbookRef") and not _is_planned(found) and _stalled(found) in WITHOUT_RUNBOOK:
        made.append({"op": "add", "path": "/spec/runbookRef", "value": dict(runbook)})
    return made


def old_news(found: Manifest, calls: Sequence[Call]) -> list[Call]:
    """The calls of firings that an Incident was made from, or that were before those, whatever became of them."""
    known = {each["fingerprint"]: each["startsAt"] for each in found["spec"].get("signals") or ()}
    return [call for call in calls if stamp_of(call.signal.starts_at) <= known.get(call.signal.fingerprint, "")]


def left_out(call: Call, number: int) -> Call:
    """A call of a notification from which its sender has left so many alerts out."""
    if not number:
        return call
    if call.signal.source == "Prometheus":
        text = f"{number} of the alerts that Prometheus tells could not be read"
    else:
        text = f"its sender has left {number} alerts out (truncatedAlerts): set the receiver's max_alerts to 0"
    return dataclasses.replace(call, note=_also(call.note, text))


def is_closed(found: Manifest) -> bool:
    """Whether an Incident has come to its end, as far as its alerts go."""
    return (found.get("status") or {}).get("phase", "") in RECOVERED


def is_open(found: Manifest) -> bool:
    """Whether an Incident has not come to its end, and stays."""
    return not found["metadata"].get("deletionTimestamp") and not is_closed(found)


def _is_planned(found: Manifest) -> bool:
    return bool((found.get("status") or {}).get("plan"))


def _stalled(found: Manifest) -> str:
    """Why it waits for a person; empty if it does not."""
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((str(each["reason"]) for each in conditions if each["type"] == "Stalled"), "")


def _adds(old: Sequence[Mapping[str, Any]], call: Call) -> bool:
    """Whether an alert fires that was not known, or that was not understood before and is now."""
    there = next((each for each in old if each["fingerprint"] == call.signal.fingerprint), None)
    return call.signal.is_firing and (there is None or _is_mended(there, call))


def _is_mended(there: Mapping[str, Any], call: Call) -> bool:
    is_same = there["startsAt"] == stamp_of(call.signal.starts_at)
    return is_same and bool(there.get("problem")) and not call.problem


def _targets_joined(known: Pairs, calls: Iterable[Call], *, is_planned: bool) -> tuple[Pairs, list[Call]]:
    """What to act on with what further alerts are about, and those alerts, with a note where that comes too late."""
    targets, told = list(known), list[Call]()
    for call in calls:
        more = [each for each in call.targets if each not in targets]
        room = 0 if is_planned else max(MOST_TARGETS - len(targets), 0)
        targets += more[:room]
        if left := more[room:]:
            listed = ", ".join(f"{kind}/{name}" for kind, name in left)
            why = "the plan was there before this alert" if is_planned else f"no more than {MOST_TARGETS} targets are"
            note = f"{listed}: not acted on, {why}; it needs an Incident of its own"
            told.append(dataclasses.replace(call, note=_also(call.note, note)))
        else:
            told.append(call)
    return targets, told


def _also(said: str, more: str) -> str:
    return cut("; ".join(filter(None, (said, more))), PROBLEM)


def _listed(targets: Pairs) -> list[dict[str, str]]:
    return [{"kind": kind, "name": name} for kind, name in targets]


def _escaped(key: str) -> str:
    """A key as a JSON pointer has it (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")


def _merged(old: Sequence[dict[str, Any]], calls: Sequence[Call], source: str) -> list[dict[str, Any]]:
    """The signals with what is new: of one alert the latest firing counts, and once it ended it has."""
    known = {each["fingerprint"]: each for each in old}
    for call in sorted(calls, key=lambda call: call.signal.starts_at):
        there, said = known.get(call.signal.fingerprint), _said(call, source)
        if there is None:
            known[call.signal.fingerprint] = said
            continue
        if call.signal.source in MOVING and call.signal.is_firing and "endsAt" not in there:
            continue
        known[call.signal.fingerprint] = _later(there, said, call)
    if len(known) <= MOST_SIGNALS:
        return _bounded(list(known.values()))
    # Those that fire are what it waits for; of the others the newest are kept.
    kept = sorted(known.values(), key=lambda each: ("endsAt" not in each, each["startsAt"]))[-MOST_SIGNALS:]
    return _bounded([each for each in known.values() if each in kept])


def _bounded(signals: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The signals, with no more of their words than etcd takes: those that mean something to us stay."""
    if len(json.dumps(signals, ensure_ascii=False).encode()) <= MOST_BYTES:
        return signals
    return [
        {**each, **{field: _short(each[field]) for field in ("labels", "annotations") if field in each}}
        for each in signals
    ]


def _short(texts: Mapping[str, str]) -> dict[str, str]:
    return {key: cut(text, MOST_SHORT) for key, text in texts.items() if key in FIRST or key.startswith("incident")}


def _later(there: dict[str, Any], said: dict[str, Any], call: Call) -> dict[str, Any]:
    """What counts of two words about one alert."""
    since, now = datetime.fromisoformat(there["startsAt"]), datetime.fromisoformat(said["startsAt"])
    if now > since:
        return said
    if now == since and _is_mended(there, call):
        return said | ({"endsAt": there["endsAt"]} if "endsAt" in there else {})
    # Each Alertmanager of a pair has its own idea of when it began: the end of one is the end of the other.
    if "endsAt" in said and "endsAt" not in there and (now == since or datetime.fromisoformat(said["endsAt"]) >= since):
        return {**there, "endsAt": said["endsAt"]}
    return there


def _said(call: Call, source: str) -> dict[str, Any]:
    """One signal as ``spec.signals`` has it, in an Incident of some source."""
    signal = call.signal
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
        "source": signal.source if signal.source != source else "",
        "server": signal.group if signal.source == "Prometheus" else "",
        "problem": call.problem,
        "note": call.note,
    }
    return told | {key: value for key, value in more.items() if value}
