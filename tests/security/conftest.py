"""An operator with the rights that are shipped, and no more, in a namespace of the test's own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mutation.running import is_well
from tests_support.cluster import Kubectl, Namespace, OperatorProcess
from tests_support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
RBAC = "rbac.authorization.k8s.io"


def shipped_rules() -> Any:
    """The rules of the operator's own ClusterRole, as installed."""
    found = yaml.safe_load_all((ROOT / "manifests/base/rbac.yaml").read_text())
    (role,) = [
        each
        for each in found
        if each and each["kind"] == "ClusterRole" and each["metadata"]["name"] == "incident-operator"
    ]
    return role["rules"]


def login(kubectl: Kubectl, token: str, path: Path) -> Path:
    """A kubeconfig for the same cluster with a token."""
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--minify", "-o", "yaml"))
    config["users"] = [{"name": each["name"], "user": {"token": token}} for each in config["users"]]
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path


@dataclasses.dataclass(frozen=True)
class House:
    """A namespace and the operator that looks after it."""

    namespace: Namespace
    operator: OperatorProcess


@pytest.fixture(scope="module")
def house(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The operator as a ServiceAccount with the shipped ClusterRole; it says in its log all that it can."""
    folder, namespace = tmp_path_factory.mktemp("limited"), Namespace.create(kubectl)
    namespace.responder()
    meta = {"name": f"operator-of-{namespace.name}"}
    ref = {"apiGroup": RBAC, "kind": "ClusterRole", "name": meta["name"]}
    subject = {"kind": "ServiceAccount", "name": "operator", "namespace": namespace.name}
    version = f"{RBAC}/v1"
    namespace.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "operator"}},
        {"apiVersion": version, "kind": "ClusterRole", "metadata": meta, "rules": shipped_rules()},
        {"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": meta, "roleRef": ref, "subjects": [subject]},
    )
    path = login(kubectl, namespace("create", "token", "operator").strip(), folder / "operator.kubeconfig")
    ask = ("auth", "can-i", "list", "incidents.incident-operator.dev")
    eventually(lambda: "yes" in Kubectl(path, folder).run(*ask).stdout, within=20, what="the operator's rights")
    process = OperatorProcess(path, namespace.name, folder / "operator.log", "--log-level", "debug")
    try:
        process.start()
        yield House(namespace, process)
    finally:
        namespace.delete()
        process.stop()
        kubectl.run("delete", f"clusterrole/{meta['name']}", f"clusterrolebinding/{meta['name']}")


@pytest.fixture
def limited(house: House) -> Iterator[House]:
    """The house with the responder's full rights and no Incident in it; afterwards its operator is well."""
    rules = house.namespace.get("role", "incident-responder")["rules"]
    yield house
    given = json.dumps([{"op": "replace", "path": "/rules", "value": rules}])
    house.namespace("patch", "role", "incident-responder", "--type=json", "-p", given)
    house.namespace("delete", "incidents.incident-operator.dev,deployments", "--all", "--timeout=40s")
    is_well(house.operator)
