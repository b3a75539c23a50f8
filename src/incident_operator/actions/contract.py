"""What every action promises; the engine, the RBAC generator, the CRD and the docs all read it from here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

from incident_operator.cluster.port import Reader
from incident_operator.planning.plan import Change, Entry, Json, Manifest, Ref, Release, Request, Settlement, Standing
from incident_operator.planning.rights import Rule


@dataclasses.dataclass(frozen=True, slots=True)
class Occasion:
    """Which Incident an action works for: what goes into names, labels and annotations."""

    namespace: str
    incident: str
    uid: str
    step: str


class Action(Protocol):
    """One verb of the catalogue."""

    name: ClassVar[str]
    """The field of a step that asks for it, e.g. ``rolloutUndo``."""
    kinds: ClassVar[frozenset[str]]
    """Kinds of target it works on."""
    rules: ClassVar[tuple[Rule, ...]]
    """What the ServiceAccount must be allowed; sufficient and necessary."""
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]]
    """For each kind of target, the rights that who makes the Incident must have, too; one right a rule."""
    release: ClassVar[Release]
    """When its effect is put back, unless the step says otherwise."""
    reversible: ClassVar[bool]
    """Whether release can put back what it does."""
    destructive: ClassVar[bool]
    """Whether something may be lost that nobody can bring back; the built-in policy then asks a person."""

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """Read the target and work out the writes, resolved to concrete objects and values.

        Raises Refused or Stalled with the remedy when it cannot or must not be done. Nothing is written.
        ``target.uid`` is empty; the changes carry the UID that was read.
        """
        ...

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """How the target as it is now (None: not there) stands to a change, recorded maybe before a restart."""
        ...

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """The write that puts ``before`` back, given that the standing is AFTER; None if nothing can or need be."""
        ...

    async def settle(self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime) -> Settlement:
        """How far the world has followed, given this step's entries (all done) and when the first was made."""
        ...


@runtime_checkable
class Stops(Protocol):
    """An action that stops something, and can plan beforehand how it starts again."""

    def back(self, change: Change) -> Change | None:
        """The change that exactly takes back a planned one once that is made; None if there is nothing to take back."""
        ...


@runtime_checkable
class Forms(Protocol):
    """An action whose rights depend on the form it is asked for in: one field of its parameters each."""

    forms: ClassVar[Mapping[str, Mapping[str, tuple[Rule, ...]]]]
    """For each form, and kind of target, what who asks must be allowed; ``asks`` has them all."""
    elsewhere: ClassVar[Mapping[str, str]]
    """For a form that acts in another namespace, the parameter that names that."""


@runtime_checkable
class InParts(Protocol):
    """An action whose step may be several, each of which must be done before the next begins."""

    def parts(self, params: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """The end of each part's name, empty for the step itself, and its parameters, in order."""
        ...


@runtime_checkable
class Once(Protocol):
    """An action whose work, once it is done, is not done again when the Incident is planned anew for another reason."""

    def is_answered(self, change: Change, target: Ref, params: Mapping[str, Any]) -> bool:
        """Whether what a step asks for of a target now is what this change of it has done."""
        ...


@runtime_checkable
class Rechecks(Protocol):
    """An action that looks once more at what its plan rests on, just before the first write of a step."""

    async def recheck(self, reader: Reader, changes: Sequence[Change]) -> None:
        """Refused or Stalled, with the remedy, where that is not so any more."""
        ...


def plain(value: Json) -> Json:
    """A deep copy of JSON made of dicts and lists only."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
