"""Label and field selectors as text, as a list request has them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from incident_operator.api.crdgen import KINDS
from incident_operator.cluster.fake_store import RefusedError
from incident_operator.cluster.resources import resource
from incident_operator.planning.plan import Manifest
from incident_operator.planning.selectors import labels_of, matches

ALWAYS = ("metadata.name", "metadata.namespace")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "Pod": ("status.phase", "spec.nodeName"),
    **{kind.name: tuple(path.removeprefix(".") for path in kind.selectable) for kind in KINDS},
}
"""What can be selected by, besides name and namespace."""
KEY = r"[A-Za-z0-9][-A-Za-z0-9_./]*"
SET = re.compile(rf"({KEY})\s+(in|notin)\s+\(([^()]*)\)")
EQUAL = re.compile(rf"({KEY})\s*(!=|==|=)\s*([-A-Za-z0-9_.]*)")
THERE = re.compile(rf"(!?)\s*({KEY})")


def question(kind: str, labels: str, fields: str) -> Callable[[Manifest], bool]:
    """Whether an object is wanted by both selectors."""
    selector, has_fields = parsed_labels(labels), parsed_fields(kind, fields)
    return lambda thing: matches(selector, labels_of(thing)) and has_fields(thing)


def parsed_labels(text: str) -> dict[str, Any]:
    """A label selector of a query as a LabelSelector; 400 if it cannot be read."""
    found = [_requirement(part.strip()) for part in re.split(r",(?![^()]*\))", text) if text]
    return {"matchExpressions": found}


def _requirement(text: str) -> dict[str, Any]:
    if fits := SET.fullmatch(text):
        values = [value.strip() for value in fits[3].split(",")]
        return {"key": fits[1], "operator": "In" if fits[2] == "in" else "NotIn", "values": values}
    if fits := EQUAL.fullmatch(text):
        return {"key": fits[1], "operator": "NotIn" if fits[2] == "!=" else "In", "values": [fits[3]]}
    if fits := THERE.fullmatch(text):
        return {"key": fits[2], "operator": "DoesNotExist" if fits[1] else "Exists"}
    raise RefusedError(400, "BadRequest", f"unable to parse requirement: {text}")


def parsed_fields(kind: str, text: str) -> Callable[[Manifest], bool]:
    """A field selector of a query as a question to an object; 400 names a field that cannot be selected by."""
    wanted: list[tuple[str, str, bool]] = []
    for part in text.split(",") if text else ():
        fits = re.fullmatch(r"([A-Za-z.]+)(!=|==|=)(.*)", part)
        if fits is None:
            raise RefusedError(400, "BadRequest", f"invalid selector: {part!r}; can't understand it")
        if fits[1] not in (*ALWAYS, *FIELDS.get(kind, ())):
            raise RefusedError(400, "BadRequest", f"field label not supported: {fits[1]}")
        wanted.append((fits[1], fits[3], fits[2] != "!="))
    return lambda thing: all((field(thing, path) == value) is equal for path, value, equal in wanted)


def field(thing: Manifest, path: str) -> str:
    """A text in an object by its path; empty if it is not there."""
    found: Any = thing
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return str(found or "")


def column_of(kind: str, name: str) -> str | None:
    """The path of a column in the table of a kind of ours; None if there is no such column."""
    columns = next((each.columns for each in KINDS if each.name == kind), ())
    return next((str(each["jsonPath"]).removeprefix(".") for each in columns if each["name"] == name), None)


def bare(thing: Manifest) -> Manifest:
    """An object as a list has it: of a kind of which only metadata is read, no more than that."""
    if not resource(thing["kind"]).only_metadata:
        return thing
    meta = {**thing["metadata"], "annotations": dict.fromkeys(thing["metadata"].get("annotations") or {}, "")}
    return {"apiVersion": resource(thing["kind"]).api_version, "kind": thing["kind"], "metadata": meta}
