"""The alerts that open Incidents say still fire: what a program that has just begun takes for told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from incident_operator.api import names
from incident_operator.cluster.port import Cluster
from incident_operator.cluster.scope import list_within
from incident_operator.engine.claims import OPEN
from incident_operator.signals.signal import Signal, Source


async def firing(cluster: Cluster, namespaces: Sequence[str], source: Source) -> list[Signal]:
    """Those of one source, as they were told; Waiting where the API server is away."""
    found = await list_within(cluster, namespaces, "Incident", label_selector=names.SIGNAL, field_selector=OPEN)
    return [
        _signal(each, source)
        for incident in found
        for each in incident["spec"].get("signals") or ()
        if not each.get("endsAt") and each.get("source", incident["spec"].get("source")) == source
    ]


def _signal(told: Mapping[str, Any], source: Source) -> Signal:
    return Signal(
        source=source,
        name=told["name"],
        fingerprint=told["fingerprint"],
        starts_at=datetime.fromisoformat(told["startsAt"]),
        labels=told.get("labels") or {},
        annotations=told.get("annotations") or {},
        url=told.get("url", ""),
        group=told.get("server", ""),
    )
