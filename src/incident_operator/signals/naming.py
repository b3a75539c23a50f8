"""Names of Incidents that signals make: the same alert, however often it is told, has the same name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime

from incident_operator.signals.signal import Signal, Source

PREFIXES: dict[Source, str] = {
    "Alertmanager": "am", "Grafana": "gf", "Prometheus": "prom", "Sentry": "sentry", "Falco": "falco",
    "Trivy": "trivy", "Workload": "wl",
}  # fmt: skip
MOST_SLUG = 30
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def incident_name(signal: Signal) -> str:
    """``am-<alert>-<fingerprint>-<since>``: an HA pair, a repeat and a retry come to the same name."""
    # Ten digits: of a thousand alerts of one name in one second, two would share eight once in ten thousand times.
    return f"{PREFIXES[signal.source]}-{slug(signal.name)}-{signal.fingerprint[:10]}-{base36(signal.starts_at)}"


def slug(text: str) -> str:
    """As much of a text as can be in a name; never empty."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text)
    found = re.sub(r"[^a-z0-9]+", "-", words.lower().encode("ascii", "replace").decode()).strip("-")
    return found[:MOST_SLUG].strip("-") or "alert"


def base36(at: datetime) -> str:
    """The seconds since 1970, short; times before that are 0."""
    number, text = max(int(at.timestamp()), 0), ""
    while True:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
        if not number:
            return text


def key_of(parts: Iterable[str]) -> str:
    """What tells Incidents apart, short enough for the value of a label."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
