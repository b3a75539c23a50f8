"""Workloads whose pods never run, so that they are the same with and without nodes."""

from __future__ import annotations

from typing import Any

NOWHERE = {"incident-test/nowhere": "true"}


def template(app: str, version: str = "1") -> dict[str, Any]:
    """A pod template that no node takes."""
    return {
        "metadata": {"labels": {"app": app} if app else {}},
        "spec": {
            "nodeSelector": NOWHERE,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": f"localhost/none:{version}", "imagePullPolicy": "Never"}],
        },
    }


def workload(name: str, *, kind: str = "Deployment", replicas: int = 2, version: str = "1", **meta: Any) -> Any:
    """A Deployment or StatefulSet on labels of its own."""
    more = {"serviceName": name} if kind == "StatefulSet" else {}
    selector = {"matchLabels": {"app": name}}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, **meta},
        "spec": {"replicas": replicas, "selector": selector, "template": template(name, version), **more},
    }


def pod(name: str, app: str = "") -> dict[str, Any]:
    """A pod of its own, without labels unless it has an app."""
    made = template(app)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**made["metadata"], "name": name}, "spec": made["spec"]}


ALL = (workload("web"), workload("api"), workload("db", kind="StatefulSet", replicas=1), pod("bare"))
"""What the namespace of every test has."""


def target(name: str, kind: str = "Deployment") -> dict[str, str]:
    """A target of an Incident."""
    return {"kind": kind, "name": name}
