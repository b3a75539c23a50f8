"""One HTTP conversation with the API server: few connections, kept open, raw JSON both ways.

The only module that imports the Kubernetes client: its configuration and its transport.
Its typed models are not used, because they drop fields they do not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config

from incident_operator.cluster.errors import refused, unreachable
from incident_operator.faults import Fault, Stalled, Waiting

CONNECTIONS = 8
"""Connections for requests; measured 40-100 % more throughput than unlimited ones."""
EVENT_MOST = 4 * 1024 * 1024
"""Bytes of one event of a watch; an object is at most 1.5 MiB in etcd."""
REQUEST_SECONDS = 10.0
CONNECT_SECONDS = 3.0
BODY_MOST = 64 * 1024 * 1024
"""Bytes of an answer that are read at most."""
BUFFERED = 2 * 1024 * 1024
"""Bytes of an answer that wait to be read, as the Kubernetes client has it."""
FIRST_REDIRECT, FIRST_ERROR = 300, 400

Observe = Callable[[str, str, int, float], None]
"""Told of each request: verb, resource, HTTP status (0: no answer), seconds."""


def _quiet(verb: str, resource: str, code: int, seconds: float) -> None:
    """Tell nobody."""


def _open() -> None:
    """No fence, and nobody to tell."""


async def load(kubeconfig: Path | None, context: str | None) -> client.Configuration:
    """The configuration named on the command line, or the one of the pod this runs in; never the user's own.

    Stalled says what to pass where there is neither.
    """
    loaded = client.Configuration()
    if kubeconfig is not None:
        if not os.path.isfile(kubeconfig):  # noqa: PTH113, ASYNC240 - once, before the loop has anything to do
            raise Stalled("NoCluster", f"--kubeconfig {kubeconfig}: there is no such file")
        try:
            await config.load_kube_config(str(kubeconfig), context=context, client_configuration=loaded)
        except config.ConfigException as cause:
            raise Stalled("NoCluster", f"--kubeconfig {kubeconfig}: {cause}") from cause
        return loaded
    try:
        config.load_incluster_config(client_configuration=loaded)
    except config.ConfigException as cause:
        raise Stalled(
            "NoCluster",
            "no cluster: this does not run in a pod and no --kubeconfig was given"
            " (KUBECONFIG and ~/.kube/config are not looked at, so that nothing happens to a cluster by accident)",
        ) from cause
    return loaded


class Connection:
    """Requests to one API server; close it in the end."""

    def __init__(
        self,
        configuration: client.Configuration,
        observe: Observe = _quiet,
        *,
        on_pod_network: bool = False,
        fence: Callable[[], None] = _open,
    ) -> None:
        """Open nothing yet.

        ``on_pod_network`` says that this runs in a pod, so that addresses of pods mean pods; ``fence`` is
        called before each write, and raises where this process may not write now.
        """
        self._fence = fence
        self.on_pod_network = on_pod_network
        self._api = client.ApiClient(configuration)
        self._observe = observe
        self._requests: aiohttp.ClientSession | None = None
        self._watches: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        for session in (self._requests, self._watches):
            if session is not None:
                await session.close()
        await self._api.close()

    def _opened(self, limit: int, **more: Any) -> aiohttp.ClientSession:
        """A pool of connections as the configuration says; none is opened yet."""
        tls = aiohttp.TCPConnector(ssl=self._api.rest_client.ssl_context, limit=limit)
        # trust_env would look for ~/.netrc in a thread at each request, and send what it finds there.
        return aiohttp.ClientSession(connector=tls, trust_env=False, **more)

    def _session(self) -> aiohttp.ClientSession:
        """For what stays open: it has connections of its own, so that no request waits for one of its."""
        if self._watches is None:
            self._watches = self._opened(0)
        return self._watches

    def _asked(
        self, method: str, url: str, headers: Mapping[str, str], body: Any, seconds: float
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """One request as the Kubernetes client's ``RESTClientObject.request`` makes it, which follows redirects.

        This one does not: what is behind a Service would choose what is asked next, with this identity's token.
        """
        if self._requests is None:
            self._requests = self._opened(CONNECTIONS, read_bufsize=BUFFERED)
        found = self._api.configuration
        return self._requests.request(
            method,
            url,
            headers=headers,
            data=None if method == "GET" or body is None else json.dumps(body),
            timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS),
            server_hostname=found.tls_server_name or None,
            proxy=found.proxy or None,
            proxy_headers=found.proxy_headers or None,
            allow_redirects=False,
        )

    @contextlib.asynccontextmanager
    async def socket(
        self, path: str, headers: Mapping[str, str], protocols: Sequence[str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to the API server; what runs behind it may write, so the fence holds for it."""
        self._fence()
        told = await self.headers(headers)
        del told["Accept"]
        url = self._api.configuration.host + path
        async with self._session().ws_connect(url, protocols=protocols, headers=told, max_msg_size=1 << 20) as socket:
            yield socket

    async def changes(
        self,
        path: str,
        *,
        what: str,
        identity: str,
        headers: Mapping[str, str],
        seconds: int,
        begun: Callable[[], None] = _open,
        query: Mapping[str, str] | None = None,
    ) -> AsyncIterator[bytes]:
        """Watch a collection for so long at most, and yield what arrives in pieces as they come.

        ``begun`` is called when the API server has begun to watch: from then on nothing is missed.
        """
        asked = {"watch": "1", "timeoutSeconds": str(seconds), "allowWatchBookmarks": "false", **(query or {})}
        url = f"{self._api.configuration.host}{path}?{urlencode(asked)}"
        timeout = aiohttp.ClientTimeout(total=seconds + REQUEST_SECONDS, sock_connect=CONNECT_SECONDS)
        try:
            told = await self.headers(headers)
            async with self._session().get(url, headers=told, timeout=timeout, allow_redirects=False) as response:
                if response.status >= FIRST_REDIRECT:
                    content = await self._bounded(response)
                    raise _fault(what, response.status, content, response.headers, identity=identity)
                begun()
                async for piece in response.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise unreachable(what, cause, identity=identity) from cause

    async def events(self, path: str, *, what: str, **more: Any) -> AsyncIterator[Any]:
        """Watch a collection and yield each event; Waiting where one is not whole, or larger than any may be."""
        rest = b""
        async for piece in self.changes(path, what=what, **more):
            *lines, rest = (rest + piece).split(b"\n")
            if len(rest) > EVENT_MOST:
                raise Waiting("ApiServerError", f"could not {what}: an event is larger than {EVENT_MOST} bytes")
            for line in lines:
                try:
                    event = json.loads(line)
                except ValueError as cause:
                    raise Waiting("ApiServerError", f"could not {what}: an event is not whole JSON") from cause
                if event.get("type") == "ERROR":
                    said = str((event.get("object") or {}).get("message", ""))[:200]
                    raise Waiting("WatchEnded", f"could not {what}: {said}")
                yield event

    async def headers(self, more: Mapping[str, str]) -> dict[str, str]:
        """The headers of a request: who asks, and what for."""
        found: dict[str, str] = {"Accept": "application/json", "Accept-Encoding": "identity", **more}
        await self._api.update_params_for_auth(found, [], ["BearerToken"], "", "", None)
        return found

    async def send(
        self,
        method: str,
        path: str,
        *,
        what: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        identity: str = "",
        headers: Mapping[str, str] | None = None,
        seconds: float = REQUEST_SECONDS,
        resource: str = "",
        enough: int | None = None,
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """One request and its whole answer, whatever its status; Waiting if none came.

        A redirect is an answer too. ``enough``: so many bytes of the body will do, and no more are read.
        """
        if method != "GET":
            self._fence()
        begun, code = time.perf_counter(), 0
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        try:
            told = await self.headers({**(headers or {}), "Content-Type": content_type})
            async with self._asked(method, url, told, body, seconds) as response:
                code = response.status
                content = await self._bounded(response) if enough is None else await _beginning(response, enough)
                return code, content, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as cause:
            raise unreachable(what, cause, identity=identity) from cause
        finally:
            self._observe(method, resource, code, time.perf_counter() - begun)

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        """The body, up to the bound."""
        parts, size = [], 0
        async for part in response.content.iter_chunked(1 << 20):
            size += len(part)
            if size > BODY_MOST:
                raise aiohttp.ClientPayloadError(f"the answer is larger than {BODY_MOST} bytes")
            parts.append(part)
        return b"".join(parts)

    async def json(self, method: str, path: str, *, what: str, identity: str = "", **more: Any) -> Any:
        """One request and the JSON of its answer; the fault it means if it is an error."""
        code, content, headers = await self.send(method, path, what=what, identity=identity, **more)
        if code >= FIRST_REDIRECT:
            is_test = more.get("content_type") == "application/json-patch+json"
            raise _fault(what, code, content, headers, identity=identity, patch_test=is_test)
        try:
            return json.loads(content)
        except ValueError as cause:
            raise Waiting("ApiServerError", f"could not {what}: the answer is not whole JSON") from cause


async def _beginning(response: aiohttp.ClientResponse, most: int) -> bytes:
    """The body as far as it is wanted; where there is more, the connection is given up and not read to its end."""
    found = b""
    async for part in response.content.iter_chunked(most):
        found += part
        if len(found) >= most:
            response.close()
            break
    return found[:most]


def _fault(what: str, code: int, content: bytes, headers: Mapping[str, str], **more: Any) -> Fault:
    """What an answer means that is not the one asked for; a redirect comes from something before the API server."""
    if code < FIRST_ERROR:
        return Waiting("ApiServerError", f"could not {what}: the answer is a redirect ({code}), which is not followed")
    return refused(what, code, content, headers, **more)
