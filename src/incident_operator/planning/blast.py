"""The blast radius of a change: which pods it takes away, and who else notices.

Pure: an action says what its change reaches, a survey says what is in the namespace,
and ``measure`` puts the two together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from incident_operator.planning.reach import Blast, Reach
from incident_operator.planning.selectors import is_empty, matches

MOST_NAMED = 10


@dataclasses.dataclass(frozen=True, slots=True)
class PodSeen:
    """What matters of a pod."""

    name: str
    labels: Mapping[str, str]
    is_ready: bool
    owner: str = ""
    """The workload that it belongs to, as Kind/name."""
    mark: str = ""
    """Where it says that no Incident touches it: ``label`` or ``annotation``; empty: nowhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class Survey:
    """What is in a namespace, as far as it could be read; ``unknown`` names what could not."""

    pods: Sequence[PodSeen] = ()
    services: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """Name -> spec.selector (a map of labels)."""
    budgets: Mapping[str, tuple[Mapping[str, Any], int]] = dataclasses.field(default_factory=dict)
    """Name -> (LabelSelector, disruptions allowed now)."""
    autoscalers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """``Deployment/api`` -> name."""
    consumers: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """Service -> workloads whose environment names it."""
    unknown: tuple[str, ...] = ()
    """Kinds that could not be listed."""


def measure_all(reaches: Iterable[Reach | None], survey: Survey) -> list[Blast | None]:
    """The blast radius of each change of a plan, one after the other: what the ones before took is gone already.

    So three of three pods that are named one by one leave their Service as dark as their workload would.
    """
    gone, found = set[str](), list[Blast | None]()
    for reach in reaches:
        found.append(None if reach is None else measure(reach, survey, gone))
        gone |= set() if reach is None else _lost(reach, survey)
    return found


def marked(reach: Reach, survey: Survey) -> PodSeen | None:
    """A pod that a change may take away, and that no Incident touches; of some of them, nobody knows which.

    A policy cuts off whatever its selector finds; everything else takes a workload's own pods only.
    """
    is_any = reach.how == "cut off"
    found = (pod for pod in _hit(reach, survey)[0] if is_any or pod.owner == reach.workload)
    return next((pod for pod in found if pod.mark), None)


def _hit(reach: Reach, survey: Survey) -> tuple[list[PodSeen], list[PodSeen], str]:
    """The pods that a change reaches, those of its workload, and what that is where a single pod is named."""
    mine = [] if is_empty(reach.selector) else [pod for pod in survey.pods if matches(reach.selector, pod.labels)]
    if not reach.pod:
        return mine, mine, ""
    hit = [pod for pod in survey.pods if pod.name == reach.pod]
    owner = next((pod.owner for pod in hit), "")
    if owner:
        mine = [pod for pod in survey.pods if pod.owner == owner]
    return hit, mine or hit, owner


def _lost(reach: Reach, survey: Survey) -> set[str]:
    """The pods that are certainly gone by a change: all that it reaches, unless others replace them."""
    hit, _, _ = _hit(reach, survey)
    is_all = reach.lost is None or reach.lost >= len(hit)
    return {pod.name for pod in hit} if is_all and reach.how != "replaced" else set()


def measure(reach: Reach, survey: Survey, gone: AbstractSet[str] = frozenset()) -> Blast:
    """The blast radius of a change in a namespace as it was surveyed, where some pods are gone by then."""
    if "Pod" in survey.unknown:
        return Blast(reach.workload, pods=-1, how=reach.how, unknown=survey.unknown)
    hit, mine, owner = _hit(reach, survey)
    pods = len(hit) if reach.lost is None else reach.lost
    total = max(len(mine), pods)
    services = _dark(survey, _lost(reach, survey), gone)
    touched = [
        name for name, selector in survey.services.items() if selector and any(matches_labels(selector, p) for p in hit)
    ]
    consumers = sorted({who for name in touched for who in survey.consumers.get(name, ()) if who != reach.workload})
    return Blast(
        workload=reach.workload,
        pods=pods,
        of=total,
        in_namespace=len(survey.pods),
        how=reach.how,
        budgets=_budgets(survey, hit),
        autoscaler=survey.autoscalers.get(reach.workload, ""),
        services=services[:MOST_NAMED],
        consumers=tuple(consumers[:MOST_NAMED]),
        unknown=survey.unknown,
        owner=owner,
    )


def matches_labels(selector: Mapping[str, Any], pod: PodSeen) -> bool:
    """Whether a Service's selector finds a pod."""
    return all(pod.labels.get(key) == value for key, value in selector.items())


def _dark(survey: Survey, lost: AbstractSet[str], gone: AbstractSet[str]) -> tuple[str, ...]:
    """Services that had a ready pod until then, and keep none."""
    found = []
    for name, selector in sorted(survey.services.items()):
        ready = {pod.name for pod in survey.pods if selector and pod.is_ready and matches_labels(selector, pod)} - gone
        if ready and not ready - lost:
            found.append(name)
    return tuple(found)


def _budgets(survey: Survey, hit: Sequence[PodSeen]) -> tuple[str, ...]:
    """Disruption budgets of the pods, and what they allow now."""
    return tuple(
        f"{name} allows {allowed} now"
        for name, (selector, allowed) in sorted(survey.budgets.items())
        if any(matches(selector, pod.labels) for pod in hit)
    )
