"""The receiver of alerts: who may send, what is refused, and when 2xx, 4xx and 5xx are said."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from incident_operator.api.configuration import Receiver, ServerTls
from incident_operator.faults import Refused, Stalled, Waiting
from incident_operator.signals.signal import Notification
from incident_operator.web import receiver
from incident_operator.web.guarding import Buckets, Secret
from incident_operator.web.receiver import MOST_BYTES
from incident_operator.web.serving import Server

ALERT = {
    "status": "firing",
    "labels": {"alertname": "Slow", "namespace": "shop"},
    "annotations": {"summary": "{{ 7*7 }} $(id) <script>"},
    "startsAt": "2026-11-24T03:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "00aa",
}
PAYLOAD = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "x", "alerts": [ALERT]}
BODY = json.dumps(PAYLOAD).encode()
TOKEN = {"Authorization": "Bearer sesame"}


class Taking:
    """Takes signals, or fails as it is told to."""

    def __init__(self) -> None:
        self.taken: list[Notification] = []
        self.fault: BaseException | None = None
        self.gate: asyncio.Event | None = None
        self.has_begun, self.has_ended = asyncio.Event(), asyncio.Event()

    async def take(self, notification: Notification) -> Sequence[str]:
        self.has_begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        self.taken.append(notification)
        self.has_ended.set()
        return [f"shop/{each.name}" for each in notification.signals]


class Desk:
    """A receiver that listens, and somebody who sends."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.token, self.secret = folder / "token", folder / "sentry"
        self.token.write_text("sesame\n")
        self.secret.write_text("open")
        told = {"token_file": self.token, "sentry_secret_file": self.secret, "per_second": 1000, **more}
        self.configured = Receiver(listen="127.0.0.1:0", **told)
        self.intake = Taking()
        self.said: list[tuple[str, str]] = []
        self.left_out: list[tuple[str, int]] = []
        self.server: Server | None = None
        self.session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        app = receiver.application(
            self.configured,
            self.intake,
            lambda *said: self.said.append(said[:2]),
            lambda *left: self.left_out.append(left),
        )
        self.server = await receiver.listen(self.configured, app)
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.session is not None
        assert self.server is not None
        await self.session.close()
        await self.server.close()

    async def send(self, path: str = "/alerts", body: Any = BODY, **more: Any) -> tuple[int, str, Any]:
        assert self.session is not None
        assert self.server is not None
        told = {"headers": TOKEN, **more}
        async with self.session.post(self.server.url + path, data=body, **told) as answer:
            return answer.status, await answer.text(), answer.headers


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with Desk(tmp_path) as made:
        yield made


async def test_an_alert_is_answered_with_its_incident_once_it_is_there(desk: Desk) -> None:
    status, text, headers = await desk.send()
    assert (status, json.loads(text)) == (200, {"incidents": ["shop/Slow"], "truncated": 0})
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert desk.said == [("alerts", "200")]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Waiting("ApiServerAway", "no answer"), 503),
        (Refused("Forbidden", "exceeded quota"), 503),
        (Stalled("Forbidden", "the operator lacks a right"), 503),
        (Stalled("Invalid", "denied by an admission policy"), 503),
        (KeyError("sesame"), 500),
    ],
)
async def test_what_may_go_away_is_503_and_no_error_tells_what_is_inside(
    desk: Desk, fault: BaseException, status: int
) -> None:
    desk.intake.fault = fault
    found, text, headers = await desk.send()
    assert found == status
    assert "sesame" not in text
    assert ("Retry-After" in headers) is (status == 503)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "sesame"}, {"Authorization": "Basic c2VzYW1l"}],
)
async def test_nobody_sends_without_the_token(desk: Desk, headers: dict[str, str]) -> None:
    for path in ("/alerts", "/falco"):
        status, text, answered = await desk.send(path, headers=headers)
        assert (status, answered["WWW-Authenticate"]) == (401, "Bearer")
        assert "sesame" not in text
    assert desk.intake.taken == []


async def test_without_a_secret_the_answer_says_how_to_configure_one(tmp_path: Path) -> None:
    async with Desk(tmp_path, token_file=None, sentry_secret_file=None) as desk:
        assert "receiver.tokenFile" in (await desk.send())[1]
        assert "receiver.sentrySecretFile" in (await desk.send("/sentry"))[1]
    async with Desk(tmp_path) as desk:
        desk.token.write_text("\n")
        assert (await desk.send(headers={"Authorization": "Bearer "}))[0] == 403


def test_a_rotated_secret_is_used_within_a_second_and_the_old_one_no_more(tmp_path: Path) -> None:
    seconds = 0.0
    path = tmp_path / "token"
    path.write_text("old")
    secret = Secret(path, lambda: seconds)
    assert secret.is_told(b"old")
    path.write_text("new")
    seconds = 1.0
    assert secret.is_told(b"new")
    assert not secret.is_told(b"old")
    path.unlink()
    seconds = 2.0
    assert not secret.is_told(b"new")
    assert not secret.is_told(b"")


def test_a_bucket_for_each_address_and_no_more_than_so_many() -> None:
    seconds = 0.0
    buckets = Buckets(2, lambda: seconds)
    assert [buckets.take("a") for _ in range(3)] == [True, True, False]
    assert buckets.take("b")
    seconds = 0.5
    assert [buckets.take("a") for _ in range(2)] == [True, False]
    for number in range(3000):
        buckets.take(f"c{number}")
    assert len(buckets._left) == 1024


async def test_too_many_are_told_to_come_back_and_strangers_do_not_crowd_out_those_with_the_token(
    tmp_path: Path,
) -> None:
    async with Desk(tmp_path, per_second=3) as desk:
        strangers = [await desk.send(headers={}) for _ in range(6)]
        assert [status for status, _, _ in strangers][:3] == [401, 401, 401]
        assert 503 in [status for status, _, _ in strangers]
        assert (await desk.send())[0] == 200
        known = [(await desk.send())[0] for _ in range(6)]
        assert 503 in known
        assert 429 not in known, "Alertmanager drops what is answered so"


async def test_what_is_no_notification_is_refused_by_the_field(desk: Desk) -> None:
    status, text, _ = await desk.send(body=json.dumps({**PAYLOAD, "alerts": [{**ALERT, "startsAt": "x"}]}).encode())
    assert status == 400
    assert "alerts[0].startsAt" in text
    assert (await desk.send(body=b"{"))[0] == 400
    assert (await desk.send(headers={**TOKEN, "Content-Encoding": "gzip"}))[0] == 415
    assert (await desk.send(body=io.BytesIO(b" " * (MOST_BYTES + 1))))[0] == 413
    assert (await desk.send("/nowhere"))[0] == 404
    assert desk.session is not None
    assert desk.server is not None
    async with desk.session.get(desk.server.url + "/alerts", headers=TOKEN) as answer:
        assert answer.status == 405
    assert desk.intake.taken == []


async def test_alerts_that_were_left_out_are_counted_and_told_to_the_intake(desk: Desk) -> None:
    assert (await desk.send())[0] == 200
    assert desk.left_out == []
    _, text, _ = await desk.send(body=json.dumps({**PAYLOAD, "truncatedAlerts": 7}).encode())
    assert json.loads(text)["truncated"] == 7
    assert desk.left_out == [("alerts", 7)]
    assert [each.truncated for each in desk.intake.taken] == [0, 7]


async def test_a_body_in_pieces_is_bounded_as_well(desk: Desk) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65536

    assert (await desk.send(body=pieces()))[0] == 413


async def test_what_has_begun_goes_on_when_the_sender_goes_away(desk: Desk) -> None:
    desk.intake.gate = asyncio.Event()
    sending = asyncio.create_task(desk.send())
    async with asyncio.timeout(5):
        await desk.intake.has_begun.wait()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        desk.intake.gate.set()
        await desk.intake.has_ended.wait()
    assert len(desk.intake.taken) == 1


async def test_what_takes_too_long_is_told_to_come_again_and_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "TAKE_SECONDS", 0.05)
    desk.intake.gate = asyncio.Event()
    async with asyncio.timeout(30):
        status, text, headers = await desk.send()
        assert (status, text) == (503, "the Incidents could not be made in time: try again\n")
        assert headers["Retry-After"] == "1"
        assert not desk.intake.taken
        desk.intake.gate.set()
        await desk.intake.has_ended.wait()
    assert len(desk.intake.taken) == 1


async def test_a_body_that_does_not_come_is_refused_in_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "READ_SECONDS", 0.05)
    never = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"["
        await never.wait()

    async with asyncio.timeout(30):
        assert (await desk.send(body=pieces()))[0] == 408
    assert not desk.intake.taken


async def test_sentry_is_known_by_its_signature(desk: Desk) -> None:
    issue = {"title": "Boom", "id": "1", "shortId": "S-1", "web_url": "https://s/1", "level": "fatal"}
    issue |= {"status": "unresolved", "firstSeen": "2026-11-24T03:00:00Z"}
    body = json.dumps({"action": "created", "data": {"issue": issue}}).encode()
    signed = hmac.new(b"open", body, hashlib.sha256).hexdigest()
    said = {"Sentry-Hook-Resource": "issue", "Sentry-Hook-Signature": signed}
    assert (await desk.send("/sentry", body, headers={**said, "Sentry-Hook-Signature": "0" * 64}))[0] == 401
    assert (await desk.send("/sentry", body + b" ", headers=said))[0] == 401
    status, text, _ = await desk.send("/sentry", body, headers=said)
    assert status == 200, text
    assert (await desk.send("/sentry", b"{}", headers=said))[0] == 401


FIELDS = ["version", "status", "alerts", "labels", "annotations", "startsAt", "fingerprint", "groupKey"]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=400) | JSON.map(lambda thing: json.dumps(thing).encode()))
def test_any_bytes_get_an_answer_and_never_an_action_that_was_not_asked_for(tmp_path: Path, body: bytes) -> None:
    async def once() -> None:
        async with Desk(tmp_path) as desk:
            status, _, _ = await desk.send(body=body)
            assert status in (200, 400)
            assert bool(desk.intake.taken) <= (status == 200)

    asyncio.run(once())


def certificates(folder: Path) -> None:
    """An authority, and a certificate of it for both sides."""
    run = lambda *argv: subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)  # noqa: E731
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    run(*new, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt")
    own = ("-addext", "subjectAltName=IP:127.0.0.1", "-CA", "ca.crt", "-CAkey", "ca.key")
    run(*new, "-subj", "/CN=both", *own, "-keyout", "both.key", "-out", "both.crt")


async def test_a_client_certificate_is_enough_and_without_one_nobody_is_heard(tmp_path: Path) -> None:
    certificates(tmp_path)
    both = {"cert_file": tmp_path / "both.crt", "key_file": tmp_path / "both.key"}
    tls = ServerTls(**both, client_ca_file=tmp_path / "ca.crt")
    async with Desk(tmp_path, tls=tls, token_file=None) as desk:
        assert desk.server is not None
        assert desk.server.url.startswith("https://")
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        with pytest.raises(aiohttp.ClientError):
            await desk.send(headers={}, ssl=context)
        context.load_cert_chain(tmp_path / "both.crt", tmp_path / "both.key")
        assert (await desk.send(headers={}, ssl=context))[0] == 200


async def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    tls = ServerTls(cert_file=tmp_path / "no.crt", key_file=tmp_path / "no.key")
    configured = Receiver(listen="127.0.0.1:0", tls=tls)
    with pytest.raises(Stalled, match=r"receiver.tls: .*no\.crt"):
        await receiver.listen(configured, receiver.application(configured, Taking(), lambda *_: None))
