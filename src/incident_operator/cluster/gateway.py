"""The real cluster: reads and writes as the operator, or as an Incident's ServiceAccount."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from incident_operator.api import names
from incident_operator.cluster import events, programs
from incident_operator.cluster.connection import FIRST_ERROR, FIRST_REDIRECT, Connection
from incident_operator.cluster.errors import refused, status_of
from incident_operator.cluster.port import Ran
from incident_operator.cluster.resources import ONLY_METADATA, path, resource
from incident_operator.cluster.selectors import query_of
from incident_operator.faults import NotFound, Refused, Stalled, Waiting
from incident_operator.planning.plan import Manifest, Ref, Request

PAGE = 500
ENOUGH = 64 * 1024
"""Bytes of what a Service answers that are read: its status is what counts, and a Status of the API server fits."""
WATCH_SECONDS = 60
REVIEW = "SelfSubjectAccessReview"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA_EVENTS = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
PROXY_UNREACHABLE = frozenset({"ServiceUnavailable", "InternalError", "BadGateway", "GatewayTimeout"})


class Gateway:
    """One identity on one cluster; implements ``port.Hands``."""

    def __init__(self, connection: Connection, *, namespace: str = "", service_account: str = "") -> None:
        """Be the operator itself, or impersonate a ServiceAccount."""
        self._connection = connection
        self._identity = f"ServiceAccount {namespace}/{service_account}" if service_account else ""
        user = f"system:serviceaccount:{namespace}:{service_account}"
        self._headers = {"Impersonate-User": user} if service_account else {}

    async def _json(self, method: str, where: str, what: str, kind: str = "", *, accept: str = "", **more: Any) -> Any:
        headers = {**self._headers, "Accept": accept} if accept else self._headers
        return await self._connection.json(
            method, where, what=what, identity=self._identity, headers=headers, resource=kind.lower(), **more
        )

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """One object, raw."""
        found: Manifest = await self._json("GET", path(kind, namespace, name), f"get {kind} {namespace}/{name}", kind)
        return found

    async def find(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, raw, or None."""
        try:
            return await self.get(kind, namespace, name)
        except NotFound:
            return None

    async def list(self, kind: str, namespace: str, selector: Mapping[str, Any] | None = None) -> Sequence[Manifest]:
        """Objects of a namespace from the watch cache."""
        query = {"resourceVersion": "0"}
        if selector is not None:
            query["labelSelector"] = query_of(selector)
        more = {"accept": METADATA_ONLY} if resource(kind).only_metadata else {}
        what = f"list {kind} in {namespace}"
        answer = await self._json("GET", path(kind, namespace), what, kind, query=query, **more)
        return _items(answer, kind)

    def changes(self, kind: str, namespace: str, begun: Callable[[], None] = lambda: None) -> AsyncIterator[bytes]:
        """Yield whenever something of a kind changes in a namespace; ends after a minute.

        Only metadata is sent, and it is not for reading. ``begun`` is told when nothing is missed any more.
        """
        return self._connection.changes(
            path(kind, namespace),
            what=f"watch {kind} in {namespace}",
            identity=self._identity,
            headers={**self._headers, "Accept": METADATA_EVENTS},
            seconds=WATCH_SECONDS,
            begun=begun,
        )

    async def metadata_events(
        self, kind: str, namespace: str, *, field_selector: str, seconds: int = WATCH_SECONDS
    ) -> AsyncIterator[tuple[str, Manifest]]:
        """Each event of a watch and the object's metadata: first of all that are there, then of what changes.

        An empty namespace: of all. Ends after so many seconds; raises Waiting where it ends before.
        """
        where = f"in {namespace}" if namespace else "of all namespaces"
        async for event in self._connection.events(
            path(kind, namespace),
            what=f"watch {kind} {where}",
            identity=self._identity,
            headers={**self._headers, "Accept": METADATA_EVENTS},
            seconds=seconds,
            query={"fieldSelector": field_selector},
        ):
            yield event["type"], event["object"]

    async def groups(self) -> frozenset[str]:
        """Names of the API groups the cluster serves."""
        answer = await self._json("GET", "/apis", "discover the API groups")
        return frozenset(group["name"] for group in answer.get("groups", ()))

    async def through_service(
        self, namespace: str, service: str, port: str, path: str, *, timeout_seconds: float
    ) -> tuple[int, int]:
        """GET a path of a Service through the API server's proxy; the status and the milliseconds it took."""
        if not path.startswith("/") or ".." in unquote(path).split("/"):
            raise Refused("Invalid", f"http.path {path!r} must begin with / and have no .. in it")
        where = (
            f"/api/v1/namespaces/{quote(namespace, safe='')}/services/"
            f"http:{quote(service, safe='')}:{quote(port, safe='')}/proxy{quote(path, safe='/?=&%-._~')}"
        )
        what = f"get {path} from Service {namespace}/{service}:{port}"
        loop = asyncio.get_running_loop()
        begun = loop.time()
        code, body, headers = await self._connection.send(
            "GET", where, what=what, identity=self._identity, headers=self._headers, seconds=timeout_seconds,
            resource="services/proxy", enough=ENOUGH,
        )  # fmt: skip
        elapsed = round((loop.time() - begun) * 1000)
        status = status_of(body) if code >= FIRST_ERROR else {}
        if status.get("reason") in PROXY_UNREACHABLE:
            raise Waiting("ServiceUnreachable", f"could not {what}: {str(status.get('message', ''))[:200]}")
        if status:
            raise refused(what, code, body, headers, identity=self._identity)
        return code, elapsed

    async def run_in_pod(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, timeout_seconds: float
    ) -> Ran:
        """Run a program in a container, without a shell."""
        where = path("Pod", namespace, pod, "exec")
        what = f"run {argv[0]} in pod {namespace}/{pod}"
        return await programs.run(
            self._connection, where, argv, container=container, what=what, identity=self._identity,
            headers=self._headers, seconds=timeout_seconds,
        )  # fmt: skip

    async def log_text(
        self, namespace: str, pod: str, container: str, *, since: datetime, most_bytes: int, previous: bool = False
    ) -> str:
        """What a container has logged since then."""
        what = f"read the log of pod {namespace}/{pod}"
        query = {"container": container, "limitBytes": str(most_bytes), "sinceTime": f"{since:%Y-%m-%dT%H:%M:%SZ}"}
        if previous:
            query["previous"] = "true"
        code, body, headers = await self._connection.send(
            "GET", path("Pod", namespace, pod, "log"), what=what, query=query, identity=self._identity,
            headers={**self._headers, "Accept": "*/*"}, resource="pods/log",
        )  # fmt: skip
        if code >= FIRST_REDIRECT:  # the words of a redirect are nobody's log
            raise refused(what, code, body, headers, identity=self._identity)
        return body.decode(errors="replace")

    async def connects(self, address: str, port: int, *, timeout_seconds: float) -> bool | None:
        """Whether a TCP connection to a pod's address is accepted; nothing is sent over it, or tried from outside."""
        if not self._connection.on_pod_network:
            return None
        found = ipaddress.ip_address(address)
        if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
            return False
        try:
            async with asyncio.timeout(timeout_seconds):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    async def send(self, request: Request, *, dry_run: bool = False) -> Manifest:
        """Make one write; the object as the API server has it after."""
        ref = request.ref
        if resource(ref.kind).only_metadata:
            raise Stalled("Invalid", ONLY_METADATA.format(kind=ref.kind))
        what = f"{request.verb} {ref}"
        query = {"fieldManager": names.FIELD_MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        more: dict[str, Any] = {"query": query, "body": request.body, "content_type": request.content_type}
        name = ref.name
        match request.verb:
            case "create":
                method, name = "POST", ""
                query["fieldValidation"] = "Strict"
            case "patch":
                method = "PATCH"
            case _:
                method = "DELETE"
                query.pop("fieldManager")
                more["body"] = {
                    "kind": "DeleteOptions",
                    "apiVersion": "v1",
                    "preconditions": {"uid": ref.uid},
                    "propagationPolicy": "Background",
                }
        if dry_run and request.verb == "delete":
            more["body"]["dryRun"] = ["All"]  # with a body the API server does not look at the query
        where = path(ref.kind, ref.namespace, name, request.subresource)
        answer: Manifest = await self._json(method, where, what, ref.kind, **more)
        return answer

    async def review(self, attributes: Mapping[str, str]) -> bool:
        """Ask the API server whether this identity may do something."""
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": REVIEW,
            "spec": {"resourceAttributes": dict(attributes)},
        }
        answer = await self.send(Request("create", Ref(REVIEW, "", ""), body))
        return bool((answer.get("status") or {}).get("allowed"))


class ClusterGateway(Gateway):
    """The operator's own identity; implements ``port.Cluster``."""

    def __init__(self, connection: Connection, *, instance: str) -> None:
        """Be the operator; ``instance`` names this process in Events."""
        super().__init__(connection)
        self._instance = instance

    def acting_as(self, namespace: str, service_account: str) -> Gateway:
        """The same cluster as a ServiceAccount, by impersonation.

        The API server adds the groups of ServiceAccounts by itself where none are named, and does
        not ask whether the ServiceAccount exists: one that does not simply has no rights.
        """
        return Gateway(self._connection, namespace=namespace, service_account=service_account)

    async def list_all(
        self,
        kind: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> Sequence[Manifest]:
        """All objects of a namespace, or of all, in pages, from the watch cache."""
        where, what = path(kind, namespace), f"list {kind} of {namespace or 'all namespaces'}"
        found: list[Manifest] = []
        more = {"accept": METADATA_ONLY} if metadata_only else {}
        query = {"limit": str(PAGE), "resourceVersion": "0"}
        if label_selector:
            query["labelSelector"] = label_selector
        if field_selector:
            query["fieldSelector"] = field_selector
        while True:
            answer = await self._json("GET", where, what, kind, query=query, **more)
            found += _items(answer, kind)
            onward = answer.get("metadata", {}).get("continue")
            if not onward:
                return found
            query = {**query, "continue": onward}
            query.pop("resourceVersion", None)

    async def column(self, kind: str, name: str, namespace: str = "") -> Sequence[str]:
        """One column of the table of all objects of a kind; a fiftieth of what the objects would be."""
        query = {"resourceVersion": "0", "includeObject": "None"}
        what = f"list {kind} in {namespace}" if namespace else f"list {kind} of all namespaces"
        answer = await self._json("GET", path(kind, namespace), what, kind, query=query, accept=TABLE)
        names_of = [each["name"] for each in answer.get("columnDefinitions", ())]
        if name not in names_of:
            return ()
        at = names_of.index(name)
        return [str(row["cells"][at] or "") for row in answer.get("rows") or ()]

    async def patch_status(
        self, ref: Ref, status: Mapping[str, Any], *, resource_version: str = "", was: Mapping[str, Any] | None = None
    ) -> Manifest:
        """Replace the status subresource under an optimistic lock: on the version, or on what status was."""
        lock = {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}
        body = [
            {"op": "test", "path": "/metadata/uid", "value": ref.uid},
            lock if was is None else {"op": "test", "path": "/status", "value": was},
            {"op": "add", "path": "/status", "value": status},
        ]
        return await self.send(Request("patch", ref, body, "application/json-patch+json", "status"))

    async def event(
        self, about: Manifest, *, reason: str, message: str, warning: bool = False, action: str = ""
    ) -> None:
        """Record an Event about an object; a failure is logged and never raised."""
        await events.record(self, about, self._instance, reason=reason, message=message, warning=warning, action=action)


def _items(answer: Mapping[str, Any], kind: str) -> list[Manifest]:
    """The items of a list, each with its kind, which the API leaves out of lists."""
    version = resource(kind).api_version
    if resource(kind).only_metadata:
        # kubectl writes the whole object into an annotation (last-applied-configuration).
        for item in answer.get("items") or ():
            item["metadata"]["annotations"] = dict.fromkeys(item["metadata"].get("annotations") or {}, "")
    return [{"apiVersion": version, "kind": kind, **item} for item in answer.get("items") or ()]
