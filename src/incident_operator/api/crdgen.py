"""Makes CRDs from the models: structural schemas, with every description and bound.

Rules of the API server for structural schemas: no $ref, no additionalProperties beside
properties, no const or exclusive bounds as pydantic writes them (KEP-1337 and the CRD docs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from incident_operator.api import names
from incident_operator.api.approval import IncidentApprovalSpec
from incident_operator.api.incident import IncidentSpec
from incident_operator.api.ledger import IncidentLedgerSpec
from incident_operator.api.policy import ResponsePolicySpec
from incident_operator.api.recovery import RecoveryPlanSpec
from incident_operator.api.runbook import RunbookSpec
from incident_operator.api.schema import Model
from incident_operator.api.status import IncidentStatus

LIST_KEYS = {
    "targets": ["kind", "name"],
    "containment": ["name"],
    "remediation": ["name"],
    "verification": ["name"],
    "tiers": ["name"],
    "gates": ["name"],
    "workloads": ["kind", "name"],
    "conditions": ["type"],
    "approvals": ["name"],
    "protected": ["name"],
    "freezeWindows": ["name"],
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


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """A kind of ours, as its CRD says it."""

    name: str
    plural: str
    description: str
    spec: type[Model]
    columns: tuple[dict[str, Any], ...]
    status: type[Model] | None = None
    short: tuple[str, ...] = ()
    scope: str = "Namespaced"
    selectable: tuple[str, ...] = ()


KINDS = (
    Kind(
        "Incident",
        "incidents",
        "An Incident says what is wrong and where, and what the operator is to do about it.",
        IncidentSpec,
        (
            _column("Severity", ".spec.severity", "How bad it is"),
            _column("Phase", ".status.phase", "Where it is in the course of the guide"),
            _column("Ready", _ready("status"), "True once it is contained or resolved"),
            _column("Reason", _ready("reason"), "Why it is ready or not"),
            _column("Targets", ".status.summary", "What it is about"),
            _column("Age", ".metadata.creationTimestamp", "Since when it is there", kind="date"),
            _column("Tiers", ".status.recovery.summary", "How many tiers are back, and which one is next", 1),
            _column("Elapsed", ".status.recovery.since", "How long that tier has been on its way", 1, "date"),
            _column("Expected", ".status.recovery.expected", "How long it usually takes", 1),
            _column("ID", ".status.id", "The number to say on the phone", 1),
            _column("Mode", ".spec.mode", "How far it may go", 1),
            _column("Plan", ".status.plan.hash", "Names the plan", 1),
            _column("Policy", ".status.policy.names", "The policies that hold here", 1),
            _column("Approved-By", ".status.policy.approvedBy", "Who approved the plan", 1),
            _column("Message", _ready("message"), "Why, for people", 1),
        ),
        status=IncidentStatus,
        short=("inc",),
        selectable=(".status.phase", ".spec.severity"),
    ),
    Kind(
        "ResponsePolicy",
        "responsepolicies",
        "A ResponsePolicy says what Incidents may do in some namespaces, how much at once, and who must agree.",
        ResponsePolicySpec,
        (
            _column("Max-Mode", ".spec.maxMode", "How far Incidents may go"),
            _column("Cooldown", ".spec.cooldown", "How long an object is left alone"),
            _column("Age", ".metadata.creationTimestamp", "Since when it is there", kind="date"),
        ),
        scope="Cluster",
    ),
    Kind(
        "RecoveryPlan",
        "recoveryplans",
        "A RecoveryPlan says in which order the tiers of an application come back, how, and what must be true between.",
        RecoveryPlanSpec,
        (
            _column("Tiers", ".spec.tiers[*].name", "The tiers, in the order they come back"),
            _column("Age", ".metadata.creationTimestamp", "Since when it is there", kind="date"),
        ),
        short=("rplan",),
    ),
    *(
        Kind(
            prefix + "Runbook",
            prefix.lower() + "runbooks",
            "A Runbook says what an alert looks like, what to do about it, and whom to tell.",
            RunbookSpec,
            (
                _column("Type", ".spec.type", "What sort of incident it is for"),
                _column("Severity", ".spec.severity", "How bad it is"),
                _column("Alerts", ".spec.triggers[*].alert", "The alerts that it answers"),
                _column("Age", ".metadata.creationTimestamp", "Since when it is there", kind="date"),
            ),
            scope=scope,
        )
        for prefix, scope in (("", "Namespaced"), ("Cluster", "Cluster"))
    ),
    Kind(
        "IncidentApproval",
        "incidentapprovals",
        "An IncidentApproval is one person's yes or no to exactly one plan of an Incident.",
        IncidentApprovalSpec,
        (
            _column("Incident", ".spec.incident", "The Incident it is about"),
            _column("Plan", ".spec.planHash", "The plan it is about"),
            _column("Decision", ".spec.decision", "Yes or no"),
            _column("Approver", ".spec.approver", "Who says so"),
            _column("Age", ".metadata.creationTimestamp", "Since when it is there", kind="date"),
        ),
        selectable=(".spec.incident",),
    ),
    Kind(
        "IncidentLedger",
        "incidentledgers",
        "An IncidentLedger holds what is too large for an Incident's status. The operator makes and reads it.",
        IncidentLedgerSpec,
        (
            _column("Incident", ".spec.incident", "The Incident it belongs to"),
            _column("Age", ".metadata.creationTimestamp", "Since when it is there", kind="date"),
        ),
    ),
)


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    properties: dict[str, Any] = {
        "apiVersion": {"type": "string", "description": "Version of the schema of this object."},
        "kind": {"type": "string", "description": f"Kind of this object: {kind.name}."},
        "metadata": {"type": "object"},
        "spec": schema_of(kind.spec),
    }
    version: dict[str, Any] = {"name": names.VERSION, "served": True, "storage": True}
    if kind.status is not None:
        properties["status"] = {**schema_of(kind.status), "default": {"observedGeneration": -1}}
        version["subresources"] = {"status": {}}
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    schema = {"type": "object", "description": kind.description, "required": ["spec"], "properties": properties}
    version |= {"additionalPrinterColumns": list(kind.columns), "schema": {"openAPIV3Schema": schema}}
    called: dict[str, Any] = {
        "kind": kind.name,
        "listKind": f"{kind.name}List",
        "plural": kind.plural,
        "singular": kind.name.lower(),
        "categories": ["incident-operator"],
    }
    if kind.short:
        called["shortNames"] = list(kind.short)
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{names.GROUP}"},
        "spec": {"group": names.GROUP, "scope": kind.scope, "names": called, "versions": [version]},
    }


def incident_crd() -> dict[str, Any]:
    """The CustomResourceDefinition of Incident."""
    return crd(KINDS[0])
