"""A pretend API server that serves Incidents: enough of one for kopf to watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

GROUP = "/apis/incident-operator.dev/v1alpha1"
VERBS = ["get", "list", "watch", "patch", "create", "delete", "update"]


def resource(plural: str, kind: str, *, namespaced: bool = True) -> dict[str, Any]:
    return {"name": plural, "singularName": plural[:-1], "kind": kind, "namespaced": namespaced, "verbs": VERBS}


class PretendApi:
    """Its Incidents, who asked for what, and what it is to answer to watches."""

    def __init__(self) -> None:
        self.incidents: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.authorizations: set[str] = set()
        self.watch_status = 200
        self.unknown = ""
        """What discovery does not know yet: the group, or its version."""
        self.url = ""
        self.watches_begun = 0
        self._watches: set[asyncio.Queue[dict[str, Any] | None]] = set()
        self._version = 100

    @property
    def watches(self) -> int:
        return len(self._watches)

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.requests if method != "GET"]

    def put(self, name: str, *, severity: str = "SEV-2", phase: str = "", namespace: str = "shop") -> None:
        self._version += 1
        event = "MODIFIED" if name in self.incidents else "ADDED"
        self.incidents[name] = {
            "apiVersion": "incident-operator.dev/v1alpha1",
            "kind": "Incident",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{name}",
                "resourceVersion": str(self._version),
                "generation": 1,
                "creationTimestamp": "2026-11-23T10:00:00Z",
            },
            "spec": {"severity": severity},
            "status": {"phase": phase, "observedGeneration": 1} if phase else {},
        }
        self.tell({"type": event, "object": self.incidents[name]})

    def tell(self, event: dict[str, Any] | None) -> None:
        """An event for every watch; None cuts them."""
        for queue in self._watches:
            queue.put_nowait(event)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._note])
        app.router.add_get("/apis", self._groups)
        app.router.add_get("/api", self._versions)
        app.router.add_get("/api/v1", self._core)
        app.router.add_get("/api/v1/namespaces", self._nothing)
        app.router.add_get("/apis/apps/v1/{plural}", self._nothing)
        app.router.add_get(GROUP, self._ours)
        app.router.add_get(f"{GROUP}/incidents", self._incidents)
        app.router.add_get(f"{GROUP}/namespaces/{{namespace}}/incidents", self._incidents)
        for path in ("/incidentapprovals", "/namespaces/{namespace}/incidentapprovals"):
            app.router.add_get(GROUP + path, self._approvals)
        return app

    async def _approvals(self, request: web.Request) -> web.StreamResponse:
        """There are none; their watch says nothing."""
        if "watch" not in request.query:
            return web.json_response({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []})
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        mark = {"type": "BOOKMARK", "object": {"kind": "IncidentApproval", "metadata": {"resourceVersion": "1"}}}
        await response.write(json.dumps(mark).encode() + b"\n")  # headers leave with it, as an API server's at once
        await asyncio.Event().wait()
        return response

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        self.authorizations.add(request.headers.get("Authorization", ""))
        found: web.StreamResponse = await handler(request)
        return found

    async def _groups(self, _request: web.Request) -> web.Response:
        version = {"groupVersion": "incident-operator.dev/v1alpha1", "version": "v1alpha1"}
        group = {"name": "incident-operator.dev", "versions": [version], "preferredVersion": version}
        groups = [] if self.unknown == "group" else [group]
        return web.json_response({"kind": "APIGroupList", "groups": groups})

    async def _versions(self, _request: web.Request) -> web.Response:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def _core(self, _request: web.Request) -> web.Response:
        found = [resource("namespaces", "Namespace", namespaced=False), resource("events", "Event")]
        return web.json_response({"kind": "APIResourceList", "groupVersion": "v1", "resources": found})

    async def _nothing(self, _request: web.Request) -> web.Response:
        return web.json_response({"kind": "List", "metadata": {}, "items": []})

    async def _ours(self, _request: web.Request) -> web.Response:
        if self.unknown == "version":
            raise web.HTTPNotFound(text="404 page not found")
        found = [resource("incidents", "Incident"), resource("incidentapprovals", "IncidentApproval")]
        return web.json_response({"kind": "APIResourceList", "groupVersion": "x", "resources": found})

    async def _incidents(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            items = list(self.incidents.values())
            meta = {"resourceVersion": str(self._version)}
            return web.json_response({"kind": "IncidentList", "metadata": meta, "items": items})
        if self.watch_status != 200:
            code = self.watch_status
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Expired"}
            return web.json_response(status, status=code)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._watches.add(queue)
        self.watches_begun += 1
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            self._watches.discard(queue)
        return response


@pytest.fixture
async def api() -> AsyncIterator[PretendApi]:
    made = PretendApi()
    runner = web.AppRunner(made.application(), shutdown_timeout=0.1, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.tell(None)
    await runner.cleanup()


async def until(is_so: Any, *, within: float = 10.0) -> None:
    """Wait until something holds; fail with a TimeoutError if it does not in time."""
    async with asyncio.timeout(within):
        while not is_so():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


@pytest.fixture(name="until")
def until_fixture() -> Any:
    return until
