"""Small pieces of plans for tests."""

from __future__ import annotations

from typing import Any

from incident_operator.planning.plan import Change, Ref, Request

NOW = "2026-11-23T10:00:00Z"
TARGET = Ref("Deployment", "api", "shop", "uid-1")


def a_change(key: str = "Deployment/api", *, before: Any = 3, after: Any = 0) -> Change:
    """A change of replicas."""
    request = Request("patch", TARGET, [{"op": "replace", "path": "/spec/replicas", "value": after}])
    return Change(key, TARGET, request, before, after, f"{key}: {before} -> {after}")
