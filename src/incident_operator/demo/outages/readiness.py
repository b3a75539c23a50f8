"""Looks at the pods all the while, and remembers when each part of the application became ready.

Status says what the operator believes; this is looked at beside it, and finer than its whole seconds.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable
from typing import Any

from incident_operator.demo.api import Api

EVERY_SECONDS = 0.2


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """A part that had no ready pod and has one, or the other way round."""

    at: float
    part: str
    is_ready: bool


class Turns:
    """What became ready, and what ceased to be, over time."""

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self.turns: list[Turn] = []
        self._ready: frozenset[str] = frozenset()

    def see(self, at: float, ready: Iterable[str]) -> None:
        """Take in which parts have a ready pod now."""
        now = frozenset(ready)
        self.turns += [Turn(at, part, part in now) for part in sorted(now ^ self._ready)]
        self._ready = now

    def first(self, part: str, since: float) -> float | None:
        """When a part became ready for the first time since then; None: it did not, or was so all the while."""
        return next((each.at for each in self.turns if each.part == part and each.is_ready and each.at >= since), None)


class Readiness(Turns):
    """Looks five times a second, until closed."""

    def __init__(self, api: Api, namespace: str) -> None:
        """Begin to look."""
        super().__init__()
        self._api, self._path = api, f"/api/v1/namespaces/{namespace}/pods"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            found = self._api.object(self._path)
            if found is not None:
                self.see(time.time(), ready_parts(found["items"]))

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()
        self._api.close()


def ready_parts(pods: Iterable[dict[str, Any]]) -> set[str]:
    """The parts that have a ready pod which is not on its way out: by the label ``app``, replicas apart."""
    found = set()
    for pod in pods:
        meta = pod["metadata"]
        conditions = pod.get("status", {}).get("conditions", ())
        is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
        if is_ready and not meta.get("deletionTimestamp"):
            labels = meta.get("labels", {})
            replica = "-replica" if labels.get("role") == "replica" else ""
            found.add(f"{labels.get('app', '')}{replica}")
    return found
