"""A value that is read once for all who ask, and read anew when nobody got it."""

from __future__ import annotations

import asyncio

from incident_operator.engine.fresh import Fresh


async def test_a_read_that_was_cancelled_before_it_began_is_made_again() -> None:
    fresh: Fresh[str, int] = Fresh(60)

    async def read() -> int:
        return 7

    asking = asyncio.create_task(fresh.get("a", read))
    await asyncio.sleep(0)  # it has asked, and its read has not begun
    own = {asyncio.current_task(), asking}
    for each in asyncio.all_tasks() - own:
        each.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert await fresh.get("a", read) == 7
