"""Takes alerts in over HTTP: ``/alerts`` for Alertmanager and Grafana, ``/falco`` for falcosidekick, and ``/sentry``.

Alertmanager tries again after a 5xx or a broken connection, and never after a 4xx (alertmanager
``notify/util.go``): so 2xx is said once the Incidents are in etcd, 4xx to who may not send and for what is
no notification, and 5xx for everything else: it may go away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog
from aiohttp import web

from incident_operator.api.configuration import Receiver
from incident_operator.faults import Fault, Waiting
from incident_operator.signals import alertmanager, falco, sentry
from incident_operator.signals.signal import BadSignal, Notification
from incident_operator.web.certificates import renewing
from incident_operator.web.guarding import Buckets, Secret
from incident_operator.web.serving import Server, serve

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.receiver")

MOST_BYTES = 1 << 20
READ_SECONDS = 10.0
TAKE_SECONDS = 8.0
"""How long Incidents may take to be made: senders are told to wait for 10 s."""
AT_ONCE = 32
MOST_NAMED = 5
HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
Said = Callable[[str, str, float], None]
"""Told of source, outcome and seconds of each request."""
LeftOut = Callable[[str, int], None]
"""Told of source and number of alerts that a sender has left out."""


class Intake(Protocol):
    """Makes Incidents of signals."""

    async def take(self, notification: Notification) -> Sequence[str]:
        """Names of the Incidents, once they are in etcd; Waiting where the API server is away."""
        ...


class _Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    """What is answered instead of taking signals in."""

    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class _Desk:
    """Answers requests."""

    def __init__(self, configured: Receiver, intake: Intake, said: Said, left_out: LeftOut) -> None:
        self._token = Secret(configured.token_file) if configured.token_file else None
        self._sentry = Secret(configured.sentry_secret_file) if configured.sentry_secret_file else None
        self._is_mutual = bool(configured.tls and configured.tls.client_ca_file)
        self._known, self._strangers = Buckets(configured.per_second), Buckets(configured.per_second)
        self._intake = intake
        self._said = said
        self._left_out = left_out
        self._room = asyncio.Semaphore(AT_ONCE)
        self._takes: set[asyncio.Task[Sequence[str]]] = set()

    async def alerts(self, request: web.Request) -> web.Response:
        """Alertmanager and Grafana."""
        return await self._answered(request, "alerts", alertmanager.read)

    async def falco(self, request: web.Request) -> web.Response:
        """Falcosidekick."""
        return await self._answered(request, "falco", falco.read)

    async def sentry(self, request: web.Request) -> web.Response:
        """Sentry, which signs what it sends."""
        resource = request.headers.get("Sentry-Hook-Resource", "")
        return await self._answered(request, "sentry", lambda body: sentry.read(resource, body))

    async def _answered(self, request: web.Request, source: str, read: Callable[[bytes], Notification]) -> web.Response:
        """The answer to one request; whatever happens there is one, and it is counted."""
        begun = time.monotonic()
        try:
            body = await self._admitted(request, source)
            notification = await asyncio.to_thread(read, body)
            found = await self._taken(notification)
        except _Refusal as refusal:
            outcome = str(refusal.status)
            answer = _text(refusal.status, str(refusal), refusal.headers)
        except BadSignal as error:
            outcome, answer = "400", _text(400, str(error))
            log.warning("Refused what is no notification", source=source, cause=str(error))
        except Exception:
            outcome, answer = "500", _text(500, "an error of the operator; its log has more")
            log.exception("Could not take a notification in", source=source)
        else:
            outcome = "200"
            told = {"incidents": list(found), "truncated": notification.truncated}
            answer = web.json_response(told, headers=HEADERS)
            log.info("Took a notification in", source=source, alerts=len(notification.signals), incidents=len(found))
            if notification.truncated:
                self._left_out(source, notification.truncated)
                log.warning("The sender has left alerts out", source=source, alerts=notification.truncated)
        self._said(source, outcome, time.monotonic() - begun)
        return answer

    async def _admitted(self, request: web.Request, source: str) -> bytes:
        """The body of a request from somebody who may send; a refusal in any other case."""
        peer = request.remote or ""
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _Refusal(415, "send it without Content-Encoding")
        body = b""
        if source == "sentry":
            if not self._strangers.take(peer):
                raise _Refusal(503, "too many requests: try again", Retry_After="1")
            body = await _body(request)
            self._signed(request, body)
        else:
            self._known_as(request, peer)
        if not self._known.take(peer):
            raise _Refusal(503, "too many requests: try again", Retry_After="1")
        return body or await _body(request)

    def _signed(self, request: web.Request, body: bytes) -> None:
        if self._sentry is None or not self._sentry.value:
            raise _Refusal(403, "nobody may send here: give the operator receiver.sentrySecretFile")
        if not sentry.verify(self._sentry.value, body, request.headers.get("Sentry-Hook-Signature", "")):
            raise _Refusal(401, "the signature does not fit")

    def _known_as(self, request: web.Request, peer: str) -> None:
        """Raise unless the sender has the token, or a certificate, which TLS has looked at by now."""
        if self._is_mutual:
            return
        if self._token is None or not self._token.value:
            raise _Refusal(403, "nobody may send here: give the operator receiver.tokenFile, or tls.clientCaFile")
        scheme, _, said = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._token.is_told(said.strip().encode("utf-8", "surrogateescape")):
            return
        if not self._strangers.take(peer):
            raise _Refusal(503, "too many requests: try again", Retry_After="1")
        raise _Refusal(401, "give the token as Authorization: Bearer", WWW_Authenticate="Bearer")

    async def _taken(self, notification: Notification) -> Sequence[str]:
        """The Incidents of a notification. What has begun goes on when the sender goes away, or is told to wait."""
        if not notification.signals:
            return ()
        task = asyncio.create_task(self._take(notification))
        self._takes.add(task)
        task.add_done_callback(self._takes.discard)
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                return await asyncio.shield(task)
        except TimeoutError:
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise _Refusal(503, "the Incidents could not be made in time: try again", Retry_After="1") from None
        except Waiting as fault:
            raise _Refusal(503, f"{fault.reason}: {fault.message}", Retry_After="2") from fault
        except Fault as fault:
            names = ", ".join(dict.fromkeys(each.name for each in notification.signals[:MOST_NAMED]))
            log.error("Alerts have no Incident", alerts=names, reason=fault.reason, cause=fault.message)  # noqa: TRY400 - its cause is said
            # Not the sender's fault, and whatever it is may go away: a right, a quota, an admission policy.
            raise _Refusal(503, f"{fault.reason}: {fault.message}", Retry_After="10") from fault

    async def _take(self, notification: Notification) -> Sequence[str]:
        async with self._room:
            return await self._intake.take(notification)


async def _body(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await request.read()
    except TimeoutError:
        raise _Refusal(408, "the body did not come in time") from None
    except web.HTTPRequestEntityTooLarge:
        raise _Refusal(413, f"the body has more than {MOST_BYTES} bytes") from None
    except (web.RequestPayloadError, ConnectionError):
        raise _Refusal(400, "the body ended before its end") from None


def _text(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    told = text.encode("utf-8", "replace") + b"\n"
    return web.Response(
        body=told, status=status, content_type="text/plain", charset="utf-8", headers={**HEADERS, **(headers or {})}
    )


def application(
    configured: Receiver, intake: Intake, said: Said, left_out: LeftOut = lambda *_: None
) -> web.Application:
    """The HTTP application."""
    desk = _Desk(configured, intake, said, left_out)
    app = web.Application(client_max_size=MOST_BYTES)
    app.router.add_post("/alerts", desk.alerts)
    app.router.add_post("/falco", desk.falco)
    app.router.add_post("/sentry", desk.sentry)
    return app


async def listen(configured: Receiver, app: web.Application) -> Server:
    """Listen where the configuration says; OSError if the address cannot be had, Stalled if a certificate cannot."""
    host, _, port = configured.listen.rpartition(":")
    tls = renewing(configured.tls) if configured.tls else None
    return await serve(app, host.strip("[]") or "0.0.0.0", int(port), tls)  # noqa: S104 - asked for
