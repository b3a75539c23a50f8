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

    def _read(self) -> str:
        try:
            with self._path.open("rb") as file:
                found = file.read(MOST_SECRET + 1)
        except OSError as cause:
            raise Stalled("Misconfigured", f"could not read {self._path}: {cause.strerror}") from cause
        # Decoded with replacement, because the error of a strict decoding holds the bytes.
        secret = found.decode(errors="replace").strip()
        if not secret or len(found) > MOST_SECRET or "\ufffd" in secret:
            said = f"{self._path} must hold a secret: a text in UTF-8 of at most {MOST_SECRET >> 10} KiB"
            raise Stalled("Misconfigured", said)
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
        self._said: tuple[str, ...] = ()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Say who we are; Stalled if the secret cannot be read."""
        if self._file:
            secret = self._file.secret()
            kind, said = self._header(secret)
            self._said = (said, secret)
            request.headers["Authorization"] = f"{kind} {said}"
        return request

    def forget(self) -> None:
        """Read the secret again before it is used next."""
        if self._file:
            self._file.forget()

    def hidden_in(self, text: str) -> str:
        """A text without the secret, should the server have repeated it."""
        for said in self._said:
            text = text.replace(said, "***")
        return text

    def _header(self, secret: str) -> tuple[str, str]:
        if self._username is not None:
            return "Basic", base64.b64encode(f"{self._username}:{secret}".encode()).decode()
        if not TOKEN.fullmatch(secret):
            # Asked here, because the library's own error would print the header.
            raise Stalled("Misconfigured", f"{self._path} holds no token: it has spaces, or letters beyond ASCII")
        return "Bearer", secret
