"""Which rights a plan's writes need, told from the writes themselves."""

from __future__ import annotations

from collections.abc import Iterable

from incident_operator.cluster.resources import resource
from incident_operator.planning.plan import Change

Right = tuple[str, str, str, str]
"""Verb, kind, subresource, and the namespace."""
KEPT = frozenset({"Job", "VolumeSnapshot", "PersistentVolumeClaim", "Restore", "Cluster", "Endpoints", "ConfigMap"})
"""Kinds that are made and never deleted again: they hold data, are the record of what was done, or Patroni's."""


def needed(changes: Iterable[Change]) -> list[Right]:
    """The rights for the writes, for those that may turn out to be needed, and for putting back what they make."""
    found: set[Right] = set()
    for change in changes:
        request = change.request
        found |= {(each.verb, each.kind, "", change.target.namespace) for each in change.further}
        if request is None:
            continue
        kind, namespace = request.ref.kind, request.ref.namespace
        found.add((request.verb, kind, request.subresource, namespace))
        if request.verb == "create" and kind not in KEPT:
            found.add(("delete", kind, "", namespace))
    return sorted(found)


def named(right: Right, home: str = "") -> str:
    """A right as a Role has it: ``patch deployments/scale (apps)``; with the namespace where that is not ``home``."""
    verb, kind, subresource, namespace = right
    found = resource(kind)
    full = f"{found.plural}/{subresource}" if subresource else found.plural
    where = "" if namespace == home or not home else f" in namespace {namespace}"
    return f"{verb} {full} ({found.group or 'core'}){where}"


def attributes(right: Right) -> dict[str, str]:
    """The right as an access review asks for it."""
    verb, kind, subresource, namespace = right
    found = resource(kind)
    asked = {"namespace": namespace, "verb": verb, "group": found.group, "resource": found.plural}
    return {**asked, "subresource": subresource} if subresource else asked
