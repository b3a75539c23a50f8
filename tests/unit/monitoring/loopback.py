"""A small HTTP server on loopback that answers as it is told, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclasses.dataclass(frozen=True)
class Asked:
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    connection: tuple[str, int]


@dataclasses.dataclass
class Answer:
    status: int = 200
    body: bytes | Callable[[Callable[[bytes], Any]], None] = b""
    """All of it, or what writes it."""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


def success(data: Any) -> Answer:
    return Answer(200, json.dumps({"status": "success", "data": data}).encode())


def vector(*samples: tuple[Mapping[str, str], str]) -> Answer:
    found = [{"metric": labels, "value": [1780000000.1, value]} for labels, value in samples]
    return success({"resultType": "vector", "result": found})


def error(status: int, kind: str, text: str) -> Answer:
    return Answer(status, json.dumps({"status": "error", "errorType": kind, "error": text}).encode())


class Loopback:
    """Answers in turn; the last answer goes on."""

    def __init__(self) -> None:
        self.answers: list[Answer | None] = [vector()]
        """None: close the connection instead."""
        self.asked: list[Asked] = []
        self.url = ""
        self.ended = threading.Event()
        """Set when the server goes; who writes slowly watches it."""

    def take(self, asked: Asked) -> Answer | None:
        self.asked.append(asked)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextlib.contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[Loopback]:
    world = Loopback()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(world))
    server.daemon_threads = True
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that hangs up is part of the test
    world.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield world
    finally:
        world.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(world: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(url.query).items()}
            answer = world.take(Asked(url.path, params, dict(self.headers.items()), self.client_address))
            self.close_connection = answer is None or callable(answer.body)
            if answer is None:
                return
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if callable(answer.body):
                self.end_headers()
                answer.body(self.wfile.write)
                return
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
