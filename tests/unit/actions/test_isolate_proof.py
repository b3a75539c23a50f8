"""What an isolation is worth, by the connections that were tried."""

from __future__ import annotations

from typing import Any

import pytest

from unit.actions.isolating import make, plan, settle
from unit.actions.objects import a_cluster, owned, pod, workload

UDP = {"containerPort": 53, "protocol": "UDP"}
ADDRESS = ("10.1.2.3", 8080)


async def test_a_connection_that_was_possible_and_is_not_any_more_proves_it() -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"))
    fake.network.reachable.add(ADDRESS)
    changes = await make(fake, await plan(fake, api))
    fake.network.reachable.clear()
    found = await settle(fake, changes)
    assert (found.state, found.facts) == ("Settled", {"isolation": "Full"})
    assert fake.network.tried == [ADDRESS, ADDRESS]
    assert fake.network.longest <= 2, "a try must not hold up an isolation"


async def test_a_connection_that_stays_possible_means_that_nothing_enforces_it() -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"))
    fake.network.reachable.add(ADDRESS)
    changes = await make(fake, await plan(fake, api))
    assert (await settle(fake, changes, after=4)).state == "Pending"
    found = await settle(fake, changes, after=6)
    assert (found.state, found.reason, found.facts) == ("Failed", "NotEnforced", {"isolation": "NotEnforced"})
    assert "scale the workload to 0" in found.message


async def test_what_could_not_be_reached_before_proves_nothing() -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"))
    found = await settle(fake, await make(fake, await plan(fake, api)))
    assert (found.state, found.facts) == ("Settled", {"isolation": "Unverified"})
    assert "could not be reached before" in found.message


@pytest.mark.parametrize(
    ("pods", "why"),
    [
        ([], "no pod was ready"),
        ([pod(workload(), "api-x", ready=False)], "no pod was ready"),
        ([pod(workload(), "api-x", spec={"containers": [{"name": "web"}]})], "no container declares a TCP port"),
        (
            [pod(workload(), "api-x", spec={"containers": [{"name": "dns", "ports": [UDP]}]})],
            "no container declares a TCP port",
        ),
    ],
)  # fmt: skip
async def test_where_nothing_can_be_tried_it_says_why(pods: list[dict[str, Any]], why: str) -> None:
    fake = a_cluster(workload(), *pods)
    found = await settle(fake, await make(fake, await plan(fake, workload())))
    assert found.facts == {"isolation": "Unverified"}
    assert why in found.message
    assert not fake.network.tried


async def test_egress_alone_cannot_be_tried_from_here() -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"))
    fake.network.reachable.add(ADDRESS)
    found = await settle(fake, await make(fake, await plan(fake, api, direction="Egress")))
    assert found.facts == {"isolation": "Unverified"}
    assert not fake.network.tried


async def test_a_probed_pod_that_is_gone_or_crashed_proves_nothing() -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"))
    fake.network.reachable.add(ADDRESS)
    changes = await make(fake, await plan(fake, api))
    fake.network.reachable.clear()
    fake.put(pod(api, "api-x", waiting="CrashLoopBackOff", ready=False))
    assert "does not run, either" in (await settle(fake, changes)).message
    fake.put(pod(api, "api-x", metadata={"uid": "another"}))
    found = await settle(fake, changes)
    assert found.facts == {"isolation": "Unverified"}
    assert "is gone" in found.message


async def test_the_hash_of_a_plan_does_not_depend_on_what_the_probe_saw() -> None:
    api = workload()
    fake = a_cluster(api, pod(api, "api-x"))
    (first,) = await plan(fake, api)
    fake.network.reachable.add(ADDRESS)
    (second,) = await plan(fake, api)
    assert first.ledger_value() == second.ledger_value()


async def test_an_isolation_that_somebody_lifted_fails() -> None:
    fake = a_cluster(workload())
    changes = await make(fake, await plan(fake, workload()))
    del fake.objects["NetworkPolicy", "shop", changes[0].target.name]
    assert (await settle(fake, changes)).reason == "Reverted"


async def test_of_several_targets_the_worst_is_said() -> None:
    api, web = workload(), workload(name="web")
    fake = a_cluster(api, web, pod(api, "api-x"), pod(web, "web-x", status={"podIP": "10.9.9.9"}))
    fake.network.reachable.add(ADDRESS)
    changes = (*await make(fake, await plan(fake, api)), *await make(fake, await plan(fake, web)))
    fake.network.reachable.clear()
    assert (await settle(fake, changes[:1])).facts == {"isolation": "Full"}
    assert (await settle(fake, changes)).facts == {"isolation": "Unverified"}


async def test_the_limits_of_network_policies_are_told_beforehand() -> None:
    api = workload()
    api["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = {"exec": {"command": ["check"]}}
    (change,) = await plan(a_cluster(api, groups=["cilium.io"]), api)
    said = " ".join(change.notes)
    assert "established connections may live on" in said
    assert "its memory is lost" in said
    assert "cilium.io" in said
    assert "no pods now" in said


async def test_a_controlled_workload_may_be_isolated_as_nothing_on_it_is_changed() -> None:
    cluster = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg", "uid": "u"}}
    api = owned(workload(), cluster)
    assert len(await plan(a_cluster(api), api)) == 1
