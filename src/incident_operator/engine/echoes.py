"""Tells news on the watch from the echoes of our own writes."""

from __future__ import annotations

from incident_operator.engine.keys import Key
from incident_operator.planning.plan import Manifest

ECHOES = 4096
"""How many of our own last writes are remembered, so that their echo on the watch is no news."""


class Echoes:
    """Our own last writes, and what the watch has told of Incidents meanwhile."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._ours: dict[str, None] = {}
        self._unread: dict[Key, Manifest] = {}
        self._in_hand: dict[Key, str] = {}
        """Incidents that are being stepped, and the last version of each that the watch told of meanwhile."""

    def written(self, resource_version: str) -> None:
        """Take note of a version that a write of ours has made."""
        self._ours[resource_version] = None
        if len(self._ours) > ECHOES:
            del self._ours[next(iter(self._ours))]

    def is_news(self, key: Key, seen: Manifest | None, *, is_known: bool) -> bool:
        """Whether an Incident as the watch saw it needs a look: it does not, where we wrote that ourselves.

        One that nobody has looked at yet (``is_known`` is false) is kept, so that the first look need not read it
        again: were it changed in between, the first write of its status would fail, for that has an optimistic lock.
        """
        if seen is None:
            return True
        version = seen["metadata"].get("resourceVersion", "")
        if version in self._ours:
            return False
        if key in self._in_hand:
            self._in_hand[key] = version  # maybe an echo that came before its answer: told when the step is done
            return False
        if not is_known and (seen.get("status") or {}).get("observedGeneration", -1) == -1:
            self._unread[key] = seen
        return True

    def unread(self, key: Key) -> Manifest | None:
        """The Incident as the watch told of it, if nobody has looked at it yet."""
        return self._unread.pop(key, None)

    def take(self, key: Key) -> None:
        """An Incident is being stepped from now on."""
        self._in_hand[key] = ""

    def put_down(self, key: Key) -> bool:
        """It is not any more; whether the watch has told of a version of it meanwhile that is not ours."""
        told = self._in_hand.pop(key)
        return bool(told) and told not in self._ours
