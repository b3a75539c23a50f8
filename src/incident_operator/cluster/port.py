"""What the other rooms may ask of a cluster; held by ``gateway`` (real) and ``fake`` (in memory) alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from incident_operator.planning.plan import Manifest, Ref, Request


@dataclasses.dataclass(frozen=True, slots=True)
class Ran:
    """How a program in a container ended."""

    exit_code: int | None
    """None: it could not be started."""
    output: str
    """What it wrote, up to 64 KiB."""
    error: str = ""
    """The last line of its errors."""


class Reader(Protocol):
    """Reads as one identity. Every method may raise Waiting (API away, busy), Stalled (forbidden, rejected)."""

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """One object, raw; NotFound if it is not there."""
        ...

    async def find(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, raw, or None."""
        ...

    async def list(self, kind: str, namespace: str, selector: Mapping[str, Any] | None = None) -> Sequence[Manifest]:
        """Objects of a namespace by LabelSelector (matchLabels, matchExpressions), from the watch cache.

        Asked with ``resourceVersion=0``: 5 ms instead of 100 ms, possibly a moment old, which is safe
        because every write carries a precondition.
        """
        ...

    async def groups(self) -> frozenset[str]:
        """Names of the API groups the cluster serves."""
        ...

    async def through_service(
        self, namespace: str, service: str, port: str, path: str, *, timeout_seconds: float
    ) -> tuple[int, int]:
        """GET a path of a Service through the API server's proxy; the HTTP status and the milliseconds it took.

        Follows no redirect and keeps no body. Raises Waiting("ServiceUnreachable") when the API server
        itself answers that it could not reach an endpoint.
        """
        ...

    async def run_in_pod(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, timeout_seconds: float
    ) -> Ran:
        """Run a program in a container that runs, without a shell; an empty container is the pod's first.

        Raises Waiting where it did not end in time, or where nobody said how it ended.
        """
        ...

    async def log_text(
        self, namespace: str, pod: str, container: str, *, since: datetime, most_bytes: int, previous: bool = False
    ) -> str:
        """What a container has logged since then, so many bytes at most; of what runs in it, or of what last ended.

        One that waits to be started again shows what last ended either way.
        """
        ...

    async def connects(self, address: str, port: int, *, timeout_seconds: float) -> bool | None:
        """Whether a TCP connection to a pod's address is accepted; None if this program is not on the pods' network.

        Outside of the cluster a pod's address means something else, or a proxy answers for it: nothing is tried.
        """
        ...


class Hands(Reader, Protocol):
    """Reads and writes as one identity."""

    async def send(self, request: Request, *, dry_run: bool = False) -> Manifest:
        """Make one write; the object as the API server has it after.

        Conflict when a precondition failed (409, or 422 of a JSON patch ``test``), NotFound when the
        object is gone; deleting what is gone, or creating what is there already, raises too
        (NotFound, ``Stalled("AlreadyExists")``): what it means is for the caller to decide.
        """
        ...

    async def review(self, attributes: Mapping[str, str]) -> bool:
        """Whether this identity may do something (SelfSubjectAccessReview): namespace, verb, group, resource."""
        ...


class Cluster(Hands, Protocol):
    """The operator's own identity, and the way to act as an Incident's ServiceAccount."""

    def acting_as(self, namespace: str, service_account: str) -> Hands:
        """The same cluster, impersonating ``system:serviceaccount:<namespace>:<service_account>``."""
        ...

    async def list_all(
        self,
        kind: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> Sequence[Manifest]:
        """All objects of a namespace, or of all, from the watch cache, in pages.

        With ``metadata_only`` nothing else of them is sent.
        """
        ...

    async def column(self, kind: str, name: str, namespace: str = "") -> Sequence[str]:
        """One column of the table of all objects of a kind, or those of a namespace, as ``kubectl get -o wide`` has."""
        ...

    async def patch_status(
        self, ref: Ref, status: Mapping[str, Any], *, resource_version: str = "", was: Mapping[str, Any] | None = None
    ) -> Manifest:
        """Replace the status subresource under an optimistic lock; Conflict if somebody wrote in between.

        The lock is the resourceVersion, or with ``was`` the status itself, so that a write of the metadata
        may be under way at the same time.
        """
        ...

    async def event(
        self, about: Manifest, *, reason: str, message: str, warning: bool = False, action: str = ""
    ) -> None:
        """Record an events.k8s.io/v1 Event about an object; a failure is logged and never raised."""
        ...
