"""What the API server makes of a patch, in memory (RFC 6902, RFC 7396; seen on Kubernetes 1.34).

Three things differ from the RFCs: a ``test`` against null holds where the member is absent, ``replace``
of an absent member adds it, and members that come out null or empty are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from incident_operator.planning.plan import Json

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
LEFT_OUT_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")


class CannotApplyError(Exception):
    """An operation of a JSON patch does not fit the object: nothing of the patch is applied."""


def json_patch(thing: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The object after all operations, in their order; CannotApplyError if any of them does not fit."""
    holder: dict[str, Any] = {"": copy.deepcopy(dict(thing))}
    for each in operations:
        path = _keys(each["path"])
        match each["op"]:
            case "test":
                if _peek(holder, path) != each["value"]:
                    raise CannotApplyError(f"testing value {each['path']} failed")
            case "remove":
                _take(holder, path)
            case "add":
                _put(holder, path, copy.deepcopy(each["value"]), insert=True)
            case "replace":
                _put(holder, path, copy.deepcopy(each["value"]), insert=False)
            case "move":
                _put(holder, path, _take(holder, _keys(each["from"])), insert=True)
            case "copy":
                _put(holder, path, copy.deepcopy(_peek(holder, _keys(each["from"]))), insert=True)
            case unknown:
                raise CannotApplyError(f"unexpected kind: {unknown}")
    found: dict[str, Any] = holder[""]
    return found


def _keys(path: str) -> list[str]:
    """A JSON pointer as keys from the holder of the document down."""
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")]


def _parent(holder: dict[str, Any], path: Sequence[str]) -> Any:
    """The object or list that a path ends in; CannotApplyError if the way there breaks off."""
    found: Any = holder
    for key in path[:-1]:
        found = _member(found, key)
    if not isinstance(found, (dict, list)):
        raise CannotApplyError(f"{'/'.join(path)}: its parent is no object and no list")
    return found


def _member(parent: Any, key: str) -> Any:
    if isinstance(parent, dict) and key in parent:
        return parent[key]
    if isinstance(parent, list):
        return parent[_index(parent, key)]
    raise CannotApplyError(f"missing path: {key}")


def _index(parent: list[Any], key: str, *, beyond: int = 0) -> int:
    """A position in a list, at most ``beyond`` places after its last item."""
    if not key.isdigit() or int(key) >= len(parent) + beyond:
        raise CannotApplyError(f"no such place in a list of {len(parent)}: {key}")
    return int(key)


def _peek(holder: dict[str, Any], path: Sequence[str]) -> Json:
    """The value at a path; a member that an object lacks is null."""
    parent = _parent(holder, path)
    if isinstance(parent, dict) and path[-1] not in parent:
        return None
    return _member(parent, path[-1])


def _take(holder: dict[str, Any], path: Sequence[str]) -> Json:
    """The value at a path, which is then gone from there."""
    parent = _parent(holder, path)
    _member(parent, path[-1])
    return parent.pop(_index(parent, path[-1]) if isinstance(parent, list) else path[-1])


def _put(holder: dict[str, Any], path: Sequence[str], value: Json, *, insert: bool) -> None:
    """A value put at a path; in a list in front of what is there (``insert``), or in its place."""
    parent, last = _parent(holder, path), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif not insert:
        parent[_index(parent, last)] = value
    else:
        parent.insert(len(parent) if last == "-" else _index(parent, last, beyond=1), value)


def merge_patch(thing: Json, patch: Json) -> Any:
    """The object with the members of the patch; null takes one away, lists are replaced whole."""
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    new = dict(copy.deepcopy(thing)) if isinstance(thing, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = merge_patch(new.get(key), value)
    return new


def tidy(thing: Mapping[str, Any]) -> dict[str, Any]:
    """The object as the API server would show it: without members that are null, or empty in its metadata."""
    new: dict[str, Any] = _without_nulls({**thing, "metadata": _with_texts(thing["metadata"], "labels", "annotations")})
    if isinstance(thing.get("data"), Mapping):
        new["data"] = _with_texts(thing, "data")["data"]
        if not new["data"]:
            del new["data"]
    for field in LEFT_OUT_EMPTY:
        if not new["metadata"].get(field, True):
            del new["metadata"][field]
    return new


def _with_texts(holder: Mapping[str, Any], *fields: str) -> dict[str, Any]:
    """Maps of texts as they are read: a null in one is an empty text."""
    texts = {
        field: {key: "" if value is None else value for key, value in holder[field].items()}
        for field in fields
        if isinstance(holder.get(field), Mapping)
    }
    return {**holder, **texts}


def _without_nulls(value: Json) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item) for item in value]
    return value


def as_scale(thing: Mapping[str, Any], selector: str) -> dict[str, Any]:
    """The ``scale`` subresource of a workload: no replicas in it where they are 0 (``omitempty``)."""
    replicas = thing["spec"].get("replicas", 1)
    metadata = {
        key: thing["metadata"][key]
        for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if key in thing["metadata"]
    }
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": (thing.get("status") or {}).get("replicas") or 0, "selector": selector},
    }
