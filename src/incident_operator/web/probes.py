"""Liveness, readiness and metrics over HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from aiohttp import web

from incident_operator import __version__
from incident_operator.web.serving import Server, serve

INDEX = f"""Incident Operator {__version__}

/healthz   200 as long as the program gets on with its work, else 503 and why not
/readyz    200 as long as the API server answers, else 503 and since when it does not
/metrics   metrics for Prometheus
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Where the answers come from; a trouble is a line for people, empty if there is none."""

    trouble_alive: Callable[[], str]
    trouble_ready: Callable[[], str]
    metrics: Callable[[], bytes]
    metrics_type: str


def application(sources: Sources) -> web.Application:
    """The HTTP application."""

    async def index(_request: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def healthz(_request: web.Request) -> web.Response:
        return _probe(sources.trouble_alive())

    async def readyz(_request: web.Request) -> web.Response:
        return _probe(sources.trouble_ready())

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=sources.metrics(), headers={"Content-Type": sources.metrics_type})

    app = web.Application()
    app.router.add_get("/", index)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
    return app


def _probe(trouble: str) -> web.Response:
    """200 and ok, or 503 and the trouble."""
    return web.Response(text=f"{trouble}\n", status=503) if trouble else web.Response(text="ok\n")


__all__ = ["Server", "Sources", "application", "serve"]
