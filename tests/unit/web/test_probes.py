from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from incident_operator.telemetry.metrics import CONTENT_TYPE, Metrics
from incident_operator.web.probes import Server, Sources, application, serve


class World:
    alive = ready = ""


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(world: World) -> AsyncIterator[Server]:
    sources = Sources(lambda: world.alive, lambda: world.ready, Metrics().exposition, CONTENT_TYPE)
    made = await serve(application(sources), "127.0.0.1", 0)
    yield made
    await made.close()


async def get(url: str) -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text(), response.headers["Content-Type"]


async def test_port_0_takes_a_free_port_and_tells_which(server: Server) -> None:
    assert int(server.url.rpartition(":")[2]) > 0
    assert (await get(server.url))[0] == 200


@pytest.mark.parametrize(("path", "field"), [("/healthz", "alive"), ("/readyz", "ready")])
async def test_a_probe_is_ok_or_says_what_the_trouble_is(server: Server, world: World, path: str, field: str) -> None:
    assert (await get(server.url + path))[:2] == (200, "ok\n")
    setattr(world, field, "one step has been going on for 301 s")
    assert (await get(server.url + path))[:2] == (503, "one step has been going on for 301 s\n")


async def test_metrics_are_in_the_format_that_prometheus_asks_for(server: Server) -> None:
    code, text, kind = await get(server.url + "/metrics")
    assert (code, kind) == (200, CONTENT_TYPE)
    assert "# TYPE incident_operator_steps_total counter" in text


async def test_the_first_page_says_what_is_there(server: Server) -> None:
    _, text, _ = await get(server.url + "/")
    assert all(path in text for path in ("/healthz", "/readyz", "/metrics"))


async def test_everything_else_is_not_found_and_nothing_can_be_written(server: Server) -> None:
    assert (await get(server.url + "/etc/passwd"))[0] == 404
    async with aiohttp.ClientSession() as session, session.post(server.url + "/healthz") as response:
        assert response.status == 405


async def test_a_port_that_is_taken_is_an_os_error(world: World) -> None:
    sources = Sources(lambda: "", lambda: "", lambda: b"", CONTENT_TYPE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            await serve(application(sources), "127.0.0.1", taken.getsockname()[1])
