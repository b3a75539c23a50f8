"""``alertResolved``: none of the alerts that the Incident was made from fires any more.

What they say is in ``spec.signals``; nothing of the cluster is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.checks.seeing import unknown
from incident_operator.cluster.port import Reader
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule

MOST_NAMED = 5


class AlertResolved:
    """The alerts have resolved."""

    name: ClassVar[str] = "alertResolved"
    rules: ClassVar[tuple[Rule, ...]] = ()
    asks: ClassVar[tuple[Rule, ...]] = ()

    async def look(
        self,
        reader: Reader,  # noqa: ARG002 - part of the contract
        namespace: str,  # noqa: ARG002 - part of the contract
        targets: tuple[Ref, ...],  # noqa: ARG002 - part of the contract
        params: Mapping[str, Any],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
    ) -> Finding:
        """Pass once all have; Unknown where there is none, for nothing would ever tell."""
        firing, known = [str(name) for name in params.get("firing", ())], int(params.get("known", 0))
        if not known:
            return unknown("the Incident was made from no alert: use another check")
        if not firing:
            return Finding(
                Verdict.PASS, "the alert has resolved" if known == 1 else f"all {known} alerts have resolved"
            )
        more = f" and {len(firing) - MOST_NAMED} more" if len(firing) > MOST_NAMED else ""
        return Finding(Verdict.FAIL, f"still firing: {', '.join(firing[:MOST_NAMED])}{more}")
