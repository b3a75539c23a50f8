"""The end of a tier wakes the next by watch: with an hour between two looks a recovery takes no longer."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from incident_operator.engine.settings import EngineSettings
from incident_operator.engine.waking import ASKED_FOR, KINDS, Waker, asked_for
from incident_operator.planning.plan import GATES, Change, CheckWish, Entry, EntryState, PlannedStep, Ref, Release
from incident_operator.planning.record import Record
from unit.engine.tiered import TIERS, Application

HOUR = timedelta(hours=1)
RARELY = EngineSettings(look_first=HOUR, look_most=HOUR, look_check=HOUR)
DEADLINE = 5
CUT_DEADLINE = 0.5


class Watches:
    """Watches on the application; ``is_cut``: they see nothing."""

    def __init__(self, *, is_cut: bool) -> None:
        self.is_cut = is_cut
        self.open: dict[str, asyncio.Queue[None]] = {}

    async def __call__(self, namespace: str, account: str, kind: str) -> AsyncIterator[None]:
        del namespace, account
        queue = self.open.setdefault(kind, asyncio.Queue())
        while True:
            await queue.get()
            yield

    def tell(self, kind: str) -> None:
        if not self.is_cut:
            self.open.setdefault(kind, asyncio.Queue()).put_nowait(None)


def statuses(app: Application) -> dict[Any, Any]:
    kinds = ("Deployment", "StatefulSet")
    return {key: copy.deepcopy(thing.get("status")) for key, thing in app.fake.objects.items() if key[0] in kinds}


async def brought_back(*, is_cut: bool, within: float) -> Application:
    """A recovery as the workers drive it: stepped when woken, or when it has said that it wants to be; never polled."""
    woken: asyncio.Queue[Any] = asyncio.Queue()
    watches = Watches(is_cut=is_cut)
    waker = Waker(woken.put_nowait, watches)
    app = Application(settings=RARELY, follow=waker.follow)
    try:
        while True:
            again = await app.engine.step(app.key)
            before = statuses(app)
            app.settle()
            for key in {key[0] for key, status in statuses(app).items() if status != before[key]}:
                watches.tell(key)
            if app.ready == "Resolved":
                return app
            if again is not None and again < HOUR:
                app.now += again  # a window is over, which nothing but the clock tells
            else:
                await asyncio.wait_for(woken.get(), within)
    finally:
        await waker.close()


async def test_the_end_of_a_tier_wakes_the_next_by_watch_and_not_by_looking_again_and_again() -> None:
    app = await brought_back(is_cut=False, within=DEADLINE)
    assert app.tiers == dict.fromkeys(TIERS.values(), "Up")


async def test_without_its_watches_it_would_wait_for_the_next_look() -> None:
    with pytest.raises(TimeoutError):
        await brought_back(is_cut=True, within=CUT_DEADLINE)


@pytest.mark.parametrize("kind", sorted(ASKED_FOR))
def test_what_a_step_has_made_or_a_gate_looks_at_is_watched(kind: str) -> None:
    ref = Ref(kind, "data", "shop")
    change = Change(f"{kind}/data", ref, None, {}, {}, "made")
    made = PlannedStep("new", "Recovery", "restore", (change,), Release.NEVER, tier="database")
    gate = CheckWish("ready", "podsReady", {}, (ref,), 0.0, 0.0)
    gates = PlannedStep("gates-database", "Recovery", GATES, (), Release.NEVER, tier="database", gates=(gate,))
    entry = Entry("new", "restore", change, Release.NEVER, EntryState.DONE)
    record = Record(plan=(made, gates), entries=(entry,))
    assert asked_for(record, [made]) == asked_for(record, [gates]) == {kind}
    assert kind not in KINDS
