"""The API server as the tests see it: straight, past every proxy, and fast."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any

import yaml

TIMEOUT = 30
MISSING = 404
FIRST_ERROR = 400
PATHS = {
    "deployments": "apis/apps/v1",
    "replicasets": "apis/apps/v1",
    "pods": "api/v1",
    "networkpolicies": "apis/networking.k8s.io/v1",
    "horizontalpodautoscalers": "apis/autoscaling/v2",
    "incidents": "apis/incident-operator.dev/v1alpha1",
    "incidentapprovals": "apis/incident-operator.dev/v1alpha1",
    "recoveryplans": "apis/incident-operator.dev/v1alpha1",
    "runbooks": "apis/incident-operator.dev/v1alpha1",
    "leases": "apis/coordination.k8s.io/v1",
}


@dataclasses.dataclass(frozen=True)
class Access:
    """What a kubeconfig of a lab holds: the address, and a client certificate."""

    server: str
    tls: ssl.SSLContext

    @classmethod
    def of(cls, kubeconfig: Path) -> Access:
        raw = yaml.safe_load(kubeconfig.read_text())
        cluster, user = raw["clusters"][0]["cluster"], raw["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        made = ssl.create_default_context(cadata=authority)
        with tempfile.TemporaryDirectory() as folder:
            pair = Path(folder) / "client.pem"
            pair.touch(mode=0o600)
            parts = [base64.b64decode(user[f"client-{each}-data"]) for each in ("certificate", "key")]
            pair.write_bytes(b"\n".join(parts))
            made.load_cert_chain(pair)
        return cls(cluster["server"], made)


class AnswerError(AssertionError):
    """The API server said no to a test."""


class Api:
    """Requests of one thread about one namespace, over one connection."""

    def __init__(self, access: Access, namespace: str, person: str = "") -> None:
        """As whoever the certificate names, or as a person by that name who may do everything."""
        self.namespace = namespace
        self._as = {"Impersonate-User": person, "Impersonate-Group": "system:masters"} if person else {}
        self._access = access
        self._connection: http.client.HTTPSConnection | None = None

    def _path(self, plural: str, name: str, subresource: str) -> str:
        parts = [PATHS[plural], "namespaces", self.namespace, plural, name, subresource]
        return "/" + "/".join(part for part in parts if part)

    def _ask(self, method: str, path: str, body: Any, content_type: str) -> Any:
        text = None if body is None else json.dumps(body)
        for attempt in range(3):
            if self._connection is None:
                host = self._access.server.removeprefix("https://")
                self._connection = http.client.HTTPSConnection(host, timeout=TIMEOUT, context=self._access.tls)
            try:
                self._connection.request(method, path, text, {"Content-Type": content_type, **self._as})
                answer = self._connection.getresponse()
                content = answer.read()
            except (http.client.HTTPException, OSError):
                self._connection.close()
                self._connection = None  # a connection that was kept open may have been closed meanwhile
                if attempt or method != "GET":
                    raise
                continue
            if answer.status == MISSING:
                return None
            if answer.status >= FIRST_ERROR:
                raise AnswerError(f"{method} {path}: {answer.status} {content[:1000].decode()}")
            return json.loads(content)
        raise AnswerError(f"{method} {path}: no answer")

    def person(self, name: str) -> Api:
        """The same, as somebody else."""
        return Api(self._access, self.namespace, name)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def get(self, plural: str, name: str) -> Any:
        """The object, or None."""
        return self._ask("GET", self._path(plural, name, ""), None, "application/json")

    def list(self, plural: str, query: str = "") -> list[Any]:
        path = self._path(plural, "", "") + (f"?{query}" if query else "")
        return self._ask("GET", path, None, "application/json")["items"]  # type: ignore[no-any-return]

    def create(self, plural: str, thing: dict[str, Any]) -> Any:
        return self._ask("POST", self._path(plural, "", ""), thing, "application/json")

    def merge(self, plural: str, name: str, change: dict[str, Any], subresource: str = "") -> Any:
        path = self._path(plural, name, subresource)
        return self._ask("PATCH", path, change, "application/merge-patch+json")

    def delete(self, plural: str, name: str) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        self._ask("DELETE", self._path(plural, name, ""), body, "application/json")
