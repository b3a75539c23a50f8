"""R1 and R2: whatever happens to one request, the world is the same in the end, and nothing is done twice."""

from __future__ import annotations

import pytest

from faults.lane import Lane
from faults.matrix import ONLY, TALLY, WHOLE, References, cases, run_all, sample
from faults.scenarios import DEMO, SCENARIOS

pytestmark = pytest.mark.cluster
MOST_SHOWN = 6000
LANES_TIMEOUT = 3600
LEAST, LEAST_NIGHTLY = 60, 500
UNREACHED_MOST = 0.1
"""The share of cases that may prove nothing: a request that is made only sometimes has no N-th one each time."""


def told(different: list[str]) -> str:
    return f"{len(different)} differences:\n" + "\n".join(different)[:MOST_SHOWN]


@pytest.mark.parametrize("scenario", DEMO)
def test_the_same_course_twice_is_the_same_course(scenario: str, lanes: list[Lane], reference: References) -> None:
    for lane in lanes:
        found = lane.run(SCENARIOS[scenario])
        assert found.differs_from(reference(scenario).warm) == []
        assert found.effects, "the audit log saw nothing"
        assert (found.restarts, found.asked_again) == (0, 0)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_fault_at_one_request_changes_neither_the_end_nor_how_often_a_target_is_changed(
    scenario: str, lanes: list[Lane], reference: References
) -> None:
    TALLY.begun.add((scenario, ""))
    course = reference(scenario)
    different = run_all(lanes, sample(scenario, course), course)
    assert not different, told(different)


@pytest.mark.slow
@pytest.mark.timeout(LANES_TIMEOUT)
@pytest.mark.parametrize(("scenario", "fault"), WHOLE)
def test_a_fault_at_any_request_changes_neither_the_end_nor_how_often_a_target_is_changed(
    scenario: str, fault: str, lanes: list[Lane], reference: References
) -> None:
    TALLY.begun.add((scenario, fault))
    course = reference(scenario)
    different = run_all(lanes, cases(scenario, fault, course), course)
    assert not different, told(different)


@pytest.mark.parametrize(
    ("whole", "least"),
    [
        pytest.param([(scenario, "") for scenario in SCENARIOS], LEAST, id="sample"),
        pytest.param(WHOLE, LEAST_NIGHTLY, marks=pytest.mark.slow, id="nightly"),
    ],
)
def test_the_matrix_was_large_enough_and_its_faults_struck(whole: list[tuple[str, str]], least: int) -> None:
    if ONLY or not TALLY.begun.issuperset(whole):
        pytest.skip("only a part of the matrix was asked for in this session")
    assert TALLY.runs >= least, f"{TALLY.runs} runs: {least} are promised"
    assert TALLY.unreached_share <= UNREACHED_MOST, told(TALLY.unreached)
