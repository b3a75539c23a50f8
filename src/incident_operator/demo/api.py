"""As much of an HTTP client as the demo needs: GETs through a lab's API server, as its admin."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


class Api:
    """One connection to the API server of a kubeconfig that holds its certificates inside."""

    def __init__(self, kubeconfig: Path) -> None:
        """Read the kubeconfig; open nothing yet."""
        told = json.loads(kubeconfig.read_text())
        cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
        self._host = urlsplit(cluster["server"]).netloc
        data = {
            key: base64.b64decode(value).decode() for key, value in {**cluster, **user}.items() if key.endswith("-data")
        }
        self._context = ssl.create_default_context(cadata=data["certificate-authority-data"])
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as pair:
            pair.write(data["client-certificate-data"] + data["client-key-data"])
            pair.flush()
            self._context.load_cert_chain(pair.name)
        self._connection: http.client.HTTPSConnection | None = None

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of one GET; status 0 where no answer came."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=5)
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            return answer.status, answer.read(1 << 20)
        except (OSError, http.client.HTTPException):
            self.close()
            return 0, b""

    def close(self) -> None:
        """Close the connection; the next GET opens another."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None

    def object(self, path: str) -> dict[str, Any] | None:
        """One object; None if it is not there."""
        status, body = self.get(path)
        found: dict[str, Any] | None = json.loads(body) if status == http.client.OK else None
        return found
