"""Who waits for the world is woken when something in its namespace moves, and by nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from incident_operator.engine import waking
from incident_operator.engine.keys import Key
from incident_operator.engine.waking import KINDS, Waker
from incident_operator.faults import Stalled, Waiting

SHOP, STORE = Key("shop", "one"), Key("store", "two")
DEADLINE = 5


class Watched:
    """Watches that yield when told to, and count how often each was begun."""

    def __init__(self) -> None:
        self.changes: dict[str, asyncio.Queue[Exception | None]] = {}
        self.begun: list[tuple[str, str, str]] = []
        self.starts: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, namespace: str, account: str, kind: str) -> AsyncIterator[None]:
        self.begun.append((namespace, account, kind))
        queue = self.changes.setdefault(f"{namespace}/{kind}", asyncio.Queue())
        self.starts.put_nowait(kind)
        while True:
            told = await queue.get()
            if told is not None:
                raise told
            yield

    def tell(self, what: str, told: Exception | None = None) -> None:
        self.changes[what].put_nowait(told)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
async def woken(watched: Watched) -> AsyncIterator[asyncio.Queue[Key]]:
    told: asyncio.Queue[Key] = asyncio.Queue()
    waker = Waker(told.put_nowait, watched)
    watched.waker = waker  # type: ignore[attr-defined]
    yield told
    await waker.close()


async def begun(watched: Watched, count: int) -> None:
    """Return once so many more watches have begun."""
    async with asyncio.timeout(DEADLINE):
        for _ in range(count):
            await watched.starts.get()


async def test_a_change_in_its_namespace_wakes_it_and_not_another(watched: Watched, woken: asyncio.Queue[Key]) -> None:
    waker: Waker = watched.waker  # type: ignore[attr-defined]
    waker.follow(SHOP, "responder")
    waker.follow(STORE, "responder")
    await begun(watched, 2 * len(KINDS))
    watched.tell("store/Pod")
    assert await asyncio.wait_for(woken.get(), DEADLINE) == STORE
    watched.tell("shop/Deployment")
    watched.tell("shop/Pod")
    assert await asyncio.wait_for(woken.get(), DEADLINE) == SHOP
    assert woken.empty(), "changes close to each other wake once"


async def test_one_watch_a_kind_serves_all_who_wait_in_a_namespace(watched: Watched, woken: asyncio.Queue[Key]) -> None:
    waker: Waker = watched.waker  # type: ignore[attr-defined]
    for name in ("one", "two", "three"):
        waker.follow(Key("shop", name), "responder")
    await begun(watched, len(KINDS))
    assert len(watched.begun) == len(KINDS)
    watched.tell("shop/Pod")
    found = {(await asyncio.wait_for(woken.get(), DEADLINE)).name for _ in range(3)}
    assert found == {"one", "two", "three"}


async def test_a_broken_watch_is_begun_again_and_a_forbidden_one_is_not(
    watched: Watched, woken: asyncio.Queue[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "AGAIN_SECONDS", 0.0)
    waker: Waker = watched.waker  # type: ignore[attr-defined]
    waker.follow(SHOP, "responder")
    await begun(watched, len(KINDS))
    watched.tell("shop/Pod", Waiting("ApiUnreachable", "cut"))
    await begun(watched, 1)
    assert watched.begun[-1] == ("shop", "responder", "Pod")
    watched.tell("shop/Job", Stalled("Forbidden", "may not watch"))
    watched.tell("shop/Pod")
    assert await asyncio.wait_for(woken.get(), DEADLINE) == SHOP
    assert watched.begun.count(("shop", "responder", "Job")) == 1


async def test_kinds_that_a_step_asks_for_are_watched_besides_and_one_that_is_not_served_disturbs_none(
    watched: Watched, woken: asyncio.Queue[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    waker: Waker = watched.waker  # type: ignore[attr-defined]
    waker.follow(SHOP, "responder")
    await begun(watched, len(KINDS))
    waker.follow(SHOP, "responder", {"Restore", "Cluster"})
    await begun(watched, 2)
    watched.tell("shop/Cluster", Stalled("NotFound", "not served"))
    watched.tell("shop/Restore")
    assert await asyncio.wait_for(woken.get(), DEADLINE) == SHOP
    waker.follow(SHOP, "responder", {"Restore", "Cluster"})
    monkeypatch.setattr(waking, "INTEREST_SECONDS", -1.0)
    waker.follow(SHOP, "responder")
    for what in list(watched.changes):
        watched.tell(what)
    follows = [task for task in asyncio.all_tasks() if task.get_name().startswith("follow ")]
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*follows)
    monkeypatch.undo()
    waker.follow(SHOP, "responder", {"Cluster"})
    await begun(watched, len(KINDS))
    assert watched.begun.count(("shop", "responder", "Cluster")) == 1, "it is not asked for again so soon"


async def test_nothing_is_watched_for_one_that_waits_no_longer(
    watched: Watched, woken: asyncio.Queue[Key], monkeypatch: pytest.MonkeyPatch
) -> None:
    waker: Waker = watched.waker  # type: ignore[attr-defined]
    waker.follow(SHOP, "responder")
    await begun(watched, len(KINDS))
    monkeypatch.setattr(waking, "INTEREST_SECONDS", -1.0)
    waker.follow(SHOP, "responder")
    for kind in list(watched.changes):
        watched.tell(kind)
    follows = [task for task in asyncio.all_tasks() if task.get_name().startswith("follow ")]
    assert len(follows) == len(KINDS)
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*follows)
    assert woken.empty()
