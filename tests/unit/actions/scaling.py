"""Autoscalers of the Deployment ``api``, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from incident_operator.actions.contract import Action
from incident_operator.cluster.fake import FakeCluster
from incident_operator.planning.plan import Change, Standing


def hpa(name: str = "api", *, least: int | None = 3, most: int = 10, kind: str = "Deployment") -> dict[str, Any]:
    spec: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": "api"},
        "maxReplicas": most,
    }
    if least is not None:
        spec["minReplicas"] = least
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "shop", "uid": f"{name}-hpa"},
        "spec": spec,
    }


def scaled_object(*, kind: str = "Deployment", least: int | None = None, **annotations: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "api", "namespace": "shop", "uid": "so"}
    if annotations:
        metadata["annotations"] = annotations
    spec: dict[str, Any] = {"scaleTargetRef": {"kind": kind, "name": "api"}}
    if least is not None:
        spec["minReplicaCount"] = least
    return {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec}


async def make(fake: FakeCluster, changes: Sequence[Change]) -> None:
    for change in changes:
        if change.request is not None:
            await fake.send(change.request)


async def put_back(fake: FakeCluster, action: Action, changes: Sequence[Change]) -> list[Standing]:
    """As the engine releases: backwards, only what stands as we left it."""
    standings = []
    for change in reversed(changes):
        current = await fake.find(change.target.kind, "shop", change.target.name)
        standings.append(action.standing(change, current))
        if standings[-1] is Standing.AFTER and current is not None and change.request is not None:
            request = action.undo(change, current)
            if request is not None:
                await fake.send(request)
    return standings


def replicas(fake: FakeCluster, kind: str = "Deployment") -> int:
    return int(fake.at(kind, "api")["spec"]["replicas"])


def bounds(fake: FakeCluster, name: str = "api") -> tuple[int | None, int]:
    spec = fake.at("HorizontalPodAutoscaler", name)["spec"]
    return spec.get("minReplicas"), spec["maxReplicas"]


def paused(fake: FakeCluster) -> dict[str, str]:
    found: dict[str, str] = fake.at("ScaledObject", "api")["metadata"].get("annotations", {})
    return found
