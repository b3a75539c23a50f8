"""Tells people outside of the cluster: posts JSON to the hooks of the configuration.

This is what a hook gets, as ``application/json`` in ASCII. Fields may be added to version "1"; what is
there keeps its name and its meaning::

    {
      "version": "1",
      "key": "0c4b…",                        the same whenever the same thing is told again, and the
                                             header Idempotency-Key: by it a receiver drops doubles
      "reason": "Escalation",                UpperCamelCase, stable; also Halted, AcknowledgeOverdue,
                                             ContainOverdue, UpdateOverdue, ResolveOverdue
      "text": "nobody has …",                for people, at most 2048 characters
      "time": "2026-11-23T14:42:00Z",        when it was told
      "incident": {
        "namespace": "shop", "name": "bad-deploy", "uid": "…",
        "id": "INC-2026-1123-001",           may be empty
        "severity": "SEV-1", "phase": "Containment",
        "title": "…"                         at most 200 characters
      }
    }

All of it is plain text, even where it came with an alert: nothing is markup, nothing is a template, and
what cannot be printed is a space. Any answer from 200 to 299 says that it was taken; its body is not read.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from incident_operator import __version__
from incident_operator.api.configuration import Hook
from incident_operator.api.schema import parse_duration
from incident_operator.faults import SOON, Stalled, Waiting

MOST_TEXT, MOST_TITLE, MOST_WORD = 2048, 200, 253
MOST_SECRET = 16 << 10
"""Bytes of a file with a URL or a token."""
AT_ONCE = 8
"""Posts to one hook at the same time; one that does not answer holds up only its own."""
LONGEST_DELAY = timedelta(minutes=5)
"""How long a hook may ask to be left alone (Retry-After)."""
VISIBLE = re.compile(r"[!-~]+")
WEB = re.compile(r"https?://[!-~]+", re.IGNORECASE)
BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)
REMEDIES: Mapping[int, str] = dict.fromkeys(
    (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN), "is what its tokenFile holds right?"
)
TROUBLES: Mapping[type[Exception], str] = {
    aiohttp.ClientConnectorDNSError: "could not be found: its name does not resolve",
    aiohttp.ClientSSLError: "does not speak TLS as it should",
    aiohttp.ClientConnectorError: "could not be reached",
    aiohttp.ServerDisconnectedError: "closed the connection without an answer",
    aiohttp.ClientOSError: "closed the connection without an answer",
    aiohttp.ClientResponseError: "answered with something that is not HTTP",
}
"""What to say of errors whose own words have the address in them; the first that fits."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Answer:
    """What came of a post; never what was sent, nor where to."""

    status: int = 0
    trouble: str = ""
    delay: timedelta = SOON


class Hooks:
    """The hooks of the configuration, by name."""

    def __init__(self, configured: Sequence[Hook]) -> None:
        """Connect to nothing yet."""
        self._hooks = {hook.name: hook for hook in configured}
        self._turns = {name: asyncio.Semaphore(AT_ONCE) for name in self._hooks}

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        """Have the hook take a message; Waiting if it may take it later, Stalled if a person must do something.

        URL and token are read from their files each time, and are in no fault: neither in its text nor in
        what it came from.
        """
        hook = self._hooks.get(name)
        if hook is None:
            known = ", ".join(sorted(self._hooks)) or "none"
            raise Stalled("UnknownHook", f"hook {name} is not in the configuration; there are: {known}")
        async with self._turns[name]:
            url, headers = await asyncio.to_thread(_target, hook)
            answer = await _send(hook, url, headers, message)
        if answer.trouble:
            raise Waiting("HookUnavailable", f"hook {name} {answer.trouble}")
        status = answer.status
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in BUSY:
            raise Waiting("HookUnavailable", f"hook {name} answered {status}", delay=answer.delay)
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            is_elsewhere = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
            remedy = "redirects are not followed; is its URL right?" if is_elsewhere else "is its URL right?"
            raise Stalled("HookRefused", f"hook {name} answered {status}; {REMEDIES.get(status, remedy)}")


def message(incident: Mapping[str, Any], reason: str, text: str, *, at: datetime, key: str = "") -> dict[str, Any]:
    """What to post about an Incident, given as the API server has it; ``key`` names what is told, beside the reason."""
    meta, spec, status = (incident.get(part) or {} for part in ("metadata", "spec", "status"))
    uid = _line(meta.get("uid"), MOST_WORD)
    named = f"{meta.get('namespace')}/{meta.get('name')}/{uid}/{reason}/{key or text}"
    return {
        "version": "1",
        "key": hashlib.sha256(named.encode(errors="replace")).hexdigest()[:32],
        "reason": _line(reason, MOST_WORD),
        "text": _plain(text, MOST_TEXT),
        "time": f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "incident": {
            "namespace": _line(meta.get("namespace"), MOST_WORD),
            "name": _line(meta.get("name"), MOST_WORD),
            "uid": uid,
            "id": _line(status.get("id"), MOST_WORD),
            "severity": _line(spec.get("severity"), MOST_WORD),
            "phase": _line(status.get("phase"), MOST_WORD),
            "title": _line(spec.get("title"), MOST_TITLE),
        },
    }


def _plain(text: object, most: int) -> str:
    """A text without what cannot be seen, or turns the writing around; bounded, with a mark where it was cut."""
    found = "".join(each if each.isprintable() or each == "\n" else " " for each in str(text or ""))
    return found if len(found) <= most else found[: most - 1] + "…"


def _line(text: object, most: int) -> str:
    return _plain(" ".join(str(text or "")[: most * 4].split()), most)


def _target(hook: Hook) -> tuple[URL, dict[str, str]]:
    """Where to post, and who we are; Stalled names the file that is at fault, never what is in it."""
    url = _read(hook, hook.url_file)
    target = _url(url) if WEB.fullmatch(url) else None
    if target is None:
        raise Stalled("Misconfigured", f"hook {hook.name}: {hook.url_file} must hold one URL that begins with https://")
    headers = {"User-Agent": f"incident-operator/{__version__}", "Content-Type": "application/json"}
    if hook.token_file is None:
        return target, headers
    token = _read(hook, hook.token_file)
    if not VISIBLE.fullmatch(token):
        told = f"{hook.token_file} holds no token: it is empty, has spaces, or letters beyond ASCII"
        raise Stalled("Misconfigured", f"hook {hook.name}: {told}")
    # aiohttp takes no header beside a user in the URL.
    return target.with_user(None), {**headers, "Authorization": f"Bearer {token}"}


def _url(text: str) -> URL | None:
    """The URL exactly as it is written, for it may be signed; None if it is none."""
    try:
        found = URL(text, encoded=True)
        is_whole = bool(found.host) and found.port is not None
    except ValueError:
        return None
    return found if is_whole else None


def _read(hook: Hook, path: Path) -> str:
    try:
        with path.open("rb") as file:
            found = file.read(MOST_SECRET + 1)
    except OSError as cause:
        raise Stalled("Misconfigured", f"hook {hook.name}: could not read {path}: {cause.strerror}") from cause
    # Decoded with replacement, because the error of a strict decoding holds the bytes.
    return "" if len(found) > MOST_SECRET else found.decode(errors="replace").strip()


async def _send(hook: Hook, url: URL, headers: Mapping[str, str], message: Mapping[str, Any]) -> _Answer:
    """Post once; whatever goes wrong is told in words of ours, because aiohttp's repeat the URL."""
    seconds = parse_duration(hook.timeout).total_seconds()
    body = json.dumps(dict(message), default=str).encode()
    key = str(message.get("key", ""))
    key = key if VISIBLE.fullmatch(key) and len(key) <= MOST_WORD else hashlib.sha256(body).hexdigest()[:32]
    sent = {**headers, "Idempotency-Key": key}
    limit, jar = aiohttp.ClientTimeout(total=seconds), aiohttp.DummyCookieJar()
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, cookie_jar=jar, auto_decompress=False) as session,
            session.post(url, data=body, headers=sent, allow_redirects=False) as response,
        ):
            return _Answer(response.status, delay=_delay(response.headers.get("Retry-After", "")))
    except TimeoutError:
        return _Answer(trouble=f"did not answer within {hook.timeout}")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return _Answer(trouble=_trouble(error))


def _delay(text: str) -> timedelta:
    """How long the hook wants to be left alone, if it says so in seconds (RFC 9110, 10.2.3); within bounds."""
    asked = timedelta(seconds=int(text)) if re.fullmatch(r"[0-9]{1,6}", text) else SOON
    return min(max(asked, SOON), LONGEST_DELAY)


def _trouble(error: Exception) -> str:
    """What has happened to the connection, without host, port or path."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "") or "not verified"
        # "Hostname mismatch, certificate is not valid for 'the host'"
        return f"has a certificate that is not to be trusted: {why.partition(',')[0]}"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno and error.errno > 0:
        return f"could not be reached: {os.strerror(error.errno)}"
    return next((said for kind, said in TROUBLES.items() if isinstance(error, kind)), "could not be posted to")
