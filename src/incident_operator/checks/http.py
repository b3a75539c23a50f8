"""``http``: a Service answers a GET with the wanted status, asked through the API server's proxy.

Only a Service of the Incident's own namespace can be named, so the check reaches nothing that a
person who may create Incidents could not; nothing of the answer but its status is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.api.schema import parse_duration
from incident_operator.checks.seeing import unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
GOOD = 200


class Http:
    """A Service answers."""

    name: ClassVar[str] = "http"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("", ("services/proxy",), ("get",), "ask a Service through the API server, as ``kubectl get --raw`` does"),
    )
    asks: ClassVar[tuple[Rule, ...]] = (Rule("", ("services/proxy",), ("get",)),)

    async def look(
        self,
        reader: Reader,
        namespace: str,
        targets: tuple[Ref, ...],  # noqa: ARG002 - part of the contract
        params: Mapping[str, Any],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
    ) -> Finding:
        """Pass on the wanted status; Unknown where no answer came back, as the way there may be what is broken."""
        service, port = str(params.get("service", "")), str(params.get("port", ""))
        path, wanted = str(params.get("path") or "/"), params.get("status", GOOD)
        wrong = _wrong(service, port, path)
        if wrong:
            return unknown(wrong)
        try:
            seconds = parse_duration(str(params.get("timeout", "5s"))).total_seconds()
            code, elapsed = await reader.through_service(namespace, service, port, path, timeout_seconds=seconds)
        except ValueError as error:
            return unknown(f"http.timeout: {error}")
        except Fault as fault:
            return unseen(fault)
        said = f"Service {service}:{port}{path.partition('?')[0]} answered {code} after {elapsed} ms"
        if code == wanted:
            return Finding(Verdict.PASS, said)
        return Finding(Verdict.FAIL, f"{said}, wanted {wanted}")


def _wrong(service: str, port: str, path: str) -> str:
    """What is wrong with the parameters; empty if nothing is."""
    if not DNS_LABEL.fullmatch(service):
        return f"http.service {service!r} is not the name of a Service: lower case letters, digits and dashes"
    if not DNS_LABEL.fullmatch(port):
        return f"http.port {port!r} is neither the name nor the number of a port"
    if not path.startswith("/") or ".." in path.split("/"):
        return f"http.path {path!r} must begin with / and have no .. in it"
    return ""
