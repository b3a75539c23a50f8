"""JSON patches that carry their own preconditions (RFC 6902).

A ``test`` against null holds where the member is absent: that is how the API server's patch
library reads it (evanphx/json-patch; tried on Kubernetes 1.34), and the only way to say
"add this, unless somebody else did".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from incident_operator.planning.plan import Json, Manifest, Ref, Request

Operation = dict[str, Any]
JSON_PATCH: Final = "application/json-patch+json"


def escaped(key: str) -> str:
    """A key as part of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def test(path: str, value: Json) -> Operation:
    """The patch applies only if this is there; None: only if nothing is."""
    return {"op": "test", "path": path, "value": value}


def swap(path: str, old: Json, new: Json) -> list[Operation]:
    """From exactly one value to another; None is absent."""
    if new is None:
        return [test(path, old), {"op": "remove", "path": path}]
    return [test(path, old), {"op": "add" if old is None else "replace", "path": path, "value": new}]


def put(members: Mapping[str, str] | None, path: str, items: Mapping[str, str]) -> list[Operation]:
    """Members of a map (labels, annotations) set one by one, so that all others stay.

    ``members`` is the map as it was read: where there was none it is made, unless somebody made it since.
    """
    if members is None:
        return [test(path, None), {"op": "add", "path": path, "value": dict(items)}]
    return [{"op": "add", "path": f"{path}/{escaped(key)}", "value": value} for key, value in items.items()]


def swap_member(thing: Manifest, field: str, key: str, old: str | None, new: str | None) -> list[Operation]:
    """One label or annotation from exactly one value to another; None is absent."""
    if old is None and new is not None and thing["metadata"].get(field) is None:
        return put(None, f"/metadata/{field}", {key: new})
    return swap(f"/metadata/{field}/{escaped(key)}", old, new)


def patch(ref: Ref, operations: list[Operation], subresource: str = "") -> Request:
    """A JSON patch of exactly the object with this UID."""
    return Request("patch", ref, [test("/metadata/uid", ref.uid), *operations], JSON_PATCH, subresource)


def ref_of(thing: Manifest, kind: str = "") -> Ref:
    """What names an object that was read."""
    metadata = thing["metadata"]
    return Ref(kind or thing["kind"], metadata["name"], metadata["namespace"], metadata["uid"])


def is_there(ref: Ref, current: Manifest | None) -> bool:
    """Whether an object is still the one that was planned for, and not another of its name."""
    return current is not None and current["metadata"].get("uid") == ref.uid
