"""Which Incidents know which alerts, read from what lists of metadata say; pure.

What an alert is about is looked up again each time it is told, and may be another thing by then: its
pods are gone, or its rule was edited. So an alert that is known is found by its fingerprint first.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from incident_operator.api import names
from incident_operator.planning.plan import Manifest
from incident_operator.signals.naming import base36
from incident_operator.signals.signal import Signal

Where = tuple[str, str]
"""Namespace, and what tells Incidents apart there; or namespace and fingerprint."""


def written(signals: Iterable[Mapping[str, Any]]) -> str:
    """The annotation of an Incident that has these signals: fingerprint and since when, for each."""
    return " ".join(f"{each['fingerprint']}@{base36(datetime.fromisoformat(each['startsAt']))}" for each in signals)


def read(annotation: str) -> dict[str, int]:
    """Fingerprints, and the second since 1970 since when each fires; what is no such thing is left out."""
    found = {}
    for each in annotation.split():
        fingerprint, _, since = each.partition("@")
        with contextlib.suppress(ValueError):
            found[fingerprint] = int(since, 36)
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Index:
    """The Incidents that signals made, by what they are about and by the alerts that they know."""

    about: Mapping[Where, str] = dataclasses.field(default_factory=dict)
    """Of two that are open about the same, the older one."""
    firing: Mapping[Where, str] = dataclasses.field(default_factory=dict)
    """The open Incident that knows an alert, by its fingerprint."""
    over: Mapping[Where, tuple[int, str]] = dataclasses.field(default_factory=dict)
    """The closed Incident that knew an alert last, and the firing that it knew."""

    def known(self, namespace: str, signal: Signal) -> str:
        """The Incident that knows this firing, or while it is open this alert; empty if there is none."""
        where = (namespace, signal.fingerprint)
        if where in self.firing:
            return self.firing[where]
        since, name = self.over.get(where, (-1, ""))
        return name if int(signal.starts_at.timestamp()) <= since else ""


def index(every: Sequence[Manifest], still_open: Sequence[Manifest]) -> Index:
    """The index of every Incident that signals made, and of those that are open."""
    newest_first = sorted(still_open, key=lambda each: str(each["metadata"].get("creationTimestamp")), reverse=True)
    names_open = {_place(each) for each in still_open}
    over: dict[Where, tuple[int, str]] = {}
    for each in every:
        namespace, name = _place(each)
        if (namespace, name) not in names_open:
            for fingerprint, since in _firings(each).items():
                where = (namespace, fingerprint)
                over[where] = max(over.get(where, (-1, "")), (since, name))
    return Index(
        about={
            (_place(each)[0], each["metadata"]["labels"][names.SIGNAL]): each["metadata"]["name"]
            for each in newest_first
            if not each["metadata"].get("deletionTimestamp")
        },
        firing={
            (_place(each)[0], fingerprint): each["metadata"]["name"]
            for each in newest_first
            for fingerprint in _firings(each)
        },
        over=over,
    )


def _place(incident: Manifest) -> tuple[str, str]:
    return incident["metadata"]["namespace"], incident["metadata"]["name"]


def _firings(incident: Manifest) -> dict[str, int]:
    return read(str((incident["metadata"].get("annotations") or {}).get(names.FIRINGS, "")))
