"""People of a cluster with just the rights that a test gives them."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Mapping
from typing import Any

from tests_support.cluster import Namespace
from tests_support.waiting import eventually

GROUP = "incident-operator.dev"
RBAC = "rbac.authorization.k8s.io"
Rule = Mapping[str, list[str]]

INCIDENTS: Rule = {"apiGroups": [GROUP], "resources": ["incidents"], "verbs": ["get", "create", "update", "patch"]}
APPROVALS: Rule = {"apiGroups": [GROUP], "resources": ["incidentapprovals"], "verbs": ["create"]}


def may(verb: str, resource: str, group: str = "", name: str = "") -> Rule:
    """One right."""
    made = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
    return {**made, "resourceNames": [name]} if name else made


RESPONDER = may("impersonate", "serviceaccounts", name="incident-responder")
DEPLOYMENTS = may("patch", "deployments", "apps")
POLICIES = may("create", "networkpolicies", "networking.k8s.io")


@dataclasses.dataclass(frozen=True)
class Person:
    """Somebody who works with kubectl in one namespace."""

    name: str
    namespace: Namespace
    groups: tuple[str, ...] = ()

    def run(self, *args: str, given: Any = None) -> subprocess.CompletedProcess[str]:
        who = [f"--as={self.name}", *(f"--as-group={each}" for each in (*self.groups, "system:authenticated"))]
        return self.namespace.run(*who, *args, given=None if given is None else json.dumps(given))

    def create(self, thing: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        return self.run("create", "-f", "-", given=thing)

    def patch(self, name: str, spec: Mapping[str, Any]) -> subprocess.CompletedProcess[str]:
        return self.run("patch", "incident", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def can(self, verb: str, resource: str) -> bool:
        return self.run("auth", "can-i", verb, resource).stdout.strip() == "yes"


def person(namespace: Namespace, name: str, *rules: Rule, groups: tuple[str, ...] = ()) -> Person:
    """Somebody with these rights in a namespace, and with no others."""
    user = f"{name}@{namespace.name}"
    meta = {"name": f"of-{name}"}
    subject = {"apiGroup": RBAC, "kind": "User", "name": user}
    ref = {"apiGroup": RBAC, "kind": "Role", "name": meta["name"]}
    namespace.apply(
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": meta, "rules": [dict(rule) for rule in rules]},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": ref,
            "subjects": [subject],
        },
    )
    made = Person(user, namespace, groups)
    verb, resource = rules[0]["verbs"][-1], rules[0]["resources"][0]
    group = rules[0]["apiGroups"][0]
    eventually(lambda: made.can(verb, f"{resource}.{group}"), within=15, what=f"the rights of {user}")
    return made


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It was refused, in these words."""
    assert done.returncode != 0, f"accepted: {done.stdout}"
    for word in words:
        assert word in done.stderr, done.stderr


def accepted(done: subprocess.CompletedProcess[str]) -> None:
    """It was accepted."""
    assert done.returncode == 0, done.stderr
