"""Prometheus, asked for its alerts (``GET /api/v1/alerts``) where no Alertmanager sends them.

An alert that is gone from its answers has resolved; who asks repeatedly sees that, not this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from incident_operator.signals import reading
from incident_operator.signals.signal import Notification, Signal, bounded


def read(alerts: Sequence[Mapping[str, Any]], *, server: str) -> Notification:
    """The firing alerts that are labelled ``incident="true"``; one that cannot be read is only counted.

    Of those that are pending no more is read than which they are.
    """
    signals: list[Signal] = []
    pending: set[str] = set()
    broken = 0
    for alert in alerts:
        try:
            if _is_ours(alert, "firing"):
                signals.append(_signal(alert, server))
            elif _is_ours(alert, "pending"):
                pending.add(_fingerprint(reading.texts(alert["labels"], "labels")))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            broken += 1
    return Notification(tuple(signals), truncated=broken, pending=frozenset(pending))


def _is_ours(alert: Mapping[str, Any], state: str) -> bool:
    return bool(alert["state"] == state and alert["labels"].get("incident") == "true")


def _fingerprint(labels: Mapping[str, str]) -> str:
    return reading.fingerprint(sorted(labels.items()))


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
        fingerprint=_fingerprint(labels),
        starts_at=reading.since(alert["activeAt"], "activeAt"),
        labels=bounded(labels),
        annotations=bounded(annotations),
        group=server,
    )
