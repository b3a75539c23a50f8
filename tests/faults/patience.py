"""How long tests wait, and which of their cases are for every session."""

from __future__ import annotations

import time
from typing import Any

import pytest

from faults.scenarios import DEMO
from tests_support.waiting import eventually

WITHIN = 20.0
"""Seconds: the re-list comes each 2 s, a retry after at most as many again, and the machine may be busy."""

RESYNC = 2.0
"""Seconds: ``--resync`` of the lanes."""
BACK = RESYNC + 2.0
"""Seconds after an outage within which the operator writes again."""


def some(*names: str) -> list[Any]:
    """These scenarios in each session, the others of the demo in the nightly one."""
    return [pytest.param(name, marks=[] if name in names else pytest.mark.slow) for name in DEMO]


def until(moment: float) -> None:
    """Wait for a moment; where it is the thing that is waited for."""
    eventually(lambda: time.monotonic() >= moment, within=max(moment - time.monotonic(), 0) + 1, what="the time")
