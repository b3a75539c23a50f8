"""Makes CRDs from the models: structural schemas, with every description and bound.

Rules of the API server for structural schemas: no $ref, no additionalProperties beside
properties, no const or exclusive bounds as pydantic writes them (KEP-1337 and the CRD docs).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from incident_operator.api import names
from incident_operator.api.incident import IncidentSpec
from incident_operator.api.schema import Model
from incident_operator.api.status import IncidentStatus

LIST_KEYS = {
    "targets": ["kind", "name"],
    "containment": ["name"],
    "remediation": ["name"],
    "verification": ["name"],
    "conditions": ["type"],
}
"""Lists that are maps by these keys: the API server refuses doubles, and server-side apply merges by them."""

KEPT = (
    "type", "description", "enum", "format", "pattern", "default", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "minProperties", "maxProperties", "required", "x-kubernetes-validations",
)  # fmt: skip


def schema_of(model: type[Model]) -> dict[str, Any]:
    """The structural schema of a model."""
    told = model.model_json_schema(by_alias=True)
    return flat(told, told.get("$defs", {}))


def flat(node: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    """One node of a JSON schema as the API server takes it, its references written out."""
    if "$ref" in node:
        behind = defs[node["$ref"].rsplit("/", 1)[1]]
        node = {**behind, **{key: value for key, value in node.items() if key != "$ref"}}
    if "anyOf" in node:
        (real,) = [each for each in node["anyOf"] if each.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key not in ("anyOf", "default")}
        return flat({**real, **rest}, defs)
    made = {key: node[key] for key in KEPT if key in node and not (key == "default" and node[key] is None)}
    if "const" in node:
        made["enum"] = [node["const"]]
    if "description" in made:
        made["description"] = " ".join(str(made["description"]).split())
    if made.get("type") == "integer":
        made["format"] = "int64"
    if "properties" in node:
        made["properties"] = {name: _field(name, child, defs) for name, child in node["properties"].items()}
    elif isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = flat(node["additionalProperties"], defs)
    if "items" in node:
        made["items"] = flat(node["items"], defs)
    return made


def _field(name: str, node: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    made = flat(node, defs)
    if made.get("type") == "array":
        keys = LIST_KEYS.get(name)
        made["x-kubernetes-list-type"] = "map" if keys else "atomic"
        if keys:
            made["x-kubernetes-list-map-keys"] = keys
    return made


def _column(name: str, path: str, description: str, priority: int = 0, kind: str = "string") -> dict[str, Any]:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": priority} if priority else column


def _ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


def incident_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of Incident."""
    status = schema_of(IncidentStatus)
    status["default"] = {"observedGeneration": -1}
    columns = [
        _column("Severity", ".spec.severity", "How bad it is"),
        _column("Phase", ".status.phase", "Where it is in the course of the guide"),
        _column("Ready", _ready("status"), "True once it is contained or resolved"),
        _column("Reason", _ready("reason"), "Why it is ready or not"),
        _column("Targets", ".status.summary", "What it is about"),
        _column("Age", ".metadata.creationTimestamp", "Since when it is there", kind="date"),
        _column("ID", ".status.id", "The number to say on the phone", 1),
        _column("Mode", ".spec.mode", "How far it may go", 1),
        _column("Plan", ".status.plan.hash", "Names the plan", 1),
        _column("Message", _ready("message"), "Why, for people", 1),
    ]
    schema = {
        "type": "object",
        "description": "An Incident says what is wrong and where, and what the operator is to do about it.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
            "kind": {"type": "string", "description": "Kind of this object: Incident."},
            "metadata": {"type": "object"},
            "spec": schema_of(IncidentSpec),
            "status": status,
        },
    }
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "selectableFields": [{"jsonPath": ".status.phase"}, {"jsonPath": ".spec.severity"}],
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"incidents.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": "Incident",
                "listKind": "IncidentList",
                "plural": "incidents",
                "singular": "incident",
                "shortNames": ["inc"],
                "categories": ["incident-operator"],
            },
            "versions": [version],
        },
    }
