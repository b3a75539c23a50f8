"""What a write changes, in lines for people: the object before against the API server's dry run of it.

Nothing secret is shown: values of environment variables, headers and annotations, arguments, and
all data of a Secret are hidden.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from incident_operator.planning.plan import Json

MOST_LINES = 40
MOST_VALUE = 160
HIDDEN = re.compile(
    r"\.env\[.*\]\.value$|\.httpHeaders\[|\bannotations(\.|\[)(?!incident-operator\.dev/)"
    r"|^(data|stringData|binaryData)\b|\.(args|command)\b"
)
LEFT_OUT = frozenset({"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"})
TOP_LEFT_OUT = frozenset({"status", "apiVersion", "kind"})
PLAIN = re.compile(r"^[A-Za-z_][A-Za-z0-9_-]*$")


def flat(thing: Mapping[str, Any]) -> dict[str, Json]:
    """Every leaf of an object by its path; what the API server itself writes is left out."""
    top = {key: value for key, value in thing.items() if key not in TOP_LEFT_OUT}
    metadata = top.get("metadata")
    if isinstance(metadata, Mapping):
        top["metadata"] = {key: value for key, value in metadata.items() if key not in LEFT_OUT}
    return dict(_leaves("", top)) if top else {}


def _leaves(path: str, value: Json) -> Iterator[tuple[str, Json]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            part = f".{key}" if PLAIN.match(key) else f"[{key}]"
            yield from _leaves((path + part).lstrip("."), item)
    elif isinstance(value, list) and value:
        named = all(isinstance(item, Mapping) and "name" in item for item in value)
        for number, item in enumerate(value):
            yield from _leaves(f"{path}[{item['name'] if named else number}]", item)
    else:
        yield path, value


def _shown(path: str, value: Json) -> str:
    if HIDDEN.search(path):
        return "(hidden)"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_VALUE else f"{text[:MOST_VALUE]}... ({len(text)} characters)"


def lines(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """One line for each field: ``+`` it comes, ``-`` it goes, ``~`` it changes; None: no object."""
    old, new = flat(before or {}), flat(after or {})
    found = []
    for path in sorted({*old, *new}):
        if path not in old:
            found.append(f"+ {path}: {_shown(path, new[path])}")
        elif path not in new:
            found.append(f"- {path}: {_shown(path, old[path])}")
        elif old[path] != new[path]:
            found.append(f"~ {path}: {_shown(path, old[path])} -> {_shown(path, new[path])}")
    return found


def diff(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """The lines as one text, at most 40 of them."""
    found = lines(before, after)
    if len(found) > MOST_LINES:
        found = [*found[:MOST_LINES], f"... and {len(found) - MOST_LINES} lines more"]
    return "\n".join(found)
