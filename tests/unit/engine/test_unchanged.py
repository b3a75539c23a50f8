"""A list is read again only where it may have changed: every doubt means that it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from incident_operator.engine import unchanged as module
from incident_operator.engine.reading import Lists
from incident_operator.engine.unchanged import TRUSTED_SECONDS, WORTH_ASKS, Unchanged
from incident_operator.faults import Fault, Stalled, Waiting

PLACE = ("shop", "responder", "Pod")


class Watched:
    """A watch that begins, moves and ends when told to."""

    def __init__(self) -> None:
        self.begun_ones: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self.told: asyncio.Queue[Fault | str] = asyncio.Queue()
        self.count = 0

    async def __call__(
        self, namespace: str, account: str, kind: str, *, begun: Callable[[], None]
    ) -> AsyncIterator[None]:
        assert (namespace, account, kind) == PLACE
        self.count += 1
        self.begun_ones.put_nowait(begun)
        while (told := await self.told.get()) != "end":
            if isinstance(told, Fault):
                raise told
            yield

    async def begin(self) -> None:
        (await asyncio.wait_for(self.begun_ones.get(), 5))()


class Shop:
    """Counts the lists that are really made."""

    def __init__(self) -> None:
        self.lists = 0

    async def list(self, kind: str, namespace: str, selector: Any = None) -> Sequence[Any]:
        self.lists += 1
        return [{"metadata": {"name": f"read-{self.lists}"}}]


class Stage:
    """A clock, a watch, and a reader whose lists are kept as long as they hold."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.watched, self.shop = Watched(), Shop()
        self.unchanged = Unchanged(self.watched, clock=lambda: self.now)
        self.lists = Lists(self.unchanged, clock=lambda: self.now)

    async def ask(self) -> int:
        """One list; how many were really made by then."""
        await self.lists.reader(self.shop, "responder").list("Pod", "shop")  # type: ignore[arg-type]
        return self.shop.lists

    async def often(self) -> None:
        for _ in range(WORTH_ASKS):
            self.now += 1
            await self.ask()

    async def tell(self, what: Fault | str) -> None:
        self.watched.told.put_nowait(what)
        while not self.watched.told.empty():  # noqa: ASYNC110 - a turn of the loop, no time
            await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage()
    yield found
    await found.unchanged.close()


async def test_one_incident_alone_begins_no_watch(stage: Stage) -> None:
    assert await stage.ask() == 1
    stage.now += 60
    assert await stage.ask() == 2
    stage.now += 60
    await stage.ask()
    await asyncio.sleep(0)
    assert stage.watched.count == 0


async def test_a_list_is_kept_while_its_watch_is_quiet_and_read_again_when_it_moves(stage: Stage) -> None:
    await stage.often()
    await stage.watched.begin()
    stage.now += 1
    read = await stage.ask()
    stage.now += 1
    assert await stage.ask() == read, "nothing has changed"
    stage.now += 1
    await stage.tell("moved")
    stage.now += 1
    assert await stage.ask() == read + 1
    stage.now += 1
    assert await stage.ask() == read + 1


async def test_a_list_from_before_its_watch_began_is_not_trusted(stage: Stage) -> None:
    await stage.often()
    read = stage.shop.lists
    await stage.watched.begin()
    stage.now += 1
    assert await stage.ask() == read + 1


async def test_a_change_while_a_list_is_being_read_makes_it_be_read_again(stage: Stage) -> None:
    await stage.often()
    await stage.watched.begin()
    stage.now += 1
    read = await stage.ask()
    await stage.tell("moved")  # at the very time the read began, by the clock
    stage.now += 1
    assert await stage.ask() == read + 1


async def test_however_quiet_a_watch_is_a_list_does_not_get_old(stage: Stage) -> None:
    await stage.often()
    await stage.watched.begin()
    stage.now += 1
    read = await stage.ask()
    stage.now += TRUSTED_SECONDS + 1
    assert await stage.ask() == read + 1


@pytest.mark.parametrize("how", ["end", Waiting("ApiUnreachable", "it is away"), Stalled("Forbidden", "may not watch")])
async def test_without_a_watch_nothing_is_taken_for_granted(
    stage: Stage, how: Fault | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)
    await stage.often()
    await stage.watched.begin()
    stage.now += 1
    read = await stage.ask()
    await stage.tell(how)
    stage.now += 1
    assert await stage.ask() == read + 1
    stage.now += 1
    assert await stage.ask() == read + 2
    assert stage.watched.count == (1 if isinstance(how, Stalled) else 2), "who may not watch is not asked to again"
