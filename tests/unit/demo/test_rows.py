"""What a client that writes rows says of what it was answered."""

from __future__ import annotations

from incident_operator.demo.rows import ACKNOWLEDGED, Answer, Loss, Record

API, FRONTEND = "api:http", "frontend:http"


def answers(*told: tuple[float, str, int]) -> list[Answer]:
    return [Answer(number, door, at, at + 0.1, status) for number, (at, door, status) in enumerate(told, start=1)]


def test_it_is_normal_only_when_every_door_answers_well() -> None:
    record = Record(answers=answers((10.0, API, ACKNOWLEDGED), (10.5, FRONTEND, ACKNOWLEDGED)))
    assert record.word(until=11.0) == "normal"
    assert record.word(seconds=0.6, until=11.0) == "partial", "nothing is known of the api"


def test_a_door_that_fails_makes_it_partial_and_all_of_them_errors() -> None:
    down = answers((10.0, API, ACKNOWLEDGED), (10.5, FRONTEND, 502), (11.0, API, 503), (11.5, FRONTEND, 0))
    record = Record(answers=down)
    assert record.word(until=11.0) == "partial"
    assert record.word(until=12.0) == "errors"
    assert record.word(until=20.0) == "silence"


def test_the_course_names_each_change_once_with_its_time() -> None:
    whole = [(at + 0.0, door, ACKNOWLEDGED) for at in range(10, 13) for door in (API, FRONTEND)]
    gone = [(at + 0.0, door, 503) for at in range(13, 16) for door in (API, FRONTEND)]
    half = [(16.0, API, ACKNOWLEDGED), (16.0, FRONTEND, 502)]
    record = Record(answers=answers(*whole, *gone, *half, *((at + 7, door, status) for at, door, status in whole)))
    assert record.course() == [(10.0, "normal"), (13.0, "errors"), (16.0, "partial"), (17.0, "normal")]
    assert Record().course() == []


def test_only_what_was_promised_in_a_span_counts_as_acknowledged() -> None:
    record = Record(answers=answers((10.0, API, ACKNOWLEDGED), (11.0, API, 200), (12.0, API, 0), (13.0, API, 201)))
    assert record.acknowledged() == [1, 4]
    assert record.acknowledged(start=13.1) == [4], "by the time of the answer, not of the request"
    assert str(Loss(len(record.acknowledged()), (4,))) == "1 of 2 acknowledged rows are not there"
