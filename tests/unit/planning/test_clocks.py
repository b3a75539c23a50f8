"""Which clocks run, when they are due, what is said of them, and whom it is time to tell."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incident_operator.api.configuration import BusinessHours, Clocks, SeverityClocks
from incident_operator.planning import clocks
from incident_operator.planning.clocks import Due, Escalation

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DETECTED = datetime(2026, 11, 23, 14, 15, tzinfo=UTC)
GUIDE = SeverityClocks()
PLAN = (Escalation(15 * MINUTE, "pager"), Escalation(HOUR, "manager"))


def stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def running(
    severity: str = "SEV-1",
    *,
    after: timedelta = timedelta(0),
    said_after: timedelta = timedelta(0),
    is_over: bool = False,
    timers: Mapping[str, timedelta] | None = None,
    detected: datetime = DETECTED,
) -> tuple[Due, ...]:
    known = {"detected": stamp(detected), **{name: stamp(detected + at) for name, at in (timers or {}).items()}}
    return clocks.dues(
        GUIDE.of(severity),
        BusinessHours(),
        timers=known,
        last_said=detected + said_after,
        now=detected + after,
        is_over=is_over,
    )


def limits(found: tuple[Due, ...], since: datetime = DETECTED) -> dict[str, timedelta]:
    return {due.clock: due.at - since for due in found}


def test_all_clocks_of_a_severity_run_from_detection_the_first_due_in_front() -> None:
    found = running("SEV-1", after=MINUTE)
    assert limits(found) == {
        "acknowledge": 5 * MINUTE,
        "contain": 15 * MINUTE,
        "update": 30 * MINUTE,
        "resolve": 4 * HOUR,
    }
    assert [due.at for due in found] == sorted(due.at for due in found)
    assert not any(due.is_over for due in found)


def test_a_clock_is_overdue_from_the_very_instant_that_it_is_due() -> None:
    before = running(after=5 * MINUTE - timedelta(microseconds=1))
    assert not any(due.is_over for due in before)
    assert [due.clock for due in running(after=5 * MINUTE) if due.is_over] == ["acknowledge"]
    assert [due.clock for due in running(after=16 * MINUTE) if due.is_over] == ["acknowledge", "contain"]


@pytest.mark.parametrize(
    ("timer", "left"),
    [
        ("acknowledged", {"contain", "update", "resolve"}),
        ("contained", {"acknowledge", "update", "resolve"}),
        ("mitigated", {"acknowledge", "update", "resolve"}),
        ("recovered", {"acknowledge", "update", "resolve"}),
        ("resolved", {"acknowledge"}),
        ("restored", {"acknowledge", "contain", "update", "resolve"}),
    ],
)
@pytest.mark.parametrize("at", [MINUTE, 10 * HOUR])
def test_a_clock_that_was_met_is_gone_in_time_or_late(timer: str, at: timedelta, left: set[str]) -> None:
    assert set(limits(running(after=11 * HOUR, timers={timer: at}))) == left


def test_the_update_clock_begins_again_when_something_is_said() -> None:
    assert limits(running(after=20 * MINUTE, said_after=18 * MINUTE))["update"] == 48 * MINUTE


def test_no_clock_runs_when_it_is_over_or_when_nothing_was_detected() -> None:
    assert running(after=10 * HOUR, is_over=True) == ()
    for timers in ({}, {"detected": ""}, {"detected": "yesterday"}):
        given_to = {"timers": timers, "last_said": DETECTED, "now": DETECTED, "is_over": False}
        assert clocks.dues(GUIDE.sev_1, BusinessHours(), **given_to) == ()  # type: ignore[arg-type]


def test_no_clock_runs_for_the_lowest_severity_and_those_of_the_highest_for_an_unknown_one() -> None:
    assert running("SEV-4", after=100 * HOUR) == ()
    assert limits(running("")) == limits(running("SEV-1"))


def test_the_clocks_of_the_third_severity_stand_still_outside_of_business_hours() -> None:
    friday = datetime(2026, 11, 27, 16, 0, tzinfo=UTC)
    found = running("SEV-3", detected=friday, after=60 * HOUR)
    assert limits(found, friday) == {
        "acknowledge": HOUR,
        "contain": 68 * HOUR,  # Monday at 12:00
        "update": 68 * HOUR,
        "resolve": 24 * HOUR * 4 + 24 * HOUR,  # Wednesday at 16:00
    }
    assert [due.clock for due in found if due.is_over] == ["acknowledge"]


@pytest.mark.parametrize("limit", ["999999999h", "8761h", "1ms"])
def test_a_clock_that_allows_more_than_a_year_or_nothing_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match="resolve must be between"):
        Clocks(resolve=limit)


def test_a_clock_that_hardly_ever_runs_is_none() -> None:
    rare = BusinessHours(days=("Monday",), opens="09:00", closes="09:01")
    timers = {"detected": stamp(DETECTED)}
    found = clocks.dues(GUIDE.sev_3, rare, timers=timers, last_said=DETECTED, now=DETECTED, is_over=False)
    assert set(limits(found)) == {"acknowledge", "contain", "update"}


def test_what_is_overdue_is_said_with_how_long_and_since_when() -> None:
    assert clocks.overdue_message(running(after=4 * MINUTE), DETECTED + 4 * MINUTE) == ""
    late = running(after=27 * MINUTE, timers={"acknowledged": MINUTE})
    assert clocks.overdue_message(late, DETECTED + 27 * MINUTE) == "contain: 12m over (due 14:30 UTC)"
    now = DETECTED + 30 * HOUR
    said = clocks.overdue_message(running(after=30 * HOUR), now.astimezone(ZoneInfo("Asia/Tokyo")))
    assert said.startswith("acknowledge: 1d 5h over (due 2026-11-23 14:20 UTC); contain: 1d 5h over (due 2026-")


def test_what_stays_to_be_read_does_not_change_as_time_goes_by() -> None:
    first, later = (running(after=each)[0] for each in (6 * MINUTE, 60 * HOUR))
    assert clocks.was_due(first) == clocks.was_due(later) == "acknowledge was due 2026-11-23 14:20 UTC"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h"), (7500, "2h 5m"), (86400, "1d"),
     (86400 * 3 + 3600 * 4 + 60, "3d 4h")],
)  # fmt: skip
def test_a_span_is_said_in_its_two_largest_units(seconds: float, said: str) -> None:
    assert clocks.spoken(timedelta(seconds=seconds)) == said


def test_what_was_overdue_and_is_met_by_now_is_overdue_no_more() -> None:
    late = {"acknowledge": "a", "contain": "c", "update": "u"}
    assert clocks.unmet(late, {"detected": "x", "contained": ""}, is_over=False) == late
    assert clocks.unmet(late, {"mitigated": "x"}, is_over=False) == {"acknowledge": "a", "update": "u"}
    assert clocks.unmet(late, {}, is_over=True) == {}


def due_now(after: timedelta, *, acknowledged: bool = False, done: tuple[str, ...] = ()) -> tuple[str, ...]:
    now = DETECTED + after
    due = clocks.escalations_due(PLAN, detected=DETECTED, acknowledged=acknowledged, done=done, now=now)
    return tuple(f"{each.name} {each.hook}" for each in due)


def test_each_escalation_is_due_after_its_time_until_it_is_done_or_taken_on() -> None:
    assert due_now(14 * MINUTE) == ()
    assert due_now(15 * MINUTE) == ("0 pager",)
    assert due_now(2 * HOUR) == ("0 pager", "1 manager")
    assert due_now(2 * HOUR, done=("0",)) == ("1 manager",)
    assert due_now(2 * HOUR, done=("1", "0")) == ()
    assert due_now(2 * HOUR, acknowledged=True) == ()


def overdue(after: timedelta, *, done: tuple[str, ...] = (), plan: tuple[Escalation, ...] = PLAN) -> list[str]:
    found = clocks.overdue_tellings(plan, running(after=after), done=done, now=DETECTED + after, more="halted")
    return [f"{each.hook}: {each.reason}: {each.text}" for each in found]


def test_the_hook_that_is_told_soonest_is_told_of_each_clock_once_while_it_is_overdue() -> None:
    assert overdue(4 * MINUTE) == []
    assert overdue(6 * MINUTE) == ["pager: AcknowledgeOverdue: acknowledge: 1m over (due 14:20 UTC); halted"]
    assert overdue(16 * MINUTE, done=("acknowledge",)) == [
        "pager: ContainOverdue: contain: 1m over (due 14:30 UTC); halted"
    ]
    assert [each.split(":")[0] for each in overdue(6 * MINUTE, plan=PLAN[::-1])] == ["pager"], "whatever their order"
    assert overdue(5 * HOUR, plan=()) == [], "there is nobody to tell"


def test_silence_after_silence_is_another_thing_to_tell() -> None:
    def key(said_after: timedelta, now: timedelta) -> str:
        silent = [due for due in running(after=now, said_after=said_after) if due.clock == "update"]
        (found,) = clocks.overdue_tellings(PLAN, silent, done=(), now=DETECTED + now)
        return found.key

    assert key(timedelta(0), 31 * MINUTE) == key(timedelta(0), 45 * MINUTE)
    assert key(timedelta(0), 31 * MINUTE) != key(50 * MINUTE, 90 * MINUTE)


def test_an_escalation_of_the_far_future_is_never_due_and_does_no_harm() -> None:
    far = [Escalation(timedelta(hours=3 * 10**9), "pager")]
    asked: dict[str, Any] = {"detected": DETECTED, "acknowledged": False, "done": (), "now": DETECTED + HOUR}
    assert clocks.escalations_due(far, **asked) == ()
    assert clocks.escalations_later(far, **asked) == ()


def test_the_next_look_is_when_the_first_thing_changes_by_itself() -> None:
    def look(after: timedelta, *, acknowledged: bool = False, done: tuple[str, ...] = ()) -> timedelta | None:
        now = DETECTED + after
        later = clocks.escalations_later(PLAN, detected=DETECTED, acknowledged=acknowledged, done=done, now=now)
        timers = {"contained": MINUTE, **({"acknowledged": MINUTE} if acknowledged else {})}
        return clocks.next_look(running(after=after, timers=timers), later, now)

    assert look(timedelta(0)) == 5 * MINUTE
    assert look(5 * MINUTE) == 10 * MINUTE, "for the first escalation"
    assert look(5 * MINUTE, done=("0",)) == 25 * MINUTE, "for an update"
    assert look(31 * MINUTE) == 29 * MINUTE, "for the second escalation"
    assert look(31 * MINUTE, acknowledged=True) == 209 * MINUTE, "for the end"
    assert look(5 * HOUR) is None
    assert look(5 * MINUTE - timedelta(microseconds=1)) == clocks.SOON


@settings(deadline=None)
@given(
    after=st.timedeltas(timedelta(0), timedelta(days=9)),
    severity=st.sampled_from(["SEV-1", "SEV-2", "SEV-3", "SEV-4"]),
    met=st.dictionaries(
        st.sampled_from(["acknowledged", "contained", "resolved"]), st.timedeltas(timedelta(0), HOUR), max_size=3
    ),
)
def test_looking_when_it_was_said_to_sees_every_clock_go_off_and_ends(
    after: timedelta, severity: str, met: Mapping[str, timedelta]
) -> None:
    seen, now, looks = 0, after, 0
    while True:
        found = running(severity, after=now, timers=met)
        again = clocks.next_look(found, (), DETECTED + now)
        late = sum(due.is_over for due in found)
        assert late >= seen
        seen, looks = late, looks + 1
        if again is None:
            break
        now += again
    assert seen == len(found)
    assert looks <= 5
