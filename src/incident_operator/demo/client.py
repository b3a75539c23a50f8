"""A client that asks the application all the while, and remembers what it was answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

from incident_operator.demo.api import Api

EVERY_SECONDS = 0.1
OK = 200


class Client:
    """Asks one path of a Service ten times a second, until closed."""

    def __init__(self, kubeconfig: Path, namespace: str, service: str, path: str) -> None:
        """Begin to ask."""
        self.answers: list[tuple[float, int]] = []
        self._api = Api(kubeconfig)
        self._path = f"/api/v1/namespaces/{namespace}/services/http:{service}/proxy{path}"
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        while not self._over.wait(EVERY_SECONDS):
            at = time.time()
            status, _ = self._api.get(self._path)
            self.answers.append((at, status))

    def close(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join()
        self._api.close()

    def between(self, start: float, end: float) -> Sequence[int]:
        """The answers to requests made in a span of time."""
        return [status for at, status in list(self.answers) if start <= at < end]

    def lately(self, seconds: float = 1.0) -> str:
        """What the last second looked like: ``10 of 10 good``."""
        found = self.between(time.time() - seconds, time.time() + 1)
        return f"{sum(status == OK for status in found)} of {len(found)} good"

    def good_from(self, since: float, run: int = 10) -> float | None:
        """When, after ``since``, the first of ``run`` good answers in a row was asked for; None if it has not come."""
        streak: list[float] = []
        for at, status in list(self.answers):
            if at < since:
                continue
            streak = [*streak, at] if status == OK else []
            if len(streak) == run:
                return streak[0]
        return None
