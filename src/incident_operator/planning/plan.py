"""What a plan is made of: objects, changes with their exact requests, and the ledger entries that remember them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal

from incident_operator.planning.reach import Blast, Reach

Manifest = Mapping[str, Any]
Json = Any
"""Anything that ``json.dumps`` takes."""


def canonical(value: Json) -> str:
    """The one JSON text of a value: sorted keys, no spaces; equal values have equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Json) -> str:
    """SHA-256 of the canonical text, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Ref:
    """One namespaced object; ``uid`` is empty as long as it does not exist yet."""

    kind: str
    name: str
    namespace: str
    uid: str = ""

    def __str__(self) -> str:
        """As people write it: ``Deployment shop/api``."""
        return f"{self.kind} {self.namespace}/{self.name}"


class Release(StrEnum):
    """When what a step did is put back."""

    ON_RESOLVE = "OnResolve"
    MANUAL = "Manual"
    NEVER = "Never"


ContentType = Literal[
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
]


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One write to one object, as it will be sent; the plan shows exactly this.

    ``subresource`` is "" or e.g. "scale". A ``delete`` has no body but always carries ``uid``.
    Every patch must carry its own precondition (a JSON patch ``test``, or
    ``metadata.uid``/``metadata.resourceVersion`` in a merge patch).
    """

    verb: Literal["create", "patch", "delete"]
    ref: Ref
    body: Json = None
    content_type: ContentType = "application/json"
    subresource: str = ""


class Standing(StrEnum):
    """How the world stands to one change."""

    BEFORE = "Before"
    """As it was when the change was planned: the write is still to be made."""
    AFTER = "After"
    """As the change wants it: made already, by us or somebody else."""
    OTHER = "Other"
    """Neither: somebody else has changed it since."""
    GONE = "Gone"
    """The object, or the one with that UID, is not there any more."""


class EntryState(StrEnum):
    """The life of one ledger entry."""

    PLANNED = "Planned"
    """Part of the plan; its turn has not come."""
    INTENDED = "Intended"
    """About to be written, or written by a process that did not live to say so."""
    DONE = "Done"
    SKIPPED = "Skipped"
    """It was so already before the plan; nothing was written, nothing will be put back."""
    FAILED = "Failed"
    RELEASED = "Released"
    KEPT = "Kept"
    """The Incident is over and this stays, as its release policy says."""
    CONFLICT = "Conflict"
    """It holds neither what we wrote nor what was there before: left to a person."""


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Further:
    """A write that may turn out to be needed once a change is made: of which object is known only then."""

    verb: Literal["create", "patch", "delete"]
    kind: str

    def __str__(self) -> str:
        """As status has it: ``delete Pod``."""
        return f"{self.verb} {self.kind}"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One planned write with what undoes it.

    ``key`` is unique and stable within the step, e.g. ``Deployment/api`` or ``NetworkPolicy/incident-x``.
    ``before`` and ``after`` are small JSON values that the action understands; they go to the
    ledger, and are all that ``Action.standing`` and ``Action.undo`` have to work from after a restart.
    """

    key: str
    target: Ref
    request: Request | None
    """None: it is so already."""
    before: Json
    after: Json
    summary: str
    """One line for people, e.g. ``api: revision 3 -> ReplicaSet api-7f9c (revision 1, verified 09:12)``."""
    notes: tuple[str, ...] = ()
    """What a person should know: guesses, warnings, who will undo it."""
    traits: tuple[str, ...] = ()
    """What a policy may ask about: Guess, Destructive."""
    reach: Reach | None = None
    """Which pods it is about; None: none of its own."""
    confidential: bool = False
    """Whether its request holds what not everybody who sees Incidents may see: it is kept in an IncidentLedger."""
    later: bool = False
    """Whether it fits only once an earlier step of the plan is done, so that no dry run can be made of it now."""
    diff: str = ""
    """What the API server's dry run of it changes, in lines."""
    blast: Blast | None = None
    """What it takes away."""
    further: tuple[Further, ...] = ()
    """What may have to be written besides, and nothing else is; the notes say when. The right is asked for first."""

    def ledger_value(self) -> dict[str, Json]:
        """What the plan's hash is made from."""
        request = None if self.request is None else dataclasses.asdict(self.request)
        value = {"key": self.key, "target": dataclasses.asdict(self.target), "request": request, "after": self.after}
        return value | {"further": [str(each) for each in self.further]} if self.further else value


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One ledger entry, as it stands in status: what was intended, and what became of it."""

    step: str
    action: str
    change: Change
    release: Release
    state: EntryState
    message: str = ""
    intended_at: str = ""
    done_at: str = ""
    released_at: str = ""
    expires_at: str = ""
    """When it is put back, whatever else; empty: never by itself."""

    @property
    def place(self) -> tuple[str, str]:
        """Which entry of the ledger it is: its step's name, and its change's key."""
        return self.step, self.change.key


@dataclasses.dataclass(frozen=True, slots=True)
class CheckWish:
    """One check as asked for."""

    name: str
    kind: str
    params: Mapping[str, Any]
    targets: tuple[Ref, ...]
    hold_seconds: float
    timeout_seconds: float


Phase = Literal["Containment", "Remediation", "Recovery"]
GATES = "gates"
"""Stands in place of an action where a step writes nothing and waits for its gates."""


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step of the Incident, resolved to concrete changes."""

    name: str
    phase: Phase
    action: str
    changes: tuple[Change, ...]
    release: Release
    stage: str = ""
    timeout_seconds: float = 600.0
    on_failure: Literal["Halt", "Continue", "Release", "Rollback"] = "Halt"
    expires_seconds: float = 0.0
    """How long after it was done it is put back; 0: never by itself."""
    approval: Literal["ByPolicy", "Required"] = "ByPolicy"
    tier: str = ""
    """The tier of the recovery that it belongs to."""
    gates: tuple[CheckWish, ...] = ()
    """What must be true for it to be done."""
    brings_back: tuple[str, ...] = ()
    """Steps of this plan that it takes back: what they hold is given back when it is done."""
    expected_seconds: float = 0.0
    """How long it usually takes; 0: nobody said."""


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """All steps in order, and the hash that names exactly this plan."""

    steps: tuple[PlannedStep, ...]
    account: str = ""
    """The ServiceAccount that carries it out."""

    @property
    def hash(self) -> str:
        """16 hex digits that name exactly what is done, as whom, and for how long: an approval names it.

        Every request of every step goes into it, and all that says when a step begins, what becomes of it if it
        fails, and when it goes back.
        """
        return digest([self.account, *(_hashed(step) for step in self.steps)])[:16]


ONLY_TOLD = frozenset({"expected_seconds"})
"""Fields of a step that change nothing about what is done."""


def _hashed(step: PlannedStep) -> dict[str, Json]:
    """All fields of a step, so that one which is added later counts without being named here."""
    told = {each.name: getattr(step, each.name) for each in dataclasses.fields(step) if each.name not in ONLY_TOLD}
    changes = [change.ledger_value() for change in step.changes]
    return told | {"changes": changes, "gates": [dataclasses.asdict(gate) for gate in step.gates]}


class Verdict(StrEnum):
    """What a check says: three values, and Unknown never counts as Pass."""

    PASS = "Pass"  # noqa: S105 - a verdict, not a password
    FAIL = "Fail"
    UNKNOWN = "Unknown"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One look of one check: the verdict and what was seen, in a line for people (no response bodies)."""

    verdict: Verdict
    message: str


@dataclasses.dataclass(frozen=True, slots=True)
class Settlement:
    """How far the world has followed a step that was done.

    ``state`` Pending: look again. Settled: as planned (``message`` says how). Failed: it will not
    get there by itself (``reason``, ``message``). ``further`` are more writes that turned out to be
    needed (a stuck pod of a StatefulSet); they are recorded as intents before they are made.
    ``facts`` goes to the step's status for people and conditions, e.g. ``{"isolation": "Partial"}``.
    """

    state: Literal["Pending", "Settled", "Failed"]
    message: str
    reason: str = ""
    further: tuple[Change, ...] = ()
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)


def pending(message: str, further: Sequence[Change] = ()) -> Settlement:
    """Not there yet."""
    return Settlement("Pending", message, further=tuple(further))


def settled(message: str, facts: Mapping[str, str] | None = None) -> Settlement:
    """As planned."""
    return Settlement("Settled", message, facts=facts or {})


def failed(reason: str, message: str, facts: Mapping[str, str] | None = None) -> Settlement:
    """It will not get there by itself."""
    return Settlement("Failed", message, reason=reason, facts=facts or {})
