"""What a change reaches, as its action knows it, and what that comes to in the namespace as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

How = Literal["cut off", "removed", "replaced"]


@dataclasses.dataclass(frozen=True, slots=True)
class Reach:
    """Which pods a change is about, as the action that planned it knows."""

    workload: str
    """``Deployment/api``, or ``Pod/bot-0``."""
    selector: Mapping[str, Any]
    """LabelSelector of the workload's pods."""
    how: How
    lost: int | None = None
    """How many pods go, where the action knows; None: all that the selector finds."""
    pod: str = ""
    """The one pod it is about; empty: all of the workload."""


@dataclasses.dataclass(frozen=True, slots=True)
class Blast:
    """What one change takes away; ``pods`` is -1 where it could not be told."""

    workload: str = ""
    pods: int = 0
    of: int = 0
    """Pods of the workload."""
    in_namespace: int = 0
    how: str = ""
    budgets: tuple[str, ...] = ()
    autoscaler: str = ""
    services: tuple[str, ...] = ()
    """Services that keep no ready pod."""
    consumers: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    owner: str = ""
    """The workload that a single pod belongs to."""

    @property
    def group(self) -> str:
        """What its pods are counted with: the workload that they belong to."""
        return self.owner or self.workload

    @property
    def percent(self) -> int:
        """Share of the workload, rounded up: a limit must not be slipped under."""
        return -(-100 * self.pods // self.of) if self.of > 0 else 0

    def __str__(self) -> str:
        """One line for people: ``2 of 3 pods of Deployment/api cut off; Service api keeps no ready pod``."""
        if self.pods < 0:
            return f"pods of {self.workload}: unknown (could not list {', '.join(self.unknown)})"
        parts = [f"{self.pods} of {self.of} pods of {self.workload} {self.how}"]
        parts += [f"PodDisruptionBudget {each}" for each in self.budgets]
        if self.autoscaler:
            parts.append(f"autoscaled by {self.autoscaler}")
        parts += [f"Service {each} keeps no ready pod" for each in self.services]
        if self.consumers:
            parts.append(f"used by {', '.join(self.consumers)}")
        return "; ".join(parts)
