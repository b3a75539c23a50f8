"""isolate: what is cut, what is refused, and how honestly it says how far it went."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.actions import policies
from incident_operator.actions.contract import Occasion
from incident_operator.api import names
from incident_operator.faults import Conflict, Refused, Stalled
from incident_operator.planning.plan import Ref, Standing
from unit.actions.isolating import ISOLATE, make, plan, policy, put_back, said, settle
from unit.actions.objects import a_cluster, pod, revision, template, workload

UDP = {"containerPort": 53, "protocol": "UDP"}
ADDRESS = ("10.1.2.3", 8080)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
async def test_a_workload_is_isolated_by_its_own_selector_and_set_free_again(kind: str) -> None:
    api = workload(kind)
    fake = a_cluster(api, pod(api, "api-0"))
    before = said(fake)
    changes = await make(fake, await plan(fake, api))
    (made,) = [each for each in fake.objects.values() if each["kind"] == "NetworkPolicy"]
    assert made["spec"] == {"podSelector": {"matchLabels": {"app": "api"}}, "policyTypes": ["Ingress", "Egress"]}
    assert made["metadata"]["labels"] == {
        names.MANAGED_BY: "incident-operator",
        names.INCIDENT_LABEL: "api-5xx",
        names.INCIDENT_UID: "incident-uid-1",
    }
    assert "ownerReferences" not in made["metadata"]
    await put_back(fake, changes)
    assert said(fake) == before


@pytest.mark.parametrize(
    ("direction", "types"), [("Both", ["Ingress", "Egress"]), ("Ingress", ["Ingress"]), ("Egress", ["Egress"])]
)
async def test_the_direction_is_what_is_cut(direction: str, types: list[str]) -> None:
    (change,) = await plan(a_cluster(workload()), workload(), direction=direction)
    assert change.request is not None
    assert change.request.body["spec"]["policyTypes"] == types


async def test_a_direction_that_is_none_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="direction must be one of Both, Ingress, Egress, not 'Sideways'"):
        await plan(a_cluster(workload()), workload(), direction="Sideways")


async def test_a_pod_gets_a_label_of_its_own_and_loses_it_again() -> None:
    api = workload()
    victim = pod(api, "api-x")
    fake = a_cluster(api, victim, pod(api, "api-y"), revision(api, 1))
    before = said(fake)
    changes = await plan(fake, victim)
    assert [change.key.partition("/")[0] for change in changes] == ["Pod", "NetworkPolicy"]
    changes = await make(fake, changes)
    mark = fake.at("Pod", "api-x")["metadata"]["labels"][names.ISOLATED]
    assert mark.startswith("incident-uid-1.")
    assert fake.at("NetworkPolicy", changes[1].target.name)["spec"]["podSelector"] == {
        "matchLabels": {names.ISOLATED: mark}
    }
    assert names.ISOLATED not in fake.at("Pod", "api-y")["metadata"]["labels"]
    await put_back(fake, changes)
    assert said(fake) == before


async def test_no_pod_is_under_what_is_meant_for_another_of_the_same_incident() -> None:
    fake = a_cluster(pod(None, "one"), pod(None, "two"))
    for name in ("one", "two"):
        await make(fake, await plan(fake, fake.at("Pod", name)))
    marks = {fake.at("Pod", name)["metadata"]["labels"][names.ISOLATED] for name in ("one", "two")}
    assert len(marks) == 2


async def test_a_pod_without_any_labels_can_be_isolated_too() -> None:
    victim = pod(None, "bare")
    del victim["metadata"]["labels"]
    fake = a_cluster(victim)
    changes = await make(fake, await plan(fake, victim))
    assert fake.at("Pod", "bare")["metadata"]["labels"].keys() == {names.ISOLATED}
    assert ISOLATE.standing(changes[0], fake.at("Pod", "bare")) is Standing.AFTER


async def test_a_pod_of_a_stateful_set_is_isolated_in_place_and_not_relabelled() -> None:
    db = workload("StatefulSet")
    victim = pod(db, "api-0")
    (change,) = await plan(a_cluster(db, victim), victim)
    assert change.request is not None
    assert change.request.body["spec"]["podSelector"] == {
        "matchLabels": {"statefulset.kubernetes.io/pod-name": "api-0"}
    }


async def test_a_pod_that_was_replaced_since_the_plan_is_not_labelled() -> None:
    victim = pod(None, "bare")
    fake = a_cluster(victim)
    label, _ = await plan(fake, victim)
    fake.at("Pod", "bare")["metadata"]["uid"] = "the replacement"
    with pytest.raises(Conflict):
        await make(fake, (label,))
    assert ISOLATE.standing(label, fake.at("Pod", "bare")) is Standing.GONE


async def test_a_pod_that_another_incident_isolates_is_left_to_that_one() -> None:
    victim = pod(None, "bare", labels={names.ISOLATED: "another"})
    with pytest.raises(Stalled) as caught:
        await plan(a_cluster(victim), victim)
    assert caught.value.reason == "IsolatedAlready"


async def test_planned_again_by_the_same_incident_what_it_made_is_adopted_and_still_goes_on_release() -> None:
    victim = pod(None, "bare")
    fake = a_cluster(victim)
    first = await plan(fake, victim)
    await make(fake, first)
    again = await plan(fake, fake.at("Pod", "bare"))
    assert [change.after for change in again] == [change.after for change in first]
    for change in again:
        assert change.request is not None, "without a request it would never be put back"
        before = fake.at(change.target.kind, change.target.name)
        for dry_run in (True, False):  # the preview of a plan is what comes first
            refused = pytest.raises(Stalled, match="already exists")
            with refused if change.request.verb == "create" else contextlib.nullcontext():
                await fake.send(change.request, dry_run=dry_run)
        current = fake.at(change.target.kind, change.target.name)
        assert current["metadata"]["labels"] == before["metadata"]["labels"]
        assert ISOLATE.standing(change, current) is Standing.AFTER


async def test_an_empty_selector_is_refused_as_it_would_isolate_the_namespace() -> None:
    for selector in ({}, {"matchLabels": {}, "matchExpressions": []}):
        api = workload(selector=selector)
        with pytest.raises(Refused) as caught:
            await plan(a_cluster(api), api)
        assert caught.value.reason == "EmptySelector"


async def test_pods_on_the_hosts_network_are_refused_with_what_to_do_instead() -> None:
    agent = workload("DaemonSet", template=template("1", hostNetwork=True))
    victim = pod(None, "bare", spec={"hostNetwork": True})
    for thing in (agent, victim):
        with pytest.raises(Refused, match="cordon its node, or scale it to 0") as caught:
            await plan(a_cluster(thing), thing)
        assert caught.value.reason == "HostNetwork"


@pytest.mark.parametrize("more", [{"status": {"phase": "Succeeded"}}, {"metadata": {"deletionTimestamp": "now"}}])
async def test_a_pod_that_has_ended_is_refused(more: dict[str, Any]) -> None:
    victim = pod(None, "bare", **more)
    with pytest.raises(Refused) as caught:
        await plan(a_cluster(victim), victim)
    assert caught.value.reason == "Completed"


async def test_whatever_is_protected_is_refused_the_workload_a_pod_of_it_and_the_owner_of_a_pod() -> None:
    mark = {names.PROTECTED: "true"}
    api, plain = workload(), workload()
    api["metadata"]["annotations"] = mark
    part = pod(plain, "api-x", labels=mark)
    victim = pod(api, "api-y")
    for fake, thing in (
        (a_cluster(api), api),
        (a_cluster(plain, part), plain),
        (a_cluster(plain, part), part),
        (a_cluster(api, revision(api, 1), victim), victim),
    ):
        with pytest.raises(Refused) as caught:
            await plan(fake, thing)
        assert caught.value.reason == "Protected"


async def test_pods_of_others_that_the_selector_matches_are_pointed_out() -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"), pod(None, "stray", labels={"app": "api"}))
    (change,) = await plan(fake, api)
    assert any("stray" in note and "api-x" not in note for note in change.notes)


async def test_a_policy_of_somebody_elses_with_the_same_name_is_not_touched() -> None:
    fake = a_cluster(workload())
    (change,) = await plan(fake, workload())
    theirs = policy(change.target.name, {"matchLabels": {"app": "api"}}, policyTypes=["Ingress", "Egress"])
    fake.put(theirs)
    with pytest.raises(Stalled, match="already exists"):
        await make(fake, (change,))
    assert ISOLATE.standing(change, fake.at("NetworkPolicy", change.target.name)) is Standing.OTHER
    assert fake.at("NetworkPolicy", change.target.name)["spec"] == theirs["spec"]
    assert fake.at("NetworkPolicy", change.target.name)["metadata"]["uid"] == theirs["metadata"]["uid"]


async def test_our_policy_is_known_again_as_the_api_server_shows_it_and_not_once_it_was_changed() -> None:
    fake = a_cluster(workload())
    (change,) = await plan(fake, workload())
    assert ISOLATE.standing(change, None) is Standing.BEFORE
    (change,) = await make(fake, (change,))
    seen = fake.at("NetworkPolicy", change.target.name)
    seen["spec"] |= {"ingress": [], "policyTypes": ["Egress", "Ingress"]}
    assert ISOLATE.standing(change, seen) is Standing.AFTER
    seen["spec"]["ingress"] = [{}]
    assert ISOLATE.standing(change, seen) is Standing.OTHER
    seen["metadata"]["uid"] = "another"
    assert ISOLATE.standing(change, seen) is Standing.GONE
    assert ISOLATE.standing(change, None) is Standing.GONE


@given(
    st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?", fullmatch=True),
    st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True),
)
def test_the_policys_name_and_labels_are_valid_whatever_the_incidents_name(incident: str, step: str) -> None:
    occasion = Occasion("shop", incident, "uid", step)
    names_made = {
        policies.name_of(occasion, Ref(kind, "api", "shop"), direction)
        for kind in ("Deployment", "Pod")
        for direction in policies.DIRECTIONS
    }
    assert len(names_made) == 6, "one name for each isolation"
    for name in names_made:
        assert len(name) <= 63
        assert re.fullmatch(r"incident-[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9._]{0,61}[a-z0-9])?", policies.label_value(incident))


RULE = [{}]
ALL = ["Ingress", "Egress"]


@pytest.mark.parametrize(
    ("other", "direction", "partial"),
    [
        pytest.param(policy("ns", {}, policyTypes=["Ingress"], ingress=RULE), "Both", True, id="namespace-wide"),
        pytest.param(policy("dns", {}, policyTypes=["Egress"], egress=RULE), "Both", True, id="allow-dns"),
        pytest.param(policy("dns", {}, policyTypes=["Egress"], egress=RULE), "Ingress", False, id="other-direction"),
        pytest.param(policy("deny", {}, policyTypes=ALL), "Both", False, id="denies-too"),
        pytest.param(policy("deny", {}, policyTypes=ALL, ingress=[], egress=[]), "Both", False, id="empty-rules"),
        pytest.param(policy("default", {}, ingress=RULE), "Both", True, id="types-default-to-ingress"),
        pytest.param(policy("egress", {}, egress=RULE), "Egress", True, id="and-to-egress-with-rules"),
        pytest.param(policy("x", {"matchLabels": {"app": "web"}}, ingress=RULE), "Both", False, id="other-pods"),
        pytest.param(
            policy("in", {"matchExpressions": [{"key": "app", "operator": "In", "values": ["api"]}]}, ingress=RULE),
            "Both", True, id="in",
        ),
        pytest.param(
            policy("not", {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["b"]}]}, ingress=RULE),
            "Both", True, id="not-in",
        ),
        pytest.param(
            policy("has", {"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, ingress=RULE),
            "Both", False, id="exists",
        ),
        pytest.param(
            policy("hasnt", {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, ingress=RULE),
            "Both", True, id="does-not-exist",
        ),
    ],
)  # fmt: skip
async def test_other_policies_that_allow_traffic_make_it_partial(
    other: dict[str, Any],
    direction: str,
    partial: bool,
) -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"), other)
    changes = await plan(fake, api, direction=direction)
    assert any("only in part" in note for note in changes[0].notes) is partial
    found = await settle(fake, await make(fake, changes), after=60)
    assert (found.facts.get("isolation") == "Partial") is partial
    assert (other["metadata"]["name"] in found.message) is partial


async def test_a_policy_that_begins_to_select_the_pod_because_of_our_label_is_found() -> None:
    victim = pod(None, "bare")
    quarantine = {"matchExpressions": [{"key": names.ISOLATED, "operator": "Exists"}]}
    fake = a_cluster(victim, policy("forensics", quarantine, ingress=RULE))
    changes = await plan(fake, victim)
    assert any("forensics" in note and "begin to select" in note for note in changes[-1].notes)
    found = await settle(fake, await make(fake, changes))
    assert found.facts == {"isolation": "Partial"}


async def test_a_policy_that_stops_selecting_the_pod_because_of_our_label_does_not_count() -> None:
    victim = pod(None, "bare")
    selector = {"matchExpressions": [{"key": names.ISOLATED, "operator": "DoesNotExist"}]}
    fake = a_cluster(victim, policy("normal", selector, ingress=RULE))
    found = await settle(fake, await make(fake, await plan(fake, victim)))
    assert found.facts["isolation"] != "Partial"
