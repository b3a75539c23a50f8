"""Waiting for a condition, with a deadline and a message that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from incident_operator.cluster.port import Hands

Found = TypeVar("Found")


def seconds_starved() -> float:
    """Seconds, since the machine came up, in which somebody who could have run waited for a CPU.

    Pressure stall information of the Linux kernel (Documentation/accounting/psi); 0 where it is not kept.
    """
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
    except OSError:
        return 0.0
    return int(some.rpartition("total=")[2]) / 1e6


def eventually(look: Callable[[], Found], *, within: float, what: str, every: float = 0.1) -> Found:
    """The first truthy thing that ``look`` returns; AssertionError with its last answer when time is up."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {found!r}")
        time.sleep(every)


async def seen(look: Callable[[], Awaitable[Found]], what: str, *, within: float = 20) -> Found:
    """The first truthy thing that ``look`` finds, while other tasks run; AssertionError when time is up."""
    end = time.monotonic() + within
    while True:
        if found := await look():
            return found
        assert time.monotonic() < end, f"not within {within:g} s: {what}"
        await asyncio.sleep(0.05)


async def listed(cluster: Hands, *written: Mapping[str, Any]) -> None:
    """Wait until lists show what was written: they come from the API server's watch cache, which follows its writes."""
    for thing in written:
        kind, meta = thing["kind"], thing["metadata"]

        async def is_there(kind: str = kind, meta: Mapping[str, Any] = meta) -> bool:
            found = await cluster.list(kind, meta["namespace"])
            return any(each["metadata"]["uid"] == meta["uid"] for each in found)

        await seen(is_there, f"{kind} {meta['name']} in the watch cache")
