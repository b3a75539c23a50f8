"""Which rights a plan's writes need, told from the writes themselves."""

from __future__ import annotations

from collections.abc import Iterable

from incident_operator.cluster.resources import resource
from incident_operator.planning.plan import Change

Right = tuple[str, str, str]
"""Verb, kind and subresource."""


def needed(changes: Iterable[Change]) -> list[Right]:
    """The rights for the writes, and for putting back what they make."""
    found: set[Right] = set()
    for change in changes:
        request = change.request
        if request is None:
            continue
        found.add((request.verb, request.ref.kind, request.subresource))
        if request.verb == "create":
            found.add(("delete", request.ref.kind, ""))
    return sorted(found)


def named(right: Right) -> str:
    """A right as a Role has it: ``patch deployments/scale (apps)``."""
    verb, kind, subresource = right
    found = resource(kind)
    full = f"{found.plural}/{subresource}" if subresource else found.plural
    return f"{verb} {full} ({found.group or 'core'})"


def attributes(right: Right, namespace: str) -> dict[str, str]:
    """The right as an access review asks for it."""
    verb, kind, subresource = right
    found = resource(kind)
    asked = {"namespace": namespace, "verb": verb, "group": found.group, "resource": found.plural}
    return {**asked, "subresource": subresource} if subresource else asked
