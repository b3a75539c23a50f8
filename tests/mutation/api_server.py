"""Asks the API server what ``kubectl apply --dry-run=server`` asks it, several hundred times a second."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import ssl
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

AT_ONCE = 4


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the API server said to one creation."""

    code: int
    said: Mapping[str, Any]

    @property
    def accepted(self) -> bool:
        return self.code < 300

    @property
    def message(self) -> str:
        return str(self.said.get("message", ""))

    @property
    def causes(self) -> list[Mapping[str, str]]:
        return (self.said.get("details") or {}).get("causes") or []

    @property
    def by_policy(self) -> bool:
        """Whether an admission policy refused it, and not the schema."""
        return "ValidatingAdmissionPolicy" in self.message


class ApiServer:
    """A keep-alive connection a thread, with the login of a kubeconfig."""

    def __init__(self, kubeconfig: Path, folder: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        login = _named(config["users"], context["user"])["user"]
        self._host = urlsplit(cluster["server"]).netloc
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if "token" in login:
            self._headers["Authorization"] = f"Bearer {login['token']}"
        self._tls = ssl.create_default_context(cafile=str(_file(cluster, "certificate-authority", folder)))
        if "client-certificate" in login or "client-certificate-data" in login:
            files = (_file(login, name, folder) for name in ("client-certificate", "client-key"))
            self._tls.load_cert_chain(*map(str, files))
        self._own = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []

    def close(self) -> None:
        for each in self._opened:
            each.close()

    def _connection(self) -> http.client.HTTPSConnection:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPSConnection(self._host, context=self._tls, timeout=60)
            self._opened.append(self._own.connection)
        return self._own.connection

    def try_to_create(self, path: str, thing: Any) -> Answer:
        """Have it validated and admitted, and not stored."""
        connection = self._connection()
        query = "?dryRun=All&fieldValidation=Strict&fieldManager=mutation"
        connection.request("POST", path + query, json.dumps(thing).encode(), self._headers)
        response = connection.getresponse()
        body = response.read()
        return Answer(response.status, json.loads(body) if body[:1] == b"{" else {"message": body.decode()})

    def try_all(self, path: str, things: Iterable[Any]) -> list[Answer]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda each: self.try_to_create(path, each), things))


def _named(items: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    return next(each for each in items if each["name"] == name)


def _file(told: Mapping[str, str], name: str, folder: Path) -> Path:
    """A file that a kubeconfig names, or one with what it holds."""
    if f"{name}-data" not in told:
        return Path(told[name])
    path = folder / name
    path.touch(mode=0o600)
    path.write_bytes(base64.b64decode(told[f"{name}-data"]))
    return path
