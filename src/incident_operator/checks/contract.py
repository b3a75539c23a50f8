"""What every check promises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Protocol, runtime_checkable

from incident_operator.cluster.port import Reader
from incident_operator.planning.plan import Finding, Ref
from incident_operator.planning.rights import Rule


@runtime_checkable
class Compares(Protocol):
    """A check that may compare with what was at another time."""

    async def with_level(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters with the level that they compare with; as they are if there is none, or none to be told."""
        ...


class Check(Protocol):
    """One kind of check of the catalogue."""

    name: ClassVar[str]
    """The field of a verification that asks for it, e.g. ``podsReady``."""
    rules: ClassVar[tuple[Rule, ...]]
    asks: ClassVar[tuple[Rule, ...]]
    """The rights that who makes the Incident must have, too; one right a rule."""

    async def look(
        self, reader: Reader, namespace: str, targets: tuple[Ref, ...], params: Mapping[str, Any], *, since: datetime
    ) -> Finding:
        """Look once; ``since`` is when the last action before it was done.

        Never raises for what it could not see: that is Unknown, with the cause.
        """
        ...
