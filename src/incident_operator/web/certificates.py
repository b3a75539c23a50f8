"""The certificate that senders see, and whose certificates are asked of them, from files that are renewed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import structlog

from incident_operator.api.configuration import ServerTls
from incident_operator.faults import Stalled

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.receiver")

LOOK_SECONDS = 10.0
"""How old what is known of the files may be when a sender connects; kubelet itself takes a minute to renew them."""

Stamp = tuple[tuple[int, int, int], ...]
"""What changes with each file: when it was written, its size, and which it is."""


class Renewing(ssl.SSLContext):
    """Serves each new connection with what the files hold by then; with what they held last while they are wrong.

    What changed is a new context, and not put into the old one: that would trust an authority for ever which
    was taken out of its file, and be without a key where the new one does not fit.
    """

    _files: ServerTls
    _clock: Callable[[], float]
    _current: ssl.SSLContext
    _stamp: Stamp
    _looked_at: float
    _trouble: str

    @classmethod
    def of(cls, files: ServerTls, clock: Callable[[], float] = time.monotonic) -> Self:
        """Read the files; OSError (of which SSLError is one) if that cannot be done."""
        made = cls(ssl.PROTOCOL_TLS_SERVER)
        made._files, made._clock, made._trouble = files, clock, ""
        # Before they are read: what is written meanwhile is news the next time.
        made._stamp, made._current, made._looked_at = _stamp(files), _read(files), clock()
        return made

    def wrap_bio(  # asyncio's way into TLS, once for each connection
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT002 - as ssl has it
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """The TLS of one connection."""
        if self._clock() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._clock()
            self._look()
        return self._current.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def _look(self) -> None:
        """Read the files again if they have changed; a trouble with them is logged once, and they are tried again."""
        try:
            stamp = _stamp(self._files)
            if stamp == self._stamp:
                self._trouble = ""
                return
            self._current = _read(self._files)
        except OSError as cause:
            if str(cause) != self._trouble:
                log.warning("Keeps the certificates that it has", files=_names(self._files), cause=str(cause))
            self._trouble = str(cause)
            return
        self._stamp, self._trouble = stamp, ""
        log.info("Uses renewed certificates", files=_names(self._files))


def renewing(files: ServerTls) -> ssl.SSLContext:
    """The TLS of the receiver; Stalled, with the files' names, if they cannot be read."""
    try:
        return Renewing.of(files)
    except OSError as cause:
        raise Stalled("Misconfigured", f"receiver.tls: {_names(files)}: {cause}") from cause


def _read(files: ServerTls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.cert_file, files.key_file)
    if files.client_ca_file is not None:
        context.load_verify_locations(files.client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _paths(files: ServerTls) -> list[Path]:
    return [each for each in (files.cert_file, files.key_file, files.client_ca_file) if each is not None]


def _stamp(files: ServerTls) -> Stamp:
    found = [each.stat() for each in _paths(files)]
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


def _names(files: ServerTls) -> str:
    return ", ".join(map(str, _paths(files)))
