"""A proxy between one operator and the API server, which does to their conversation what it is told.

Plain HTTP on loopback on the operator's side, TLS with a client certificate on the other. It
runs in a thread of its own; every method may be called from any other.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from faults.access import MISSING, Access
from faults.audit import KEPT
from faults.rules import REASONS, Rule, Seen

NOT_PASSED = frozenset({"host", "connection", "content-length", "transfer-encoding", "keep-alive", "user-agent"})
SECRET = "/secrets"
GONE = 410
LINE_MOST = 16 * 1024 * 1024
TICK = 0.05
"""Seconds until a delay sees that its rule has been taken away."""
Answer = tuple[int, dict[str, str], bytes]


def error(code: int, retry_after: int | None = None) -> Answer:
    """An error as the API server gives it.

    But for 404: that of an object that is not there is no fault but a statement. This one is what an
    API server says of a path that it does not serve yet, or a load balancer of one that it does not know.
    """
    if code == MISSING:
        return code, {"Content-Type": "text/plain"}, b"404 page not found"
    reason = REASONS.get(code, "")
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return code, headers, json.dumps({**status, "message": f"the fault proxy says {code}"}).encode()


class FaultProxy:
    """One operator's way to the API server."""

    def __init__(self, access: Access, name: str, *, on_kill: Callable[[], None] = lambda: None) -> None:
        """Open nothing yet; ``name`` is the user agent by which the audit log knows what came through here."""
        self.name = name
        self.on_kill = on_kill
        self.seen: list[Seen] = []
        self.audit_ids: list[str] = []
        """Of the writes that were carried out, by which the audit log knows them."""
        self.expired = 0
        """How often the API server itself said that a watch cannot go on where it is."""
        self.url = ""
        self._access = access
        self._rules: list[Rule] = []
        self._first: dict[str, Answer] = {}
        self._watches: dict[int, web.Request] = {}
        self._carried: set[asyncio.Task[Answer]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10), "the fault proxy did not start"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def kubeconfig(self, path: Path) -> Path:
        """A kubeconfig for the operator; it holds no credential, for the proxy has it."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def add(self, *rules: Rule) -> None:
        self._rules = [*self._rules, *rules]

    def clear(self, *rules: Rule) -> None:
        """Take these rules away; without any: all."""
        self._rules = [each for each in self._rules if rules and all(each is not rule for rule in rules)]

    def forget(self) -> None:
        """Begin anew: no rules, no requests seen, no answers remembered."""
        self._rules, self.seen, self.audit_ids, self._first = [], [], [], {}

    def seen_of(self, kind: str) -> Sequence[Seen]:
        return [each for each in self.seen if each.kind == kind]

    def is_watched(self, path: str) -> bool:
        """Whether a stream of whole objects at such a path is open; one of metadata alone is another watch."""
        there = [each for each in list(self._watches.values()) if "PartialObject" not in each.headers.get("Accept", "")]
        return any(path in each.path for each in there)

    def cut_watches(self) -> int:
        """Break every stream that is open now; how many there were."""
        return self._cut(list(self._watches.values()))

    def cut_list_watches(self) -> int:
        """Break only those that tell the operator that a list need not be read again."""
        return self._cut([each for each in list(self._watches.values()) if "/incident-operator.dev/" not in each.path])

    def _cut(self, there: Sequence[web.Request]) -> int:
        for request in there:
            self._loop.call_soon_threadsafe(_reset, request)
        return len(there)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_route("*", "/{tail:.*}", self._handle)
        connector = aiohttp.TCPConnector(ssl=self._access.tls, limit=0)
        async with aiohttp.ClientSession(
            connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout(), read_bufsize=LINE_MOST
        ) as self._session:
            runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(time.monotonic(), request.method, request.raw_path)
        self.seen.append(seen)
        rule = next((each for each in self._rules if not each.is_about_events and each.concerns(seen)), None)
        spoilt = rule if rule is not None and rule.take() else None
        try:
            if spoilt is not None:
                return await self._spoil(request, seen, spoilt)
            return await self._passed(request, seen)
        except (aiohttp.ClientError, OSError):
            return _reset(request)  # the API server is away: so is the operator's connection

    async def _passed(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        """What the API server says, as it is."""
        if seen.is_watch:
            return await self._stream(request, seen)
        return await _send(request, await self._forward(request))

    async def _spoil(self, request: web.Request, seen: Seen, rule: Rule) -> web.StreamResponse:
        """Do what a rule says to a request; the table of actions, but for those on events."""
        match rule.action:
            case "kill_before" | "reset_before":
                if rule.action == "kill_before":
                    self.on_kill()
                return _reset(request)
            case "status":
                return await _send(request, error(rule.code, rule.retry_after))
            case "torn" if seen.is_watch:
                return await _tear(request, (200, {"Content-Type": "application/json"}, b"{}"))
            case "stale":
                first = self._first.get(seen.target)
                rule.missed += first is None
                return await _send(request, first or await self._forward(request))
            case "hang":
                end = time.monotonic() + rule.seconds
                while time.monotonic() < end and not rule.is_over:  # noqa: ASYNC110 - set by another thread
                    await asyncio.sleep(min(0.05, rule.seconds))
                return await self._passed(request, seen)
            case _:
                return await self._answer_badly(request, rule, await self._forward(request))

    async def _answer_badly(self, request: web.Request, rule: Rule, answer: Answer) -> web.StreamResponse:
        """What is done once the API server has carried the request out."""
        match rule.action:
            case "kill_applied" | "reset_applied":
                if rule.action == "kill_applied":
                    self.on_kill()
                return _reset(request)
            case "kill_answered":
                response = await _send(request, answer)
                self.on_kill()
                return response
            case "truncated":
                code, headers, body = answer
                return await _send(request, (code, headers, body[: len(body) // 2]))
            case "torn":
                return await _tear(request, answer)
            case _:
                await asyncio.sleep(rule.seconds)
                return await _send(request, answer)

    async def _forward(self, request: web.Request) -> Answer:
        """The API server's answer; the first one to each read is remembered, but for what Secrets hold."""
        carried = asyncio.create_task(self._carry(request, await request.read()))
        self._carried.add(carried)
        carried.add_done_callback(self._carried.discard)
        # To its end, even if who asked is killed meanwhile: else the audit log has 504 for what may have been done.
        return await asyncio.shield(carried)

    async def _carry(self, request: web.Request, body: bytes) -> Answer:
        async with self._ask(request, body) as response:
            answer = response.status, _headers(response), await response.read()
        if request.method != "GET" and KEPT.search(request.raw_path) and "Audit-Id" in response.headers:
            self.audit_ids.append(response.headers["Audit-Id"])
        if request.method == "GET" and SECRET not in request.raw_path and response.ok:
            self._first.setdefault(request.raw_path, answer)
        return answer

    def _ask(self, request: web.Request, body: bytes = b"") -> Any:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in NOT_PASSED}
        url = URL(self._access.server + request.raw_path, encoded=True)
        return self._session.request(
            request.method, url, headers={**headers, "User-Agent": self.name}, data=body or None, allow_redirects=False
        )

    async def _stream(self, request: web.Request, seen: Seen) -> web.StreamResponse:
        """A watch, line by line."""
        async with self._ask(request) as upstream:
            self.expired += upstream.status == GONE
            response = web.StreamResponse(status=upstream.status, headers=_headers(upstream))
            await response.prepare(request)
            self._watches[id(request)] = request
            try:
                async for line in _lines(upstream.content):
                    if not await self._event(request, response, seen, line):
                        break
            except (aiohttp.ClientError, ConnectionError):
                return _reset(request)
            finally:
                del self._watches[id(request)]
            return response

    async def _event(self, request: web.Request, response: web.StreamResponse, seen: Seen, line: bytes) -> bool:
        """Pass on one event, or do to it what a rule says; whether the stream goes on."""
        is_bookmark = b'"type":"BOOKMARK"' in line[:40]
        self.expired += b'"type":"ERROR"' in line[:40] and b'"code":410' in line
        rules = (each for each in self._rules if each.is_about_events and each.concerns(seen))
        wanted = (each for each in rules if not each.event or f'"type":"{each.event}"'.encode() in line[:40])
        rule = next((each for each in wanted if not is_bookmark or each.action == "watch_silent"), None)
        action = rule.action if rule is not None and rule.take() else ""
        match action:
            case "watch_cut":
                _reset(request)
                return False
            case "watch_silent" | "watch_dropped":
                return True
            case "watch_error":
                assert rule is not None
                status = json.loads(error(rule.code)[2])
                await response.write(json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")
                return False
            case "watch_delayed":
                assert rule is not None
                await self._delayed(rule)
            case "watch_replayed":
                await response.write(line + line)
            case _:
                pass
        await response.write(line)
        return True

    async def _delayed(self, rule: Rule) -> None:
        """Wait as a rule says, as long as it is in force: what has queued up behind it is not for the next run."""
        end = self._loop.time() + rule.seconds
        while self._loop.time() < end and any(each is rule for each in self._rules):  # noqa: ASYNC110 - set by a thread
            await asyncio.sleep(TICK)


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines, however the stream is cut into pieces."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.lower() not in NOT_PASSED}


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """The whole answer, on its way before this returns."""
    code, headers, body = answer
    response = web.Response(status=code, headers=headers, body=body)
    await response.prepare(request)
    await response.write_eof()
    return response


async def _tear(request: web.Request, answer: Answer) -> web.StreamResponse:
    code, headers, body = answer
    response = web.StreamResponse(status=code, headers={**headers, "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    return _reset(request, response)


def _reset(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Break the connection, as a load balancer does that loses its backend."""
    if request.transport is not None:
        request.transport.abort()
    return response if response is not None else web.Response()
