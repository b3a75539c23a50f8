"""What happened before an alert began, ranked by how well it fits as its cause.

Pure. The score of one happening is how near to the targets it is, times how near to the start:

* on a target itself 100, something a target uses or comes from 80, a node that it runs on 60,
  in the same namespace 40;
* the whole of that at the very start, half of it 30 minutes before, a third an hour before:
  ``30 min / (30 min + age)``.

What came after the start is no cause of it. The score sorts suspects for a person, and for the
notes of a plan; nothing is ever done because of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from incident_operator.planning.plan import Ref

Kind = Literal[
    "Rollout", "ConfigMap", "Secret", "HelmRelease", "FluxRevision", "ArgoRevision", "Node", "Autoscaler", "Scale"
]
UsedBy = Mapping[Ref, frozenset[Ref]]
"""What is used, or comes first (a ConfigMap, a Secret, a release, an autoscaler), and the workloads that depend on it;
without UIDs."""

MOST_KEPT = 10
MOST_SUMMARY, MOST_BY, MOST_REVISION = 300, 100, 100
WITHIN = timedelta(hours=6)
SKEW = timedelta(minutes=1)
"""How far the clock of the alert's source and that of the API server may be apart."""
HALF = timedelta(minutes=30)
"""How long before the start a happening counts half."""
ON_TARGET, USED, ON_NODE, NEARBY = 100, 80, 60, 40

VERBS: Mapping[Kind, str] = {
    "Rollout": "rolled out",
    "HelmRelease": "released",
    "FluxRevision": "applied",
    "ArgoRevision": "applied",
    "Scale": "scaled",
}
"""What is said of a kind; of all others that they changed."""
USES: Mapping[Kind, str] = {
    "HelmRelease": "which the target comes from",
    "FluxRevision": "which the target comes from",
    "ArgoRevision": "which the target comes from",
    "Autoscaler": "which scales the target",
}
"""How a target depends on something of a kind; on all others by using them."""


def one_line(text: str, most: int) -> str:
    """A text on one line without control characters, cut to so many characters."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= most else line[: most - 1] + "…"


@dataclasses.dataclass(frozen=True, slots=True)
class Happening:
    """One thing that changed; its texts are bounded and on one line, whatever they are made from."""

    kind: Kind
    what: Ref
    """The object that it is about: the workload that rolled out, the ConfigMap, the node."""
    at: datetime
    """When, as the API server's clock had it; aware."""
    by: str = ""
    """The field manager, or the person; empty where nobody has noted it."""
    summary: str = ""
    revision: str = ""
    """The number of the rollout or release, or the Git revision."""

    def __post_init__(self) -> None:
        """Keep the bounds."""
        for field, most in (("by", MOST_BY), ("summary", MOST_SUMMARY), ("revision", MOST_REVISION)):
            object.__setattr__(self, field, one_line(getattr(self, field), most))


@dataclasses.dataclass(frozen=True, slots=True)
class Ranked:
    """A happening, how well it fits (1 to 100), and why."""

    happening: Happening
    score: int
    why: str
    """``rolled out 2 min before the alert began, on the target itself``."""
    when: str
    """``2 min before the alert began``."""


def without_uid(ref: Ref) -> Ref:
    """The same object, whichever of its lives."""
    return Ref(ref.kind, ref.name, ref.namespace)


def ranked(
    happenings: Iterable[Happening],
    *,
    targets: Sequence[Ref],
    used_by: UsedBy,
    started: datetime,
    within: timedelta = WITHIN,
) -> tuple[Ranked, ...]:
    """The ten that fit best, the best first.

    Those of the same score are sorted by how near to the start they were, before it rather than after, and
    else stay as they were given. What is too old, came after the start, or is neither of a target nor of its
    namespace is left out. Happenings of kind Node are taken to be of nodes that the targets run on.
    """
    aims = frozenset(without_uid(target) for target in targets)
    found: list[tuple[tuple[int, bool, timedelta], Ranked]] = []
    for each in happenings:
        age = started - each.at
        nearness, where = _place(each, aims, used_by)
        if not nearness or not -SKEW <= age <= within:
            continue
        score = max(1, round(nearness * (HALF / (HALF + abs(age)))))
        when = _when(age)
        verb = VERBS.get(each.kind, "changed")
        entry = Ranked(each, score, f"{verb} {when}, {where}", when)
        found.append(((-score, age < timedelta(), abs(age)), entry))
    found.sort(key=lambda pair: pair[0])
    return tuple(entry for _, entry in found[:MOST_KEPT])


def _place(happening: Happening, targets: frozenset[Ref], used_by: UsedBy) -> tuple[int, str]:
    """How near to the targets it is, and how to say so."""
    what = without_uid(happening.what)
    if what in targets:
        return ON_TARGET, "on the target itself"
    if used_by.get(what, frozenset()) & targets:
        return USED, USES.get(happening.kind, "which the target uses")
    if happening.kind == "Node":
        return ON_NODE, "a node that the target runs on"
    if any(what.namespace == target.namespace for target in targets):
        return NEARBY, "in the same namespace"
    return 0, ""


def _when(age: timedelta) -> str:
    """How long before the start it was; what seems to be after is told to be within the clocks' error."""
    if age < timedelta():
        return f"{spoken(-age)} after the alert began (clocks differ)"
    return f"{spoken(age)} before the alert began"


def spoken(span: timedelta) -> str:
    """A span as people say it: ``40 s``, ``3 min``, ``2 h 5 min``."""
    seconds = int(span.total_seconds())
    if seconds < 60:  # noqa: PLR2004 - a minute
        return f"{seconds} s"
    hours, minutes = divmod(seconds // 60, 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
