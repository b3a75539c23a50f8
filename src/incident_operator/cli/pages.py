"""The generated pages of the documentation, each from what it is about."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api import names
from incident_operator.api.configuration import Configuration
from incident_operator.api.crdgen import Kind, crd, schema_of
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cli.roles import LEASE_RULES, NOTE, OPERATOR_RULES
from incident_operator.engine import calls, changes, surveying, unchanged
from incident_operator.planning.rights import Rule
from incident_operator.telemetry.metrics import Metrics


def names_page() -> str:
    """Every label and annotation, from ``api/names.py``."""
    source = inspect.getsource(names).splitlines()
    rows = []
    for number, line in enumerate(source):
        name, separator, _ = line.partition(": Final = ")
        follows = source[number + 1] if number + 1 < len(source) else ""
        if separator and follows.startswith('"""'):
            meaning = follows.strip('"')
            rows.append(f"| `{getattr(names, name)}` | {meaning} |")
    head = [
        f"<!-- {NOTE} -->",
        "# Names",
        "",
        "Every name that the operator gives to things, or reads from them.",
        "",
        "| name | what it means |",
        "| --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"


def permissions_page() -> str:
    """Who needs which right, and why."""
    parts = [
        f"<!-- {NOTE} -->\n# Permissions\n",
        "The operator sees Incidents and marks revisions as itself, and does everything else as the ServiceAccount",
        "that an Incident names, by impersonation: an Incident can never do more than that ServiceAccount may.\n",
        "## The operator (ClusterRole `incident-operator`)\n",
        _table(OPERATOR_RULES),
        "\nIn its own namespace, for the Lease:\n",
        _table(LEASE_RULES),
        f"\nIt may act as ServiceAccounts named `{names.RESPONDER}`, in any namespace. To allow another name,",
        "add it to `resourceNames` of the rule with the verb `impersonate`.\n",
        "## The responder (Role `incident-responder`, in each namespace that wants it)\n",
        "All of the catalogue needs all of these. Leave out what your team does not want done: an Incident that",
        "asks for it stops with the reason `Forbidden`, names the right, and changes nothing.",
    ]
    parts += ["\n### every plan: its blast radius\n", _table(surveying.RULES)]
    parts += ["\n### triage: what changed before\n", _table(changes.RULES)]
    parts += ["\n### alerts: what they are about\n", _table(calls.RULES)]
    parts += ["\n### many Incidents in one namespace: whether a list is still what it was\n", _table(unchanged.RULES)]
    for title, catalogue in (("action", ACTIONS), ("check", CHECKS)):
        for name, entry in catalogue.items():
            parts += [f"\n### {title} `{name}`\n", _table(entry.rules)]
    return "\n".join(parts) + "\n"


def _table(rules: Iterable[Rule]) -> str:
    rows = [
        f"| {', '.join(f'`{resource}`' for resource in rule.resources)} | `{rule.group or 'core'}` "
        f"| {', '.join(rule.verbs)} | {rule.why}{_granted(rule)} |"
        for rule in rules
    ]
    return "\n".join(["| resources | group | verbs | why |", "| --- | --- | --- | --- |", *rows])


def _granted(rule: Rule) -> str:
    """Where a right is to be had that not every responder has."""
    return f" (granted by `manifests/responder/{rule.granted_by}`)" if rule.granted_by else ""


def metrics_page() -> str:
    """Every metric, from the registry itself."""
    rows = []
    for metric in sorted(Metrics().registry.collect(), key=lambda each: each.name):
        name = metric.name + {"counter": "_total", "info": "_info"}.get(metric.type, "")
        rows.append(f"| `{name}` | {metric.type} | {metric.documentation} |")
    head = [
        f"<!-- {NOTE} -->",
        "# Metrics",
        "",
        "On `/metrics`, port 8080.",
        "",
        "| name | type | meaning |",
        "| --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"


def reference_page(kind: Kind) -> str:
    """Every field of a kind."""
    whole = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema = whole["properties"]
    explain = f"`kubectl explain {kind.name.lower()}.spec` prints the same."
    lines = [f"<!-- {NOTE} -->", f"# {kind.name}", "", whole["description"], explain, ""]
    for part in ("spec", "status") if "status" in schema else ("spec",):
        lines += [f"## {part}", "", "| field | type | meaning |", "| --- | --- | --- |"]
        lines += _fields(part, schema[part])
        lines.append("")
    return "\n".join(lines)


def configuration_page() -> str:
    """Every field of the operator's configuration."""
    lines = [
        f"<!-- {NOTE} -->",
        "# Configuration",
        "",
        "What `incident-operator run --config FILE` reads, once, at the start: YAML, every field optional. A file that",
        "cannot be understood ends the program with the field and what it may be. In the cluster it is the ConfigMap",
        "`incident-operator` in the namespace `incident-operator`. It never holds a secret: each is a file of its own,",
        "read whenever it is needed, so a rotated one is used at once.",
        "",
        "| field | type | meaning |",
        "| --- | --- | --- |",
        *(row.replace("| `.", "| `", 1) for row in _fields("", schema_of(Configuration))),
    ]
    return "\n".join(lines) + "\n"


def _fields(path: str, schema: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, field in schema.get("properties", {}).items():
        inner = field.get("items", field)
        kind = field["type"] + (f" of {inner['type']}s" if "items" in field else "")
        required = ", required" if name in schema.get("required", ()) and not path.startswith("status") else ""
        default = (
            f", default `{field['default']}`" if field.get("default", {}) not in ({}, []) and kind != "object" else ""
        )
        rows.append(f"| `{path}.{name}` | {kind}{required}{default} | {field.get('description', '')} |")
        rows += _fields(f"{path}.{name}" + ("[]" if "items" in field else ""), inner)
    return rows
