"""Every test that the documents name as the one that holds a promise is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPAN = re.compile(r"`((?:[\w/]+\.py)?(?:::[\w.]+)?)`")
DOCUMENTS = ["guarantees.md", "policy.md", "performance.md", "recovery.md", "alerts.md"]


def named(text: str) -> list[tuple[str, str]]:
    """File and test of each; ``::name`` alone is of the file before, and may leave out parts as ``...``."""
    found, path = [], ""
    for span in SPAN.findall(text):
        head, _, name = span.partition("::")
        path = head or path
        if span.startswith("::") or "/" in head or name:
            found.append((path.removeprefix("tests/"), name))
    return found


def trouble(path: str, name: str) -> str:
    """What is wrong about one; empty if it is there."""
    there = ROOT / "tests" / path
    if not name and (ROOT / "src/incident_operator" / path).is_file():
        return ""
    if not there.is_file():
        return f"there is no tests/{path}"
    pattern = ".*".join(map(re.escape, name.split("...")))
    is_there = re.search(rf"^\s*(async def|def|class) {pattern}\b", there.read_text(), re.MULTILINE)
    return "" if is_there or not name else f"tests/{path} has no {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_test_that_is_named_is_there(document: str) -> None:
    tests = named((ROOT / "docs" / document).read_text())
    assert not [problem for each in tests if (problem := trouble(*each))]


def test_the_guarantees_name_tests_for_every_one_of_the_sixteen() -> None:
    rows = re.findall(r"^\| (\d+) \|.*$", (ROOT / "docs/guarantees.md").read_text(), re.MULTILINE)
    assert [int(number) for number in rows] == list(range(1, 17))
    for line in (ROOT / "docs/guarantees.md").read_text().splitlines():
        if re.match(r"\| \d+ \|", line):
            assert named(line), line


def test_one_that_is_not_there_is_found_out() -> None:
    text = "`unit/planning/test_policy.py::test_no_such`, `::test_the_built_in_policy_protects_...`, `no/such.py`"
    assert [trouble(*each) for each in named(text)] == [
        "tests/unit/planning/test_policy.py has no test_no_such",
        "",
        "there is no tests/no/such.py",
    ]
