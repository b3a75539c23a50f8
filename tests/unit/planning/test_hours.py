"""Business hours, against examples from the calendar and a clock that is looked at minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_operator.api.configuration import BusinessHours
from incident_operator.planning.hours import deadline, elapsed

DAY, HOUR, MINUTE, NOTHING = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(0)
WEEK = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Santiago",  # changes its clocks at midnight
    "Australia/Lord_Howe",  # by half an hour
    "Asia/Kathmandu",  # 5:45 ahead
    "Africa/Casablanca",  # twice a year around Ramadan
    "Pacific/Kiritimati",  # 14 hours ahead
)
OFFICE = BusinessHours()
BERLIN = BusinessHours(time_zone="Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def round_the_week(zone: str, opens: str, closes: str) -> BusinessHours:
    return BusinessHours.model_validate({"timeZone": zone, "days": WEEK, "opens": opens, "closes": closes})


@st.composite
def some_hours(draw: st.DrawFn, at_least: int = 30) -> BusinessHours:
    opens = draw(st.integers(0, 24 * 60 - 1 - at_least))
    closes = draw(st.integers(opens + at_least, 24 * 60 - 1))
    return BusinessHours(
        time_zone=draw(st.sampled_from(ZONES)),
        days=tuple(draw(st.lists(st.sampled_from(WEEK), min_size=1, max_size=7, unique=True))),
        opens=f"{opens // 60:02}:{opens % 60:02}",
        closes=f"{closes // 60:02}:{closes % 60:02}",
    )


INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - given
SPANS = st.timedeltas(NOTHING, timedelta(hours=30))


@pytest.mark.parametrize(
    ("begun", "allowed", "hours", "due"),
    [
        ("2026-11-23T10:00", 4 * HOUR, OFFICE, "2026-11-23T14:00"),  # within one Monday
        ("2026-11-23T07:00", HOUR, OFFICE, "2026-11-23T10:00"),  # before it opens
        ("2026-11-23T17:00", HOUR, OFFICE, "2026-11-24T10:00"),  # as it closes
        ("2026-11-27T16:00", HOUR, OFFICE, "2026-11-27T17:00"),  # all that is left of a Friday
        ("2026-11-27T16:00", HOUR + MINUTE, OFFICE, "2026-11-30T09:01"),  # and a minute of the Monday
        ("2026-11-28T12:00", 24 * HOUR, OFFICE, "2026-12-02T17:00"),  # from a Saturday: three days
        ("2026-11-27T15:30", HOUR, BERLIN, "2026-11-30T08:30"),  # 16:30 there
        ("2026-07-24T14:30", HOUR, BERLIN, "2026-07-27T07:30"),  # 16:30 there, in summer
        ("2026-03-27T15:00", HOUR + MINUTE, BERLIN, "2026-03-30T07:01"),  # over the weekend of the change
        ("2026-10-23T14:00", HOUR + MINUTE, BERLIN, "2026-10-26T08:01"),
    ],
)
def test_a_deadline_is_when_so_much_of_the_business_hours_has_passed(
    begun: str, allowed: timedelta, hours: BusinessHours, due: str
) -> None:
    assert deadline(utc(begun), allowed, hours) == utc(due)


@pytest.mark.parametrize(
    ("day", "zone", "opens", "closes", "passed"),
    [
        ("2026-03-29", "Europe/Berlin", "00:00", "08:00", 7 * HOUR),  # 2:00 is followed by 3:00
        ("2026-10-25", "Europe/Berlin", "00:00", "08:00", 9 * HOUR),  # 3:00 is followed by 2:00
        ("2026-03-29", "Europe/Berlin", "02:30", "03:30", HOUR / 2),  # opens when there is no 2:30
        ("2026-03-29", "Europe/Berlin", "02:10", "02:50", NOTHING),  # is never open
        ("2026-10-25", "Europe/Berlin", "02:10", "02:50", 80 * MINUTE),  # is open twice
        ("2026-10-04", "Australia/Lord_Howe", "01:00", "03:00", 1.5 * HOUR),  # half an hour goes
        ("2026-04-05", "Australia/Lord_Howe", "01:00", "03:00", 2.5 * HOUR),
        ("2026-09-06", "America/Santiago", "00:00", "02:00", HOUR),  # the day begins at 1:00
        ("2026-04-04", "America/Santiago", "22:00", "23:59", 178 * MINUTE),  # 24:00 is 23:00 again
        ("2026-11-23", "Asia/Kathmandu", "09:00", "17:00", 8 * HOUR),
    ],
)
def test_what_has_passed_is_real_time_where_clocks_are_changed(
    day: str, zone: str, opens: str, closes: str, passed: timedelta
) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
    hours = BusinessHours(time_zone=zone, days=(WEEK[noon.weekday()],), opens=opens, closes=closes)
    assert elapsed(noon - 2 * DAY, noon + 2 * DAY, hours) == passed


def test_a_deadline_between_two_changes_of_clocks_is_exact_to_the_microsecond() -> None:
    begun = utc("2026-10-25T00:10:00.000001")
    hours = round_the_week("Europe/Berlin", "02:10", "02:50")
    # Open from 0:10 until 0:50 UTC, and from 1:10 until 1:50.
    assert deadline(begun, 40 * MINUTE, hours) == utc("2026-10-25T01:10:00.000001")


def test_what_would_take_more_than_ten_years_is_refused() -> None:
    once = BusinessHours(days=("Monday",), opens="09:00", closes="09:01")
    assert deadline(utc("2026-11-23T09:00"), 500 * MINUTE, once) == utc("2036-06-16T09:01")
    with pytest.raises(OverflowError, match="more than ten years"):
        deadline(utc("2026-11-23T09:00"), 24 * HOUR, once)


def test_the_zone_of_the_times_does_not_matter() -> None:
    begun = utc("2026-11-23T10:00").astimezone(ZoneInfo("Asia/Tokyo"))
    assert deadline(begun, HOUR, OFFICE) == utc("2026-11-23T11:00")
    assert deadline(begun, HOUR, OFFICE).tzinfo is UTC
    assert elapsed(begun, begun + HOUR, OFFICE) == HOUR


@settings(deadline=None)
@given(begun=INSTANTS, allowed=SPANS, hours=some_hours())
def test_at_the_deadline_exactly_what_is_allowed_has_passed(
    begun: datetime, allowed: timedelta, hours: BusinessHours
) -> None:
    due = deadline(begun, allowed, hours)
    assert due >= begun + allowed
    assert elapsed(begun, due, hours) == allowed
    if allowed:
        assert elapsed(begun, due - timedelta(microseconds=1), hours) < allowed


@settings(deadline=None)
@given(begun=INSTANTS, spans=st.tuples(SPANS, SPANS), hours=some_hours())
def test_later_is_never_less_and_more_is_never_due_earlier(
    begun: datetime, spans: tuple[timedelta, timedelta], hours: BusinessHours
) -> None:
    less, more = sorted(spans)
    assert deadline(begun, less, hours) <= deadline(begun, more, hours)
    assert deadline(begun, more, hours) <= deadline(begun + less, more, hours)
    first, all_of_it = elapsed(begun, begun + less, hours), elapsed(begun, begun + more, hours)
    assert NOTHING <= first <= all_of_it <= more
    assert first + elapsed(begun + less, begun + more, hours) == all_of_it
    assert elapsed(begun, begun - more, hours) == NOTHING


CHANGES: list[Any] = [
    utc("2026-03-29T01:00"),
    utc("2026-10-25T01:00"),
    utc("2026-09-06T04:00"),
    utc("2026-04-05T03:00"),
    utc("2026-10-03T15:30"),
    utc("2026-04-04T15:00"),
]


@settings(deadline=None)
@given(
    about=st.sampled_from(CHANGES) | INSTANTS.map(lambda at: at.replace(second=0, microsecond=0)),
    minutes=st.tuples(st.integers(-200, 200), st.integers(0, 400)),
    hours=some_hours(at_least=1),
)
def test_it_agrees_with_a_look_at_the_clock_on_the_wall_each_minute(
    about: datetime, minutes: tuple[int, int], hours: BusinessHours
) -> None:
    zone = ZoneInfo(hours.time_zone)
    begun = about + minutes[0] * MINUTE

    def is_open(at: datetime) -> bool:
        wall = at.astimezone(zone)
        return WEEK[wall.weekday()] in hours.days and hours.opens <= f"{wall:%H:%M}" < hours.closes

    counted = sum(is_open(begun + number * MINUTE) for number in range(minutes[1]))
    assert elapsed(begun, begun + minutes[1] * MINUTE, hours) == counted * MINUTE
