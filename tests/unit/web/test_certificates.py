"""Certificates of the receiver that are renewed while it listens."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from incident_operator.api.configuration import ServerTls
from incident_operator.faults import Stalled
from incident_operator.web import certificates
from unit.web.test_receiver import Desk
from unit.web.test_receiver import certificates as write

KEPT, RENEWED = "Keeps the certificates that it has", "Uses renewed certificates"


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are looked at whenever somebody connects."""
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 0.0)


def tls(folder: Path, *, is_mutual: bool = False) -> ServerTls:
    asked = {"client_ca_file": folder / "asked.crt"} if is_mutual else {}
    return ServerTls(cert_file=folder / "both.crt", key_file=folder / "both.key", **asked)


def trusting(folder: Path) -> ssl.SSLContext:
    """Another one each time, so that nobody goes on over a connection that is there."""
    return ssl.create_default_context(cafile=str(folder / "ca.crt"))


def shakes(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether the two trust each other."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(back, there, server_hostname="127.0.0.1"),
        server.wrap_bio(there, back, server_side=True),
    )
    is_done = [False, False]
    for turn in range(8):
        try:
            sides[turn % 2].do_handshake()
            is_done[turn % 2] = True
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return False
    return all(is_done)


async def test_a_renewed_certificate_is_served_to_who_connects_next(tmp_path: Path) -> None:
    write(tmp_path)
    async with Desk(tmp_path, tls=tls(tmp_path)) as desk:
        assert (await desk.send(ssl=trusting(tmp_path)))[0] == 200
        write(tmp_path)
        with capture_logs() as logs:
            assert (await desk.send(ssl=trusting(tmp_path)))[0] == 200
            assert (await desk.send(ssl=trusting(tmp_path)))[0] == 200
        assert [each["event"] for each in logs].count(RENEWED) == 1


@pytest.mark.parametrize("broken", ["no certificate", None, "another key"])
async def test_files_that_are_wrong_keep_the_old_ones_and_are_told_once(tmp_path: Path, broken: str | None) -> None:
    write(tmp_path)
    async with Desk(tmp_path, tls=tls(tmp_path)) as desk:
        authority, key = (tmp_path / "ca.crt").read_text(), (tmp_path / "both.key").read_bytes()
        if broken is None:
            (tmp_path / "both.key").unlink()
        elif broken == "another key":
            write(tmp_path)
            (tmp_path / "both.key").write_bytes(key)
        else:
            (tmp_path / "both.crt").write_text(broken)
        with capture_logs() as logs:
            for _ in range(3):
                assert (await desk.send(ssl=ssl.create_default_context(cadata=authority)))[0] == 200
        assert [each["event"] for each in logs].count(KEPT) == 1
        write(tmp_path)
        assert (await desk.send(ssl=trusting(tmp_path)))[0] == 200


async def test_an_authority_that_is_taken_out_is_trusted_no_more(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "asked.crt").write_bytes((tmp_path / "ca.crt").read_bytes())
    made = certificates.renewing(tls(tmp_path, is_mutual=True))
    sender = trusting(tmp_path)
    sender.load_cert_chain(tmp_path / "both.crt", tmp_path / "both.key")
    assert shakes(made, sender)
    other = tmp_path / "other"
    other.mkdir()
    write(other)
    (tmp_path / "asked.crt").write_bytes((other / "ca.crt").read_bytes())
    assert not shakes(made, sender)


async def test_files_are_looked_at_no_more_often_than_is_worth_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "LOOK_SECONDS", 10.0)
    write(tmp_path)
    now = [0.0]
    made = certificates.Renewing.of(tls(tmp_path), clock=lambda: now[0])
    old = trusting(tmp_path)
    write(tmp_path)
    now[0] = 9.9
    assert shakes(made, old)
    now[0] = 10.0
    assert not shakes(made, old)
    assert shakes(made, trusting(tmp_path))


def test_what_cannot_be_read_at_the_beginning_is_named(tmp_path: Path) -> None:
    with pytest.raises(Stalled, match=r"receiver.tls: .*both\.crt"):
        certificates.renewing(tls(tmp_path))
