"""Two steps of one plan about one field, and a write that can never be made as it was planned."""

from __future__ import annotations

import pytest

from unit.engine.shop import API, Shop, scaled

RESTART, UNDO = {"name": "restart", "rolloutRestart": {}}, {"name": "undo", "rolloutUndo": {}}
FIVE = {"name": "five", "scale": {"replicas": 5}}


@pytest.mark.parametrize(
    ("containment", "remediation", "field"),
    [
        (scaled(0), [FIVE], "spec.replicas"),
        (scaled(0), [{"name": "back", "scale": {"replicas": 3}}], "spec.replicas"),
        ([RESTART], [UNDO], "spec.template"),
    ],
)
async def test_what_could_never_be_made_after_an_earlier_step_is_refused_before_anything_is(
    containment: list[dict[str, object]], remediation: list[dict[str, object]], field: str
) -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("i", API, containment=containment, remediation=remediation)
    await shop.look("i")
    reason, text = shop.ready("i")
    names = (containment[0]["name"], remediation[0]["name"])
    assert (reason, "steps {} and {} both set {}".format(*names, field) in text) == ("StepsClash", True), text
    assert shop.replicas("api") == 3


@pytest.mark.parametrize(
    "steps", [[*scaled(0), UNDO], [*scaled(0), {"name": "zero", "scale": {"replicas": 0}}]], ids=str
)
async def test_what_goes_together_is_planned(steps: list[dict[str, object]]) -> None:
    shop = Shop()
    shop.deployment("api")
    shop.incident("i", API, containment=steps, mode="Observe")
    await shop.look("i")
    assert shop.ready("i")[0] == "Planned"


async def test_a_write_that_its_target_will_always_refuse_is_given_up_and_planned_anew_when_asked() -> None:
    """A patch tests that there are no annotations, to add one: meanwhile somebody has added another."""
    shop = Shop()
    shop.policy(approvals=[{"name": "four-eyes", "count": 1}])
    shop.deployment("api")
    shop.fake.edit(
        "Deployment", "shop", "api", lambda each: each["spec"]["template"]["metadata"].pop("annotations", None)
    )
    shop.incident("i", API, containment=[RESTART])
    await shop.look("i")
    template = {"checksum/config": "1"}
    shop.fake.edit(
        "Deployment",
        "shop",
        "api",
        lambda each: each["spec"]["template"]["metadata"].__setitem__("annotations", template),
    )
    shop.vote("v", "i")
    await shop.look("i", times=2)
    reason, text = shop.ready("i")
    assert (reason, "changed by somebody else" in text) == ("ChangedSincePlanned", True), text
    await shop.ask_again("i")
    await shop.look("i")
    shop.vote("w", "i", by="carol")
    await shop.look("i")
    assert len(shop.fake.at("Deployment", "api")["spec"]["template"]["metadata"]["annotations"]) == 2
