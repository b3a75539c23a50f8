"""Business hours: how much of them has passed, and when a given amount of them will have.

An instant counts if a clock on the wall of the zone then shows a business day and a time from ``opens``
until before ``closes``. What has passed is real time: a day on which clocks are put back within the
hours is an hour longer, one on which they are put forward is an hour shorter.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from incident_operator.api.configuration import BusinessHours
from incident_operator.planning.windows import DAYS

DAY = timedelta(days=1)
NOTHING = timedelta(0)
FURTHEST = timedelta(days=3660)
"""Nobody waits for what is due later than that."""


def deadline(begun: datetime, allowed: timedelta, hours: BusinessHours) -> datetime:
    """The first instant, in UTC, at which so much business time has passed since ``begun``.

    OverflowError if that is more than ten years off: some minutes a week add up to little.
    """
    left = allowed
    if left <= NOTHING:
        return begun.astimezone(UTC)
    for opens, closes in _windows(begun, hours):
        if opens + left <= closes:
            return opens + left
        if closes - begun > FURTHEST:
            break
        left -= closes - opens
    raise OverflowError(f"{allowed} of business hours take more than ten years")


def elapsed(begun: datetime, now: datetime, hours: BusinessHours) -> timedelta:
    """How much business time has passed from ``begun`` to ``now``; none if that is earlier."""
    total = NOTHING
    for opens, closes in _windows(begun, hours):
        if opens >= now:
            break
        total += min(closes, now) - opens
    return total


def _windows(begun: datetime, hours: BusinessHours) -> Iterator[tuple[datetime, datetime]]:
    """The stretches of business time since ``begun``, in order and in UTC; without end."""
    zone = ZoneInfo(hours.time_zone)
    opens, closes = time.fromisoformat(hours.opens), time.fromisoformat(hours.closes)
    start = begun.astimezone(UTC)
    while True:
        end = _change(start, zone)
        offset = _offset(start, zone)
        first, last = ((at + offset).replace(tzinfo=None) for at in (start, end))
        for day in _days(first.date(), last.date()):
            if DAYS[day.weekday()] not in hours.days:
                continue
            low, high = max(datetime.combine(day, opens), first), min(datetime.combine(day, closes), last)
            if low < high:
                yield (low - offset).replace(tzinfo=UTC), (high - offset).replace(tzinfo=UTC)
        start = end


def _days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + number * DAY


def _offset(at: datetime, zone: ZoneInfo) -> timedelta:
    """How far the clocks of the zone are ahead of UTC at an instant in UTC."""
    return at.astimezone(zone).utcoffset() or NOTHING


def _change(start: datetime, zone: ZoneInfo) -> datetime:
    """A day after ``start``; or when in between the clocks are changed, to the second, as the tz database has it."""
    before = _offset(start, zone)
    if _offset(start + DAY, zone) == before:
        return start + DAY
    low = start.replace(microsecond=0)
    high = low + DAY + timedelta(seconds=1)
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
        low, high = (middle, high) if _offset(middle, zone) == before else (low, middle)
    return high
