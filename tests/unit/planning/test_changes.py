"""Which change fits an alert best."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.planning.changes import (
    MOST_BY,
    MOST_KEPT,
    MOST_SUMMARY,
    SKEW,
    WITHIN,
    Happening,
    Kind,
    ranked,
    spoken,
)
from incident_operator.planning.plan import Ref

STARTED = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
API = Ref("Deployment", "api", "shop")
WEB = Ref("Deployment", "web", "shop")
SETTINGS = Ref("ConfigMap", "settings", "shop")
UNUSED = Ref("ConfigMap", "unused", "shop")
GIT = Ref("Kustomization", "apps", "flux-system")
NODE = Ref("Node", "n1", "")
USED_BY = {SETTINGS: frozenset({API}), GIT: frozenset({API}), UNUSED: frozenset({WEB})}
KINDS: dict[Ref, Kind] = {
    API: "Rollout",
    WEB: "Rollout",
    SETTINGS: "ConfigMap",
    UNUSED: "ConfigMap",
    GIT: "FluxRevision",
    NODE: "Node",
    Ref("Deployment", "api", "store"): "Rollout",
}


def happened(what: Ref = API, *, before: float = 0, summary: str = "", kind: Kind | None = None) -> Happening:
    """Something that happened so many seconds before the alert began."""
    return Happening(kind or KINDS[what], what, STARTED - timedelta(seconds=before), summary=summary)


def order(*happenings: Happening, target: Ref = API) -> list[Ref]:
    found = ranked(happenings, targets=[target], used_by=USED_BY, started=STARTED)
    return [each.happening.what for each in found]


HAPPENINGS = st.lists(
    st.builds(
        lambda what, before, number: happened(what, before=before, summary=str(number)),
        st.sampled_from(sorted(KINDS)),
        st.integers(-7200, 8 * 3600),
        st.integers(),
    ),
    max_size=25,
)


@given(HAPPENINGS)
def test_the_order_is_total_and_nothing_after_the_start_or_too_old_is_in_it(happenings: list[Happening]) -> None:
    found = ranked(happenings, targets=[API], used_by=USED_BY, started=STARTED)
    scores = [each.score for each in found]
    assert scores == sorted(scores, reverse=True)
    assert all(1 <= score <= 100 for score in scores)
    assert len(found) <= MOST_KEPT
    assert all(STARTED - WITHIN <= each.happening.at <= STARTED + SKEW for each in found)
    assert all(each.happening.what.namespace != "store" for each in found), "another namespace, and no target uses it"


@given(HAPPENINGS)
def test_the_order_does_not_depend_on_how_they_were_found_but_for_ties(happenings: list[Happening]) -> None:
    def places(given_ones: list[Happening]) -> list[tuple[int, timedelta]]:
        found = ranked(given_ones, targets=[API], used_by=USED_BY, started=STARTED)
        return [(each.score, STARTED - each.happening.at) for each in found]

    assert places(happenings) == places(happenings[::-1])


@given(HAPPENINGS)
def test_those_that_tie_stay_as_they_were_given(happenings: list[Happening]) -> None:
    found = ranked(happenings, targets=[API], used_by=USED_BY, started=STARTED)
    for one, other in itertools.pairwise(found):
        if (one.score, one.happening.at) == (other.score, other.happening.at):
            places = [next(n for n, each in enumerate(happenings) if each is it.happening) for it in (one, other)]
            assert places == sorted(places)


@given(st.integers(0, int(WITHIN.total_seconds())))
def test_at_the_same_time_the_target_beats_what_it_uses_its_node_and_its_namespace(before: int) -> None:
    given_ones = [happened(each, before=before) for each in (WEB, NODE, SETTINGS, API)]
    assert order(*given_ones) == [API, SETTINGS, NODE, WEB]


@given(st.integers(0, 21600), st.integers(0, 21600))
def test_of_two_at_the_same_place_the_one_closer_before_the_start_wins(one: int, other: int) -> None:
    found = ranked([happened(before=one), happened(before=other)], targets=[API], used_by=USED_BY, started=STARTED)
    assert [STARTED - each.happening.at for each in found] == [timedelta(seconds=each) for each in sorted((one, other))]


def test_at_the_same_distance_before_the_start_beats_after_it() -> None:
    found = ranked([happened(before=-20), happened(before=20)], targets=[API], used_by={}, started=STARTED)
    assert [each.when for each in found] == [
        "20 s before the alert began",
        "20 s after the alert began (clocks differ)",
    ]


@pytest.mark.parametrize(("before", "score"), [(0, 100), (1800, 50), (3600, 33), (7200, 20), (21600, 8)])
def test_the_score_on_the_target_halves_at_half_an_hour(before: int, score: int) -> None:
    (found,) = ranked([happened(before=before)], targets=[API], used_by={}, started=STARTED)
    assert found.score == score


@pytest.mark.parametrize(
    ("what", "score", "why"),
    [
        (API, 94, "rolled out 2 min before the alert began, on the target itself"),
        (SETTINGS, 75, "changed 2 min before the alert began, which the target uses"),
        (GIT, 75, "applied 2 min before the alert began, which the target comes from"),
        (NODE, 56, "changed 2 min before the alert began, a node that the target runs on"),
        (WEB, 38, "rolled out 2 min before the alert began, in the same namespace"),
        (UNUSED, 38, "changed 2 min before the alert began, in the same namespace"),
    ],
)
def test_it_says_why(what: Ref, score: int, why: str) -> None:
    (found,) = ranked([happened(what, before=120)], targets=[API], used_by=USED_BY, started=STARTED)
    assert (found.score, found.why) == (score, why)


def test_a_target_is_the_same_whatever_its_uid() -> None:
    assert order(happened(API), target=Ref("Deployment", "api", "shop", "uid-1")) == [API]
    (found,) = ranked(
        [happened(SETTINGS)], targets=[Ref("Deployment", "api", "shop", "uid-1")], used_by=USED_BY, started=STARTED
    )
    assert found.why.endswith("which the target uses")


def test_a_minute_after_the_start_is_within_the_clocks_error_and_more_is_not() -> None:
    assert order(happened(before=-60)) == [API]
    assert order(happened(before=-61)) == []


def test_how_far_it_looks_back_can_be_said() -> None:
    given_ones = [happened(before=600), happened(before=7200)]
    found = ranked(given_ones, targets=[API], used_by={}, started=STARTED, within=timedelta(hours=1))
    assert [each.happening for each in found] == given_ones[:1]


def test_a_change_nearby_moments_before_beats_a_rollout_of_the_target_hours_before() -> None:
    assert order(happened(API, before=4 * 3600), happened(WEB, before=60)) == [WEB, API]


def test_the_ten_best_are_kept() -> None:
    found = ranked([happened(before=n) for n in range(15, 0, -1)], targets=[API], used_by={}, started=STARTED)
    assert [int((STARTED - each.happening.at).total_seconds()) for each in found] == list(range(1, 11))


def test_nobody_is_a_suspect_without_targets() -> None:
    assert ranked([happened()], targets=[], used_by=USED_BY, started=STARTED) == ()


@given(st.text(max_size=500), st.text(max_size=500))
def test_the_texts_of_a_happening_are_one_bounded_line(summary: str, by: str) -> None:
    found = Happening("Rollout", API, STARTED, by, summary)
    assert len(found.summary) <= MOST_SUMMARY
    assert len(found.by) <= MOST_BY
    assert (found.summary + found.by).isprintable()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (7200, "2 h"), (7500, "2 h 5 min")]
)
def test_a_span_is_said_as_people_say_it(seconds: int, text: str) -> None:
    assert spoken(timedelta(seconds=seconds)) == text
