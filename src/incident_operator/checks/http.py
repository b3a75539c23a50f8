"""http: a Service answers with the wanted status, asked through the API server's proxy.

Through the proxy, because then a check can reach Services of the Incident's namespace and
nothing else, with the rights of its ServiceAccount (docs/decisions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from incident_operator.api.schema import parse_duration
from incident_operator.checks.contract import unknown_on_fault
from incident_operator.cluster.port import Reader
from incident_operator.faults import Waiting
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule


class Http:
    """Implements ``Check``."""

    name: ClassVar[str] = "http"
    rules: ClassVar[tuple[Rule, ...]] = (Rule("", ("services/proxy",), ("get",), "ask a Service of the namespace"),)

    @unknown_on_fault
    async def look(self, reader: Reader, namespace: str, targets: tuple[Ref, ...], params: Mapping[str, Any]) -> Finding:
        """Pass on the wanted status; Fail on another, or when no endpoint answers. The answer's body is not kept."""
        del targets
        service, port, path = params["service"], str(params["port"]), params.get("path", "/")
        wanted, seconds = int(params.get("status", 200)), parse_duration(params.get("timeout", "5s")).total_seconds()
        what = f"{service}:{port}{path}"
        try:
            status, milliseconds = await reader.through_service(namespace, service, port, path, timeout_seconds=seconds)
        except Waiting as fault:
            if fault.reason == "ServiceUnreachable":
                return Finding(Verdict.FAIL, fault.message)
            raise
        verdict = Verdict.PASS if status == wanted else Verdict.FAIL
        expected = "" if verdict is Verdict.PASS else f", wanted {wanted}"
        del milliseconds  # it would make every look a new message, and so a status write
        return Finding(verdict, f"{what} answers {status}{expected}")
