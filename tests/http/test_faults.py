"""What a broken or busy API server answers becomes the right fault; each by a server that does just that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from incident_operator.cluster import connection as connections
from incident_operator.cluster.connection import Connection
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.faults import Stalled, Waiting
from incident_operator.planning.plan import Ref, Request

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


class Redirects:
    """Sends everybody elsewhere, where there would be an answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        if request.path == "/elsewhere":
            return web.json_response({"items": [{"metadata": {"name": "somebody else's"}}]})
        return web.json_response({"items": []}, status=302, headers={"Location": "/elsewhere"})


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_a_redirect_is_an_answer_and_not_followed(server: Server, method: str) -> None:
    there = Redirects()
    cluster = await server(there.answer)
    code, _, headers = await cluster._connection.send(method, "/api", what="ask", body={})
    assert (code, headers["Location"], there.asked) == (302, "/elsewhere", ["/api"])


async def test_a_redirect_is_the_status_that_a_service_answers_with(server: Server) -> None:
    there = Redirects()
    code, elapsed = await (await server(there.answer)).through_service("shop", "web", "http", "/", timeout_seconds=5)
    assert code == 302
    assert elapsed >= 0
    assert there.asked == ["/api/v1/namespaces/shop/services/http:web:http/proxy/"]


async def test_a_redirect_is_no_object_no_watch_and_no_log(server: Server) -> None:
    there, begun = Redirects(), []
    cluster = await server(there.answer)
    fault = await fault_of(cluster)
    assert (fault.reason, "a redirect (302), which is not followed" in fault.message) == ("ApiServerError", True)
    with pytest.raises(Waiting, match="redirect"):
        await anext(aiter(cluster.changes("Pod", "shop", lambda: begun.append(True))))
    with pytest.raises(Stalled, match="302"):
        await cluster.log_text("shop", "web-0", "web", since=datetime.now(UTC), most_bytes=100)
    assert (begun, "/elsewhere" in there.asked) == ([], False)


async def test_of_what_a_service_answers_without_end_only_the_beginning_is_read(server: Server) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=206)
        await response.prepare(request)
        while True:
            await response.write(b"x" * 100_000)

    cluster = await server(endless)
    for _ in range(2 * connections.CONNECTIONS):  # each gives its connection back
        code, _ = await cluster.through_service("shop", "web", "http", "/", timeout_seconds=5)
        assert code == 206


async def test_what_the_api_server_says_of_a_service_is_still_understood(server: Server) -> None:
    async def nobody(_: web.Request) -> web.StreamResponse:
        said = {"kind": "Status", "reason": "ServiceUnavailable", "message": "no endpoints available"}
        return web.json_response(said, status=503)

    with pytest.raises(Waiting, match="no endpoints available"):
        await (await server(nobody)).through_service("shop", "web", "http", "/", timeout_seconds=5)


async def test_a_write_carries_its_body_and_who_asks(server: Server) -> None:
    async def told(request: web.Request) -> web.StreamResponse:
        headers = {key: request.headers.get(key) for key in ("Content-Type", "Impersonate-User", "Accept-Encoding")}
        return web.json_response({"method": request.method, "body": await request.text(), **headers})

    hands = (await server(told)).acting_as("shop", "responder")
    ref = Ref("Pod", "web-0", "shop", "uid")
    assert await hands.send(Request("patch", ref, [{"op": "test", "path": "/a"}], "application/json-patch+json")) == {
        "method": "PATCH",
        "body": '[{"op": "test", "path": "/a"}]',
        "Content-Type": "application/json-patch+json",
        "Impersonate-User": "system:serviceaccount:shop:responder",
        "Accept-Encoding": "identity",
    }
    assert (await hands.get("Pod", "shop", "web-0"))["body"] == ""
