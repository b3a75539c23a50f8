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
        """Take the lab that it runs in."""
        self._lab = scene.lab

    def kill(self) -> None:
        """SIGKILL to its containers, and away with the pods, whose successors so need not wait for a back-off."""
        found = self._lab.kubectl("get", *PODS, CONTAINERS).stdout.split()
        if not found:
            raise LabError("there is no operator to kill")
        for each in found:
            container = each.removeprefix("containerd://")
            self._lab.exec_on_node("ctr", "-n", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container)
        self._lab.kubectl("delete", *PODS[:-1], "--force", "--grace-period=0")

    def start(self) -> None:
        """Wait until another one is ready; it acts once the Lease of the one that was killed has run out."""
        deployment = ("rollout", "status", "-n", SPACE, "deployment/incident-operator", "--timeout=10s")
        wait_for(lambda: self._lab.kubectl(*deployment, check=False).returncode == 0, 60, "another operator")


def play(scene: OutageScene, scenario: str) -> None:
    """One scenario of ``SCENARIOS``; LabError if the proof does not hold."""
    with SCENARIOS[scenario](Shop(scene.lab), OperatorPod(scene)) as outage:
        outage.play()
