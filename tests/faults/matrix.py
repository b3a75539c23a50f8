"""The fault matrix: at the N-th request of a kind, one fault; and the end is the same as without it."""

from __future__ import annotations

import collections
import dataclasses
import os
import queue
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faults.lane import Lane, Outcome
from faults.rules import ALWAYS, Rule
from faults.scenarios import SCENARIOS

FAULTS: dict[str, dict[str, Any]] = {
    "kill_before": {"action": "kill_before"},
    "kill_applied": {"action": "kill_applied"},
    "kill_answered": {"action": "kill_answered"},
    "401": {"action": "status", "code": 401},
    "403": {"action": "status", "code": 403},
    "404": {"action": "status", "code": 404},
    "409": {"action": "status", "code": 409},
    "410": {"action": "status", "code": 410},
    "422": {"action": "status", "code": 422},
    "429": {"action": "status", "code": 429, "retry_after": 1},
    "500": {"action": "status", "code": 500},
    "503": {"action": "status", "code": 503},
    "reset_before": {"action": "reset_before"},
    "reset_applied": {"action": "reset_applied"},
    "truncated": {"action": "truncated"},
    "torn": {"action": "torn"},
    "stale": {"action": "stale"},
    "slow": {"action": "hang", "seconds": 2.0},
    "hang": {"action": "hang", "seconds": 12.0},
    "hang_applied": {"action": "hang_applied", "seconds": 12.0},
    "watch_cut": {"action": "watch_cut"},
    "watch_silent": {"action": "watch_silent", "count": ALWAYS},
    "watch_delayed": {"action": "watch_delayed", "seconds": 3.0, "count": ALWAYS},
    "watch_dropped": {"action": "watch_dropped"},
    "watch_replayed": {"action": "watch_replayed", "count": ALWAYS},
    "watch_error_410": {"action": "watch_error", "code": 410},
    "watch_error_500": {"action": "watch_error", "code": 500},
}
KILLS = ("kill_before", "kill_applied", "kill_answered")
KILLED = 2
"""At how many requests of each scenario a sample kills, by each fault that does."""
EVENTS = 3
"""At which events of a watch it is spoilt."""
ONLY = os.environ.get("INCIDENT_FAULTS_ONLY", "")
"""A pattern: only the cases whose name has it."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One run of the matrix."""

    scenario: str
    kind: str
    number: int
    fault: str
    cold: bool = False
    """Only a process that has just come up makes this request; later the answer is known."""

    def __str__(self) -> str:
        return f"{self.scenario}/{self.fault} at {self.kind} #{self.number}"

    def rule(self) -> Rule:
        return Rule(**FAULTS[self.fault], kind=self.kind, skip=self.number - 1)


@dataclasses.dataclass
class Tally:
    """What the session did, for its last line."""

    runs: int = 0
    not_reached: int = 0
    restarts: int = 0
    asked_again: int = 0
    different: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        more = f"; {self.restarts} restarts, {self.asked_again} times asked again"
        more += f", {self.not_reached} more in which the fault's turn did not come" if self.not_reached else ""
        return f"fault matrix: {self.runs} runs, {len(self.different)} differences{more}"


TALLY = Tally()


@dataclasses.dataclass(frozen=True)
class Reference:
    """A scenario without a fault: by a process that has just come up, and by one that has been there for a while."""

    cold: Outcome
    warm: Outcome


def cases(scenario: str, fault: str, reference: Reference) -> list[Case]:
    """Every request of a scenario at which a fault may strike."""
    action = FAULTS[fault]["action"]
    if action.startswith("watch_"):
        return [Case(scenario, "watch incidents", number, fault) for number in range(1, EVENTS + 1)]
    counted: collections.Counter[str] = collections.Counter()
    warm = collections.Counter(seen.kind for seen in reference.warm.requests)
    found = []
    for seen in reference.cold.requests:
        counted[seen.kind] += 1
        if seen.is_watch or (action == "stale" and (seen.method != "GET" or counted[seen.kind] == 1)):
            continue
        is_cold = counted[seen.kind] > warm[seen.kind]
        found.append(Case(scenario, seen.kind, counted[seen.kind], fault, is_cold))
    return [case for case in found if re.search(ONLY, str(case))]


def sample(scenario: str, reference: Reference) -> list[Case]:
    """Every kill, and every second fault, each somewhere else in each scenario; the same ones each time."""
    chosen: list[Case] = []
    offset = list(SCENARIOS).index(scenario)
    for number, fault in enumerate(FAULTS):
        found = [case for case in cases(scenario, fault, reference) if not case.cold]
        wanted = KILLED if fault in KILLS else (number + offset) % 2
        at = number * 5 + offset * 3
        spread = len(found) // KILLED
        chosen += [found[(at + turn * spread) % len(found)] for turn in range(wanted) if found]
    return chosen


def run_all(lanes: Sequence[Lane], wanted: Iterable[Case], reference: Reference) -> list[str]:
    """Run every case on whichever lane is free; what differs from the reference, by case."""
    free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def one(case: Case) -> tuple[Case, Rule, Outcome]:
        lane, rule = free.get(), case.rule()
        try:
            return case, rule, lane.run(SCENARIOS[case.scenario], rule, cold=case.cold)
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        return [text for case, rule, outcome in pool.map(one, wanted) for text in judge(case, rule, outcome, reference)]


def judge(case: Case, rule: Rule, outcome: Outcome, reference: Reference) -> list[str]:
    """Count the run, and say what is not as it should be."""
    if rule.fired and not rule.missed:
        TALLY.runs += 1
    else:
        TALLY.not_reached += 1
    TALLY.restarts += outcome.restarts
    TALLY.asked_again += outcome.asked_again
    found = [f"{case}: {text}" for text in outcome.differs_from(reference.warm)]
    if FAULTS[case.fault]["action"] not in KILLS and outcome.restarts:
        found.append(f"{case}: the operator ended by itself")
    TALLY.different += [str(case)] if found else []
    return found


References = Callable[[str], Reference]


def make_reference(lane: Lane, scenario: str) -> Reference:
    """Both courses without faults."""
    cold, warm = lane.run(SCENARIOS[scenario], cold=True), lane.run(SCENARIOS[scenario])
    for outcome in (cold, warm):
        assert not outcome.trouble, outcome.trouble
        assert not outcome.unannounced, outcome.unannounced
    return Reference(cold, warm)
