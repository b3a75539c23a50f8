"""One alert, whoever raised it: what an Incident is made from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

Source = Literal["Alertmanager", "Grafana", "Prometheus", "Sentry", "Falco", "Trivy", "Workload"]

MOST_LABELS, MOST_KEY, MOST_VALUE, MOST_NAME, MOST_URL = 64, 128, 1024, 200, 1024
"""Labels, and as many annotations, that are kept of a signal; characters of a key, a value, the name and the URL."""
FIRST = frozenset(
    {
        "alertname", "namespace", "exported_namespace", "severity", "deployment", "statefulset", "daemonset", "cronjob",
        "job_name", "replicaset", "pod", "summary", "description", "runbook_url",
    }
)  # fmt: skip
"""Labels and annotations that mean something to us."""
CUT = "…"
"""Ends a text that was cut."""


class BadSignal(ValueError):  # noqa: N818 - it is the answer of a sender's request, not a failure of ours
    """What was sent is not what this receiver takes; the message names the field and what it may be."""


@dataclasses.dataclass(frozen=True, slots=True)
class Signal:
    """One alert as its source says it; bounded, and inert."""

    source: Source
    name: str
    """The alert's name: what people call it."""
    fingerprint: str
    """Names the alert whatever its state: the same labels have the same one. 1 to 64 of [0-9a-f]."""
    starts_at: datetime
    """Since when it fires; aware."""
    ends_at: datetime | None = None
    """Since when it does not fire any more; None while it fires."""
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Mapping[str, str] = dataclasses.field(default_factory=dict)
    url: str = ""
    """Where a person sees more; http or https, else empty."""
    group: str = ""
    """What the source grouped it by."""

    @property
    def is_firing(self) -> bool:
        """Whether it fires, as far as the source has said."""
        return self.ends_at is None


@dataclasses.dataclass(frozen=True, slots=True)
class Notification:
    """What one request, or one poll, has brought."""

    signals: tuple[Signal, ...]
    truncated: int = 0
    """How many alerts the sender has left out."""
    pending: frozenset[str] = frozenset()
    """Fingerprints of those that it lists and that do not fire yet, or not again yet."""


def cut(text: str, most: int) -> str:
    """A text of so many characters at most; what is cut off is told by a mark."""
    return text if len(text) <= most else text[: most - 1] + CUT


def bounded(texts: Mapping[str, str]) -> dict[str, str]:
    """Labels or annotations within their bounds; what has a meaning for us is kept before the rest, by name."""
    kept = sorted(texts, key=lambda key: (key not in FIRST and not key.startswith("incident"), key))[:MOST_LABELS]
    return {cut(key, MOST_KEY): cut(texts[key], MOST_VALUE) for key in sorted(kept)}
