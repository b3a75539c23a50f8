"""Our kinds as their CRDs say them, and every property of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).resolve().parents[2] / "crds"
FIRST = 0
ANY_KEY = "example"
Step = str | int
Way = tuple[Step, ...]


@dataclasses.dataclass(frozen=True)
class Property:
    """One place in an object, and what may stand there."""

    way: Way
    schema: Mapping[str, Any]

    def __str__(self) -> str:
        return spelled(self.way)


@dataclasses.dataclass(frozen=True)
class Kind:
    """One CRD."""

    name: str
    plural: str
    api_version: str
    namespaced: bool
    schema: Mapping[str, Any]

    def path(self, namespace: str) -> str:
        inside = f"/namespaces/{namespace}" if self.namespaced else ""
        return f"/apis/{self.api_version}{inside}/{self.plural}"

    def properties(self) -> list[Property]:
        return list(_below(("spec",), self.schema["properties"]["spec"]))


def kinds() -> list[Kind]:
    """Every kind that there is a CRD for, now."""
    found = []
    for path in sorted(CRDS.glob("*.yaml")):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = crd["spec"]
            (version,) = [each for each in spec["versions"] if each["storage"]]
            names, schema = spec["names"], version["schema"]["openAPIV3Schema"]
            api_version = f"{spec['group']}/{version['name']}"
            found.append(Kind(names["kind"], names["plural"], api_version, spec["scope"] == "Namespaced", schema))
    return found


def _below(way: Way, schema: Mapping[str, Any]) -> Iterator[Property]:
    """A property and all below it; of a list its first item, of a map one key."""
    yield Property(way, schema)
    for name, child in schema.get("properties", {}).items():
        yield from _below((*way, name), child)
    if "items" in schema:
        yield from _below((*way, FIRST), schema["items"])
    if isinstance(schema.get("additionalProperties"), Mapping):
        yield from _below((*way, ANY_KEY), schema["additionalProperties"])


def spelled(way: Way) -> str:
    """A place as the API server names it."""
    text = ""
    for step in way:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    return text.removeprefix(".")
