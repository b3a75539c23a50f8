"""What every check promises."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Protocol

from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule


class Check(Protocol):
    """One kind of check of the catalogue."""

    name: ClassVar[str]
    """The field of a verification that asks for it, e.g. ``podsReady``."""
    rules: ClassVar[tuple[Rule, ...]]

    async def look(
        self, reader: Reader, namespace: str, targets: tuple[Ref, ...], params: Mapping[str, Any]
    ) -> Finding:
        """Look once. Never raises for what it could not see: that is Unknown, with the cause."""
        ...


Look = Callable[[Any, Reader, str, tuple[Ref, ...], Mapping[str, Any]], Awaitable[Finding]]


def unknown_on_fault(look: Look) -> Look:
    """Make what could not be seen Unknown, with the cause: it must never count as a pass, nor as a fail."""

    @functools.wraps(look)
    async def looking(
        self: Any, reader: Reader, namespace: str, targets: tuple[Ref, ...], params: Mapping[str, Any]
    ) -> Finding:
        try:
            return await look(self, reader, namespace, targets, params)
        except Fault as fault:
            return Finding(Verdict.UNKNOWN, fault.message)

    return looking
