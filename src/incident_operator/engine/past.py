"""What the lists of a namespace tell of its past, worked out once for all who plan there while they are the same.

The work grows with the namespace; where a hundred Incidents are about it, it would be done a hundred times.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence

from incident_operator.planning import releases, traces
from incident_operator.planning.changes import Happening, UsedBy
from incident_operator.planning.impact import uses
from incident_operator.planning.plan import Manifest, Ref
from incident_operator.planning.selectors import annotations_of

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
KEPT = ("name", "namespace", "creationTimestamp", "labels", "managedFields")
MOST = 32
"""Namespaces whose past is kept; beyond that the one that was worked out first goes."""

Lists = Mapping[str, Sequence[Manifest]]


@dataclasses.dataclass(frozen=True, slots=True)
class Past:
    """What a namespace's lists tell, whoever asks."""

    workloads: Mapping[Ref, Manifest]
    happenings: tuple[Happening, ...]
    """In the order they were found: of one workload the oldest first."""
    used_by: UsedBy


class Pasts:
    """The past of each namespace, as long as the lists it was told from are the very same."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._known: dict[str, tuple[Lists, Past]] = {}

    def of(self, namespace: str, lists: Lists) -> Past:
        """What these lists tell."""
        known = self._known.get(namespace)
        if known is not None and _are_same(known[0], lists):
            return known[1]
        past = past_of(lists)
        self._known.pop(namespace, None)
        if len(self._known) >= MOST:
            del self._known[next(iter(self._known))]
        self._known[namespace] = (lists, past)
        return past


def _are_same(known: Lists, lists: Lists) -> bool:
    """Whether they are the same objects; lists that are equal but were read anew are not."""
    return known.keys() == lists.keys() and all(known[kind] is lists[kind] for kind in lists)


def past_of(lists: Lists) -> Past:
    """What the lists tell: rollouts, scalings, changed configuration, releases; and who uses what."""
    bare = {kind: [_bare(each) for each in lists[kind]] for kind in ("ConfigMap", "Secret")}
    revisions = traces.by_workload([*lists["ReplicaSet"], *lists["ControllerRevision"]])
    workloads = {traces.ref_of(each): each for kind in WORKLOADS for each in lists.get(kind, ())}
    scalers = lists["HorizontalPodAutoscaler"]
    happenings = (
        *traces.rollouts(revisions, workloads),
        *traces.scalings(workloads, revisions),
        *traces.autoscalers(scalers),
        *traces.configs(bare["ConfigMap"], "ConfigMap"),
        *traces.configs(bare["Secret"], "Secret"),
        *releases.helm([*bare["Secret"], *bare["ConfigMap"]]),
    )
    templates = {ref: traces.template_of(mine[-1]) for ref, mine in revisions.items()}
    templates |= {ref: each["spec"]["template"] for ref, each in workloads.items()}
    return Past(workloads, happenings, _used_by(templates, scalers))


def _bare(thing: Manifest) -> Manifest:
    """What is needed of an object that may hold secrets: of its annotations the names alone."""
    meta = thing["metadata"]
    kept = {key: meta[key] for key in KEPT if key in meta}
    return {"kind": thing["kind"], "metadata": {**kept, "annotations": dict.fromkeys(annotations_of(thing), "")}}


def _used_by(templates: Mapping[Ref, Mapping[str, object]], scalers: Sequence[Manifest]) -> UsedBy:
    """Which workloads use which ConfigMap and Secret, and which autoscaler scales which."""
    found: dict[Ref, set[Ref]] = defaultdict(set)
    for ref, template in templates.items():
        for kind, name in uses(template):
            found[Ref(kind, name, ref.namespace)].add(ref)
    for each in scalers:
        found[traces.ref_of(each)].add(traces.scaled_by(each))
    return {ref: frozenset(by) for ref, by in found.items()}
