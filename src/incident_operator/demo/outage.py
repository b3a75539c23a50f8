"""Plays one outage of an application with real state, before your eyes: the demo's way to ``demo.outages``."""

from __future__ import annotations

from incident_operator.demo.outages.scenarios import SCENARIOS
from incident_operator.demo.outages.shop import Shop
from incident_operator.demo.scene import OutageScene
from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for

SPACE = "incident-operator"
PODS = ("pods", "-n", SPACE, "-l", "app.kubernetes.io/name=incident-operator", "-o")
CONTAINERS = "jsonpath={.items[*].status.containerStatuses[*].containerID}"


class OperatorPod:
    """The operator as the demo runs it: pods of a Deployment, of which one leads."""

    def __init__(self, scene: OutageScene) -> None:
        """Take the lab that it runs in, and look up which containers it has: to be killed it must be caught in time."""
        self._lab = scene.lab
        self._containers = self._running()

    def _running(self) -> list[str]:
        return self._lab.kubectl("get", *PODS, CONTAINERS).stdout.split()

    def kill(self) -> None:
        """SIGKILL to its containers, and away with the pods, whose successors so need not wait for a back-off."""
        if not self._containers:
            raise LabError("there is no operator to kill")
        for each in self._containers:
            container = each.removeprefix("containerd://")
            self._lab.exec_on_node("ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container)
        self._lab.kubectl("delete", *PODS[:-1], "--force", "--grace-period=0")

    def start(self) -> None:
        """Wait until as many are ready again; one acts once the Lease of the one that was killed has run out."""
        gone = set(self._containers)
        wait_for(lambda: len(set(self._running()) - gone) >= len(gone), 60, "the containers of other operators")
        self._containers = [each for each in self._running() if each not in gone]
        deployment = ("rollout", "status", "-n", SPACE, "deployment/incident-operator", "--timeout=60s")
        self._lab.kubectl(*deployment)


def play(scene: OutageScene, scenario: str) -> None:
    """One scenario of ``SCENARIOS``; LabError if the proof does not hold."""
    with SCENARIOS[scenario](Shop(scene.lab), OperatorPod(scene)) as outage:
        outage.play()
