"""People with names and groups, as the API server knows them."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import Any

import yaml

from tests_support.cluster import Namespace


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody who uses kubectl in one namespace under their own name."""

    name: str
    namespace: Namespace
    groups: tuple[str, ...] = ()

    def run(self, *args: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        flags = [f"--as={self.name}", *(f"--as-group={group}" for group in self.groups)]
        return self.namespace.run(*flags, *args, given=given)

    def apply(self, thing: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        return self.run("apply", "-f", "-", given=yaml.safe_dump(thing))

    def declares(self, incident: dict[str, Any]) -> None:
        """Apply an Incident in their own name."""
        made = self.apply({**incident, "spec": {**incident["spec"], "reportedBy": self.name}})
        assert made.returncode == 0, made.stderr

    def votes(self, incident: str, decision: str = "Approved", *, plan: str = "", **spec: Any) -> None:
        """Make an IncidentApproval for the plan that the Incident has now, or for another."""
        done = self.apply(self.vote(incident, decision, plan=plan, **spec))
        assert done.returncode == 0, done.stderr

    def vote(self, incident: str, decision: str = "Approved", *, plan: str = "", **spec: Any) -> dict[str, Any]:
        found = plan or self.namespace.incident(incident)["status"]["plan"]["hash"]
        given = {"incident": incident, "planHash": found, "decision": decision, "approver": self.name, **spec}
        if self.groups and "groups" not in given:
            given["groups"] = list(self.groups)
        return {
            "apiVersion": "incident-operator.dev/v1alpha1",
            "kind": "IncidentApproval",
            "metadata": {"name": f"{incident}-{self.name}-{found[:6]}-{decision.lower()}"},
            "spec": given,
        }


def hire(namespace: Namespace, name: str, *groups: str, roles: tuple[str, ...] = ("admin",)) -> Person:
    """Somebody with these ClusterRoles in the namespace."""
    for role in roles:
        namespace("create", "rolebinding", f"{name}-{role}", f"--clusterrole={role}", f"--user={name}")
    return Person(name, namespace, groups)
