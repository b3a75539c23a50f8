"""The Lease, given back whatever its last renewal has come to."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from incident_operator.cluster.fake import Call, FakeCluster
from incident_operator.operator.leader import Leader


def holder(fake: FakeCluster) -> str:
    found: str = fake.at("Lease", "operator", namespace="ours")["spec"]["holderIdentity"]
    return found


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_leader_that_is_stopped_while_it_renews_gives_the_lease_back(when: str) -> None:
    """Cancelled with its renewal on the way: before it was made, or after, when its answer is not read any more."""
    fake = FakeCluster()
    leader = Leader(fake, "ours", "operator", "first")
    await leader.campaign()
    assert holder(fake) == "first"

    def cancelled(call: Call) -> None:
        if call.is_write and call.when == when:
            raise asyncio.CancelledError

    fake.on_call(cancelled)
    with contextlib.suppress(asyncio.CancelledError):
        await leader.keep()
    fake.on_call()
    await leader.resign()
    assert holder(fake) == ""
