"""Objects with the traces that changes leave in them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
Object = dict[str, Any]
TEMPLATE = {"f:spec": {"f:template": {"f:spec": {}}}}
DATA = {"f:data": {".": {}, "f:PASSWORD": {}}}


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def stamp(minutes: float) -> str:
    return f"{ago(minutes):%Y-%m-%dT%H:%M:%SZ}"


def wrote(manager: str, minutes: float, fields: Mapping[str, Any], subresource: str = "") -> Object:
    """One entry of managedFields."""
    more = {"subresource": subresource} if subresource else {}
    return {"manager": manager, "operation": "Update", "time": stamp(minutes), "fieldsV1": fields, **more}


def changed(thing: Object, *entries: Object, made: float | None = None) -> Object:
    """An object that was made, and written, so many minutes ago."""
    if made is not None:
        thing["metadata"]["creationTimestamp"] = stamp(made)
    thing["metadata"]["managedFields"] = list(entries)
    return thing


def plain(kind: str, name: str, namespace: str = "shop", **more: Any) -> Object:
    """An object with a name and little else."""
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **more.pop("metadata", {})}
    return {"kind": kind, "metadata": metadata, **more}
