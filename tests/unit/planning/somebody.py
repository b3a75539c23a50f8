"""Other people, and controllers that know nothing of Incidents: what they do to the objects of an Incident."""

from __future__ import annotations

from collections.abc import Callable

from incident_operator.cluster.fake import FakeCluster
from unit.planning.machine_world import NAMESPACE, Clock

Touched = list[tuple[str, str]]
"""Kinds and names of what somebody else wrote to."""
Somebody = Callable[[FakeCluster, Clock], Touched]


def scales(replicas: int) -> Somebody:
    def act(fake: FakeCluster, _: Clock) -> Touched:
        fake.edit("Deployment", NAMESPACE, "api", lambda thing: thing["spec"].update(replicas=replicas))
        return [("Deployment", "api")]

    return act


def deploys(name: str) -> Somebody:
    """Another template, of which nobody knows anything."""

    def act(fake: FakeCluster, clock: Clock) -> Touched:
        image = f"registry/{name}:{clock.now:%H%M%S}"
        fake.edit(
            "Deployment",
            NAMESPACE,
            name,
            lambda thing: thing["spec"]["template"]["spec"]["containers"][0].update(image=image),
        )
        return [("Deployment", name)]

    return act


def replaces(name: str) -> Somebody:
    """Another object under the same name."""

    def act(fake: FakeCluster, clock: Clock) -> Touched:
        there = fake.objects["Deployment", NAMESPACE, name]
        fake.put({**there, "metadata": {**there["metadata"], "uid": f"{name}-{clock.now:%H%M%S}"}})
        return [("Deployment", name)]

    return act


def readies(*, ready: bool) -> Somebody:
    """Probes of the lower tier that flap: nobody's write to anything that an Incident holds."""

    def act(fake: FakeCluster, _: Clock) -> Touched:
        condition = [{"type": "Ready", "status": str(ready)}]
        for key in [key for key in fake.objects if key[0] == "Pod" and key[2].startswith("web-")]:
            fake.edit(*key, lambda thing: thing["status"].update(conditions=condition))
        return []

    return act


def suspends(*, suspended: bool) -> Somebody:
    def act(fake: FakeCluster, _: Clock) -> Touched:
        fake.edit("CronJob", NAMESPACE, "nightly", lambda thing: thing["spec"].update(suspend=suspended))
        return [("CronJob", "nightly")]

    return act


def moves_bounds(most: int) -> Somebody:
    def act(fake: FakeCluster, _: Clock) -> Touched:
        key = ("HorizontalPodAutoscaler", NAMESPACE, "api")
        if key not in fake.objects:
            return []
        fake.edit(*key, lambda thing: thing["spec"].update(minReplicas=2, maxReplicas=most))
        return [("HorizontalPodAutoscaler", "api")]

    return act


def lifts_policies(fake: FakeCluster, _: Clock) -> Touched:
    found = [key for key in fake.objects if key[0] == "NetworkPolicy"]
    for key in found:
        fake.take(*key)
    return [(key[0], key[2]) for key in found]


def opens_policies(fake: FakeCluster, _: Clock) -> Touched:
    found = [key for key in fake.objects if key[0] == "NetworkPolicy"]
    for key in found:
        fake.edit(*key, lambda thing: thing["spec"].update(ingress=[{}]))
    return [(key[0], key[2]) for key in found]


def deletes_the_pod(fake: FakeCluster, _: Clock) -> Touched:
    if ("Pod", NAMESPACE, "api-0") in fake.objects:
        fake.take("Pod", NAMESPACE, "api-0")
    return []


SOMEBODY: list[Somebody] = [
    *map(scales, (0, 3, 4, 6)),
    *map(deploys, ("api", "web")),
    *map(replaces, ("api", "web")),
    *map(moves_bounds, (9, 12)),
    readies(ready=False),
    readies(ready=True),
    suspends(suspended=False),
    suspends(suspended=True),
    lifts_policies,
    opens_policies,
    deletes_the_pod,
]
