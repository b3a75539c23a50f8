"""Events about Incidents: what a person may want to act on, with the reason of the condition."""

from __future__ import annotations

import datetime as dt
import logging
from typing import Any

from incident_operator.api import names
from incident_operator.cluster.port import Hands
from incident_operator.faults import Fault
from incident_operator.planning.plan import Manifest, Ref, Request, digest

NOTE_MOST = 1024
"""Bytes of a note that events.k8s.io/v1 takes."""

log = logging.getLogger(__name__)


def build(
    about: Manifest, instance: str, now: dt.datetime, *, reason: str, message: str, warning: bool, action: str
) -> dict[str, Any]:
    """The Event; the same words about the same object within ten minutes have the same name, so they are one."""
    meta = about["metadata"]
    window = int(now.timestamp()) // 600
    prefix = meta["name"][:200].rstrip(".-")  # cut there it may end in what no name may have before a dot
    name = f"{prefix}.{digest([meta['uid'], reason, message, window])[:16]}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": meta["namespace"]},
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning" if warning else "Normal",
        "reason": reason,
        "action": action or reason,
        "note": message.encode()[: NOTE_MOST - 1].decode(errors="ignore"),
        "reportingController": names.FIELD_MANAGER,
        "reportingInstance": instance[:128],
        "regarding": {
            "apiVersion": about["apiVersion"],
            "kind": about["kind"],
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
            "resourceVersion": meta["resourceVersion"],
        },
    }


async def record(
    hands: Hands, about: Manifest, instance: str, *, reason: str, message: str, warning: bool, action: str
) -> None:
    """Send an Event; one that cannot be sent is logged, because nothing may wait for it."""
    now = dt.datetime.now(dt.UTC)
    body = build(about, instance, now, reason=reason, message=message, warning=warning, action=action)
    ref = Ref("Event", body["metadata"]["name"], body["metadata"]["namespace"])
    try:
        await hands.send(Request("create", ref, body))
    except Fault as fault:
        if fault.reason != "AlreadyExists" and "being terminated" not in fault.message:
            log.warning("Could not record Event: %s", fault.message)
