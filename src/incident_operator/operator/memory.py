"""Gives memory that is not needed any more back to the system, where the C library can."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable


def _trim() -> Callable[[int], int] | None:
    """Glibc's ``malloc_trim``; other C libraries have none, and mostly need none."""
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = [ctypes.c_size_t], ctypes.c_int
    trim: Callable[[int], int] = found
    return trim


TRIM = _trim()


def give_back() -> None:
    """Collect what is unreachable and return freed pages; tens of milliseconds, so only where nobody waits.

    glibc keeps what was freed in the middle of its heap (malloc_trim(3)): after a list of thousands of
    Incidents that is most of the process.
    """
    gc.collect()
    if TRIM is not None:
        TRIM(0)
