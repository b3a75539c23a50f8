"""The knobs of the engine, each with its unit and the reason for its default."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta

from incident_operator.api import names
from incident_operator.planning.policy import Protection


@dataclasses.dataclass(frozen=True, slots=True)
class EngineSettings:
    """How patient the engine is."""

    look_first: timedelta = timedelta(milliseconds=200)
    """How soon after a write the world is looked at for the first time; a GET by name costs 2 ms."""
    look_most: timedelta = timedelta(seconds=2)
    """How far apart looks at a world that does not move may get."""
    look_check: timedelta = timedelta(seconds=1)
    """How often a check of the verification is made."""
    release_box: timedelta = timedelta(minutes=2)
    """How long a deleted Incident may try to put back what it did before it goes without."""
    retries_before_said: int = 3
    """How many looks in a row must fail before the conditions speak of it: a blip is not news."""
    always_protected: Sequence[Protection] = (Protection("operator", namespaces=(names.INSTALL_NAMESPACE,)),)
    """What no Incident touches, whatever policies say: the operator itself, or nobody could release what it did."""


def protecting_itself(home: str, pod: str, looked_after: Sequence[str]) -> tuple[Protection, ...]:
    """What protects an operator that runs as a pod in a namespace: all of that, whatever policies say.

    Where it shares the namespace with what it looks after, its own workload: the pod's controllers are named
    after each other, as Deployment, ReplicaSet and pod are. Where it runs in no pod nothing need be protected.
    """
    if not home:
        return ()
    if home not in looked_after:
        return (Protection("operator", namespaces=(home,)),)
    mine = (pod, pod.rpartition("-")[0], pod.rpartition("-")[0].rpartition("-")[0])
    own = tuple(name for name in mine if name)
    return (Protection("operator", ("Pod", "ReplicaSet", "Deployment"), own, (home,)),) if own else ()


def stamp_of(now: object) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes times."""
    return f"{now:%Y-%m-%dT%H:%M:%SZ}"
