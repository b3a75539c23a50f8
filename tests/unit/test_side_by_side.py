"""The last line of the tests counts both halves, and a half that did not come to its end is no success."""

from __future__ import annotations

import pytest

from tests_support.side_by_side import total

ALL_WELL = "======= 77 passed, 280 deselected in 352.82s (0:05:52) =======\n"
ONE_FAILED = "FAILED a.py::test_b - 3 failed in 2s\n==== 1 failed, 12 passed, 2 skipped in 0.10s ====\n"


@pytest.mark.parametrize(
    ("outputs", "line"),
    [
        ((ALL_WELL, ALL_WELL), "154 passed, 0 failed"),
        ((ALL_WELL, ONE_FAILED), "89 passed, 1 failed, 2 skipped"),
        ((ALL_WELL, "Killed\n"), "77 passed, 0 failed, 1 error"),
        ((ALL_WELL, "==== 2 passed, 1 error in 1.00s ====\n"), "79 passed, 0 failed, 1 error"),
        (("", ""), "0 passed, 0 failed, 2 error"),
    ],
)
def test_both_halves_are_counted(outputs: tuple[str, str], line: str) -> None:
    assert total(*outputs) == line
