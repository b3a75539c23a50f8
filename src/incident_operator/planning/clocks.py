"""The clocks of an Incident: what of it must have happened by when, and who is told if it has not."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from incident_operator.api.configuration import BusinessHours, Clocks
from incident_operator.api.schema import parse_duration
from incident_operator.planning.hours import deadline

Clock = Literal["acknowledge", "contain", "update", "resolve"]
CLOCKS: tuple[Clock, ...] = ("acknowledge", "contain", "update", "resolve")
MET: Mapping[Clock, tuple[str, ...]] = {
    "acknowledge": ("acknowledged",),
    "contain": ("contained", "mitigated", "recovered", "resolved"),
    "update": ("resolved",),
    "resolve": ("resolved",),
}
"""The timers any of which stops a clock; an Incident without containment steps is contained when it is mitigated."""
LONGEST = timedelta(days=366)
"""A clock that allows more is none, and so is an escalation."""
SOON = timedelta(milliseconds=100)


@dataclasses.dataclass(frozen=True, slots=True)
class Due:
    """A clock that still runs."""

    clock: Clock
    at: datetime
    """By when it is to be stopped, in UTC."""
    is_over: bool
    """Whether that is past."""


@dataclasses.dataclass(frozen=True, slots=True)
class Escalation:
    """Whom to tell when nobody has taken an Incident on."""

    after: timedelta
    """How long after it was detected, round the clock."""
    hook: str


@dataclasses.dataclass(frozen=True, slots=True)
class Telling:
    """Something that a hook is to be told once."""

    name: str
    """What it is on record by: the place of an escalation, a clock, or a halt."""
    hook: str
    reason: str
    """UpperCamelCase, stable; that of the message."""
    about: str
    """What is told, for the timeline: the hook was told that ..."""
    text: str
    """What is told, for the hook."""
    key: str
    """Names it among all that is told of the Incident: the same thing has the same, in any process."""


def instant(text: str | None) -> datetime | None:
    """The instant that an RFC 3339 text names, in UTC; None if it names none."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def dues(
    clocks: Clocks,
    hours: BusinessHours,
    *,
    timers: Mapping[str, str],
    last_said: datetime,
    now: datetime,
    is_over: bool,
) -> tuple[Due, ...]:
    """The clocks that run, the one that is due first in front; none once the Incident is over.

    All run since ``detected``, but ``update``, which runs since something was said. A clock that was
    stopped is gone, in time or late.
    """
    detected = instant(timers.get("detected"))
    if is_over or detected is None:
        return ()
    found = []
    for clock in CLOCKS:
        limit: str | None = getattr(clocks, clock)
        if limit is None or parse_duration(limit) > LONGEST or any(timers.get(name) for name in MET[clock]):
            continue
        begun, allowed = last_said if clock == "update" else detected, parse_duration(limit)
        try:
            at = deadline(begun, allowed, hours) if clocks.hours == "Business" else begun.astimezone(UTC) + allowed
        except OverflowError:
            continue  # nobody will see it go off
        found.append(Due(clock, at, at <= now))
    return tuple(sorted(found, key=lambda due: due.at))


def unmet(overdue: Mapping[str, str], timers: Mapping[str, str], *, is_over: bool) -> dict[str, str]:
    """What of the overdue clocks has not been stopped since they were judged."""
    stopped = {clock for clock, names in MET.items() if any(timers.get(name) for name in names)}
    return {} if is_over else {clock: said for clock, said in overdue.items() if clock not in stopped}


def escalations_due(
    escalations: Sequence[Escalation],
    *,
    detected: datetime,
    acknowledged: bool,
    done: Collection[str],
    now: datetime,
    more: str = "",
) -> tuple[Telling, ...]:
    """The escalations to make now: each once, and none once a person has taken it on; ``more`` is told with each."""
    if acknowledged:
        return ()
    passed = now - detected
    return tuple(
        Telling(
            str(place),
            each.hook,
            "Escalation",
            "nobody has taken it on",
            _joined(f"nobody has taken it on {spoken(each.after)} after it was detected", more),
            f"{place}/{each.hook}",
        )
        for place, each in enumerate(escalations)
        if str(place) not in done and each.after <= passed
    )


def overdue_tellings(
    escalations: Sequence[Escalation], running: Iterable[Due], *, done: Collection[str], now: datetime, more: str = ""
) -> tuple[Telling, ...]:
    """What the first hook is told of clocks that are overdue, whoever has taken it on: each once while it is."""
    hook = first_hook(escalations)
    return tuple(
        Telling(
            due.clock,
            hook,
            f"{due.clock.capitalize()}Overdue",
            f"{due.clock} is overdue",
            _joined(overdue_message([due], now), more),
            f"{due.clock}/{due.at:%Y-%m-%dT%H:%M:%SZ}/{hook}",
        )
        for due in running
        if hook and due.is_over and due.clock not in done
    )


def halt_telling(
    escalations: Sequence[Escalation], name: str, text: str, *, done: Collection[str]
) -> tuple[Telling, ...]:
    """What the first hook is told of a halt, which is on record by its name: once."""
    hook = first_hook(escalations)
    if not hook or name in done:
        return ()
    return (Telling(name, hook, "Halted", "it has halted and needs a person", text, f"{name}/{hook}"),)


def first_hook(escalations: Sequence[Escalation]) -> str:
    """Whom to tell of what cannot wait: the hook that is told soonest; empty where nobody is to be told."""
    return min(escalations, key=lambda each: each.after).hook if escalations else ""


def escalations_later(
    escalations: Sequence[Escalation],
    *,
    detected: datetime,
    acknowledged: bool,
    done: Collection[str],
    now: datetime,
) -> tuple[datetime, ...]:
    """When those will be due that are not yet."""
    if acknowledged:
        return ()
    left = [each.after for place, each in enumerate(escalations) if str(place) not in done]
    return tuple(detected + after for after in left if now - detected < after <= LONGEST)


def next_look(running: Iterable[Due], escalations: Iterable[datetime], now: datetime) -> timedelta | None:
    """How long nothing of this changes by itself; None: never. What is overdue already is no news again."""
    times = [*(due.at for due in running if not due.is_over), *escalations]
    return max(min(times) - now, SOON) if times else None


def overdue_message(running: Iterable[Due], now: datetime) -> str:
    """What is overdue for how long: ``contain: 12m over (due 14:30 UTC)``; empty if nothing is."""
    return "; ".join(
        f"{due.clock}: {spoken(now - due.at)} over (due {_time(due.at, now)})" for due in running if due.is_over
    )


def was_due(due: Due) -> str:
    """What to say of an overdue clock where it stays to be read: nothing in it changes as time goes by."""
    return f"{due.clock} was due {due.at:%Y-%m-%d %H:%M} UTC"


def spoken(span: timedelta) -> str:
    """A span in its two largest units: ``45s``, ``12m``, ``2h 5m``, ``3d 4h``."""
    seconds = max(int(span.total_seconds()), 0)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if not minutes:
        return f"{seconds}s"
    if not hours:
        return f"{minutes}m"
    large, small = (f"{days}d", f"{hours % 24}h") if days else (f"{hours}h", f"{minutes % 60}m")
    return large if small[:-1] == "0" else f"{large} {small}"


def _joined(*texts: str) -> str:
    return "; ".join(text for text in texts if text)


def _time(at: datetime, now: datetime) -> str:
    """A time of day; with the date if that is another one than today's."""
    form = "%H:%M UTC" if at.date() == now.astimezone(UTC).date() else "%Y-%m-%d %H:%M UTC"
    return at.strftime(form)
