"""The containers of a pod that go on running: its own, and its native sidecars.

A sidecar is an init container with ``restartPolicy: Always`` (KEP-753): it runs beside the others, has ports and a log,
and may crash again and again; its status is among those of the init containers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from incident_operator.planning.plan import Manifest

Container = Mapping[str, Any]


def containers_of(spec: Mapping[str, Any]) -> Iterator[Container]:
    """The containers that run all the time, by the spec of a pod or of a template; sidecars come last."""
    yield from spec.get("containers") or ()
    yield from (each for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always")


def statuses_of(pod: Manifest) -> Iterator[Mapping[str, Any]]:
    """What a pod tells of the containers that run all the time."""
    status, names = pod.get("status") or {}, {each["name"] for each in containers_of(pod["spec"])}
    for kind in ("containerStatuses", "initContainerStatuses"):
        yield from (each for each in status.get(kind) or () if each["name"] in names)
