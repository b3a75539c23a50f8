"""Who may send, and how often: tokens, and a bucket for each address."""

from __future__ import annotations

import hmac
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

REREAD_SECONDS = 1.0
MOST_BUCKETS = 1024
MOST_SECRET = 4096


class Secret:
    """A secret in a file: a rotated one is used within a second, and the old one no more."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet."""
        self._path = path
        self._clock = clock
        self._read_at = float("-inf")
        self._value = b""

    @property
    def value(self) -> bytes:
        """What the file holds, without space around it; nothing if it is not there."""
        if self._clock() - self._read_at >= REREAD_SECONDS:
            self._read_at = self._clock()
            try:
                with self._path.open("rb") as file:
                    self._value = file.read(MOST_SECRET).strip()
            except OSError:
                self._value = b""
        return self._value

    def is_told(self, said: bytes) -> bool:
        """Whether somebody knows it, told in constant time; nobody does where there is none."""
        wanted = self.value
        return bool(wanted) and hmac.compare_digest(said, wanted)


class Buckets:
    """A token bucket for each address, so many a second and so many at once; the oldest are forgotten."""

    def __init__(self, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """All full."""
        self._rate = float(per_second)
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str) -> bool:
        """Whether there is room for one more request."""
        now = self._clock()
        left, at = self._left.pop(who, (self._rate, now))
        left = min(self._rate, left + (now - at) * self._rate)
        has_room = left >= 1
        self._left[who] = (left - 1 if has_room else left, now)
        while len(self._left) > MOST_BUCKETS:
            self._left.popitem(last=False)
        return has_room
