"""The blast radius of a change: which pods it takes away, and who else notices.

Pure: an action says what its change reaches, a survey says what is in the namespace,
and ``measure`` puts the two together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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


def measure(reach: Reach, survey: Survey) -> Blast:
    """The blast radius of a change in a namespace as it was surveyed."""
    if "Pod" in survey.unknown:
        return Blast(reach.workload, pods=-1, how=reach.how, unknown=survey.unknown)
    mine = [] if is_empty(reach.selector) else [pod for pod in survey.pods if matches(reach.selector, pod.labels)]
    if reach.pod:
        hit = [pod for pod in survey.pods if pod.name == reach.pod]
        mine = mine or hit
    else:
        hit = mine
    pods = len(hit) if reach.lost is None else reach.lost
    total = max(len(mine), pods)
    lost = {pod.name for pod in hit} if pods >= len(hit) and reach.how != "replaced" else set()
    services = _dark(survey, lost)
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
    )


def matches_labels(selector: Mapping[str, Any], pod: PodSeen) -> bool:
    """Whether a Service's selector finds a pod."""
    return all(pod.labels.get(key) == value for key, value in selector.items())


def _dark(survey: Survey, lost: set[str]) -> tuple[str, ...]:
    """Services that had a ready pod, and keep none."""
    found = []
    for name, selector in sorted(survey.services.items()):
        ready = [pod.name for pod in survey.pods if selector and pod.is_ready and matches_labels(selector, pod)]
        if ready and not set(ready) - lost:
            found.append(name)
    return tuple(found)


def _budgets(survey: Survey, hit: Sequence[PodSeen]) -> tuple[str, ...]:
    """Disruption budgets of the pods, and what they allow now."""
    return tuple(
        f"{name} allows {allowed} now"
        for name, (selector, allowed) in sorted(survey.budgets.items())
        if any(matches(selector, pod.labels) for pod in hit)
    )
