"""What of a cluster in memory can be reached, asked and run; a test says what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime

from incident_operator.cluster.port import Ran
from incident_operator.faults import Fault


@dataclasses.dataclass(slots=True)
class Network:
    """What can be reached, and what was tried."""

    on_pod_network: bool = False
    reachable: set[tuple[str, int]] = dataclasses.field(default_factory=set)
    tried: list[tuple[str, int]] = dataclasses.field(default_factory=list)
    longest: float = 0.0
    """Seconds that a try of an address was allowed to take at most."""
    answers: dict[tuple[str, str], tuple[int, int] | Fault] = dataclasses.field(default_factory=dict)
    """What a Service (namespace, name) answers: status and milliseconds, or a fault."""
    asked: list[tuple[str, str, str, str, float]] = dataclasses.field(default_factory=list)
    programs: dict[str, Ran | Fault] = dataclasses.field(default_factory=dict)
    """How whatever is run in a pod ends, or a fault."""
    ran: list[tuple[str, str, tuple[str, ...], float]] = dataclasses.field(default_factory=list)
    logs: dict[tuple[str, str], str | Sequence[tuple[datetime, str]]] = dataclasses.field(default_factory=dict)
    """What a container (pod, container) has logged: a text, or lines with their times."""
    logs_before: dict[tuple[str, str], str | Sequence[tuple[datetime, str]]] = dataclasses.field(default_factory=dict)
    """The same of what ended last in a container."""

    def logged(self, pod: str, container: str, since: datetime, *, previous: bool = False) -> str:
        """The lines since then; those that have no time are always among them."""
        found = (self.logs_before if previous else self.logs).get((pod, container), "")
        return found if isinstance(found, str) else "".join(f"{line}\n" for at, line in found if at >= since)
