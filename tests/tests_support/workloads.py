"""Workloads for tests, from the image of the demo application."""

from __future__ import annotations

from typing import Any

from tests_support.cluster import Namespace
from tests_support.waiting import eventually

IMAGE = "localhost/incident-demo:1"


def _pod(version: str, app: str, **env: str) -> dict[str, Any]:
    given = {"ROLE": "auxiliary", "VERSION": version, "API_ADDR": "127.0.0.1:1", **env}
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
    return {
        "metadata": {"labels": {"app": app}},
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "web",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "env": [{"name": name, "value": value} for name, value in sorted(given.items())],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": probe,
                }
            ],
        },
    }


def web(version: str, *, replicas: int = 2, **env: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A Deployment ``web`` and its Service; ``BREAK=crash`` never gets ready, ``BREAK=errors`` is ready and wrong."""
    labels = {"app": "web"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": _pod(version, "web", **env),
            "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    return deployment, service


def stateful(version: str, *, replicas: int = 2, **env: str) -> tuple[dict[str, Any]]:
    """A StatefulSet ``db`` with ordered pods."""
    labels = {"app": "db"}
    return (
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "db", "labels": labels},
            "spec": {
                "replicas": replicas,
                "serviceName": "db",
                "selector": {"matchLabels": labels},
                "template": _pod(version, "db", **env),
            },
        },
    )


def rollout(namespace: Namespace, what: str = "deployment/web", within: int = 60) -> None:
    """Wait until a rollout is finished."""
    namespace("rollout", "status", what, f"--timeout={within}s")


def images_env(thing: Any) -> dict[str, str]:
    """The environment of the first container of a workload or a pod."""
    spec = thing["spec"].get("template", thing)["spec"]
    return {each["name"]: each.get("value", "") for each in spec["containers"][0].get("env", [])}


def good_revision_marked(namespace: Namespace, *, within: float) -> None:
    """Wait until the only revision of ``web`` carries the mark of a good one."""
    eventually(
        lambda: [
            each
            for each in namespace.list("replicasets")
            if "incident-operator.dev/verified-at" in each["metadata"].get("annotations", {})
        ],
        within=within,
        what="the mark verified-at on a ReplicaSet",
    )


def plain(name: str, *, replicas: int = 1, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """A Deployment whose pods need not run."""
    app = {"app": name}
    pod = {
        "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}],
        "terminationGracePeriodSeconds": 1,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {**app, **(labels or {})}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": app},
            "template": {"metadata": {"labels": app}, "spec": {**pod, "automountServiceAccountToken": False}},
        },
    }
