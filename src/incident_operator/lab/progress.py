"""Says what takes long, and for how long it has."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

QUIET_SECONDS = 2.0
EVERY_SECONDS = 10.0


@contextlib.contextmanager
def doing(what: str, *, out: TextIO | None = None) -> Iterator[None]:
    """Print what is being done once it has taken two seconds, and again every ten until it is over."""
    stream = out or sys.stderr
    begun, over = time.monotonic(), threading.Event()

    def tell() -> None:
        wait = QUIET_SECONDS
        while not over.wait(wait):
            print(f"  ... {what} ({time.monotonic() - begun:.0f} s)", file=stream, flush=True)
            wait = EVERY_SECONDS

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
    elapsed = time.monotonic() - begun
    if elapsed >= QUIET_SECONDS:
        print(f"  done: {what} ({elapsed:.0f} s)", file=stream, flush=True)
