"""Who asks: rights, and the words of a refusal; Services, pods' addresses and Events."""

from __future__ import annotations

import pytest

from contract.conftest import Place
from incident_operator.cluster.port import Hands
from incident_operator.faults import Fault, NotFound, Refused, Stalled, Waiting
from incident_operator.planning.plan import Ref, Request
from tests_support.waiting import seen

MERGE_PATCH = "application/merge-patch+json"


async def tried(hands: Hands, place: Place, verb: str, kind: str, subresource: str = "") -> None:
    ref = Ref(kind, "thing", place.namespace, "uid")
    if verb == "get":
        await hands.get(kind, place.namespace, "thing")
    elif verb == "list":
        await hands.list(kind, place.namespace)
    elif verb == "create":
        await hands.send(place.creation(kind, "thing"))
    else:
        await hands.send(Request(verb, ref, {"metadata": {"labels": {}}}, MERGE_PATCH, subresource))  # type: ignore[arg-type]


# fmt: off
MISSING = [
    ("get", "Deployment", "", 'deployments.apps "thing"', 'get resource "deployments" in API group "apps"'),
    ("list", "Pod", "", "pods", 'list resource "pods" in API group ""'),
    ("create", "ConfigMap", "", "configmaps", 'create resource "configmaps" in API group ""'),
    ("patch", "Deployment", "scale", 'deployments.apps "thing"',
     'patch resource "deployments/scale" in API group "apps"'),
    ("patch", "Incident", "status", 'incidents.incident-operator.dev "thing"',
     'patch resource "incidents/status" in API group "incident-operator.dev"'),
    ("delete", "Pod", "", 'pods "thing"', 'delete resource "pods" in API group ""'),
]
# fmt: on


@pytest.mark.parametrize(("verb", "kind", "subresource", "what", "right"), MISSING)
async def test_a_missing_right_is_named(
    place: Place, verb: str, kind: str, subresource: str, what: str, right: str
) -> None:
    place.allow("nobody", [])
    hands = place.cluster.acting_as(place.namespace, "nobody")
    with pytest.raises(Stalled) as fault:
        await tried(hands, place, verb, kind, subresource)
    assert fault.value.reason == "Forbidden"
    user = f"system:serviceaccount:{place.namespace}:nobody"
    words = f'{what} is forbidden: User "{user}" cannot {right} in the namespace "{place.namespace}"'
    assert words in fault.value.message
    assert f"as ServiceAccount {place.namespace}/nobody: " in fault.value.message
    assert f"create ServiceAccount {place.namespace}/nobody if it is not there" in fault.value.message


async def test_exactly_what_is_granted_can_be_done(place: Place) -> None:
    place.allow(
        "some", [("", "configmaps", "get"), ("", "configmaps", "create"), ("apps", "deployments/scale", "patch")]
    )
    hands = place.cluster.acting_as(place.namespace, "some")

    async def is_granted() -> bool:
        try:
            return await hands.find("ConfigMap", place.namespace, "thing") is None
        except Stalled:  # the API server's authorizer follows its writes, too
            return False

    made = await seen(is_granted, "the Role to hold") and await hands.send(place.creation("ConfigMap", "thing"))
    assert await hands.get("ConfigMap", place.namespace, "thing") == made
    with pytest.raises(NotFound):
        await tried(hands, place, "patch", "Deployment", "scale")
    for verb, kind in (("list", "ConfigMap"), ("patch", "ConfigMap"), ("delete", "ConfigMap"), ("get", "Deployment")):
        with pytest.raises(Stalled) as fault:
            await tried(hands, place, verb, kind)
        assert fault.value.reason == "Forbidden"
    with pytest.raises(Stalled, match='in the namespace "kube-system"'):
        await hands.get("ConfigMap", "kube-system", "thing")
    assert "apps" in await hands.groups(), "what is served is no secret"
    scale = {"namespace": place.namespace, "group": "apps", "resource": "deployments", "verb": "patch"}
    assert await hands.review({**scale, "subresource": "scale"})
    assert not await hands.review(scale)
    assert not await hands.review({**scale, "subresource": "scale", "namespace": "kube-system"})
    assert await place.cluster.review(scale)


async def test_a_right_is_asked_for_before_anything_is_looked_at(place: Place) -> None:
    place.allow("nobody", [])
    with pytest.raises(Stalled) as fault:
        await place.cluster.acting_as(place.namespace, "nobody").find("Deployment", place.namespace, "not-there")
    assert fault.value.reason == "Forbidden"


async def test_a_service_without_endpoints_is_unreachable_and_not_an_answer(place: Place) -> None:
    port = {"name": "http", "port": 80}
    await place.make("Service", "web", spec={"selector": {"app": "web"}, "ports": [port]})
    ask = place.cluster.through_service

    async def is_known() -> Fault | None:
        with pytest.raises(Fault) as fault:
            await ask(place.namespace, "web", "http", "/", timeout_seconds=5)
        return None if isinstance(fault.value, NotFound) else fault.value

    fault = await seen(is_known, "the proxy, which has a cache of its own, to know the Service")
    assert isinstance(fault, Waiting)
    assert fault.reason == "ServiceUnreachable"
    with pytest.raises(NotFound, match='services "nobody" not found'):
        await ask(place.namespace, "nobody", "http", "/", timeout_seconds=5)
    for path in ("/../../secrets", "/%2e%2e/secrets", "secrets"):
        with pytest.raises(Refused, match=r"\.\."):
            await ask(place.namespace, "web", "http", path, timeout_seconds=5)
    place.allow("nobody", [])
    hands = place.cluster.acting_as(place.namespace, "nobody")
    with pytest.raises(
        Stalled, match=r'services "http:web:http" is forbidden: .* cannot get resource "services/proxy"'
    ):
        await hands.through_service(place.namespace, "web", "http", "/", timeout_seconds=5)


async def test_no_address_is_tried_from_outside_of_the_pods_network(place: Place) -> None:
    assert await place.cluster.connects("198.18.0.1", 80, timeout_seconds=1) is None


async def test_an_event_is_recorded_once_and_its_failure_is_nobodys(place: Place) -> None:
    about = await place.make("ConfigMap", "thing")
    for _ in range(2):
        await place.cluster.event(about, reason="Reason", message="words", warning=True)
    (found,) = await seen(lambda: place.cluster.list("Event", place.namespace), "the Event in the watch cache")
    assert (found["reason"], found["note"], found["type"]) == ("Reason", "words", "Warning")
    assert found["regarding"]["uid"] == about["metadata"]["uid"]
    lost = {**about, "metadata": {**about["metadata"], "namespace": "nowhere"}}
    try:
        await place.cluster.event(lost, reason="Reason", message="words")
    except Fault as fault:
        pytest.fail(f"an Event that cannot be sent must not matter: {fault}")
