"""Every way in which one property of a valid object can be wrong, or only just right."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from mutation.samples import place, planted, sample, stretched
from mutation.schemas import Kind, Property, Way, spelled

GONE = object()
BRIEFLY = ("deleted", "null", "wrong type: 7", "wrong type: []", "empty", "unknown field", "minimum", "template")
MANY = 2**20
TEXTS = {
    "unicode": "日本語 ☃ 🔥",
    "right to left": "\u202egpj.exe\u202c",
    "newline": "one\ntwo\r\n---\nkind: Secret",
    "template": "{{ 7 * 7 }} {% raw %}",
    "shell": "$(id) `id` ; id",
    "path": "../../../etc/passwd",
    "zero byte": "a\x00b",
    "format": "%s%n{0}",
    "trailing newline": "web\n",
    "capitals": "WEB",
    "spaces": " web ",
    "endless duration": "9999999999999999999999999999h",
    "negative duration": "-1s",
    "tiny duration": "0.0000001ms",
}
OTHERS: Mapping[str, tuple[Any, ...]] = {
    "string": (7, 1.5, True, [], ["a"], {}, {"a": "b"}),
    "integer": ("7", "", 1.5, True, [], {}),
    "boolean": ("true", 0, 1, [], {}),
    "array": ("a", 7, True, {}, {"a": "b"}),
    "object": ("a", 7, True, [], [{}]),
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A seed with one thing changed."""

    kind: Kind
    way: Way
    what: str
    thing: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.kind.name} {spelled(self.way)}: {self.what}"


def mutants(kind: Kind, seeds: list[dict[str, Any]]) -> Iterator[Mutant]:
    """All mutants of a kind; of what stands in several places all in the first one, and a few in the others."""
    known: set[str] = set()
    for found in kind.properties():
        seed = host(seeds, found)
        old = place(seed, found.way)
        same = json.dumps([found.way[-1], found.schema])
        for what, new in _values(found.schema, old):
            if same not in known or what in BRIEFLY:
                yield Mutant(kind, found.way, what, _with(seed, found.way, new))
        known.add(same)


def host(seeds: list[dict[str, Any]], found: Property) -> dict[str, Any]:
    """A seed that has the property, or one that has its parent with a sample of it; else one with a new parent."""
    for seed in seeds:
        try:
            place(seed, found.way)
        except (KeyError, IndexError, TypeError):
            continue
        return seed
    made = copy.deepcopy(seeds)
    for seed in made:
        if planted(seed, found.way, found.schema):
            return seed
    raise AssertionError(f"no seed has room for {found}: give one of them its parent")


def _with(seed: Mapping[str, Any], way: Way, new: Any) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(dict(seed))
    above = place(made, way[:-1])
    if new is GONE:
        del above[way[-1]]
    else:
        above[way[-1]] = new
    return made


def _values(schema: Mapping[str, Any], old: Any) -> Iterator[tuple[str, Any]]:
    kind = schema.get("type", "object")
    yield "deleted", GONE
    yield "null", None
    for other in OTHERS[kind]:
        yield f"wrong type: {other!r}", other
    match kind:
        case "string":
            yield from _strings(schema, old)
        case "integer":
            yield from _integers(schema)
        case "boolean":
            yield "toggled", not old
        case "array":
            yield from _arrays(schema, old)
        case _:
            yield from _objects(schema, old)


def _strings(schema: Mapping[str, Any], old: str) -> Iterator[tuple[str, Any]]:
    yield "empty", ""
    if "enum" in schema:
        yield from ((f"enum: {value}", value) for value in schema["enum"])
        yield from ((f"wrong enum: {value!r}", value) for value in ("Nonsense", old.swapcase(), f"{old} "))
    for name, length in _around(schema, "minLength", "maxLength"):
        text = stretched(schema, length)
        if text is not None:
            yield f"{name} length", text
    yield from TEXTS.items()
    yield "huge", "x" * MANY


def _integers(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from _around(schema, "minimum", "maximum")
    for number in (0, -1, 2**31, 2**63 - 1, 2**63, 2**200, -(2**63)):
        yield f"number {number}", number


def _around(schema: Mapping[str, Any], least: str, most: str) -> Iterator[tuple[str, int]]:
    """The bounds and their neighbours."""
    for name in (least, most):
        if name in schema:
            for by in (-1, 0, 1):
                yield f"{name}{by:+d}" if by else name, schema[name] + by


def _arrays(schema: Mapping[str, Any], old: list[Any]) -> Iterator[tuple[str, Any]]:
    yield "empty", []
    yield "popped", old[:-1]
    yield "pushed", [*old, sample(schema["items"], number=99)]
    yield "pushed null", [*old, None]
    yield "doubled", [*old, old[0]]
    yield "reversed", old[::-1]
    if "maxItems" in schema and schema["maxItems"] <= 1000:
        for by in (0, 1):
            more = [_numbered(old[0], each) for each in range(schema["maxItems"] + by - len(old))]
            yield f"maxItems{by:+d}" if by else "maxItems", [*old, *more]


def _numbered(item: Any, number: int) -> Any:
    """Another item like this one."""
    if isinstance(item, dict):
        return {**item, **{key: f"{item[key]}{number}" for key in ("name", "key") if key in item}}
    return item


def _objects(schema: Mapping[str, Any], old: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "empty", {}
    if "additionalProperties" in schema:
        yield "many keys", {f"key-{each}": "a" for each in range(schema.get("maxProperties", 32) + 1)}
        yield "long key", {"k" * 400: "a"}
        return
    yield "unknown field", {**old, "fnord": 1}
    yield "a namespace", {**old, "namespace": "kube-system"}
    yield "capitals", {key.capitalize(): value for key, value in old.items()}
