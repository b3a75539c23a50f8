from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from incident_operator.api.configuration import PrometheusServer
from incident_operator.monitoring.prometheus import Servers
from unit.monitoring.loopback import Loopback, serving

Configure = Callable[..., Servers]


@pytest.fixture
def world() -> Iterator[Loopback]:
    with serving() as made:
        yield made


@pytest.fixture
async def configure(world: Loopback) -> AsyncIterator[Configure]:
    """Makes Servers with one server, ``main``, that asks the loopback server; closes them in the end."""
    made: list[Servers] = []

    def make(**more: Any) -> Servers:
        made.append(Servers([PrometheusServer.model_validate({"name": "main", "url": world.url, **more})]))
        return made[-1]

    yield make
    closing: list[Awaitable[None]] = [each.close() for each in made]
    for each in closing:
        await each
