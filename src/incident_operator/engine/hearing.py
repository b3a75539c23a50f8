"""What news of its alerts, and of who has taken it on, mean for an Incident: they end it or are noted, never act."""

from __future__ import annotations

from incident_operator.engine.case import Case
from incident_operator.planning.record import Over, Record

RESTS = frozenset({"Halted", "Contained", "Planned"})
"""Outcomes that only a person, or what the spec asks for, can change."""
VERIFIES = frozenset({"VerificationFailed", "VerificationInconclusive"})
"""Why it halted where an alert that resolves may be what was missing."""


def heard(case: Case) -> Record:
    """The record, with what is new about its alerts and its owner in the timeline."""
    wished = case.wishes
    said = next((each.status for each in case.record.conditions if each.type == "SignalResolved"), "")
    if wished.signals.are_over and said == "False":
        case.note("AlertResolved", "no alert fires any more", event=True)
    elif wished.signals.firing and said == "True":
        case.note("AlertFiring", f"fires again: {', '.join(dict.fromkeys(wished.signals.firing))}", event=True)
    if wished.acknowledged_by and not case.record.timers.get("acknowledged"):
        case.record = case.record.timed("acknowledged", case.stamp)
        case.note("Acknowledged", f"taken on by {wished.acknowledged_by}", event=True)
    return case.record


def is_over_by_itself(case: Case) -> bool:
    """Whether its alerts are over and nothing was done: then nothing is begun any more."""
    return case.wishes.signals.are_over and not case.record.has_begun()


def untold_end(case: Case) -> Over | None:
    """How it is over where that could not be told, and a person asks again: made anew it would all be done twice."""
    record = case.record
    is_asked = case.requested != record.handled_request and record.asked == case.wishes.asked
    return record.reached() if is_asked else None


def is_left(case: Case) -> bool:
    """Whether an Incident that is over still holds what only a person puts back, and one asks for that now."""
    return bool(case.record.held()) and (case.wishes.cancel or case.wishes.release)


def stays_at_rest(case: Case) -> bool:
    """Whether the spec only tells more than it did, and what the Incident has come to stands."""
    record = case.record
    is_the_same = record.asked == case.wishes.asked and case.requested == record.handled_request
    return record.outcome in RESTS and is_the_same and record.reason not in VERIFIES and not record.expired(case.stamp)
