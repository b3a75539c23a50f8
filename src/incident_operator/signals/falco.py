"""Falco's events as falcosidekick's webhook sends them (falcosidekick ``types/types.go``, FalcoPayload).

Falco tells what happened, never that it is over: its signals do not end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from incident_operator.signals import reading
from incident_operator.signals.signal import Notification, Signal, bounded

SEVERITIES: Final = {
    "emergency": "critical", "alert": "critical", "critical": "critical", "error": "high", "warning": "warning",
}  # fmt: skip
"""Falco's priorities; the others (notice, informational, debug) are told for information."""
ABSENT: Final = ("", "<NA>", "null")
"""What Falco writes for a field that an event does not have, such as the pod of a process on the host."""


def read(body: bytes) -> Notification:
    """The one event of a body; the same rule in the same pod is the same alert, whenever and however often."""
    event = reading.parsed(body)
    rule = reading.text(event.get("rule"), "rule")
    if not rule.strip():
        raise reading.wrong("rule", event.get("rule"), "the name of a rule")
    priority = reading.text(event.get("priority"), "priority")
    found = event.get("output_fields")
    fields = reading.mapping({} if found is None else found, "output_fields")
    namespace, pod = _field(fields, "k8s.ns.name"), _field(fields, "k8s.pod.name")
    hostname = reading.text(event.get("hostname"), "hostname")
    labels = {
        "alertname": rule,
        "incident": "true",  # whoever has Falco send here means it to
        "severity": SEVERITIES.get(priority.lower(), "info"),
        "priority": priority,
        "namespace": namespace,
        "pod": pod,
        "source": reading.text(event.get("source"), "source"),
        "hostname": hostname,
    }
    annotations = {"summary": reading.text(event.get("output"), "output")}
    signal = Signal(
        source="Falco",
        name=reading.title(rule),
        # A pod may come back on another node; what happens outside of pods is told apart by its node.
        fingerprint=reading.fingerprint(["falco", rule, namespace, pod, "" if pod else hostname]),
        starts_at=reading.since(event.get("time"), "time"),
        labels=bounded({key: value for key, value in labels.items() if value}),
        annotations=bounded({key: value for key, value in annotations.items() if value}),
    )
    return Notification((signal,))


def _field(fields: Mapping[str, Any], key: str) -> str:
    """A field of the event that names something; empty where it does not."""
    found = fields.get(key)
    return reading.clean(found) if isinstance(found, str) and found not in ABSENT else ""
