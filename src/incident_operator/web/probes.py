"""Liveness, readiness and metrics over HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from aiohttp import web

from incident_operator import __version__

CLOSE_SECONDS = 2.0
"""How long an answer in hand may take when the program ends."""

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


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server that is listening; ``url`` has the real port."""

    url: str
    _runner: web.AppRunner

    async def close(self) -> None:
        """Stop listening; answers in hand are finished."""
        await self._runner.cleanup()


async def serve(app: web.Application, host: str, port: int) -> Server:
    """Listen on a host and port (0: any free one); OSError if that cannot be had."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    real = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    return Server(f"http://{shown}:{real}", runner)
