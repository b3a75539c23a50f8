"""The checks: pass, fail, and unknown, which is neither."""

from __future__ import annotations

from typing import Any

import pytest

from incident_operator.api.checks import CHECKS
from incident_operator.checks.catalogue import CATALOGUE
from incident_operator.checks.http import Http
from incident_operator.checks.pods_ready import PodsReady
from incident_operator.checks.rollout import Rollout
from incident_operator.cluster.fake import FakeCluster
from incident_operator.faults import Stalled, Waiting
from incident_operator.planning.plan import Finding, Ref, Verdict
from unit.actions.objects import a_cluster, later, pod, stamp, target, workload
from unit.actions.restoring import made

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
WHOLE = {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}
FORBIDDEN = Stalled("Forbidden", "could not list Pod in shop as ServiceAccount shop/x: forbidden")
API = Ref("Deployment", "api", "shop")


def api(**status: Any) -> dict[str, Any]:
    found = workload()
    found["status"] |= WHOLE | status
    return found


async def rollout(fake: FakeCluster, *targets: Ref) -> Finding:
    return await Rollout().look(fake, "shop", targets, {}, since=later(0))


async def ready(fake: FakeCluster, *targets: Ref, **params: Any) -> Finding:
    return await PodsReady(clock=lambda: later(0)).look(fake, "shop", targets, params, since=later(0))


async def http(fake: FakeCluster, **params: Any) -> Finding:
    return await Http().look(fake, "shop", (), {"service": "web", "port": "http", **params}, since=later(0))


async def test_a_finished_rollout_passes_and_one_on_its_way_fails_with_the_reason() -> None:
    assert (await rollout(a_cluster(api()), API)).verdict is PASS
    going = api(updatedReplicas=1)
    found = await rollout(a_cluster(going, pod(going, "p", waiting="CrashLoopBackOff")), API)
    assert found.verdict is FAIL
    assert "pod p: container web CrashLoopBackOff" in found.message


async def test_a_rollout_that_cannot_be_seen_is_unknown() -> None:
    fake = a_cluster(api())
    fake.fail(FORBIDDEN, of=lambda call: call.ref.kind == "Deployment", lasting=True)
    found = await rollout(fake, API)
    assert found.verdict is UNKNOWN
    assert "Forbidden" in found.message
    assert (await rollout(a_cluster(), API)).verdict is UNKNOWN
    assert (await rollout(a_cluster())).verdict is UNKNOWN, "no targets, nothing that could pass"
    assert (await rollout(a_cluster(), Ref("Pod", "p", "shop"))).verdict is UNKNOWN


async def test_one_rollout_that_fails_fails_all_and_one_that_is_unknown_never_passes() -> None:
    other = Ref("Deployment", "web", "shop")
    assert (await rollout(a_cluster(api()), API, other)).verdict is UNKNOWN
    assert (await rollout(a_cluster(api(updatedReplicas=0)), API, other)).verdict is FAIL


def restarted(name: str, seconds: float) -> dict[str, Any]:
    found = pod(workload(), name, restarts=1)
    found["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": stamp(later(-seconds))}}
    return found


@pytest.mark.parametrize(
    ("pods", "params", "verdict"),
    [
        pytest.param(["a", "b"], {}, PASS, id="all"),
        pytest.param(["a"], {}, FAIL, id="fewer-than-asked-for"),
        pytest.param([], {}, FAIL, id="none"),
        pytest.param(["a"], {"minimum": 1}, PASS, id="enough"),
        pytest.param(["a", "b"], {"minimum": 3}, FAIL, id="not-enough"),
        pytest.param(["a", "b"], {"minimum": 0}, UNKNOWN, id="minimum-of-nothing"),
        pytest.param(["a", "b"], {"minimum": "2"}, UNKNOWN, id="minimum-is-no-number"),
    ],
)
async def test_pods_ready(pods: list[str], params: dict[str, Any], verdict: Verdict) -> None:
    fake = a_cluster(workload(), *(pod(workload(), name) for name in pods))
    assert (await ready(fake, API, **params)).verdict is verdict


async def test_a_third_pod_that_is_not_ready_fails_unless_a_minimum_says_how_many_are_enough() -> None:
    fake = a_cluster(workload(), pod(workload(), "a"), pod(workload(), "b"), pod(workload(), "c", ready=False))
    assert (await ready(fake, API)).verdict is FAIL
    assert (await ready(fake, API, minimum=2)).verdict is PASS


async def test_a_pod_between_two_crashes_is_not_counted_yet() -> None:
    fake = a_cluster(workload(), pod(workload(), "a"), restarted("b", 29))
    found = await ready(fake, API)
    assert found.verdict is FAIL
    assert "restarted within the last 30 s: b" in found.message
    fake.put(restarted("b", 31))
    assert (await ready(fake, API)).verdict is PASS


async def test_pods_that_end_or_leave_do_not_count_and_those_of_others_neither() -> None:
    fake = a_cluster(
        workload(),
        pod(workload(), "a"),
        pod(workload(), "b", metadata={"deletionTimestamp": "now"}),
        pod(workload(), "c", status={"phase": "Failed"}),
        pod(None, "stray", labels={"app": "api"}),
    )
    assert (await ready(fake, API)).verdict is FAIL
    assert (await ready(fake, API, minimum=1)).verdict is PASS


async def test_a_workload_at_zero_has_nothing_that_could_be_ready() -> None:
    assert (await ready(a_cluster(workload(replicas=0)), API)).verdict is FAIL


async def test_a_pod_and_a_daemon_set_can_be_looked_at_and_a_pod_named_twice_counts_once() -> None:
    agent = workload("DaemonSet", "agent")
    agent["status"]["desiredNumberScheduled"] = 1
    fake = a_cluster(agent, pod(agent, "agent-x"))
    found = await ready(fake, target(agent), Ref("Pod", "agent-x", "shop"), minimum=2)
    assert found.verdict is FAIL
    assert (await ready(fake, target(agent))).verdict is PASS
    assert (await ready(fake, Ref("Pod", "agent-x", "shop"))).verdict is PASS


def two_workloads(*, replicas: int, more: dict[str, Any]) -> FakeCluster:
    """An api of so many that has two ready pods, and a web that has one of them and is as told."""
    web = workload(name="web", **more)
    mine = (pod(workload(), name) for name in ("a", "b"))
    return a_cluster(workload(replicas=replicas), web, *mine, pod(web, "w"))


WEB = Ref("Deployment", "web", "shop")


async def test_a_pod_too_many_of_one_workload_is_none_of_another() -> None:
    found = await ready(two_workloads(replicas=1, more={"replicas": 2}), API, WEB)
    assert found.verdict is FAIL
    assert found.message == "Deployment web: 1 of 2 pods are ready and steady"
    assert (await ready(two_workloads(replicas=1, more={"replicas": 2}), API, WEB, minimum=3)).verdict is PASS
    assert (await ready(two_workloads(replicas=2, more={"replicas": 1}), API, WEB)).verdict is PASS


async def test_instances_too_many_of_a_cluster_are_no_pods_of_a_workload() -> None:
    status = {"phase": "Cluster in healthy state", "readyInstances": 4}
    thing = made("Cluster", "pg", "postgresql.cnpg.io/v1", spec={"instances": 3}, status=status)
    fake = FakeCluster(thing, workload(), pod(workload(), "a"), groups=["postgresql.cnpg.io"])
    assert (await ready(fake, Ref("Cluster", "pg", "shop"), API)).verdict is FAIL


async def test_one_that_is_to_have_no_pods_has_what_it_wants_beside_another_that_is_ready() -> None:
    fake = a_cluster(workload(), workload(name="web", replicas=0), pod(workload(), "a"), pod(workload(), "b"))
    assert (await ready(fake, API, WEB)).verdict is PASS
    fake.put(workload(replicas=0))
    assert (await ready(fake, WEB)).verdict is FAIL


async def test_a_pod_that_is_named_beside_its_workload_is_no_second_one_to_wait_for() -> None:
    fake = a_cluster(workload(), pod(workload(), "a"), pod(workload(), "b"))
    assert (await ready(fake, API, Ref("Pod", "a", "shop"))).verdict is PASS


async def test_pods_that_cannot_be_seen_are_unknown() -> None:
    fake = a_cluster(workload())
    fake.fail(FORBIDDEN, of=lambda call: call.ref.kind == "Pod", lasting=True)
    assert (await ready(fake, API)).verdict is UNKNOWN
    assert (await ready(fake)).verdict is UNKNOWN


async def test_the_wanted_status_passes_and_any_other_fails() -> None:
    fake = a_cluster()
    fake.network.answers["shop", "web"] = (200, 3)
    assert (await http(fake, path="/healthz?token=x", timeout="1500ms")).message == (
        "Service web:http/healthz answered 200 after 3 ms"
    )
    assert fake.network.asked == [("shop", "web", "http", "/healthz?token=x", 1.5)]
    fake.network.answers["shop", "web"] = (503, 1)
    assert (await http(fake)).verdict is FAIL
    assert (await http(fake, status=503)).verdict is PASS
    assert (await http(fake, port=8080)).verdict is FAIL, "a port may be a number"


async def test_no_answer_is_unknown_with_the_cause() -> None:
    fake = a_cluster()
    for fault in (FORBIDDEN, Waiting("ServiceUnreachable", "no endpoints available")):
        fake.network.answers["shop", "web"] = fault
        found = await http(fake)
        assert found.verdict is UNKNOWN
        assert fault.reason in found.message


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"service": "../secrets/x"}, "http.service"),
        ({"service": "https:web"}, "http.service"),
        ({"service": ""}, "http.service"),
        ({"port": "80/../../"}, "http.port"),
        ({"path": "no-slash"}, "http.path"),
        ({"path": "/a/../../b"}, "http.path"),
        ({"timeout": "soon"}, "http.timeout"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named_and_nothing_is_asked(params: dict[str, Any], names: str) -> None:
    fake = a_cluster()
    found = await http(fake, **params)
    assert (found.verdict, fake.network.asked) == (UNKNOWN, [])
    assert names in found.message


def test_the_catalogue_has_what_the_api_offers_under_its_own_name() -> None:
    assert set(CATALOGUE) == set(CHECKS)
    assert all(check.name == name and all(rule.why for rule in check.rules) for name, check in CATALOGUE.items())
    rules = [rule for check in CATALOGUE.values() for rule in check.rules]
    assert {verb for rule in rules if "pods/exec" not in rule.resources for verb in rule.verbs} == {"get", "list"}


@pytest.mark.parametrize(
    ("phase", "instances", "params", "verdict", "words"),
    [
        pytest.param("Cluster in healthy state", 3, {}, PASS, "3 pods are ready, 3 are enough", id="healthy"),
        pytest.param("Cluster in healthy state", 2, {}, FAIL, "2 of 3 pods are ready", id="one-is-missing"),
        pytest.param("Cluster in healthy state", 2, {"minimum": 2}, PASS, "2 are enough", id="two-are-enough"),
        pytest.param("Failing over", 3, {}, FAIL, "Cluster pg: Failing over (pg-1 is lost); 3 pods", id="failing-over"),
        pytest.param("", 0, {}, FAIL, "Cluster pg: no phase yet (pg-1 is lost); 0 of 3", id="new"),
    ],
)
async def test_a_cloudnativepg_cluster_is_ready_when_its_operator_calls_it_healthy(
    phase: str, instances: int, params: dict[str, Any], verdict: Verdict, words: str
) -> None:
    status = {"phase": phase, "phaseReason": "pg-1 is lost", "readyInstances": instances}
    thing = made("Cluster", "pg", "postgresql.cnpg.io/v1", spec={"instances": 3}, status=status)
    fake = FakeCluster(thing, groups=["postgresql.cnpg.io"])
    found = await ready(fake, Ref("Cluster", "pg", "shop"), **params)
    assert found.verdict is verdict
    assert words in found.message
