"""Listening: one HTTP application on one address, plain or with TLS."""

from __future__ import annotations

import dataclasses
import ssl

from aiohttp import web

CLOSE_SECONDS = 2.0
"""How long an answer in hand may take when the program ends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """A server that is listening; ``url`` has the real port."""

    url: str
    _runner: web.AppRunner

    async def close(self) -> None:
        """Stop listening; answers in hand are finished."""
        await self._runner.cleanup()


async def serve(app: web.Application, host: str, port: int, tls: ssl.SSLContext | None = None) -> Server:
    """Listen on a host and port (0: any free one); OSError if that cannot be had."""
    # A body stays as it was sent: to unpack it would be to let a small one become a large one.
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=CLOSE_SECONDS, handle_signals=False, auto_decompress=False
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, ssl_context=tls).start()
    except OSError:
        await runner.cleanup()
        raise
    real = runner.addresses[0][1]
    shown = f"[{host}]" if ":" in host else host
    return Server(f"http{'s' if tls else ''}://{shown}:{real}", runner)
