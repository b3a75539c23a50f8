"""The knobs of the engine, each with its unit and the reason for its default."""

from __future__ import annotations

import dataclasses
from datetime import timedelta


@dataclasses.dataclass(frozen=True, slots=True)
class EngineSettings:
    """How patient the engine is."""

    look_first: timedelta = timedelta(milliseconds=200)
    """How soon after a write the world is looked at for the first time; a GET by name costs 2 ms."""
    look_most: timedelta = timedelta(seconds=2)
    """How far apart looks at a world that does not move may get."""
    look_check: timedelta = timedelta(seconds=1)
    """How often a check of the verification is made."""
    release_box: timedelta = timedelta(minutes=2)
    """How long a deleted Incident may try to put back what it did before it goes without."""
    retries_before_said: int = 3
    """How many looks in a row must fail before the conditions speak of it: a blip is not news."""


def stamp_of(now: object) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes times."""
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
