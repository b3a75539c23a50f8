"""The gate before every stage: nothing slips past a policy by its timing, by its name, or through another object."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.engine.settings import EngineSettings, protecting_itself
from unit.actions.objects import pod, workload
from unit.engine.shop import API, FOUR_EYES, ISOLATE, TWO_STAGES, Shop, scaled


async def test_a_storm_stops_at_its_number_however_many_come_at_the_same_time() -> None:
    shop = Shop()
    shop.policy(storm={"incidents": 3, "within": "10m"})
    apps = [f"app-{number}" for number in range(8)]
    for name in apps:
        shop.deployment(name, 1)
        shop.incident(name, ("Deployment", name), containment=ISOLATE)
    await shop.look(*apps)
    assert len(shop.there("NetworkPolicy")) == 3
    waiting = [shop.ready(name)[1] for name in apps if shop.ready(name)[0] == "AwaitingApproval"]
    assert len(waiting) == 5
    assert all("storm: 3 Incidents were carried out within 10 min" in text for text in waiting)


async def test_an_approval_is_used_up_with_its_incident() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    shop.vote("v", "load", expiresAfter="168h")
    await shop.look("load")
    assert shop.replicas("api") == 1
    plan = shop.status("load")["plan"]["hash"]
    shop.fake.edit("Incident", "shop", "load", lambda thing: thing["metadata"].__setitem__("finalizers", []))
    shop.fake.take("Incident", "shop", "load")
    shop.fake.take("Deployment", "shop", "api")
    shop.deployment("api")
    shop.restart()
    shop.now += timedelta(days=3)
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    assert shop.status("load")["plan"]["hash"] == plan, "the very same plan"
    reason, text = shop.ready("load")
    assert (reason, "about an earlier Incident of this name: alice" in text) == ("AwaitingApproval", True)
    assert shop.replicas("api") == 3


async def test_a_rejected_plan_stays_rejected_when_the_rejection_is_deleted_and_nobody_need_agree_any_more() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    shop.vote("no", "load", decision="Rejected")
    await shop.look("load")
    assert shop.ready("load")[0] == "Rejected"
    first = shop.status("load")["plan"]["hash"]
    assert shop.status("load")["policy"]["rejectedPlans"] == [{"hash": first, "by": "alice"}]
    shop.fake.take("IncidentApproval", "shop", "no")
    shop.policy()
    await shop.ask_again("load")
    await shop.look("load")
    assert shop.status("load")["lastHandledRequest"], "it was looked at anew"
    assert shop.ready("load")[0] == "Rejected"
    assert shop.replicas("api") == 3
    await shop.change("load", containment=scaled(2))
    await shop.look("load")
    assert shop.replicas("api") == 2, "another plan is another question"


async def test_an_approval_is_counted_again_before_each_stage_where_a_policy_asks_for_more_since() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("load", API, containment=TWO_STAGES)
    await shop.look("load")
    shop.vote("v", "load", expiresAfter="1m")
    await shop.look("load", times=1)
    assert shop.replicas("api") == 2
    assert shop.there("NetworkPolicy") == [], "the second stage waits until the first has settled"
    shop.policy(approvals=[{"name": "four-eyes", "count": 2}])
    shop.now += timedelta(minutes=5)
    shop.settle("api")
    await shop.look("load")
    reason, text = shop.ready("load")
    assert (reason, "1 of 2" in text) == ("AwaitingApproval", True), "what was used has not expired"
    assert shop.there("NetworkPolicy") == []
    shop.vote("w", "load", by="carol")
    await shop.look("load", times=1)
    assert len(shop.there("NetworkPolicy")) == 1


async def test_a_rejection_between_two_stages_stops_the_second() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.deployment("web")
    shop.incident("load", API, containment=TWO_STAGES)
    await shop.look("load")
    shop.vote("v", "load")
    await shop.look("load", times=1)
    shop.vote("no", "load", by="carol", decision="Rejected")
    shop.settle("api")
    await shop.look("load")
    assert shop.ready("load")[0] == "Rejected"
    assert shop.there("NetworkPolicy") == []


async def test_who_changed_the_steps_of_another_does_not_approve_them() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(2))
    await shop.look("load")
    await shop.change("load", containment=scaled(0), changedBy=["alice"])
    await shop.look("load")
    shop.vote("v", "load")
    await shop.look("load")
    assert "that of alice does not count, who changed it" in shop.ready("load")[1]
    shop.vote("w", "load", by="carol")
    await shop.look("load")
    assert shop.replicas("api") == 0


PROTECTED: dict[str, Any] = {"protected": [{"name": "crown", "selector": {"matchLabels": {"crown": "true"}}}]}
PODS = [("Pod", f"api-{number}") for number in range(3)]


def protects(shop: Shop, name: str, *words: str) -> bool:
    reason, text = shop.ready(name)
    return reason == "Protected" and all(word in text for word in words) and shop.there("NetworkPolicy") == []


async def test_a_protected_workload_is_not_reached_through_its_pods() -> None:
    shop = Shop()
    shop.policy(**PROTECTED)
    shop.deployment("api", labels={"crown": "true"})
    shop.incident("cut", *PODS, containment=ISOLATE)
    await shop.look("cut")
    assert protects(shop, "cut", "Deployment shop/api is protected by ResponsePolicy p (protected: crown)")


@pytest.mark.parametrize("rule", [{"kinds": ["Deployment"]}, {"names": ["api"]}, {"kinds": ["ReplicaSet"]}], ids=str)
async def test_nor_where_it_is_protected_by_its_kind_or_name(rule: dict[str, Any]) -> None:
    shop = Shop()
    shop.policy(protected=[{"name": "crown", **rule}])
    shop.deployment("api")
    shop.incident("cut", PODS[0], containment=ISOLATE)
    await shop.look("cut")
    assert protects(shop, "cut", "(protected: crown)")


async def test_nor_by_another_workload_whose_selector_finds_its_pods() -> None:
    shop = Shop()
    shop.policy(**PROTECTED)
    shop.deployment("api", labels={"crown": "true"})
    thief = workload("Deployment", "thief", replicas=0, selector={"matchLabels": {"app": "api"}})
    shop.fake.put(thief)
    shop.incident("cut", ("Deployment", "thief"), containment=ISOLATE)
    await shop.look("cut")
    assert protects(shop, "cut", "Deployment shop/api is protected")


async def test_pods_of_their_own_label_are_protected_from_what_is_done_to_their_workload() -> None:
    shop = Shop()
    shop.policy(**PROTECTED)
    shop.deployment("api")
    shop.fake.edit("Pod", "shop", "api-1", lambda thing: thing["metadata"]["labels"].update(crown="true"))
    shop.incident("cut", API, containment=ISOLATE)
    await shop.look("cut")
    assert protects(shop, "cut", "Pod shop/api-1 is protected")


async def test_an_autoscaler_that_is_written_to_is_touched_too() -> None:
    shop = Shop()
    shop.policy(protected=[{"name": "scalers", "kinds": ["HorizontalPodAutoscaler"]}])
    shop.deployment("api")
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    spec = {"scaleTargetRef": ref, "minReplicas": 2, "maxReplicas": 9}
    meta = {"name": "of-api", "namespace": "shop"}
    shop.fake.put({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": spec})
    shop.incident("less", API, containment=scaled(1))
    await shop.look("less")
    assert protects(shop, "less", "HorizontalPodAutoscaler shop/of-api is protected")
    assert shop.replicas("api") == 3


MARK = "incident-operator.dev/protected"


@pytest.mark.parametrize("field", ["labels", "annotations"])
@pytest.mark.parametrize("step", [*scaled(0), *scaled(2), {"rolloutRestart": {}}, {"rolloutUndo": {}}], ids=str)
async def test_a_marked_pod_is_not_taken_away_with_its_workload(step: dict[str, Any], field: str) -> None:
    shop = Shop()
    shop.deployment("api")
    shop.fake.edit("Pod", "shop", "api-1", lambda pod: pod["metadata"].setdefault(field, {}).__setitem__(MARK, "true"))
    shop.incident("cut", API, containment=[{"name": "less", **step}])
    await shop.look("cut")
    assert protects(shop, "cut", f"pod shop/api-1 may go, and its {field[:-1]} {MARK} is true")


async def test_a_marked_pod_of_another_workload_stays_whatever_its_labels_are() -> None:
    shop = Shop()
    shop.deployment("api")
    other = pod(workload("Deployment", "other", version="2"), "other-1", 2)
    other["metadata"]["labels"] = {**other["metadata"]["labels"], "app": "api", MARK: "true"}
    shop.fake.put(other)
    shop.incident("cut", API, containment=scaled(0))
    await shop.look("cut")
    assert shop.replicas("api") == 0


async def test_a_marked_workload_is_not_cut_off_through_another_with_its_labels() -> None:
    shop = Shop()
    shop.deployment("api")
    shop.deployment("other", labels={MARK: "true"})
    for each in ("other-0", "other-1", "other-2"):
        shop.fake.edit("Pod", "shop", each, lambda pod: pod["metadata"]["labels"].__setitem__("app", "api"))
    shop.incident("cut", API, containment=ISOLATE)
    await shop.look("cut")
    assert protects(shop, "cut", f"Deployment shop/other: its label {MARK} is true")


async def test_what_is_not_protected_runs_beside_it() -> None:
    shop = Shop()
    shop.policy(**PROTECTED)
    shop.deployment("api", labels={"crown": "true"})
    shop.deployment("web")
    shop.incident("cut", ("Pod", "web-0"), ("Deployment", "web"), containment=ISOLATE)
    await shop.look("cut")
    assert len(shop.there("NetworkPolicy")) == 2


async def test_three_pods_one_by_one_are_as_much_of_a_workload_as_all_of_it() -> None:
    shop = Shop()
    shop.policy(blastRadius={"workloadPercent": 50})
    shop.deployment("api")
    meta, spec = {"name": "api", "namespace": "shop"}, {"selector": {"app": "api"}}
    shop.fake.put({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    shop.incident("cut", *PODS, containment=ISOLATE, mode="Observe")
    await shop.look("cut")
    shop.restart()
    await shop.change("cut", mode="Enforce")
    await shop.look("cut")
    reason, text = shop.ready("cut")
    assert reason == "BlastRadiusExceeded", "also where the plan was made by a process that is gone"
    assert "50 % of the 3 pods of Deployment/api, rounded down 1, the plan takes 3" in text
    assert shop.there("NetworkPolicy") == []
    changes = [change for step in shop.status("cut")["plan"]["steps"] for change in step["changes"]]
    dark = [change["blast"]["services"] for change in changes if "services" in change.get("blast", {})]
    assert dark == [["api"]], "the Service loses its last endpoint with the third pod"
    await shop.change("cut", targets=[{"kind": "Pod", "name": "api-0"}])
    await shop.look("cut")
    assert len(shop.there("NetworkPolicy")) == 1


@pytest.mark.parametrize("looked_after", [(), ("shop",)], ids=["its own namespace", "a shared one"])
@pytest.mark.parametrize("target", [("Deployment", "incident-operator"), ("Pod", "incident-operator-1")], ids=str)
async def test_the_operator_is_not_its_own_target(target: tuple[str, str], looked_after: tuple[str, ...]) -> None:
    shop = Shop(EngineSettings(always_protected=protecting_itself("shop", "incident-operator-h2-0", looked_after)))
    shop.policy()
    shop.deployment("incident-operator", 2)
    shop.deployment("api")
    shop.incident("cut", target, containment=ISOLATE)
    await shop.look("cut")
    assert protects(shop, "cut", "(protected: operator)")
    shop.incident("other", API, containment=ISOLATE)
    await shop.look("other")
    assert bool(shop.there("NetworkPolicy")) is bool(looked_after)


def test_an_operator_outside_of_the_cluster_protects_nothing_of_its_own() -> None:
    assert protecting_itself("", "", ()) == ()


async def test_an_approval_of_half_an_hour_is_none_of_for_ever() -> None:
    shop = Shop()
    shop.policy(**FOUR_EYES)
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1, release="OnResolve", expiresAfter="30m"))
    await shop.look("load")
    shop.vote("v", "load")
    await shop.change("load", containment=scaled(1, release="Never"))
    await shop.look("load")
    reason, text = shop.ready("load")
    assert (reason, "0 of 1" in text) == ("AwaitingApproval", True)
    assert shop.replicas("api") == 3


async def test_the_account_of_a_policy_is_taken_on_only_for_who_names_it() -> None:
    shop = Shop()
    shop.policy(defaultServiceAccountName="mighty")
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    reason, text = shop.ready("load")
    assert (reason, "set spec.serviceAccountName to mighty" in text) == ("AccountNotNamed", True)
    assert shop.replicas("api") == 3
    await shop.change("load", serviceAccountName="mighty")
    await shop.look("load")
    assert shop.replicas("api") == 1
    assert shop.status("load")["plan"]["serviceAccountName"] == "mighty"


@pytest.mark.parametrize(("changers", "reason"), [([], "Progressing"), (["carol"], "AccountNotNamed")])
async def test_and_for_an_alert_whose_incident_nobody_has_changed(changers: list[str], reason: str) -> None:
    shop = Shop()
    shop.policy(defaultServiceAccountName="mighty")
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1), reportedBy=names.OPERATOR_USER, changedBy=changers)
    await shop.look("load")
    assert shop.ready("load")[0] == reason


async def test_a_policy_that_names_the_shipped_account_asks_for_nothing() -> None:
    shop = Shop()
    shop.policy(defaultServiceAccountName="incident-responder")
    shop.deployment("api")
    shop.incident("load", API, containment=scaled(1))
    await shop.look("load")
    assert shop.replicas("api") == 1
