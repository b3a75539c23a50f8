from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.engine.keys import Key
from incident_operator.operator.queue import MOST_SECONDS, Urgency, WorkQueue, urgency_of

A, B, C = Key("shop", "a"), Key("shop", "b"), Key("web", "a")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue:
    return WorkQueue(clock=clock, chance=lambda: 0.0)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def incident(severity: str, created: str) -> dict[str, dict[str, str]]:
    return {"metadata": {"creationTimestamp": created}, "spec": {"severity": severity}}


def test_a_key_put_twice_is_worked_on_once(queue: WorkQueue) -> None:
    queue.put(A)
    queue.put(A)
    assert queue.take() == A
    assert queue.take() is None


def test_a_key_in_work_is_never_given_out_again_but_worked_on_right_after(queue: WorkQueue) -> None:
    queue.put(A)
    assert queue.take() == A
    queue.put(A)
    assert queue.take() is None
    queue.done(A)
    assert queue.take() == A
    queue.done(A)
    assert queue.take() is None


def test_the_most_severe_comes_first_and_of_those_the_newest(queue: WorkQueue) -> None:
    old, new = "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z"
    queue.put(A, urgency=urgency_of(incident("SEV-1", old)))
    queue.put(B, urgency=urgency_of(incident("SEV-3", new)))
    queue.put(C, urgency=urgency_of(incident("SEV-1", new)))
    assert [queue.take(), queue.take(), queue.take()] == [C, A, B]


def test_a_severity_that_is_raised_while_waiting_moves_it_to_the_front(queue: WorkQueue) -> None:
    queue.put(A, urgency=Urgency(1))
    queue.put(B, urgency=Urgency(3))
    assert queue.depth() == 2
    queue.put(B, urgency=Urgency(0))
    assert [queue.take(), queue.take(), queue.take()] == [B, A, None]


@pytest.mark.parametrize(
    "raw", [{}, {"spec": None}, {"metadata": {"creationTimestamp": "soon"}}, incident("SEV-9", "x")]
)
def test_what_cannot_be_read_is_the_least_urgent(raw: dict[str, object]) -> None:
    assert urgency_of(raw) > urgency_of(incident("SEV-4", "2020-01-01T00:00:00Z"))


def test_a_delayed_key_comes_when_it_is_due(queue: WorkQueue, clock: Clock) -> None:
    queue.put(A, after=seconds(5))
    assert queue.take() is None
    clock.now += 4.9
    assert queue.take() is None
    clock.now += 0.2
    assert queue.take() == A


@pytest.mark.parametrize(("first", "second"), [(5, 1), (1, 5)])
def test_of_two_delays_the_earlier_wins(queue: WorkQueue, clock: Clock, first: float, second: float) -> None:
    queue.put(A, after=seconds(first))
    queue.put(A, after=seconds(second))
    clock.now += 1
    assert queue.take() == A
    queue.done(A)
    clock.now += 10
    assert queue.take() is None


def test_done_with_a_delay_brings_it_back_then(queue: WorkQueue, clock: Clock) -> None:
    queue.put(A)
    assert queue.take() == A
    queue.done(A, seconds(2))
    assert queue.take() is None
    clock.now += 2
    assert queue.take() == A


def test_failures_back_off_from_a_tenth_of_a_second_to_half_a_minute_and_success_forgets(
    queue: WorkQueue, clock: Clock
) -> None:
    queue.put(A)
    assert queue.take() == A
    waits = [failed_wait(queue, clock) for _ in range(12)]
    assert waits[0] == pytest.approx(0.1, abs=0.02)
    assert waits[3] == pytest.approx(0.8, abs=0.02)
    assert waits[-1] == pytest.approx(MOST_SECONDS, abs=0.02)
    assert sorted(waits) == waits
    queue.done(A)
    queue.put(A)
    assert queue.take() == A
    assert failed_wait(queue, clock) == waits[0]


def failed_wait(queue: WorkQueue, clock: Clock) -> float:
    """Fail the work on A; how long it takes to come back."""
    queue.retry(A)
    begun = clock.now
    while queue.take() is None:
        clock.now = round(clock.now + 0.01, 2)
    return round(clock.now - begun, 2)


def test_a_longer_delay_than_the_back_off_is_kept_to(queue: WorkQueue, clock: Clock) -> None:
    queue.put(A)
    assert queue.take() == A
    queue.retry(A, after=seconds(7))
    clock.now += 6.9
    assert queue.take() is None
    clock.now += 0.2
    assert queue.take() == A


def test_jitter_only_ever_adds_up_to_a_quarter(clock: Clock) -> None:
    queue = WorkQueue(clock=clock, chance=lambda: 1.0)
    queue.put(A)
    assert queue.take() == A
    queue.retry(A, after=seconds(4))
    clock.now += 4.9
    assert queue.take() is None
    clock.now += 0.2
    assert queue.take() == A


async def test_get_wakes_for_what_is_put_and_for_what_becomes_due() -> None:
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    queue.put(A, after=seconds(0.05))
    assert await asyncio.wait_for(waiting, 5) == A
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.put(B)
    assert await asyncio.wait_for(waiting, 5) == B


async def test_closing_sends_every_waiting_worker_home_and_takes_nothing_more() -> None:
    queue = WorkQueue()
    waiting = [asyncio.create_task(queue.get()) for _ in range(4)]
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 5) == [None] * 4
    queue.put(A)
    assert await queue.get() is None


def test_ages_tell_how_long_the_first_has_waited_and_the_longest_been_worked_on(queue: WorkQueue, clock: Clock) -> None:
    queue.put(A)
    clock.now += 3
    queue.put(B)
    assert (queue.depth(), queue.oldest_seconds(), queue.longest_work_seconds()) == (2, 3.0, 0.0)
    queue.take()
    clock.now += 2
    queue.take()
    assert (queue.depth(), queue.oldest_seconds(), queue.longest_work_seconds()) == (0, 0.0, 2.0)


MOVES = st.lists(
    st.tuples(st.sampled_from(["put", "later", "take", "done", "again", "retry", "wait"]), st.sampled_from([A, B, C])),
    max_size=80,
)


@given(MOVES)
def test_whatever_happens_no_key_is_lost_or_worked_on_twice_at_once(moves: list[tuple[str, Key]]) -> None:  # noqa: C901 - one branch a move
    clock = Clock()
    queue = WorkQueue(clock=clock, chance=lambda: 0.5)
    wanted: set[Key] = set()
    in_work: set[Key] = set()
    for move, key in moves:
        if move == "put":
            queue.put(key)
            wanted.add(key)
        elif move == "later":
            queue.put(key, after=seconds(3), urgency=Urgency(hash(key) % 3))
            wanted.add(key)
        elif move == "take":
            taken = queue.take()
            if taken is not None:
                assert taken not in in_work
                in_work.add(taken)
                wanted.discard(taken)
        elif move == "wait":
            clock.now += 1
        elif key in in_work:
            in_work.discard(key)
            if move == "retry":
                queue.retry(key)
                wanted.add(key)
            else:
                queue.done(key, seconds(1) if move == "again" else None)
                wanted |= {key} if move == "again" else set()
    clock.now += 1000
    for key in in_work:
        queue.done(key)
    clock.now += 1
    left = set()
    while (key_left := queue.take()) is not None:
        left.add(key_left)
    assert left == wanted
