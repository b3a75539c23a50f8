"""Waiting for a condition, with a deadline and a message that helps."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], *, within: float, what: str, every: float = 0.1) -> Found:
    """The first truthy thing that ``look`` returns; AssertionError with its last answer when time is up."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {found!r}")
        time.sleep(every)
