"""Who we are for a Prometheus server: a bearer token or a password, each in a file that may be rotated.

Imports requests, so it is imported only when a server is first asked.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from pathlib import Path

from requests import PreparedRequest
from requests.auth import AuthBase

from incident_operator.api.configuration import PrometheusServer
from incident_operator.faults import Stalled

KEPT_SECONDS = 5.0
"""How long a secret that was read is used before its file is read again."""
MOST_SECRET = 16 << 10
"""Bytes of a secret."""
TOKEN = re.compile(r"[!-~]+")


class SecretFile:
    """A secret in a file, read again every few seconds so that a rotated one is used; it is never in a message."""

    def __init__(self, path: Path) -> None:
        """Name the file; it is read when the secret is first needed."""
        self._path = path
        self._lock = threading.Lock()
        self._secret, self._read_at = "", float("-inf")

    def secret(self) -> str:
        """What is in the file, without space around it; Stalled if there is nothing."""
        with self._lock:
            if time.monotonic() - self._read_at > KEPT_SECONDS:
                self._secret, self._read_at = self._read(), time.monotonic()
            return self._secret

    def forget(self) -> None:
        """Read the file again when the secret is needed next: the server did not take this one."""
        with self._lock:
            self._read_at = float("-inf")

    def hidden_in(self, text: str) -> str:
        """A text in which the secret, if it is there, cannot be read."""
        return text.replace(self._secret, "***") if self._secret else text

    def _read(self) -> str:
        try:
            with self._path.open("rb") as file:
                secret = file.read(MOST_SECRET + 1).decode().strip()
        except OSError as cause:
            raise Stalled("Misconfigured", f"could not read {self._path}: {cause.strerror}") from cause
        except UnicodeDecodeError:
            # Not chained: this error holds the bytes.
            raise Stalled("Misconfigured", f"{self._path} is not a text in UTF-8") from None
        if not secret or len(secret) >= MOST_SECRET:
            raise Stalled("Misconfigured", f"{self._path} must hold a secret of 1 to {MOST_SECRET - 1} bytes")
        return secret


class Credentials(AuthBase):
    """Puts who we are into each request; says so of no other request than the one it is given."""

    def __init__(self, configured: PrometheusServer) -> None:
        """Take the files from the configuration; without any nothing is said."""
        basic = configured.basic_auth
        path = basic.password_file if basic else configured.bearer_token_file
        self._username = basic.username if basic else None
        self._file = SecretFile(path) if path else None
        self._path = path

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Say who we are; Stalled if the secret cannot be read."""
        if self._file:
            request.headers["Authorization"] = self._header(self._file.secret())
        return request

    def forget(self) -> None:
        """Read the secret again before it is used next."""
        if self._file:
            self._file.forget()

    def hidden_in(self, text: str) -> str:
        """A text without the secret, should the server have repeated it."""
        return self._file.hidden_in(text) if self._file else text

    def _header(self, secret: str) -> str:
        if self._username is not None:
            pair = f"{self._username}:{secret}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        if not TOKEN.fullmatch(secret):
            # Asked here, because the library's own error would print the header.
            raise Stalled("Misconfigured", f"{self._path} holds no token: it has spaces, or letters beyond ASCII")
        return f"Bearer {secret}"
