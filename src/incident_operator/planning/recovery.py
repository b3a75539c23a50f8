"""The order in which an application comes back: tiers from the database up, and inside a tier by ``after``.

The order of the tiers is the guide's ("Restoration Order"): database and critical data stores, core API,
bot, frontend, auxiliary services. They are stopped the other way round, so that nobody asks what is gone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from incident_operator.faults import Refused
from incident_operator.planning.plan import CheckWish, Ref

TIERS = ("database", "api", "bot", "frontend", "auxiliary")
"""The tiers of the guide, in the order they come back."""
SCALED = frozenset({"Deployment", "StatefulSet"})
"""Kinds that are stopped by having no replicas."""
SUSPENDED = frozenset({"CronJob"})
"""Kinds that are stopped by being suspended."""
ROLLED_OUT = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
READY = ROLLED_OUT | {"Cluster"}
"""Kinds of which can be told how many pods or instances are ready."""
FUNCTIONS = frozenset({"http", "sql"})
"""Checks that ask what users ask."""
ERRORS = ("error", "fatal", "panic", "exception")
FEW = {"perMinute": 10, "over": "30s"}
"""Lines with one of these that an application may well log when what it needs comes back; a burst of them passes."""
MOST_NAME = 63
STEADY_SECONDS = 5.0
"""How long the gates of a tier that names none must hold."""


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """One workload of a tier."""

    ref: Ref
    replicas: int | None = None
    """What to bring it back to if it has none."""
    after: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Tier:
    """One tier with its workloads."""

    name: str
    workloads: tuple[Workload, ...]
    quiesce: bool
    steps: Sequence[Mapping[str, Any]] = ()
    """Raw steps, as in an Incident."""
    gates: tuple[CheckWish, ...] = ()
    timeout_seconds: float = 600.0
    expected_seconds: float = 0.0
    on_failure: Literal["Halt", "Continue", "Rollback"] = "Halt"
    needs_word: bool = False
    """Whether a person must say that it may begin."""

    def refs(self, kinds: Iterable[str]) -> tuple[Ref, ...]:
        """Its workloads of these kinds."""
        wanted = frozenset(kinds)
        return tuple(each.ref for each in self.workloads if each.ref.kind in wanted)


def waves(tier: Tier) -> tuple[tuple[Workload, ...], ...]:
    """The workloads of a tier in the order they are started; those of one wave start together.

    Raises Refused that draws the cycle where there is one.
    """
    done: set[str] = set()
    left = list(tier.workloads)
    known = {each.ref.name for each in left}
    for each in left:
        unknown = [name for name in each.after if name not in known]
        if unknown:
            text = f"tier {tier.name}: {each.ref.name} comes after {unknown[0]}, which is no workload of this tier"
            raise Refused("Invalid", f"{text}; there are {', '.join(sorted(known))}")
    found: list[tuple[Workload, ...]] = []
    while left:
        wave = tuple(each for each in left if done.issuperset(each.after))
        if not wave:
            drawn = " -> ".join(_cycle({each.ref.name: tuple(each.after) for each in left}))
            raise Refused("Invalid", f"tier {tier.name}: after goes round in a circle: {drawn}; take one of them away")
        found.append(wave)
        done |= {each.ref.name for each in wave}
        left = [each for each in left if each not in wave]
    return tuple(found)


def _cycle(edges: Mapping[str, Sequence[str]]) -> list[str]:
    """One circle in a graph in which every node waits for another one."""
    seen: list[str] = []
    name = min(edges)
    while name not in seen:
        seen.append(name)
        name = next((after for after in edges[name] if after in edges), name)
    return [*seen[seen.index(name) :], name]


def by_label(found: Iterable[tuple[str, Ref]]) -> tuple[tuple[str, tuple[Ref, ...]], ...]:
    """Workloads by the value of their tier label, in the guide's order; Refused where one says another word."""
    tiers: dict[str, list[Ref]] = {}
    for value, ref in found:
        if value not in TIERS:
            known = ", ".join(TIERS)
            raise Refused("Invalid", f"{ref} is labelled tier {value!r}: use one of {known}, or a RecoveryPlan")
        tiers.setdefault(value, []).append(ref)
    return tuple((name, tuple(sorted(tiers[name]))) for name in TIERS if name in tiers)


def default_gates(refs: Sequence[Ref]) -> tuple[CheckWish, ...]:
    """Rollouts are finished, pods are ready and databases are healthy, for a few seconds."""
    rolled = tuple(ref for ref in refs if ref.kind in ROLLED_OUT)
    ready = tuple(ref for ref in refs if ref.kind in READY)
    found = []
    if rolled:
        found.append(CheckWish("rollout", "rollout", {}, rolled, STEADY_SECONDS, 0.0))
    if ready:
        found.append(CheckWish("pods-ready", "podsReady", {}, ready, STEADY_SECONDS, 0.0))
    return tuple(found)


def refuse_ungated(tiers: Sequence[Tier]) -> None:
    """Raise Refused for a tier of which nothing could tell whether it is up."""
    for tier in tiers:
        if not tier.gates:
            there = ", ".join(str(each.ref) for each in tier.workloads)
            raise Refused(
                "Invalid",
                f"tier {tier.name}: nothing tells by itself whether it is up ({there}); give it gates in a "
                "RecoveryPlan, such as job or confirm, or put these into a tier with a workload that runs",
            )


def questions(tiers: Sequence[Tier], checks: Iterable[CheckWish], *, is_standard: bool) -> tuple[tuple[str, str], ...]:
    """Every word that is asked for in spec.confirmed, with what it answers."""
    found: list[tuple[str, str]] = []
    for tier in tiers:
        if tier.needs_word:
            found.append((tier.name, f"whether tier {tier.name} may begin"))
        found += [(gate.name, f"a gate of tier {tier.name}") for gate in tier.gates if gate.kind == "confirm"]
    found += [(check.name, "a check of the Incident's verification") for check in checks if check.kind == "confirm"]
    if is_standard:
        found.append((USER_ACCESS.name, "the standard verification"))
    return tuple(found)


def refuse_same_words(asked: Iterable[tuple[str, str]]) -> None:
    """Raise Refused where one word in spec.confirmed would answer two questions."""
    known: dict[str, str] = {}
    for word, what in asked:
        if word in known:
            raise Refused(
                "Invalid",
                f"{word} in spec.confirmed would answer two questions at once, {known[word]} and {what}: "
                "give one of the confirm checks another name",
            )
        known[word] = what


def standard_gates(tiers: Sequence[Tier], performance: Mapping[str, Any] | None = None) -> tuple[CheckWish, ...]:
    """What of the guide's list ("Verification") can be looked at: health, key functionality, performance, logs.

    ``performance`` says what is compared with the level before the incident. Without it nothing is: an http gate only
    asks for its answer within its own timeout.
    """
    rolled = tuple(dict.fromkeys(ref for tier in tiers for ref in tier.refs(ROLLED_OUT)))
    functions = tuple(
        dataclasses.replace(gate, name=f"{tier.name}-{gate.name}"[:MOST_NAME])
        for tier in tiers
        for gate in tier.gates
        if gate.kind in FUNCTIONS
    )
    compared = () if performance is None else (CheckWish("performance", "promql", performance, (), 0.0, 0.0),)
    seen = (
        CheckWish("health-checks", "podsReady", {}, rolled, STEADY_SECONDS, 0.0),
        *functions,
        *compared,
        CheckWish("no-errors-in-logs", "logs", {"patterns": list(ERRORS), **FEW}, rolled, 0.0, 0.0),
    )
    return seen if rolled else (*functions, *compared)


USER_ACCESS = CheckWish(
    "user-access", "confirm", {"question": "Can users do again what they could before?"}, (), 0.0, 0.0
)
"""The last word is a person's: no check knows what users see."""
