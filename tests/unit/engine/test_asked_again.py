"""Whatever is refused in the middle: once it is put right, and a person asks again, it ends as if nothing had been."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from incident_operator.cluster.fake import Call
from incident_operator.faults import Stalled
from unit.actions.objects import pod, workload
from unit.engine.shop import OURS, Shop

WEB = ("Deployment", "web")
STEPS: Mapping[str, tuple[tuple[str, str], Mapping[str, Any], Mapping[str, Any]]] = {
    "isolate a pod": (("Pod", "alone"), {"isolate": {}}, {}),
    "isolate a workload": (WEB, {"isolate": {}}, {}),
    "scale": (WEB, {"scale": {"replicas": 1}}, {}),
    "scale for a while": (WEB, {"scale": {"replicas": 1}}, {"expiresAfter": "6s"}),
    "scale until it is verified": (WEB, {"scale": {"replicas": 1}}, {"verification": [{"name": "up", "rollout": {}}]}),
    "undo": (WEB, {"rolloutUndo": {}}, {}),
    "restart": (WEB, {"rolloutRestart": {}}, {}),
}
MOST_WRITES = 12
LOOKS = 12


def shop_with(action: str) -> Shop:
    shop = Shop()
    shop.deployment("web", 2)
    alone = pod(workload("Deployment", "old", version="2"), "alone", 2)
    alone["metadata"].pop("ownerReferences", None)
    shop.fake.put(alone)
    target, step, more = STEPS[action]
    shop.incident("i", target, containment=[{"name": "step", **step}], **more)
    return shop


def ended(shop: Shop) -> tuple[str, Sequence[Any], Sequence[Any]]:
    """What became of it: why it stands where it does, its ledger and its steps."""
    status = shop.status("i")
    entries = [(each["target"]["kind"], each["verb"], each["state"], each["release"]) for each in status["ledger"]]
    return shop.ready("i")[0], sorted(entries), [(each["name"], each["phase"]) for each in status["steps"]]


def effects(shop: Shop) -> Sequence[tuple[str, str, str]]:
    """What was changed about anything but the Incident: each once, however often it was asked for."""
    found = [each for each in shop.fake.journal if each.request.ref.kind not in OURS and each.before != each.after]
    return sorted((each.request.verb, each.request.ref.kind, each.request.subresource) for each in found)


async def looked(shop: Shop, number: int = 0) -> None:
    """As the workers do it: what is raised is tried again. The write of that number is refused, and then asked for."""
    if number:
        shop.fake.fail(Stalled("Forbidden", "no rights yet"), nth=number, of=is_write)
    is_asked = not number
    for _ in range(LOOKS):
        with contextlib.suppress(Stalled):
            await shop.look("i", times=1)
        shop.settle("web")
        if not is_asked and "Forbidden" in shop.ready("i"):
            is_asked = True
            shop.fake.on_call()
            await shop.ask_again("i")


def is_write(call: Call) -> bool:
    return call.is_write and call.ref.kind != "Event"


@pytest.mark.parametrize("number", range(1, MOST_WRITES))
@pytest.mark.parametrize("action", STEPS)
async def test_what_was_refused_is_gone_on_with(action: str, number: int) -> None:
    reference, shop = shop_with(action), shop_with(action)
    await looked(reference)
    await looked(shop, number)
    assert (ended(shop), effects(shop)) == (ended(reference), effects(reference))
