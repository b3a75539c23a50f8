"""A second API server on the same etcd, by a way that can be frozen: its cache then shows the past."""

from __future__ import annotations

import contextlib
import dataclasses
import selectors
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.access import Access, AnswerError, Api
from incident_operator.lab import Lab
from incident_operator.lab.control_plane import apiserver, kubeconfig
from tests_support.waiting import eventually

PIECE = 1 << 16


class Relay:
    """Passes bytes between one port of this machine and another, but for while it is frozen."""

    def __init__(self, to: int) -> None:
        """Listen; nothing is passed before ``start``."""
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thawed = threading.Event()
        self._thawed.set()
        self._ends: dict[socket.socket, socket.socket] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def freeze(self) -> None:
        """Pass nothing more, and break nothing."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def close(self) -> None:
        self._closed.set()
        self.thaw()
        self._thread.join(10)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._closed.is_set():
                self._thawed.wait()
                for key, _ in selector.select(0.05):
                    if not self._thawed.is_set():
                        break  # what is there to be read stays where it is
                    self._serve(selector, key.fileobj)
            for each in (self._listener, *self._ends):
                each.close()

    def _serve(self, selector: selectors.BaseSelector, ready: Any) -> None:
        if ready is self._listener:
            near, _ = self._listener.accept()
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ends |= {near: far, far: near}
            for each in (near, far):
                selector.register(each, selectors.EVENT_READ)
            return
        other = self._ends.get(ready)
        if other is None:
            return
        try:
            piece = ready.recv(PIECE)
            other.sendall(piece)
        except OSError:
            piece = b""
        if not piece:
            for each in (ready, other):
                selector.unregister(each)
                del self._ends[each]
                each.close()


@dataclasses.dataclass(frozen=True)
class Second:
    """The second API server."""

    access: Access
    relay: Relay
    audit: Path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


@contextlib.contextmanager
def second_api_server(lab: Lab, folder: Path) -> Iterator[Second]:
    """Start it with the certificates and flags of the first, and its own audit log; it ends with the block."""
    first = lab.settings()
    relay, audit = Relay(first.etcd_port), folder / "audit.log"
    relay.start()
    settings = dataclasses.replace(first, port=_free_port(), etcd_port=relay.port)
    argv = [*apiserver(lab.directory, settings), f"--audit-log-path={audit}"]
    path = folder / "second.kubeconfig"
    kubeconfig(lab.directory, "admin", settings.port, path)
    with (folder / "second.log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            access = Access.of(path)
            eventually(lambda: _is_answering(access), within=60, what="the second API server to answer")
            yield Second(access, relay, audit)
        finally:
            process.kill()
            process.wait(10)
            relay.close()


def _is_answering(access: Access) -> bool:
    api = Api(access, "default")
    try:
        return api.list("incidents") is not None and api.list("deployments") is not None
    except (OSError, AnswerError, TypeError):
        return False
    finally:
        api.close()
