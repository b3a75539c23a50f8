"""What an isolation is worth, by the connections that were tried."""

from __future__ import annotations

from typing import Any

import pytest

from unit.actions.isolating import make, plan, settle
from unit.actions.memory import Memory
from unit.actions.objects import owned, pod, workload

UDP = {"containerPort": 53, "protocol": "UDP"}
ADDRESS = ("10.1.2.3", 8080)


async def test_a_connection_that_was_possible_and_is_not_any_more_proves_it() -> None:
    api = workload()
    memory = Memory(api, pod(api, "api-x"))
    memory.reachable.add(ADDRESS)
    changes = await make(memory, await plan(memory, api))
    memory.reachable.clear()
    found = await settle(memory, changes)
    assert (found.state, found.facts) == ("Settled", {"isolation": "Full"})
    assert memory.tried == [ADDRESS, ADDRESS]


async def test_a_connection_that_stays_possible_means_that_nothing_enforces_it() -> None:
    api = workload()
    memory = Memory(api, pod(api, "api-x"))
    memory.reachable.add(ADDRESS)
    changes = await make(memory, await plan(memory, api))
    assert (await settle(memory, changes, after=4)).state == "Pending"
    found = await settle(memory, changes, after=6)
    assert (found.state, found.reason, found.facts) == ("Failed", "NotEnforced", {"isolation": "NotEnforced"})
    assert "scale the workload to 0" in found.message


async def test_what_could_not_be_reached_before_proves_nothing() -> None:
    api = workload()
    memory = Memory(api, pod(api, "api-x"))
    found = await settle(memory, await make(memory, await plan(memory, api)))
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
    memory = Memory(workload(), *pods)
    found = await settle(memory, await make(memory, await plan(memory, workload())))
    assert found.facts == {"isolation": "Unverified"}
    assert why in found.message
    assert not memory.tried


async def test_egress_alone_cannot_be_tried_from_here() -> None:
    api = workload()
    memory = Memory(api, pod(api, "api-x"))
    memory.reachable.add(ADDRESS)
    found = await settle(memory, await make(memory, await plan(memory, api, direction="Egress")))
    assert found.facts == {"isolation": "Unverified"}
    assert not memory.tried


async def test_a_probed_pod_that_is_gone_or_crashed_proves_nothing() -> None:
    api = workload()
    memory = Memory(api, pod(api, "api-x"))
    memory.reachable.add(ADDRESS)
    changes = await make(memory, await plan(memory, api))
    memory.reachable.clear()
    memory.put(pod(api, "api-x", waiting="CrashLoopBackOff", ready=False))
    assert "does not run, either" in (await settle(memory, changes)).message
    memory.put(pod(api, "api-x", metadata={"uid": "another"}))
    found = await settle(memory, changes)
    assert found.facts == {"isolation": "Unverified"}
    assert "is gone" in found.message


async def test_the_hash_of_a_plan_does_not_depend_on_what_the_probe_saw() -> None:
    api = workload()
    memory = Memory(api, pod(api, "api-x"))
    (first,) = await plan(memory, api)
    memory.reachable.add(ADDRESS)
    (second,) = await plan(memory, api)
    assert first.ledger_value() == second.ledger_value()


async def test_an_isolation_that_somebody_lifted_fails() -> None:
    memory = Memory(workload())
    changes = await make(memory, await plan(memory, workload()))
    del memory.objects["NetworkPolicy", "shop", changes[0].target.name]
    assert (await settle(memory, changes)).reason == "Reverted"


async def test_of_several_targets_the_worst_is_said() -> None:
    api, web = workload(), workload(name="web")
    memory = Memory(api, web, pod(api, "api-x"), pod(web, "web-x", status={"podIP": "10.9.9.9"}))
    memory.reachable.add(ADDRESS)
    changes = (*await make(memory, await plan(memory, api)), *await make(memory, await plan(memory, web)))
    memory.reachable.clear()
    assert (await settle(memory, changes[:1])).facts == {"isolation": "Full"}
    assert (await settle(memory, changes)).facts == {"isolation": "Unverified"}


async def test_the_limits_of_network_policies_are_told_beforehand() -> None:
    api = workload()
    api["spec"]["template"]["spec"]["containers"][0]["livenessProbe"] = {"exec": {"command": ["check"]}}
    (change,) = await plan(Memory(api, groups=["cilium.io"]), api)
    said = " ".join(change.notes)
    assert "established connections may live on" in said
    assert "its memory is lost" in said
    assert "cilium.io" in said
    assert "no pods now" in said


async def test_a_controlled_workload_may_be_isolated_as_nothing_on_it_is_changed() -> None:
    cluster = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": {"name": "pg", "uid": "u"}}
    api = owned(workload(), cluster)
    assert len(await plan(Memory(api), api)) == 1
