"""A Patroni in memory that keeps its state in Kubernetes and does what its ``ha.py`` does with a request."""

from __future__ import annotations

import json
from typing import Any

from incident_operator.actions.failover import Failover
from incident_operator.cluster.fake import FakeCluster
from incident_operator.planning.plan import Change
from unit.actions.objects import OCCASION, SINCE, Object, pod, target, workload
from unit.actions.restoring import made

ACTION = Failover(clock=lambda: SINCE)
LABELS = {"application": "spilo", "cluster-name": "shop-db"}
SCOPE = "shop-db"
LOCKS = {"Endpoints": SCOPE, "ConfigMap": f"{SCOPE}-leader"}
STATEFUL = workload("StatefulSet", "db", replicas=3)


def member(number: int, *, position: int = 100, timeline: int = 4, role: str = "replica", **said: Any) -> Object:
    """A pod with what its Patroni says of itself, as ``touch_member`` writes it."""
    status = {"state": "running", "role": role, "xlog_location": position, "timeline": timeline, **said}
    found = pod(STATEFUL, f"db-{number}")
    found["metadata"]["annotations"] = {"status": json.dumps({k: v for k, v in status.items() if v is not None})}
    return found


def lock(leader: str = "db-0", kind: str = "Endpoints") -> Object:
    said = {"renewTime": "2026-11-23T10:00:00+00:00", "ttl": "30", **({"leader": leader} if leader else {})}
    return made(kind, LOCKS[kind], metadata={"annotations": said, "labels": LABELS, "uid": f"{kind}-lock"})


def failover_object(kind: str = "Endpoints", **annotations: str) -> Object:
    there = {"annotations": annotations} if annotations else {}
    return made(kind, f"{SCOPE}-failover", metadata={"labels": LABELS, **there})


def a_patroni(*members: Object, leader: str = "db-0", kind: str = "Endpoints", asked: bool = False) -> FakeCluster:
    there = members or (member(0, role="primary"), member(1, position=90), member(2, position=95))
    fake = FakeCluster(STATEFUL, lock(leader, kind), *there)
    if asked:
        fake.put(failover_object(kind))
    return fake


async def request(fake: FakeCluster, **form: Any) -> tuple[Change, ...]:
    return await ACTION.plan(fake, OCCASION, target(STATEFUL), {"patroni": {"scope": SCOPE, **form}})


def annotate(fake: FakeCluster, kind: str, name: str, **values: str | None) -> None:
    """Patroni's patch: null takes an annotation away, all others stay."""

    def edit(thing: Object) -> None:
        there = thing["metadata"].setdefault("annotations", {})
        there |= values
        for key in [key for key, value in there.items() if value is None]:
            del there[key]

    fake.edit(kind, "shop", name, edit)


def take_back(fake: FakeCluster, kind: str = "Endpoints") -> None:
    annotate(fake, kind, f"{SCOPE}-failover", leader=None, member=None, scheduled_at=None)


def follow(fake: FakeCluster, kind: str = "Endpoints") -> str:
    """One round of the leader and of the candidate (``process_manual_failover_from_leader``); who leads after it."""
    now = fake.at(kind, LOCKS[kind])["metadata"]["annotations"].get("leader", "")
    there = fake.objects.get((kind, "shop", f"{SCOPE}-failover"))
    # Patroni lists its objects by its labels: what does not have them is not there.
    if there is None or not LABELS.items() <= there["metadata"].get("labels", {}).items():
        return str(now)
    asked = there["metadata"].get("annotations", {})
    wanted = asked.get("member", "")
    if not wanted:
        return str(now)
    if now and asked.get("leader", now) == now and wanted != now:
        annotate(fake, kind, LOCKS[kind], leader=wanted)
        fake.put(member(int(wanted[-1]), role="primary"), member(int(now[-1])))
        now = wanted
    elif not now:
        annotate(fake, kind, LOCKS[kind], leader=wanted)
        now = wanted
    take_back(fake, kind)
    return str(now)
