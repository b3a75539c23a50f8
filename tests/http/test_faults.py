"""What a broken or busy API server answers becomes the right fault; each by a server that does just that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from incident_operator.cluster import connection as connections
from incident_operator.cluster.connection import Connection
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.faults import Waiting

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Server = Callable[[Handler], Awaitable[ClusterGateway]]


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    closing: list[Callable[[], Awaitable[None]]] = []

    async def begin(handler: Handler) -> ClusterGateway:
        application = web.Application()
        application.router.add_route("*", "/{tail:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        connection = Connection(Configuration(host=f"http://127.0.0.1:{port}"))
        closing.extend((connection.close, runner.cleanup))
        return ClusterGateway(connection, instance="test")

    yield begin
    for close in closing:
        await close()


async def fault_of(cluster: ClusterGateway) -> Waiting:
    with pytest.raises(Waiting) as fault:
        await cluster.get("Pod", "shop", "web-0")
    assert "could not get Pod shop/web-0" in fault.value.message
    return fault.value


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "Unauthorized"), (410, "Expired"), (429, "ApiBusy"), (500, "ApiServerError"), (503, "ApiServerError")],
)
async def test_what_may_pass_is_waited_for(server: Server, status: int, reason: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"kind": "Status", "message": "no"}, status=status)

    assert (await fault_of(await server(answer))).reason == reason


async def test_the_server_says_how_long_to_wait(server: Server) -> None:
    async def busy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": "7"})

    assert (await fault_of(await server(busy))).delay == timedelta(seconds=7)


async def test_a_cut_connection_is_no_answer(server: Server) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    assert (await fault_of(await server(cut))).reason == "ApiUnreachable"


async def test_half_an_answer_is_no_answer(server: Server) -> None:
    async def half(_: web.Request) -> web.StreamResponse:
        return web.Response(text='{"kind": "Pod", "meta')

    fault = await fault_of(await server(half))
    assert "not whole JSON" in fault.message


async def test_a_slow_answer_is_given_up_on(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await hold.wait()
        return web.Response()

    cluster = await server(slow)
    monkeypatch.setattr(connections.Connection.send, "__kwdefaults__",
                        {**connections.Connection.send.__kwdefaults__, "seconds": 0.2})  # fmt: skip
    fault = await fault_of(cluster)
    hold.set()
    assert fault.reason == "ApiUnreachable"


async def test_too_large_an_answer_is_not_read(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BODY_MOST", 1000)

    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(text="x" * 5000)

    assert "larger than 1000 bytes" in (await fault_of(await server(large))).message


async def test_nobody_there(server: Server) -> None:
    cluster = ClusterGateway(Connection(Configuration(host="http://127.0.0.1:9")), instance="test")
    assert (await fault_of(cluster)).reason == "ApiUnreachable"
    await cluster._connection.close()


async def test_a_message_never_holds_a_body(server: Server) -> None:
    async def secret(_: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="password=hunter2")

    assert "hunter2" not in (await fault_of(await server(secret))).message
