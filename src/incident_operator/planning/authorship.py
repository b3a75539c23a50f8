"""Who made an object as a write of ours wanted it, told from ``metadata.managedFields``.

The API server keeps for each field who set it last to another value (kubernetes.io, "Server-Side Apply",
"Field management"). It keeps nobody for ``spec.replicas`` where that was set to 0 over the ``scale``
subresource: a Scale has no such member then (``omitempty``; seen on Kubernetes 1.34).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from incident_operator.planning.plan import Json, Manifest, Request


def owns(fields: Json, *path: str) -> bool:
    """Whether the fields of one entry have this one, or anything in it: ``f:spec``, ``f:template``."""
    for step in path:
        if not isinstance(fields, Mapping) or step not in fields:
            return False
        fields = fields[step]
    return True


def is_of_another(thing: Manifest, request: Request, manager: str) -> bool:
    """Whether some field that a JSON patch of ``manager`` sets was last set by somebody else, and none by it.

    False where that cannot be told: no field of it is kept, or the request is another kind of write.
    """
    if request.verb != "patch" or not isinstance(request.body, list):
        return False
    entries = thing["metadata"].get("managedFields") or ()
    wanted = [path for each in request.body if each["op"] in ("add", "replace") for path in _paths(each)]
    owners = {each.get("manager") for each in entries for path in wanted if owns(each.get("fieldsV1"), *path)}
    return bool(owners) and manager not in owners


def _paths(operation: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The fields that one operation sets, as managedFields names them."""
    names = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    return _leaves(tuple(f"f:{name}" for name in names), operation["value"])


def _leaves(path: tuple[str, ...], value: Json) -> Iterator[tuple[str, ...]]:
    """The fields of a value; a list is one, for its items go by keys of their own there."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves((*path, f"f:{key}"), each)
    else:
        yield path
