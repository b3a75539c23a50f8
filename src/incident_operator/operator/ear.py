"""When the watch was last heard; apart from kopf, so that asking does not load it."""

from __future__ import annotations

import time
from collections.abc import Callable


class Ear:
    """When the watch last said anything, bookmarks included; written by kopf's thread, read by ours."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count from now."""
        self._clock = clock
        self._heard = clock()

    def hear(self) -> None:
        """Something came."""
        self._heard = self._clock()

    def age_seconds(self) -> float:
        """How long ago the last thing came."""
        return self._clock() - self._heard
