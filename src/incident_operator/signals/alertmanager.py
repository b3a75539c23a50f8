"""Alertmanager's webhook, payload v4, and Grafana's, which is a superset of it.

Alertmanager: ``notify/webhook/webhook.go`` (Message) and ``template/template.go`` (Data, Alert), the
same from 0.25 to 0.34 but for ``notification_reason`` and ``routeLabels``, which came later. Grafana:
"Configure the webhook notifier for Alerting", version 1. Fields that are not named here are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from incident_operator.signals import reading
from incident_operator.signals.signal import MOST_VALUE, BadSignal, Notification, Signal, Source, bounded, cut

MOST_ALERTS: Final = 10_000
"""Alerts of one body; Alertmanager sends a whole group at once, however large."""
GRAFANAS: Final = frozenset({"orgId", "state", "title", "message"})
"""Fields that only Grafana sends."""
VERSIONS: Final[Mapping[str, Source]] = {"4": "Alertmanager", "1": "Grafana"}
FINGERPRINT = re.compile(r"[0-9a-f]{1,64}")


def read(body: bytes) -> Notification:
    """Every alert of a body; BadSignal if one of them cannot be read, so that the sender's log tells."""
    payload = reading.parsed(body)
    source = _source(payload)
    alerts = reading.items(payload.get("alerts"), "alerts")
    if len(alerts) > MOST_ALERTS:
        raise BadSignal(f"alerts: {len(alerts)} are too many, {MOST_ALERTS} are taken; set max_alerts of the receiver")
    group = cut(reading.text(payload.get("groupKey"), "groupKey"), MOST_VALUE)
    return Notification(
        tuple(_signal(each, f"alerts[{number}]", source, group) for number, each in enumerate(alerts)),
        # Grafana sends it too; 0 unless the receiver has a max_alerts.
        truncated=reading.count(payload.get("truncatedAlerts"), "truncatedAlerts"),
    )


def _source(payload: Mapping[str, Any]) -> Source:
    """Who sends. A receiver with a payload of its own has no version: it has replaced the whole shape."""
    version, is_grafana = payload.get("version"), not GRAFANAS.isdisjoint(payload)
    found = VERSIONS.get(version) if isinstance(version, str) else None
    if found is None or (found == "Grafana" and not is_grafana):
        raise reading.wrong("version", version, "'4', as Alertmanager sends it, or Grafana's '1'")
    return "Grafana" if is_grafana else "Alertmanager"


def _signal(found: Any, where: str, source: Source, group: str) -> Signal:
    alert = reading.mapping(found, where)
    status = alert.get("status")
    if status not in ("firing", "resolved"):
        raise reading.wrong(f"{where}.status", status, "firing or resolved")
    labels = reading.texts(reading.mapping(alert.get("labels"), f"{where}.labels"), f"{where}.labels")
    starts_at = reading.since(alert.get("startsAt"), f"{where}.startsAt")
    # While it fires this is when it would resolve if nothing more is heard of it: not an end. Status decides.
    ends_at = reading.moment(alert.get("endsAt"), f"{where}.endsAt")
    return Signal(
        source=source,
        name=reading.title(labels.get("alertname", "")),
        fingerprint=_fingerprint(alert.get("fingerprint"), labels),
        starts_at=starts_at,
        ends_at=(ends_at or starts_at) if status == "resolved" else None,
        labels=bounded(labels),
        annotations=bounded(reading.texts(alert.get("annotations"), f"{where}.annotations")),
        url=reading.link(reading.text(alert.get("generatorURL"), f"{where}.generatorURL")),
        group=group,
    )


def _fingerprint(found: Any, labels: Mapping[str, str]) -> str:
    """The sender's, a hash of the labels; computed where there is none that is fit."""
    if isinstance(found, str) and FINGERPRINT.fullmatch(found):
        return found
    return reading.fingerprint(sorted(labels.items()))
