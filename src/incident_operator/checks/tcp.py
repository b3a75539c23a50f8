"""``tcp``: the ready pods of a Service accept TCP connections, tried by the operator from its own pod.

For what speaks no HTTP, such as Redis. A connection is opened and closed at once; nothing is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.api.schema import parse_duration
from incident_operator.checks.seeing import unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.containers import containers_of
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import is_ready

MOST_PODS = 20
"""Pods that are tried; more would be a burst of connections at a bad time."""


class Tcp:
    """A Service's pods accept connections."""

    name: ClassVar[str] = "tcp"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("", ("services",), ("get",), "see which pods and port a Service has"),
        Rule("", ("pods",), ("list",), "see the addresses of its pods"),
    )
    asks: ClassVar[tuple[Rule, ...]] = (Rule("", ("services",), ("get",)), Rule("", ("pods",), ("list",)))

    async def look(
        self,
        reader: Reader,
        namespace: str,
        targets: tuple[Ref, ...],  # noqa: ARG002 - part of the contract
        params: Mapping[str, Any],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
    ) -> Finding:
        """Pass if every ready pod accepts; Fail if one refuses or none is ready; Unknown where it cannot be tried."""
        service, port = str(params.get("service", "")), str(params.get("port", ""))
        try:
            seconds = parse_duration(str(params.get("timeout", "2s"))).total_seconds()
            found = await reader.get("Service", namespace, service)
            selector = found["spec"].get("selector")
            if not selector:
                return unknown(f"Service {service} selects no pods")
            pods = [each for each in await reader.list("Pod", namespace, {"matchLabels": selector}) if is_ready(each)]
            ends = _ends(found, port, pods)
            tried = [reader.connects(address, number, timeout_seconds=seconds) for address, number in ends[:MOST_PODS]]
            answers = await asyncio.gather(*tried)
        except ValueError as error:
            return unknown(f"tcp: {error}")
        except Fault as fault:
            return unseen(fault)
        return _judged(f"Service {service}:{port}", ends, answers)


def _judged(what: str, ends: Sequence[tuple[str, int]], answers: Sequence[bool | None]) -> Finding:
    """What the connections tell."""
    if not ends:
        return Finding(Verdict.FAIL, f"{what} has no ready pod")
    if any(answer is None for answer in answers):
        return unknown("the operator does not run in a pod, so no connection of its own would prove anything")
    refused = [f"{address}:{number}" for (address, number), answer in zip(ends, answers, strict=False) if not answer]
    if refused:
        return Finding(Verdict.FAIL, f"{what}: no connection to {', '.join(refused)}")
    return Finding(Verdict.PASS, f"{what}: {len(answers)} of {len(ends)} pods tried, all accept connections")


def _ends(service: Manifest, port: str, pods: Sequence[Manifest]) -> list[tuple[str, int]]:
    """Address and port of each pod; ValueError names the ports there are."""
    ports = service["spec"].get("ports") or ()
    found = next((each for each in ports if port in (each.get("name"), str(each["port"]))), None)
    if found is None:
        there = ", ".join(str(each.get("name") or each["port"]) for each in ports) or "none"
        raise ValueError(f"Service {service['metadata']['name']} has no port {port}; it has {there}")
    wanted = found.get("targetPort", found["port"])
    ends = []
    for pod in pods:
        number = wanted if isinstance(wanted, int) else _named(pod, wanted)
        address = (pod.get("status") or {}).get("podIP")
        if number is not None and address:
            ends.append((address, number))
    return ends


def _named(pod: Manifest, name: str) -> int | None:
    """The container port of a pod with this name."""
    for container in containers_of(pod["spec"]):
        for each in container.get("ports") or ():
            if each.get("name") == name:
                return int(each["containerPort"])
    return None
