"""Prometheus, asked for its alerts (``GET /api/v1/alerts``) where no Alertmanager sends them.

An alert that is gone from one answer to the next has resolved; who asks repeatedly sees that, not this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from incident_operator.signals import reading
from incident_operator.signals.signal import Notification, Signal, bounded


def read(alerts: Sequence[Mapping[str, Any]], *, server: str) -> Notification:
    """The firing alerts that are labelled ``incident="true"``; one that cannot be read is only counted."""
    signals: list[Signal] = []
    broken = 0
    for alert in alerts:
        try:
            if _is_ours(alert):
                signals.append(_signal(alert, server))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            broken += 1
    return Notification(tuple(signals), truncated=broken)


def _is_ours(alert: Mapping[str, Any]) -> bool:
    return bool(alert["state"] == "firing" and alert["labels"].get("incident") == "true")


def _signal(alert: Mapping[str, Any], server: str) -> Signal:
    labels, annotations = (
        reading.texts(alert["labels"], "labels"),
        reading.texts(alert.get("annotations"), "annotations"),
    )
    if not labels["alertname"]:
        raise ValueError("no name")
    return Signal(
        source="Prometheus",
        name=reading.title(labels["alertname"]),
        fingerprint=reading.fingerprint(sorted(labels.items())),
        starts_at=reading.since(alert["activeAt"], "activeAt"),
        labels=bounded(labels),
        annotations=bounded(annotations),
        group=server,
    )
