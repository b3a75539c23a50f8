"""Everything that a plan is about, for the policies that protect something.

Not only what an Incident names: also what its plan writes to, the pods that a workload's selector finds, and
whoever controls any of them. A workload that is protected cannot be reached through its pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from incident_operator.cluster.port import Hands
from incident_operator.cluster.resources import RESOURCES
from incident_operator.planning.plan import Change, Manifest, Ref
from incident_operator.planning.policy import Protection, Touched
from incident_operator.planning.selectors import controller_of, is_empty, is_finished, labels_of, matches

WORKLOADS = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"})


def is_close(protections: Iterable[Protection]) -> bool:
    """Whether any of them can only be told from the objects themselves: by labels, or by who controls them."""
    return any(each.kinds or each.names or each.selector is not None for each in protections)


async def touched(hands: Hands, named: Iterable[Ref], changes: Iterable[Change], *, closely: bool) -> list[Touched]:
    """What is named and written to; ``closely``: with its labels, its pods and all who control any of it.

    Raises Stalled("Forbidden") where that may not be read: what cannot be told to be free may be protected.
    """
    made = {_bare(change.target) for change in changes if change.request and change.request.verb == "create"}
    refs = {*map(_bare, named), *(_bare(change.target) for change in changes)}
    if not closely:
        return [Touched(ref.kind, ref.name, ref.namespace) for ref in sorted(refs)]
    found = await _walk(hands, refs - made, {})
    pods = await _pods(hands, [thing for thing in found.values() if thing is not None])
    found |= await _walk(hands, pods.keys() - found.keys(), {**found, **pods})
    return [
        Touched(ref.kind, ref.name, ref.namespace, {} if thing is None else labels_of(thing))
        for ref, thing in sorted({**dict.fromkeys(made), **found}.items(), key=lambda item: item[0])
    ]


async def _walk(hands: Hands, refs: Iterable[Ref], known: Mapping[Ref, Manifest | None]) -> dict[Ref, Manifest | None]:
    """These objects and, from controller to controller, who is above; None: it is not there, or of no known kind."""
    found: dict[Ref, Manifest | None] = {}
    todo = sorted(refs)
    while todo:
        things = await asyncio.gather(*(_read(hands, ref, known) for ref in todo))
        found |= dict(zip(todo, things, strict=True))
        above = {_owner(thing) for thing in things if thing is not None}
        todo = sorted(ref for ref in above if ref is not None and ref not in found)
    return found


async def _read(hands: Hands, ref: Ref, known: Mapping[Ref, Manifest | None]) -> Manifest | None:
    if ref in known:
        return known[ref]
    kind = RESOURCES.get(ref.kind)
    if kind is None or kind.only_metadata or not kind.namespaced:
        return None
    return await hands.find(ref.kind, ref.namespace, ref.name)


def _owner(thing: Manifest) -> Ref | None:
    owner = controller_of(thing)
    return None if owner is None else Ref(owner["kind"], owner["name"], thing["metadata"]["namespace"])


async def _pods(hands: Hands, things: Iterable[Manifest]) -> dict[Ref, Manifest | None]:
    """The pods that the selectors of workloads find, whoever controls those."""
    selectors: dict[str, list[Mapping[str, object]]] = {}
    for thing in things:
        selector = thing["spec"].get("selector") if thing["kind"] in WORKLOADS else None
        if selector and not is_empty(selector):
            selectors.setdefault(thing["metadata"]["namespace"], []).append(selector)
    lists = await asyncio.gather(*(hands.list("Pod", namespace) for namespace in selectors))
    return {
        Ref("Pod", pod["metadata"]["name"], namespace): pod
        for (namespace, wanted), pods in zip(selectors.items(), lists, strict=True)
        for pod in pods
        if not is_finished(pod) and any(matches(selector, labels_of(pod)) for selector in wanted)
    }


def _bare(ref: Ref) -> Ref:
    return Ref(ref.kind, ref.name, ref.namespace)
