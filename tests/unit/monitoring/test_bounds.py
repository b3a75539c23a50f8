"""What a broken or hostile server can do to who asks it: nothing but not answer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
from collections.abc import Callable
from typing import Any

import pytest

from incident_operator.faults import Stalled, Waiting
from incident_operator.monitoring import connection
from incident_operator.monitoring.prometheus import AT_ONCE, Servers
from unit.monitoring.conftest import Configure
from unit.monitoring.loopback import Answer, Loopback, serving, success, vector

ONE = vector(({}, "1"))


async def unavailable(servers: Servers, query: str = "up") -> str:
    with pytest.raises(Waiting) as caught:
        await servers.query("", query)
    assert caught.value.reason == "PrometheusUnavailable"
    return caught.value.message


async def test_a_server_that_is_not_there_is_told_in_the_systems_words(configure: Configure) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}/x"
        said = await unavailable(configure(url=f"http://someone:hunter2@{where}/?key=hunter2"), "private")
    assert said == f"Prometheus main (http://{where}) does not answer: Connection refused"


async def test_a_name_that_is_not_known_is_waited_for(configure: Configure) -> None:
    assert "does not answer" in await unavailable(configure(url="http://prometheus.invalid:9090"))


def silent(world: Loopback) -> Callable[[Callable[[bytes], Any]], None]:
    return lambda _write: (world.ended.wait(10), None)[1]


def dripping(world: Loopback) -> Callable[[Callable[[bytes], Any]], None]:
    """A byte now and then: each one alone is in time."""

    def write(put: Callable[[bytes], Any]) -> None:
        with contextlib.suppress(OSError):
            while not world.ended.wait(0.02):
                put(b" ")

    return write


@pytest.mark.parametrize("how", [silent, dripping])
async def test_an_answer_that_does_not_end_is_given_up_and_so_are_its_threads(
    world: Loopback, configure: Configure, how: Any
) -> None:
    servers = configure(timeout="300ms")
    world.answers = [Answer(200, how(world))]
    said = await asyncio.gather(*(unavailable(servers) for _ in range(AT_ONCE + 2)))
    assert all(each.endswith("did not answer within 300ms") for each in said)
    world.answers = [ONE]
    found = await asyncio.wait_for(answered(servers), 20)
    assert found[0].value == 1, "no thread is left to a server that is well again"


async def answered(servers: Servers) -> Any:
    while True:
        with contextlib.suppress(Waiting):
            return await servers.query("", "up")


async def test_one_that_hangs_keeps_the_others_from_nothing(world: Loopback, configure: Configure) -> None:
    hanging = configure(timeout="10s")
    with serving() as other:
        well = configure(url=other.url)
        world.answers, other.answers = [Answer(200, silent(world))], [ONE]
        stuck = [asyncio.create_task(hanging.query("", "up")) for _ in range(2 * AT_ONCE)]
        found = await asyncio.gather(*(well.query("", "up") for _ in range(2 * AT_ONCE)))
        assert len(found) == 2 * AT_ONCE
        assert not any(task.done() for task in stuck)
    for task in stuck:
        task.cancel()
    await asyncio.gather(*stuck, return_exceptions=True)


@pytest.mark.parametrize("status", [200, 400, 302])
async def test_an_answer_without_an_end_is_read_to_its_bound_only(
    world: Loopback, configure: Configure, status: int
) -> None:
    written = 0

    def write(put: Callable[[bytes], Any]) -> None:
        nonlocal written
        with contextlib.suppress(OSError):
            while not world.ended.is_set():
                put(b"x" * connection.PIECE)
                written += connection.PIECE

    world.answers = [Answer(status, write, {"Location": f"{world.url}/elsewhere"})]
    with pytest.raises(Stalled, match="answered with more than 4 MiB: ask for less") as caught:
        await configure(timeout="30s").query("", "up")
    assert caught.value.reason == "AnswerTooLarge"
    assert written < 4 * connection.MOST_BYTES, "what is above the bound is in the buffers of the network"


async def test_a_large_answer_within_the_bound_is_read(world: Loopback, configure: Configure) -> None:
    world.answers = [vector(*(({"pod": "p" * 90 + str(number)}, "1") for number in range(20_000)))]
    assert len(world.answers[0].body) > 2 << 20
    assert len(await configure().query("", "up")) == 20_000


async def test_a_compressed_answer_is_neither_asked_for_nor_unpacked(world: Loopback, configure: Configure) -> None:
    packed = gzip.compress(b'{"data": {"result": []}}' + b" " * (64 << 20))
    world.answers = [Answer(200, packed, {"Content-Encoding": "gzip"})]
    assert "not of Prometheus' API" in await unavailable(configure())
    assert world.asked[0].headers["Accept-Encoding"] == "identity"


async def test_an_answer_that_breaks_off_is_no_answer(world: Loopback, configure: Configure) -> None:
    world.answers = [Answer(200, lambda put: (put(b'{"data": {"resu'), None)[1], {"Content-Length": "900"})]
    assert await unavailable(configure())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_no_redirect_is_followed(world: Loopback, configure: Configure, status: int) -> None:
    with serving() as other:
        servers = configure()
        for target in (f"{other.url}/api/v1/query", "/api/v1/query?query=other"):
            world.answers = [Answer(status, b"", {"Location": target})]
            with pytest.raises(Stalled, match=f"answered {status}; redirects are not followed") as caught:
                await servers.query("", "up")
            assert caught.value.reason == "PrometheusRefused"
        assert other.asked == []
        assert len(world.asked) == 2


async def test_proxies_and_files_of_the_environment_are_not_used(
    world: Loopback, configure: Configure, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        await configure().query("", "up")
        assert proxy.asked == []
    assert "Authorization" not in world.asked[0].headers


async def test_cookies_are_not_kept(world: Loopback, configure: Configure) -> None:
    world.answers = [Answer(200, success({"resultType": "vector", "result": []}).body, {"Set-Cookie": "a=b"})]
    servers = configure()
    for _ in range(2):
        await servers.query("", "up")
    assert "Cookie" not in world.asked[1].headers


async def test_connections_are_kept_and_one_that_was_closed_is_made_anew(world: Loopback, configure: Configure) -> None:
    servers = configure()
    world.answers = [ONE]
    for _ in range(3):
        await servers.query("", "up")
    assert len({asked.connection for asked in world.asked}) == 1
    world.answers = [None, ONE]
    assert (await servers.query("", "up"))[0].value == 1


async def test_a_server_that_always_hangs_up_is_asked_twice(world: Loopback, configure: Configure) -> None:
    world.answers = [None]
    assert "does not answer" in await unavailable(configure())
    assert len(world.asked) == 2
