"""A client that writes numbered rows all the while, and knows afterwards which acknowledged ones are not there."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from incident_operator.demo.api import Api
from incident_operator.lab.faults import LabError

EVERY_SECONDS = 0.1
ACKNOWLEDGED = 201
DOORS = ("api:http", "frontend:http")


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What one write was answered; status 0 where no answer came, and nobody knows whether the row is there."""

    number: int
    door: str
    asked: float
    answered: float
    status: int

    @property
    def is_acknowledged(self) -> bool:
        """Whether the application promised to keep the row."""
        return self.status == ACKNOWLEDGED


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """What became of the rows that were acknowledged in a span of time."""

    acknowledged: int
    missing: tuple[int, ...]

    def __str__(self) -> str:
        return f"{len(self.missing)} of {self.acknowledged} acknowledged rows are not there"


class Record:
    """What writes were answered, and what that was like over time."""

    def __init__(self, doors: Sequence[str] = DOORS, answers: Iterable[Answer] = ()) -> None:
        """Take the Services that were written through, and what they answered so far, in its order."""
        self.doors = tuple(doors)
        self.answers = list(answers)

    def between(self, start: float, end: float) -> list[Answer]:
        """The answers to what was written in a span of time."""
        return [each for each in list(self.answers) if start <= each.asked < end]

    def acknowledged(self, start: float = 0, end: float = float("inf")) -> list[int]:
        """The numbers that were acknowledged in a span of time."""
        return [each.number for each in list(self.answers) if each.is_acknowledged and start <= each.answered < end]

    def word(self, seconds: float = 1.0, *, until: float | None = None) -> str:
        """What the last second was like: normal, where every door answered well; partial; errors; or silence."""
        end = time.time() if until is None else until
        found = self.between(end - seconds, end)
        if not found:
            return "silence"
        well = {each.door for each in found if each.is_acknowledged}
        if not well:
            return "errors"
        return "normal" if well == set(self.doors) and all(each.is_acknowledged for each in found) else "partial"

    def lately(self, seconds: float = 1.0) -> str:
        """The same in numbers, door by door: ``partial: api 5 of 5, frontend 0 of 5``."""
        now = time.time()
        found = self.between(now - seconds, now)
        counts = []
        for door in self.doors:
            good = [each.is_acknowledged for each in found if each.door == door]
            counts.append(f"{door.partition(':')[0]} {sum(good)} of {len(good)}")
        return f"{self.word(seconds, until=now)}: {', '.join(counts)}"

    def course(self, seconds: float = 1.0) -> list[tuple[float, str]]:
        """Since when it was like what, from the first write to the last; every entry differs from the one before."""
        told: list[tuple[float, str]] = []
        answers = list(self.answers)
        if answers:
            at, end = answers[0].asked, answers[-1].asked
            while at + seconds <= end:
                word = self.word(seconds, until=at + seconds)
                if word not in ("silence", *(each for _, each in told[-1:])):
                    told.append((at, word))
                at += seconds
        return told


class Rows(Record):
    """Writes a new row ten times a second, through the api and the frontend by turns, until closed.

    No number is written twice: a row that was not acknowledged may be there, or not.
    """

    def __init__(
        self,
        kubeconfig: Path,
        namespace: str,
        *,
        doors: Sequence[str] = DOORS,
        first: int = 1,
        every: float = EVERY_SECONDS,
    ) -> None:
        """Begin to write; ``doors`` are Services with the names of their ports."""
        super().__init__(doors)
        self._kubeconfig = kubeconfig
        self._services = f"/api/v1/namespaces/{namespace}/services/http:"
        self._first, self._every = first, every
        self.last = first - 1
        """The highest number that was asked for."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        turns = itertools.cycle(self.doors)
        with contextlib.closing(Poster(self._kubeconfig)) as api:
            for number in itertools.count(self._first):
                if self._over.wait(self._every):
                    return
                door, asked = next(turns), time.time()
                self.last = number
                status = api.post(f"{self._services}{door}/proxy/rows?n={number}")
                self.answers.append(Answer(number, door, asked, time.time(), status))

    def close(self) -> None:
        """Write no more."""
        self._over.set()
        self._thread.join()

    def loss(self, start: float = 0, end: float = float("inf")) -> Loss:
        """Which of the rows that were acknowledged in a span of time are not there now; LabError if nobody can say."""
        promised = self.acknowledged(start, end)
        if not promised:
            return Loss(0, ())
        path = f"{self._services}{self.doors[0]}/proxy/rows/missing?from={min(promised)}&to={max(promised)}"
        with contextlib.closing(Poster(self._kubeconfig)) as api:
            status, body = api.get(path)
        if status != http.client.OK:
            raise LabError(f"nobody says which rows are missing: {status} {body[:200]!r}")
        missing = set(json.loads(body)["missing"])
        return Loss(len(promised), tuple(number for number in promised if number in missing))


class Poster(Api):
    """An Api that writes, too, and can be closed."""

    def post(self, path: str) -> int:
        """The status of one POST; 0 where no answer came. Never sent twice."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=5)
            self._connection.request("POST", path)
            answer = self._connection.getresponse()
            answer.read(1 << 20)
        except (OSError, http.client.HTTPException):
            self.close()
            return 0
        return answer.status

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None
