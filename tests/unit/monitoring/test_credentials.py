"""Who we are for a server, and how we know that it is the one: secrets are used, rotated, and never told."""

from __future__ import annotations

import base64
import logging
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from incident_operator.faults import Fault, Stalled, Waiting
from incident_operator.monitoring import credentials
from unit.monitoring.conftest import Configure
from unit.monitoring.loopback import Answer, Loopback, error, serving, vector

SECRET = "hunter2-hunter2"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    made = tmp_path / "secret"
    made.write_text(f"{SECRET}\n")
    return made


def put(path: Path, content: str | bytes) -> None:
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def basic(path: Path) -> dict[str, object]:
    return {"basicAuth": {"username": "reader", "passwordFile": path}}


async def test_a_bearer_token_is_sent_with_every_question(world: Loopback, configure: Configure, secret: Path) -> None:
    servers = configure(bearerTokenFile=secret)
    await servers.query("", "up")
    for asking in (servers.alerts(""), servers.rules("", "A")):
        with pytest.raises(Fault):
            await asking
    assert [asked.headers["Authorization"] for asked in world.asked] == [f"Bearer {SECRET}"] * 3


async def test_a_password_is_sent_in_utf_8(world: Loopback, configure: Configure, secret: Path) -> None:
    put(secret, "pässwörd:1 2")
    await configure(**basic(secret)).query("", "up")
    kind, _, pair = world.asked[0].headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(pair).decode()) == ("Basic", "reader:pässwörd:1 2")


async def test_credentials_of_the_configuration_come_before_those_of_the_url(
    world: Loopback, configure: Configure, secret: Path
) -> None:
    await configure(url=world.url.replace("//", "//a:b@"), bearerTokenFile=secret).query("", "up")
    assert world.asked[0].headers["Authorization"] == f"Bearer {SECRET}"


async def test_a_rotated_secret_is_used_after_a_few_seconds_and_at_once_if_the_old_one_is_refused(
    world: Loopback, configure: Configure, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers, now = configure(bearerTokenFile=secret), [100.0]
    monkeypatch.setattr(credentials.time, "monotonic", lambda: now[0])
    sent = []

    async def ask() -> None:
        try:
            await servers.query("", "up")
        finally:
            sent.append(world.asked[-1].headers["Authorization"].removeprefix("Bearer "))

    await ask()
    put(secret, "second")
    await ask()
    now[0] += credentials.KEPT_SECONDS + 1
    await ask()
    put(secret, "third")
    world.answers = [Answer(401), vector()]
    with pytest.raises(Stalled, match="answered 401; are its bearerTokenFile or basicAuth right"):
        await ask()
    await ask()
    assert sent == [SECRET, SECRET, "second", "second", "third"]


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"\xff\xfe" + SECRET.encode(), f"{SECRET}\nX-Header: 1".encode(), SECRET.encode() * 2000]
)
async def test_a_file_that_holds_no_token_is_named_and_its_content_is_not(
    world: Loopback, configure: Configure, secret: Path, content: bytes
) -> None:
    put(secret, content)
    with pytest.raises(Stalled) as caught:
        await configure(bearerTokenFile=secret).query("", "up")
    assert caught.value.reason == "Misconfigured"
    assert str(secret) in caught.value.message
    assert SECRET not in f"{caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    assert world.asked == []


async def test_a_file_that_is_not_there_is_named(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(Stalled, match=r"could not read .*/absent: No such file or directory"):
        await configure(**basic(tmp_path / "absent")).query("", "up")


@pytest.mark.parametrize("kind", ["bearer", "basic"])
async def test_no_fault_and_no_log_tells_a_secret_even_if_the_server_repeats_it(
    world: Loopback, configure: Configure, secret: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    more: dict[str, object] = {"bearerTokenFile": secret} if kind == "bearer" else basic(secret)
    pair = base64.b64encode(f"reader:{SECRET}".encode()).decode()
    said = []
    for answer in (error(400, "x", f"no: {SECRET} {pair}"), error(503, "x", f"{pair} {SECRET}"), Answer(403), None):
        world.answers = [answer]
        with pytest.raises(Fault) as caught:
            await configure(**more).query("", "up")
        said.append(f"{caught.value} {caught.value.__cause__!r}")
    told = "\n".join([*said, caplog.text])
    assert "***" in told
    assert SECRET not in told
    assert kind == "bearer" or pair not in told


def openssl(folder: Path, name: str, *more: str) -> Path:
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2", "-nodes"]
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
    command = ["openssl", "req", "-x509", *made, *subject, *more]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / f"{name}.crt"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    return openssl(tmp_path, "server")


@pytest.fixture
def secured(tmp_path: Path, authority: Path) -> Iterator[Loopback]:
    """Wants a client's certificate, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, authority.with_suffix(".key"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(openssl(tmp_path, "client"))
    with serving(context) as made:
        yield made


async def test_a_server_is_recognised_by_its_authority_and_recognises_us(
    secured: Loopback, configure: Configure, authority: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = authority.with_name("client.crt")
    pair = {"certFile": client, "keyFile": client.with_suffix(".key")}
    assert await configure(url=secured.url, tls={"caFile": authority, **pair}).query("", "up") == ()
    with pytest.raises(Waiting, match="does not answer: ") as caught:
        await configure(url=secured.url, tls={"caFile": authority}).query("", "up")
    assert caught.value.reason == "PrometheusUnavailable", "it must know us"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    for wrong in (pair, {"caFile": client, **pair}):
        with pytest.raises(Waiting, match="certificate verify failed"):
            await configure(url=secured.url, tls=wrong).query("", "up")
    assert len(secured.asked) == 1


@pytest.mark.parametrize("field", ["caFile", "certFile"])
async def test_a_certificate_file_that_is_not_there_is_named(
    secured: Loopback, configure: Configure, authority: Path, field: str
) -> None:
    files = {"caFile": authority, "certFile": authority, "keyFile": authority.with_suffix(".key")}
    with pytest.raises(Stalled, match="/absent") as caught:
        await configure(url=secured.url, tls={**files, field: Path("/absent")}).query("", "up")
    assert caught.value.reason == "Misconfigured"
