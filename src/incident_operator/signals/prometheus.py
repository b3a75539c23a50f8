"""Prometheus, asked for its alerts (``GET /api/v1/alerts``) where no Alertmanager sends them.

An alert that is gone from one answer to the next has resolved; who asks repeatedly sees that, not this.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from incident_operator.signals.signal import MOST_NAME, Notification, Signal, bounded, cut

FINGERPRINT = 16
"""Characters of a fingerprint."""


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
    labels, annotations = _texts(alert["labels"]), _texts(alert.get("annotations") or {})
    if not labels["alertname"]:
        raise ValueError("no name")
    return Signal(
        source="Prometheus",
        name=cut(labels["alertname"], MOST_NAME),
        fingerprint=_fingerprint(labels),
        starts_at=_moment(alert["activeAt"]),
        labels=bounded(labels),
        annotations=bounded(annotations),
        group=server,
    )


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    """Labels or annotations; TypeError if one is not a text, ValueError if it cannot be written as UTF-8."""
    "".join((*found, *found.values())).encode()
    return dict(found)


def _fingerprint(labels: Mapping[str, str]) -> str:
    """Names the alert by all of its labels; two replicas that evaluate the same rule give the same one."""
    text = json.dumps(sorted(labels.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT]


def _moment(text: str) -> datetime:
    """RFC 3339, with up to nine digits of a second, of which six are kept; ValueError without a time zone."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError("no time zone")
    return found.astimezone(UTC)
