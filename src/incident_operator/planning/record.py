"""What is known about one Incident's handling: the whole of its status, as data.

``progress`` reads it to find the next move, ``summary`` to say it in conditions;
``engine.statuses`` carries it to and from the status subresource.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from incident_operator.planning.plan import Entry, EntryState, PlannedStep, Release, Verdict
from incident_operator.planning.policy import Mode

MOST_TIMELINE = 200
"""Items of the timeline that are kept: the first half and the newest."""

StepState = Literal["Pending", "Acting", "Settling", "Done", "Failed", "Skipped"]
LIVE = frozenset({EntryState.INTENDED, EntryState.DONE})
"""States of entries whose effect may be in the cluster."""


@dataclasses.dataclass(frozen=True, slots=True)
class Condition:
    """A condition as Kubernetes has it, but for the observed generation, which is the record's."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    since: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class CheckRecord:
    """What one check of the verification, or one gate of a tier, says."""

    name: str
    verdict: Verdict = Verdict.UNKNOWN
    since: str = ""
    passed: bool = False
    message: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class StepRecord:
    """How far one step is."""

    name: str
    state: StepState = "Pending"
    reason: str = ""
    message: str = ""
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    started_at: str = ""
    finished_at: str = ""
    gates: tuple[CheckRecord, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """One item of the timeline; its reason is also that of the Event."""

    at: str
    reason: str
    message: str
    warning: bool = False
    event: bool = False
    """Whether an Event says it, too: what a person may act on."""


@dataclasses.dataclass(frozen=True, slots=True)
class PolicyRecord:
    """What the policies made of the plan, and who approved it."""

    names: tuple[str, ...]
    mode: Mode
    why: tuple[str, ...] = ()
    approved_by: tuple[str, ...] = ()
    approved_at: str = ""
    approved_plan: str = ""
    approved_for: tuple[str, ...] = ()
    """The rules that this was enough for; one that is added or changed later asks anew."""
    rejected: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Plans that were rejected, each with who did: final, whatever becomes of the rejection itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class Resolved:
    """What an Incident has taken over from its runbook."""

    runbook: str
    """Kind/name."""
    generation: int
    spec: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Triage:
    """What was found out before anything was done, in words."""

    changes: tuple[Mapping[str, Any], ...] = ()
    """As status has them, best fit first."""
    affected: tuple[str, ...] = ()
    users: str = ""
    data: str = ""
    business: str = ""
    unknown: tuple[str, ...] = ()


Outcome = Literal["", "Waiting", "Planned", "Contained", "Resolved", "Cancelled", "Expired", "Halted"]
Over = Literal["Resolved", "Cancelled", "Expired"]
OVER: frozenset[Over] = frozenset(get_args(Over))
"""Outcomes after which nothing more is done; the time of each is kept under its name in small letters."""


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """Everything that status says; immutable, a step of the engine makes the next one."""

    generation: int = -1
    id: str = ""
    targets: str = ""
    plan: tuple[PlannedStep, ...] = ()
    plan_hash: str = ""
    plan_generation: int = -1
    plan_basis: str = ""
    """Digest of what of the spec the plan was made from."""
    resolved: Resolved | None = None
    """What the plan was made from beside the spec."""
    triage: Triage | None = None
    asked: str = ""
    """Digest of what the spec asked for, without what it only tells, when it was looked at last."""
    signals: tuple[int, int] = (0, 0)
    """How many alerts it was made from, and how many of them fire."""
    overdue: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The clocks that are overdue, each with what is said about it; known after a restart by name only."""
    escalated: tuple[str, ...] = ()
    """What hooks were told: escalations by their place, clocks, and the last halt."""
    account: str = ""
    """The ServiceAccount that the plan is carried out as."""
    policy: PolicyRecord | None = None
    exceeded: str = ""
    """The blast radius budget that the plan exceeds, with its numbers."""
    planned_at: str = ""
    steps: tuple[StepRecord, ...] = ()
    entries: tuple[Entry, ...] = ()
    checks: tuple[CheckRecord, ...] = ()
    timeline: tuple[Moment, ...] = ()
    timers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    outcome: Outcome = ""
    reason: str = ""
    message: str = ""
    retrying: str = ""
    """What is being tried again, if that has gone on for a while."""
    paused: bool = False
    handled_request: str = ""

    def step(self, name: str) -> StepRecord:
        """The record of a step; one that has not begun if there is none."""
        return next((step for step in self.steps if step.name == name), StepRecord(name))

    def of_step(self, name: str) -> tuple[Entry, ...]:
        """The ledger entries of a step, in the order they were planned."""
        return tuple(entry for entry in self.entries if entry.step == name)

    def of(self, entries: Iterable[Entry]) -> tuple[Entry, ...]:
        """These entries as they are now."""
        keys = {entry.place for entry in entries}
        return tuple(entry for entry in self.entries if entry.place in keys)

    def with_step(self, new: StepRecord) -> Record:
        """The record with one step replaced."""
        return dataclasses.replace(self, steps=tuple(new if step.name == new.name else step for step in self.steps))

    def with_entries(self, changed: Iterable[Entry]) -> Record:
        """The record with some entries replaced (same step and key), or added at the end."""
        new = {entry.place: entry for entry in changed}
        kept = tuple(new.pop(entry.place, entry) for entry in self.entries)
        return dataclasses.replace(self, entries=(*kept, *new.values()))

    def noted(self, moment: Moment) -> Record:
        """The record with one more item in its timeline; the middle goes when it is full."""
        items = (*self.timeline, moment)
        if len(items) > MOST_TIMELINE:
            items = (*items[: MOST_TIMELINE // 2], *items[-MOST_TIMELINE // 2 :])
        return dataclasses.replace(self, timeline=items)

    def timed(self, name: str, at: str) -> Record:
        """The record with a timer set, if it was not set before."""
        if self.timers.get(name):
            return self
        return dataclasses.replace(self, timers={**self.timers, name: at})

    def reached(self) -> Over | None:
        """How it is over: all that is due was put back, whether or not that could be told in status since."""
        return next((outcome for outcome in sorted(OVER) if self.timers.get(outcome.lower())), None)

    def has_begun(self) -> bool:
        """Whether any write of the plan may have been made."""
        return any(entry.state is not EntryState.PLANNED and entry.change.request for entry in self.entries)

    def claims(self) -> bool:
        """Whether it keeps others off its targets: it holds on to something, or is in the middle of it."""
        active = self.outcome in ("", "Waiting") and any(entry.state in LIVE for entry in self.entries)
        return active or bool(self.held())

    def held(self) -> tuple[Entry, ...]:
        """Entries that are in force and go back one day: what an Incident holds on to."""
        return tuple(entry for entry in self.entries if entry.state in LIVE and entry.release is not Release.NEVER)

    def expired(self, now: str) -> list[Entry]:
        """Of those, the ones whose time is over."""
        return [entry for entry in self.held() if entry.expires_at and entry.expires_at <= now]
