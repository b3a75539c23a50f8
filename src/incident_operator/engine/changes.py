"""Looks up what changed in the hours before an alert, as the Incident's ServiceAccount.

What may not be read is unknown, and said to be; only an API server that is away is a fault. Of ConfigMaps
and Secrets nothing but metadata is kept, and of that no annotation's value: kubectl notes whole objects in one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from incident_operator.cluster.port import Reader
from incident_operator.cluster.resources import resource
from incident_operator.engine.fresh import Fresh
from incident_operator.engine.past import WORKLOADS, Lists, Pasts
from incident_operator.faults import Fault, NotFound, Stalled
from incident_operator.planning import releases, traces
from incident_operator.planning.changes import Happening, UsedBy, without_uid
from incident_operator.planning.impact import uses
from incident_operator.planning.plan import Manifest, Ref
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import HASH_LABEL, controller_of, labels_of

WHY = "tell what changed before the alert"
RULES = (
    Rule("", ("pods", "configmaps"), ("list",), WHY),
    Rule("apps", ("replicasets", "controllerrevisions"), ("list",), WHY),
    Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("list",), f"{WHY}, and who changed it"),
    Rule("autoscaling", ("horizontalpodautoscalers",), ("list",), WHY),
)
"""What the responder needs for it; Secrets, nodes, Flux and Argo CD are looked at where a team grants that, too."""

ALWAYS = ("Pod", "ReplicaSet", "ControllerRevision", "HorizontalPodAutoscaler", "ConfigMap", "Secret")
OPTIONAL = ("Kustomization", "HelmRelease", "Application")
MOST_NODES = 5
MOST_MANAGERS = 5
GROUPS_SECONDS = 60.0


@dataclasses.dataclass(frozen=True, slots=True)
class Looked:
    """What was found."""

    happenings: tuple[Happening, ...]
    """The newest first."""
    used_by: UsedBy
    unknown: tuple[str, ...] = ()
    """What could not be read, for people: ``Secrets could not be listed``."""
    targets: tuple[Ref, ...] = ()
    """The targets, and for pods among them also the workloads that they belong to."""


class Historian:
    """Looks up changes; remembers which API groups there are, and what the last lists of a namespace told."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._groups: Fresh[str, frozenset[str]] = Fresh(GROUPS_SECONDS)
        self._pasts = Pasts()

    async def look(self, reader: Reader, namespace: str, targets: Sequence[Ref], *, since: datetime) -> Looked:
        """What happened in the namespace, and to what its targets come from and run on, since then."""
        seeing = _Seeing(reader, namespace)
        lists = await self._lists(seeing, targets)
        past = self._pasts.of(namespace, lists)
        aims = _with_owners(targets, lists["Pod"])
        managers = {ref: releases.managed_by(each) for ref, each in past.workloads.items() if ref in aims}
        others = {manager for of in managers.values() for manager in of}
        nodes, elsewhere = await asyncio.gather(_nodes(seeing, aims, lists["Pod"]), self._elsewhere(seeing, others))
        found = [
            *past.happenings,
            *releases.flux(_of(elsewhere, lists, "Kustomization", "HelmRelease")),
            *releases.argo(_of(elsewhere, lists, "Application")),
            *(happening for each in nodes for happening in releases.node(each)),
        ]
        # Of two in the same second the one that was found later is the later one: revisions are found oldest first.
        recent = sorted((each for each in found if each.at >= since), key=lambda each: each.at)[::-1]
        used = _and(_and_by_pods(past.used_by, aims, lists["Pod"]), managers)
        return Looked(tuple(recent), used, tuple(sorted(seeing.unknown)), aims)

    async def _lists(self, seeing: _Seeing, targets: Sequence[Ref]) -> Lists:
        """The lists that are needed, all asked for at once; of a group that is not served nothing is asked."""
        kinds = {target.kind for target in targets}
        workloads = [kind for kind in WORKLOADS if kind in kinds or ("Pod" in kinds and kind != "DaemonSet")]
        always = [*ALWAYS, *workloads]
        lists, more = await asyncio.gather(
            asyncio.gather(*(seeing.listed(kind) for kind in always)), self._optional(seeing)
        )
        return dict(zip(always, lists, strict=True)) | more

    async def _optional(self, seeing: _Seeing) -> dict[str, Sequence[Manifest]]:
        served = await self._served(seeing)
        kinds = [kind for kind in OPTIONAL if resource(kind).group in served]
        lists = await asyncio.gather(*(seeing.listed(kind, is_optional=True) for kind in kinds))
        return dict.fromkeys(OPTIONAL, ()) | dict(zip(kinds, lists, strict=True))

    async def _served(self, seeing: _Seeing) -> frozenset[str]:
        try:
            return await self._groups.get("", seeing.reader.groups)
        except Stalled:
            seeing.unknown.add("API groups could not be listed")
            return frozenset()

    async def _elsewhere(self, seeing: _Seeing, managers: Iterable[Ref]) -> list[Manifest]:
        """What the targets come from and is kept in another namespace, as Flux and Argo CD mostly do."""
        served = await self._served(seeing)
        wanted = [each for each in sorted(managers) if each.namespace != seeing.namespace]
        wanted = [each for each in wanted if resource(each.kind).group in served][:MOST_MANAGERS]
        found = await asyncio.gather(*(seeing.read(each) for each in wanted))
        return [each for each in found if each is not None]


class _Seeing:
    """Reads of one look, and what could not be read."""

    def __init__(self, reader: Reader, namespace: str) -> None:
        """Everything is known so far."""
        self.reader = reader
        self.namespace = namespace
        self.unknown: set[str] = set()

    async def listed(self, kind: str, *, is_optional: bool = False) -> Sequence[Manifest]:
        """A list of the namespace; an empty one where it may not be made.

        An API server that serves a group in another version only answers 404, which else means that
        something is away: of what not every cluster has, no fault counts.
        """
        try:
            found = await self.reader.list(kind, self.namespace)
        except Fault as fault:
            if not is_optional and not isinstance(fault, Stalled):
                raise
            self.unknown.add(f"{kind}s could not be listed")
            return ()
        return found

    async def read(self, ref: Ref) -> Manifest | None:
        """An object that need not be readable, nor be there."""
        where = f"{ref.namespace}/{ref.name}" if ref.namespace else ref.name
        try:
            return await self.reader.get(ref.kind, ref.namespace, ref.name)
        except NotFound:
            if ref.kind == "Node":
                self.unknown.add(f"Node {where} is not there any more")
        except Fault:
            self.unknown.add(f"{ref.kind} {where} could not be read")
        return None


def _of(elsewhere: Iterable[Manifest], lists: Lists, *kinds: str) -> list[Manifest]:
    """What there is of some kinds, here and elsewhere."""
    return [*(each for kind in kinds for each in lists[kind]), *(each for each in elsewhere if each["kind"] in kinds)]


def _owner(pod: Manifest) -> Ref | None:
    """The workload of a pod; a Deployment is told by its ReplicaSet's name, ``<deployment>-<pod-template-hash>``."""
    owner = controller_of(pod)
    if owner is None:
        return None
    namespace, end = pod["metadata"].get("namespace", ""), f"-{labels_of(pod).get(HASH_LABEL, '')}"
    if owner.get("kind") == "ReplicaSet" and len(end) > 1 and owner["name"].endswith(end):
        return Ref("Deployment", owner["name"].removesuffix(end), namespace)
    return Ref(owner.get("kind", ""), owner["name"], namespace)


def _with_owners(targets: Sequence[Ref], pods: Sequence[Manifest]) -> tuple[Ref, ...]:
    """The targets, then the workloads of those that are pods."""
    aims = dict.fromkeys(without_uid(target) for target in targets)
    for pod in pods:
        owner = _owner(pod) if traces.ref_of(pod) in aims else None
        if owner is not None:
            aims.setdefault(owner)
    return tuple(aims)


async def _nodes(seeing: _Seeing, aims: Sequence[Ref], pods: Sequence[Manifest]) -> list[Manifest]:
    """The nodes that pods of the targets run on, a few at most."""
    mine = [pod for pod in pods if traces.ref_of(pod) in aims or _owner(pod) in aims]
    names = sorted({name for pod in mine if (name := (pod.get("spec") or {}).get("nodeName"))})[:MOST_NODES]
    found = await asyncio.gather(*(seeing.read(Ref("Node", name, "")) for name in names))
    return [each for each in found if each is not None]


def _and_by_pods(used: UsedBy, aims: Sequence[Ref], pods: Sequence[Manifest]) -> UsedBy:
    """The same, with what pods that are targets themselves use."""
    mine = [(traces.ref_of(pod), pod) for pod in pods if traces.ref_of(pod) in aims]
    return _merged(used, ((Ref(kind, name, ref.namespace), ref) for ref, pod in mine for kind, name in uses(pod)))


def _and(used: UsedBy, managers: Mapping[Ref, frozenset[Ref]]) -> UsedBy:
    """The same, with what the workloads come from."""
    return _merged(used, ((manager, workload) for workload, of in managers.items() for manager in of))


def _merged(used: UsedBy, more: Iterable[tuple[Ref, Ref]]) -> UsedBy:
    """Who uses what, with more of it; the same where there is no more."""
    found: dict[Ref, frozenset[Ref]] = {}
    for what, by in more:
        found[what] = found.get(what, used.get(what, frozenset())) | {by}
    return {**used, **found} if found else used
