"""A benchmark in which an alert was lost, or became two Incidents, fails; one on a slow machine does not."""

from __future__ import annotations

from typing import Any

import pytest

from bench.alerts import lapses

GOOD: dict[str, Any] = {
    "single": {"operator": {"p50_ms": 9000.0}},
    "burst": {"alerts": 1000, "lost": 0, "doubled": 0, "accepted_per_s": 0.1},
    "same": {"posts": 1000, "incidents": 1},
}


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("burst", {}, []),
        ("burst", {"lost": 2}, ["2 of 1000 different alerts were lost"]),
        ("burst", {"doubled": 1}, ["1 of 1000 different alerts were doubled"]),
        ("same", {"incidents": 2}, ["one alert, 1000 times, became 2 Incidents"]),
        ("same", {"incidents": 0}, ["one alert, 1000 times, became 0 Incidents"]),
    ],
)
def test_what_may_never_happen_to_an_alert_is_said(part: str, change: dict[str, Any], said: list[str]) -> None:
    assert lapses({**GOOD, part: {**GOOD[part], **change}}) == said
