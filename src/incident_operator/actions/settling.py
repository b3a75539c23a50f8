"""One settlement of a step from those of its targets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from incident_operator.actions import guards
from incident_operator.planning.plan import Entry, EntryState, Manifest, Settlement
from incident_operator.planning.rollouts import parsed

LIVE = frozenset({EntryState.DONE, EntryState.SKIPPED})
RANK = {"Failed": 0, "Pending": 1, "Settled": 2}


def combined(parts: Iterable[Settlement], worst: Mapping[str, Sequence[str]] | None = None) -> Settlement:
    """The worst state of all, with the messages of the parts in it; one without parts is settled.

    ``worst`` orders the values of a fact from worst to best; of others the first one is kept.
    """
    found = list(parts)
    if not found:
        return Settlement("Settled", "nothing to wait for")
    state = min((part.state for part in found), key=RANK.__getitem__)
    there = [part for part in found if part.state == state]
    facts: dict[str, str] = {}
    for part in found:
        for key, value in part.facts.items():
            order = (worst or {}).get(key, ())
            if key not in facts or (value in order and order.index(value) < order.index(facts[key])):
                facts[key] = value
    return Settlement(
        state,
        "; ".join(dict.fromkeys(part.message for part in there)),
        reason=there[0].reason,
        further=tuple(change for part in found for change in part.further),
        facts=facts,
    )


def who(thing: Manifest) -> str:
    """Who probably changed an object after us, and what to do about it."""
    owner = guards.gitops_owner(thing)
    return f"probably by {owner}: pause it, and change Git" if owner else "by somebody else"


def begun(entry: Entry, since: datetime) -> datetime:
    """When the write was made, as far as known; no earlier than its step began."""
    done = parsed(entry.done_at)
    return since if done is None else max(since, done)
