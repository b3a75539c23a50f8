"""Gives kopf the very credentials that the rest of the program uses, and listens to its watch.

Left to itself kopf would look at ``KUBECONFIG`` and ``~/.kube/config``: the user's current
context, which nobody named.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import kopf

from incident_operator.operator.ear import Ear

CONNECTIONS = 8
WATCH_SECONDS = 1.0
"""At least so long lies between the beginnings of two watches of one kind."""
Load = Callable[[], Awaitable[Any]]
"""Loads a ``kubernetes.aio`` Configuration anew: tokens of ServiceAccounts change every hour."""


class _Heard:
    """The body of a watch, which tells of each piece that comes; all else is the body's own."""

    def __init__(self, content: aiohttp.StreamReader, ear: Ear) -> None:
        self._content = content
        self._ear = ear

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The body in pieces."""
        async for piece in self._content.iter_chunked(size):
            self._ear.hear()
            yield piece


def listening(ear: Ear) -> aiohttp.ClientMiddlewareType:
    """A middleware that hears what comes over watches, and begins none of them more often than once a second.

    kopf begins a watch that was cut anew at once, however often that happens (``watching.continuous_watch``).
    """
    begun: dict[str, float] = {}

    async def hear(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        if "watch" in request.url.query:
            path = request.url.path
            await asyncio.sleep(max(begun.get(path, float("-inf")) + WATCH_SECONDS - time.monotonic(), 0))
            begun[path] = time.monotonic()
        response = await handler(request)
        ear.hear()
        if "watch" in request.url.query:
            response.content = _Heard(response.content, ear)  # type: ignore[assignment]
        return response

    return hear


async def session_for(configuration: Any, ear: Ear) -> kopf.AiohttpSession:
    """A session of few connections with the identity, the CA and the proxy of a loaded configuration."""
    header: str = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, token = header.rpartition(" ")
    info = kopf.ConnectionInfo(
        server=configuration.host,
        ca_path=configuration.ssl_ca_cert or None,
        insecure=not configuration.verify_ssl,
        username=configuration.username or None,
        password=configuration.password or None,
        scheme=scheme or None,
        token=token or None,
        certificate_path=configuration.cert_file or None,
        private_key_path=configuration.key_file or None,
    )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        proxy=configuration.proxy or None,
        middlewares=(listening(ear),),
    )
    return kopf.AiohttpSession(server=configuration.host, aiohttp_session=session)
