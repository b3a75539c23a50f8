"""The fault matrix: at the N-th request of a kind, one fault; and the end is the same as without it."""

from __future__ import annotations

import collections
import dataclasses
import os
import queue
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from faults.lane import Lane, Outcome
from faults.rules import ALWAYS, Rule
from faults.scenarios import DEMO, SCENARIOS

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
PROMISED = 5.0
"""Seconds: what is held up by a fault is done so soon after the fault is over."""
AGAIN = 5.0
"""Seconds that a process takes at most, once it listens, to have looked around."""
NEEDS_A_PERSON = frozenset({403, 422})
"""The answers that say that a person must act: only they may halt an Incident. After all else it goes on by itself."""
KILLS = ("kill_before", "kill_applied", "kill_answered")
TELLING = (*KILLS, "403", "409", "503", "reset_applied", "watch_cut")
"""The faults that strike every request of the other scenarios too: the rest of them ends in the same code."""
WHOLE = [(scenario, fault) for scenario in SCENARIOS for fault in FAULTS if scenario in DEMO or fault in TELLING]
SPARSE = 4
"""A sample has each kill in every scenario, and each other fault in every so manieth."""
TURNS = 3
"""How often a course is run in which the request at which the fault strikes was not made: nothing was tried then."""
EVENTS = 3
"""At which events of a watch it is spoilt."""
SO_FAR = Path(__file__).resolve().parent.parent.parent / "build/fault-matrix.txt"
"""The count as it is, for who does not want to wait an hour for the last line."""
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
    unreached: list[str] = dataclasses.field(default_factory=list)
    """Cases in which the fault's turn did not come: they prove nothing."""
    begun: set[tuple[str, str]] = dataclasses.field(default_factory=set)
    """Scenarios, with the fault or none, whose cases were asked for in this session."""
    restarts: int = 0
    asked_again: int = 0
    slowest: tuple[float, str] = (0.0, "")
    """By how much a run took longer than without a fault, not counting how long the fault lasted."""
    different: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        more = f"; {self.restarts} restarts, {self.asked_again} times asked again"
        more += f"; the slowest took {self.slowest[0]:.1f} s more, {self.slowest[1]}" if self.slowest[1] else ""
        more += f", {len(self.unreached)} more in which the fault's turn did not come" if self.unreached else ""
        return f"fault matrix: {self.runs} runs, {len(self.different)} differences{more}"

    @property
    def unreached_share(self) -> float:
        return len(self.unreached) / max(self.runs + len(self.unreached), 1)


TALLY = Tally()


@dataclasses.dataclass(frozen=True)
class Reference:
    """A scenario without a fault: by a process that has just come up, and by one that has been there for a while."""

    cold: Outcome
    warm: Outcome


def cases(scenario: str, fault: str, reference: Reference) -> list[Case]:
    """Every request of a scenario at which a fault may strike.

    Only a list can be stale: the operator asks for it with ``resourceVersion=0``, from the watch cache. One object it
    asks for without, and no API server has an older one to give then (Kubernetes API concepts, resource versions:
    "Most Recent").
    """
    action = FAULTS[fault]["action"]
    if action.startswith("watch_"):
        return [Case(scenario, "watch incidents", number, fault) for number in range(1, EVENTS + 1)]
    counted: collections.Counter[str] = collections.Counter()
    warm = collections.Counter(seen.kind for seen in reference.warm.requests)
    found = []
    for seen in reference.cold.requests:
        counted[seen.kind] += 1
        is_stale_of_nothing = not seen.kind.startswith("list ") or counted[seen.kind] == 1
        if seen.is_watch or (action == "stale" and is_stale_of_nothing):
            continue
        is_cold = counted[seen.kind] > warm[seen.kind]
        found.append(Case(scenario, seen.kind, counted[seen.kind], fault, is_cold))
    return [case for case in found if re.search(ONLY, str(case))]


def sample(scenario: str, reference: Reference) -> list[Case]:
    """Every kill, and a part of the other faults, each somewhere else in each scenario; the same ones each time."""
    chosen: list[Case] = []
    offset = list(SCENARIOS).index(scenario)
    for number, fault in enumerate(FAULTS):
        found = [case for case in cases(scenario, fault, reference) if not case.cold]
        is_wanted = fault in KILLS or (number + offset) % SPARSE == 0
        if is_wanted and found:
            chosen.append(found[(number * 5 + offset * 3) % len(found)])
    return chosen


def run_all(lanes: Sequence[Lane], wanted: Iterable[Case], reference: Reference) -> list[str]:
    """Run every case on whichever lane is free; what differs from the reference, by case."""
    free: queue.SimpleQueue[Lane] = queue.SimpleQueue()
    for lane in lanes:
        free.put(lane)

    def one(case: Case) -> tuple[Case, Rule, Outcome]:
        lane = free.get()
        try:
            return (case, *struck(lane, case, reference))
        finally:
            free.put(lane)

    with ThreadPoolExecutor(len(lanes)) as pool:
        # The others fill the time in which the longest ones hang.
        done = pool.map(one, sorted(wanted, key=lambda case: case.rule().delay, reverse=True))
        found = [text for case, rule, outcome in done for text in judge(case, rule, outcome, reference)]
    SO_FAR.parent.mkdir(exist_ok=True)
    SO_FAR.write_text("\n  differs: ".join([str(TALLY), *TALLY.different]) + "\n")
    return found


def struck(lane: Lane, case: Case, reference: Reference) -> tuple[Rule, Outcome]:
    """Run a case until its fault has struck, or something is wrong without it; the last run."""
    for _ in range(TURNS):
        rule = case.rule()
        outcome = lane.run(SCENARIOS[case.scenario], rule, cold=case.cold, within=patience(case, reference))
        if rule.has_struck or outcome.differs_from(reference.warm):
            break
    return rule, outcome


def patience(case: Case, reference: Reference) -> float:
    """Until when a run has to be over, but for how long its fault lasts: two at once take longer than one."""
    usual = reference.cold if case.cold else reference.warm
    return 3 * usual.seconds + PROMISED + (AGAIN if FAULTS[case.fault]["action"] in KILLS else 0.0)


def judge(case: Case, rule: Rule, outcome: Outcome, reference: Reference) -> list[str]:
    """Count the run, and say what is not as it should be."""
    if rule.has_struck:
        TALLY.runs += 1
    else:
        TALLY.unreached.append(str(case))
    TALLY.restarts += outcome.restarts
    TALLY.asked_again += outcome.asked_again
    usual = reference.cold if case.cold else reference.warm
    TALLY.slowest = max(TALLY.slowest, (outcome.seconds - rule.delay * rule.fired - usual.seconds, str(case)))
    found = [f"{case}: {text}" for text in outcome.differs_from(reference.warm)]
    if FAULTS[case.fault]["action"] not in KILLS and outcome.restarts:
        found.append(f"{case}: the operator ended by itself")
    if outcome.asked_again and not may_halt(case):
        found.append(f"{case}: it gave up, and a person had to ask {outcome.asked_again} times for another try")
    TALLY.different += [str(case)] if found else []
    return found


def may_halt(case: Case) -> bool:
    """Whether the fault is one after which a person has to act, and ask for another try."""
    return FAULTS[case.fault].get("code") in NEEDS_A_PERSON


References = Callable[[str], Reference]


def make_reference(lane: Lane, scenario: str) -> Reference:
    """Both courses without faults."""
    cold, warm = lane.run(SCENARIOS[scenario], cold=True), lane.run(SCENARIOS[scenario])
    for outcome in (cold, warm):
        assert not outcome.trouble, outcome.trouble
        assert not outcome.unannounced, outcome.unannounced
    return Reference(cold, warm)
