"""Whatever is refused in the middle: once it is put right, and a person asks again, it ends as if nothing had been."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from incident_operator.cluster.fake import Call
from incident_operator.faults import Stalled
from unit.actions.objects import pod, workload
from unit.engine.shop import Shop

STEPS: Mapping[str, tuple[tuple[str, str], Mapping[str, Any]]] = {
    "isolate a pod": (("Pod", "alone"), {"isolate": {}}),
    "isolate a workload": (("Deployment", "web"), {"isolate": {}}),
    "scale": (("Deployment", "web"), {"scale": {"replicas": 1}}),
    "undo": (("Deployment", "web"), {"rolloutUndo": {}}),
    "restart": (("Deployment", "web"), {"rolloutRestart": {}}),
}
MOST_WRITES = 12
LOOKS = 8


def shop_with(action: str) -> Shop:
    shop = Shop()
    shop.deployment("web", 2)
    alone = pod(workload("Deployment", "old", version="2"), "alone", 2)
    alone["metadata"].pop("ownerReferences", None)
    shop.fake.put(alone)
    target, step = STEPS[action]
    shop.incident("i", target, containment=[{"name": "step", **step}])
    return shop


def ended(shop: Shop) -> tuple[str, Sequence[Any], Sequence[Any]]:
    """What became of it: why it stands where it does, its ledger and its steps."""
    status = shop.status("i")
    entries = [(each["target"]["kind"], each["verb"], each["state"], each["release"]) for each in status["ledger"]]
    return shop.ready("i")[0], sorted(entries), [(each["name"], each["phase"]) for each in status["steps"]]


async def looked(shop: Shop) -> None:
    """As the workers do it: what is raised is tried again."""
    for _ in range(LOOKS):
        with contextlib.suppress(Stalled):
            await shop.look("i", times=1)
        shop.settle("web")


def is_write(call: Call) -> bool:
    return call.is_write and call.ref.kind != "Event"


@pytest.mark.parametrize("number", range(1, MOST_WRITES))
@pytest.mark.parametrize("action", STEPS)
async def test_what_was_refused_is_gone_on_with(action: str, number: int) -> None:
    reference, shop = shop_with(action), shop_with(action)
    await looked(reference)
    shop.fake.fail(Stalled("Forbidden", "no rights yet"), nth=number, of=is_write)
    await looked(shop)
    shop.fake.on_call()
    await shop.ask_again("i")
    await looked(shop)
    assert ended(shop) == ended(reference)
