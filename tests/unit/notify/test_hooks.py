"""What a hook gets, what its answers mean, and that its URL and token are told to nobody but itself."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import re
import socket
import ssl
import subprocess
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from incident_operator.api.configuration import Hook
from incident_operator.faults import Fault, Stalled, Waiting
from incident_operator.notify import hooks as module
from incident_operator.notify.hooks import Hooks, message

SECRET, TOKEN = "T0P-s3cr3t-path", "hunter2-hunter2"
INCIDENT = {"metadata": {"namespace": "shop", "name": "bad-deploy", "uid": "uid-1"}}
TOLD = message(INCIDENT, "Escalation", "nobody has taken it on", at=datetime.now(UTC), key="0")


@dataclasses.dataclass
class World:
    """A server on loopback that keeps what it is sent, and answers as told."""

    url: str = ""
    answer: Callable[[web.Request], Any] = lambda _: web.Response(status=204)
    got: list[tuple[web.Request, bytes]] = dataclasses.field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.got.append((request, await request.read()))
        found = self.answer(request)
        return await found if asyncio.iscoroutine(found) else found

    def says(self, status: int, **headers: str) -> None:
        sent = {name.replace("_", "-"): text for name, text in headers.items()}
        self.answer = lambda _: web.Response(status=status, headers=sent, text=f"{SECRET} {TOKEN}")


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async for made in served():
        yield made


async def served(tls: ssl.SSLContext | None = None) -> AsyncIterator[World]:
    made = World()
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", made.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    made.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}/{SECRET}"
    yield made
    await runner.cleanup()


@pytest.fixture
def files(tmp_path: Path, world: World) -> Path:
    (tmp_path / "url").write_text(f"{world.url}\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    return tmp_path


def made(files: Path, **more: Any) -> Hooks:
    given_to = {"name": "pager", "urlFile": files / "url", "tokenFile": files / "token", "timeout": "5s", **more}
    return Hooks([Hook.model_validate(given_to), Hook(name="chat", url_file=files / "absent")])


async def fault(hooks: Hooks, name: str = "pager", told: Mapping[str, Any] = TOLD) -> Fault:
    with pytest.raises(Fault) as caught:
        await hooks.post(name, told)
    return caught.value


async def test_a_message_is_posted_as_json_with_its_key_and_the_token(world: World, files: Path) -> None:
    await made(files).post("pager", TOLD)
    ((request, body),) = world.got
    assert (request.method, request.path) == ("POST", f"/{SECRET}")
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == TOLD["key"]
    assert request.headers["User-Agent"].startswith("incident-operator/")
    assert json.loads(body) == TOLD


async def test_a_message_without_a_key_has_one_all_the_same(world: World, files: Path) -> None:
    for told in ({"text": "a"}, {"text": "a"}, {"text": "b"}, {"text": "a", "key": "x\r\nX-Evil: 1"}):
        await made(files).post("pager", told)
    keys = [request.headers["Idempotency-Key"] for request, _ in world.got]
    assert keys[0] == keys[1] != keys[2]
    assert re.fullmatch(r"[0-9a-f]{32}", keys[3])


@pytest.mark.parametrize("status", [200, 202, 204, 299])
async def test_any_2xx_says_that_it_was_taken(world: World, files: Path, status: int) -> None:
    world.says(status)
    await made(files).post("pager", TOLD)
    assert len(world.got) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599, 429, 408])
async def test_a_server_in_trouble_may_take_it_later(world: World, files: Path, status: int) -> None:
    world.says(status)
    found = await fault(made(files))
    assert isinstance(found, Waiting)
    assert (found.reason, found.message) == ("HookUnavailable", f"hook pager answered {status}")


@pytest.mark.parametrize(
    ("asked", "delay"), [("30", 30), ("999999", 300), ("0", 2), ("soon", 2), ("-1", 2), ("9" * 5000, 2)]
)
async def test_a_server_may_say_when_to_come_back_within_bounds(
    world: World, files: Path, asked: str, delay: int
) -> None:
    world.says(429, Retry_After=asked)
    found = await fault(made(files))
    assert isinstance(found, Waiting)
    assert found.delay == timedelta(seconds=delay)


@pytest.mark.parametrize(
    ("status", "said"),
    [(400, "URL"), (401, "tokenFile"), (403, "tokenFile"), (404, "URL"), (410, "URL"), (418, "URL"), (499, "URL")],
)
async def test_a_server_that_says_no_needs_a_person(world: World, files: Path, status: int, said: str) -> None:
    world.says(status)
    found = await fault(made(files))
    assert isinstance(found, Stalled)
    assert found.reason == "HookRefused"
    assert re.fullmatch(rf"hook pager answered {status}; is .*{said}.* right\?", found.message)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(world: World, files: Path, status: int) -> None:
    world.says(status, Location=f"{world.url}/elsewhere")
    found = await fault(made(files))
    assert (found.reason, len(world.got)) == ("HookRefused", 1)
    assert "redirects are not followed" in found.message


async def test_a_server_that_does_not_answer_in_time_may_take_it_later(world: World, files: Path) -> None:
    gone = asyncio.Event()

    async def never(_: web.Request) -> web.Response:
        await gone.wait()
        return web.Response()

    world.answer = never
    found = await fault(made(files, timeout="100ms"))
    gone.set()
    assert isinstance(found, Waiting)
    assert found.message == "hook pager did not answer within 100ms"


async def test_an_endless_body_is_not_read(world: World, files: Path) -> None:
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        finally:
            ended.set()

    world.answer = endless
    async with asyncio.timeout(10):
        await made(files).post("pager", TOLD)
        await ended.wait()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "answered with something that is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "answered with something that is not HTTP"),
    ],
)
async def test_what_is_not_http_may_be_better_later(files: Path, answer: bytes, said: str) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (files / "url").write_text(f"http://127.0.0.1:{port}/{SECRET}")
    found = await fault(made(files))
    server.close()
    await server.wait_closed()
    assert isinstance(found, Waiting)
    assert found.message == f"hook pager {said}"


async def test_a_port_that_nobody_listens_on_may_be_better_later(files: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (files / "url").write_text(f"http://127.0.0.1:{free.getsockname()[1]}/{SECRET}")
        found = await fault(made(files))
    assert isinstance(found, Waiting)
    assert found.message == "hook pager could not be reached: Connection refused"


async def test_a_name_that_is_not_there_may_be_better_later(files: Path) -> None:
    (files / "url").write_text(f"http://{SECRET.lower()}.invalid/")
    found = await fault(made(files))
    assert isinstance(found, Waiting)
    assert found.message == "hook pager could not be found: its name does not resolve"


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    key, certificate = tmp_path / "key", tmp_path / "crt"
    subject = ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", "req", "-x509", *kind, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    tmp_path: Path, self_signed: ssl.SSLContext
) -> None:
    async for world in served(self_signed):
        (tmp_path / "url").write_text(world.url)
        found = await fault(made(tmp_path, tokenFile=None))
        assert isinstance(found, Waiting)
        assert found.message == "hook pager has a certificate that is not to be trusted: self-signed certificate"
        assert world.got == []


async def test_a_url_and_a_token_that_were_rotated_are_used_at_once(world: World, files: Path) -> None:
    hooks = made(files)
    await hooks.post("pager", TOLD)
    (files / "url").write_text(f"{world.url}/second")
    (files / "token").write_text("second")
    await hooks.post("pager", TOLD)
    sent = [(request.path, request.headers["Authorization"]) for request, _ in world.got]
    assert sent == [(f"/{SECRET}", f"Bearer {TOKEN}"), (f"/{SECRET}/second", "Bearer second")]


async def test_a_signed_url_is_asked_as_it_is_written(world: World, files: Path) -> None:
    signed = "/a%2Fb/%7Ec?sig=x%2By%3D%2f&q=a+b"
    for base in (world.url, world.url.replace("//", "//user:pw@")):
        (files / "url").write_text(base + signed)
        await made(files).post("pager", TOLD)
        request = world.got[-1][0]
        assert request.raw_path == f"/{SECRET}{signed}"
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"


async def test_a_user_in_the_url_is_who_we_are_where_there_is_no_token(world: World, files: Path) -> None:
    (files / "url").write_text(world.url.replace("//", "//user:pw@"))
    await made(files, tokenFile=None).post("pager", TOLD)
    assert world.got[0][0].headers["Authorization"] == "Basic dXNlcjpwdw=="


async def test_a_hook_that_is_not_configured_is_told_with_those_that_are(files: Path) -> None:
    found = await fault(made(files), "papa")
    assert isinstance(found, Stalled)
    assert found.reason == "UnknownHook"
    assert found.message == "hook papa is not in the configuration; there are: chat, pager"
    assert "there are: none" in (await fault(Hooks([]), "papa")).message


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"file:///etc/T0P-s3cr3t", b"T0P-s3cr3t", b"ftp://T0P-s3cr3t", b"http://", b"http:///T0P-s3cr3t",
     b"http://x:T0P-s3cr3t/", b"http://x:999999/T0P-s3cr3t", b"http://[T0P-s3cr3t/", b"\xffhttp://x/T0P-s3cr3t",
     b"http://x/T0P-s3cr3t\nhttp://y/", b"http://x/T0P-s3cr3t y", b"http://x/" + b"T0P-s3cr3t" * 2000],
)  # fmt: skip
async def test_a_file_that_holds_no_url_is_named_and_its_content_is_not(files: Path, content: bytes) -> None:
    (files / "url").write_bytes(content)
    found = await fault(made(files))
    assert isinstance(found, Stalled)
    assert found.reason == "Misconfigured"
    assert f"{files}/url must hold one URL" in found.message
    assert "s3cr3t" not in everything(found)


@pytest.mark.parametrize("content", ["", "hunter2 hunter2", "hunter2\nX-Evil: 1", "hunter2é", "hunter2" * 4000])
async def test_a_file_that_holds_no_token_is_named_and_its_content_is_not(
    world: World, files: Path, content: str
) -> None:
    (files / "token").write_text(content)
    found = await fault(made(files))
    assert found.reason == "Misconfigured"
    assert f"{files}/token holds no token" in found.message
    assert "hunter2" not in everything(found)
    assert world.got == []


async def test_a_file_that_is_not_there_is_named(files: Path) -> None:
    found = await fault(made(files), "chat")
    assert isinstance(found, Stalled)
    assert found.message == f"hook chat: could not read {files}/absent: No such file or directory"


def everything(found: BaseException) -> str:
    """All that a log could show of a fault: its text, what it came from, and the way it took."""
    shown = "".join(traceback.TracebackException.from_exception(found, capture_locals=False).format())
    chain, told = found, [shown]
    while chain is not None:
        told.append(f"{chain!r} {chain.args!r} {vars(chain)!r}")
        chain = chain.__cause__ or chain.__context__  # type: ignore[assignment]
    return "\n".join(told)


async def test_neither_url_nor_token_is_in_any_fault_or_log_line(
    world: World, files: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port = world.url.split(":")[2].split("/")[0]
    said = []
    for status in (500, 429, 400, 401, 302):
        world.says(status, Location=world.url, Set_Cookie=f"a={TOKEN}; Path={SECRET}")
        said.append(everything(await fault(made(files))))
    for url in (
        f"https://127.0.0.1:{port}/{SECRET}",  # not TLS
        f"http://user:{TOKEN}@127.0.0.1:1/{SECRET}",
        f"http://{SECRET.lower()}.invalid/{SECRET}",
        f"http://{'x' * 70}.{SECRET}/{SECRET}",  # a label that is too long
    ):
        (files / "url").write_text(url)
        said.append(everything(await fault(made(files))))
    # The server's own lines are not ours.
    lines = [f"{each.getMessage()} {each.exc_text}" for each in caplog.records if each.name != "aiohttp.server"]
    told = "\n".join([*said, *lines])
    for secret in (SECRET, SECRET.lower(), TOKEN, "127.0.0.1", port):
        assert secret not in told, secret


async def test_a_hook_that_hangs_holds_up_no_other(world: World, files: Path) -> None:
    gone, full = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        if len(world.got) == module.AT_ONCE:
            full.set()
        if request.path.endswith(SECRET):
            await gone.wait()
        return web.Response()

    world.answer = hang
    (files / "good").write_text(f"{world.url}/good")
    hooks = Hooks([Hook(name="bad", url_file=files / "url"), Hook(name="good", url_file=files / "good")])
    stuck = [asyncio.create_task(hooks.post("bad", TOLD)) for _ in range(3 * module.AT_ONCE)]
    async with asyncio.timeout(10):
        await full.wait()
        await hooks.post("good", TOLD)
        assert len(world.got) == module.AT_ONCE + 1
        gone.set()
        await asyncio.gather(*stuck)
    assert len(world.got) == 3 * module.AT_ONCE + 1
