"""Trivy Operator's VulnerabilityReports (``aquasecurity.github.io/v1alpha1``): what a scan has found in an image.

Labels and annotations of a report: trivy-operator ``pkg/kube/object.go`` (ObjectToObjectMeta).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from incident_operator.signals import reading
from incident_operator.signals.signal import Signal, bounded, cut

THRESHOLDS: Final = ("Critical", "High")
KIND: Final = "trivy-operator.resource.kind"
NAME: Final = "trivy-operator.resource.name"
CONTAINER: Final = "trivy-operator.container.name"
LABELS: Final = {"Job": "job_name"}
"""Labels for kinds whose own name means something else: ``job`` is what Prometheus scrapes."""
MOST_NAMED: Final = 10
"""Vulnerabilities that are named."""
MOST_ID: Final = 64
"""Characters of the name of a vulnerability."""


def read(report: Mapping[str, Any], threshold: str) -> Signal | None:
    """What a report says of a workload, if it has vulnerabilities as bad as the threshold, or worse.

    BadSignal if the report cannot be read, ValueError for a threshold that is neither Critical nor High.
    """
    if threshold not in THRESHOLDS:
        raise ValueError(f"threshold {threshold!r} is neither Critical nor High")
    said = reading.mapping(report.get("report"), "report")
    summary = reading.mapping(said.get("summary"), "report.summary")
    critical = reading.count(summary.get("criticalCount"), "report.summary.criticalCount")
    high = reading.count(summary.get("highCount"), "report.summary.highCount")
    if not critical and not (high and threshold == "High"):
        return None
    meta = reading.mapping(report.get("metadata"), "metadata")
    labels = reading.texts(meta.get("labels"), "metadata.labels")
    namespace = reading.text(meta.get("namespace"), "metadata.namespace")
    kind, name, container = labels.get(KIND, ""), _name(meta, labels), labels.get(CONTAINER, "")
    image, digest = _image(said)
    alert = "CriticalVulnerabilities" if critical else "HighVulnerabilities"
    at, where = said.get("updateTimestamp"), "report.updateTimestamp"
    if at is None:
        at, where = meta.get("creationTimestamp"), "metadata.creationTimestamp"
    own = {
        LABELS.get(kind, kind.lower()): name,
        "alertname": alert,
        "incident": "true",  # whoever has set a threshold means it to
        "severity": "critical" if critical else "high",
        "namespace": namespace,
        "container": container,
    }
    annotations = {
        "summary": f"{critical} critical and {high} high vulnerabilities in image {image} of {kind} {name}",
        "description": _named(said.get("vulnerabilities"), threshold),
    }
    return Signal(
        source="Trivy",
        name=alert,
        fingerprint=reading.fingerprint(["trivy", namespace, kind, name, container, digest or image]),
        starts_at=reading.since(at, where),
        labels=bounded({key: value for key, value in own.items() if key and value}),
        annotations=bounded({key: value for key, value in annotations.items() if value}),
    )


def _name(meta: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """The workload's name; an annotation has it where it is too long for the value of a label."""
    return labels.get(NAME) or reading.texts(meta.get("annotations"), "metadata.annotations").get(NAME, "")


def _image(said: Mapping[str, Any]) -> tuple[str, str]:
    """What the image is called, and its digest, which older reports do not have."""
    where = "report.artifact"
    artifact = reading.mapping(said.get("artifact"), where)
    repository, tag, digest = (
        reading.text(artifact.get(key), f"{where}.{key}") for key in ("repository", "tag", "digest")
    )
    if tag:
        return f"{repository}:{tag}", digest
    return f"{repository}@{digest}" if digest else repository, digest


def _named(found: Any, threshold: str) -> str:
    """The first vulnerabilities that count, the critical ones before the others."""
    where = "report.vulnerabilities"
    counted: dict[str, list[str]] = {"CRITICAL": [], "HIGH": []}
    for number, each in enumerate(reading.items([] if found is None else found, where)):
        one = reading.mapping(each, f"{where}[{number}]")
        severity = reading.text(one.get("severity"), f"{where}[{number}].severity")
        name = reading.text(one.get("vulnerabilityID"), f"{where}[{number}].vulnerabilityID")
        if name and severity in counted:
            counted[severity].append(cut(name, MOST_ID))
    names = list(dict.fromkeys(counted["CRITICAL"] + (counted["HIGH"] if threshold == "High" else [])))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
