"""What is in a namespace, without what differs between two looks at the same thing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests_support.cluster import Namespace
from tests_support.waiting import eventually

KINDS = (
    "deployments", "statefulsets", "daemonsets", "replicasets", "services", "configmaps", "secrets", "serviceaccounts",
    "resourcequotas", "horizontalpodautoscalers", "networkpolicies", "poddisruptionbudgets", "roles", "rolebindings",
    "pods", "incidentledgers.incident-operator.dev",
)  # fmt: skip
MASKED = frozenset({"uid", "resourceVersion", "generation", "managedFields", "creationTimestamp", "status"})

World = Mapping[str, Any]


def seen(namespace: Namespace) -> World:
    """Every object of the namespace by kind and name, and how many pods of each sort there are."""
    return _told(namespace.list(",".join(KINDS)))


def _told(things: list[Any]) -> World:
    found: dict[str, Any] = {}
    for each in things:
        meta = each["metadata"]
        if each["kind"] != "Pod":
            found[f"{each['kind']}/{meta['name']}"] = masked(each)
        elif not meta.get("deletionTimestamp"):
            sort = json.dumps([meta.get("labels", {}), meta.get("annotations", {})], sort_keys=True)
            found[f"pods {sort}"] = found.get(f"pods {sort}", 0) + 1
    return found


def masked(thing: Any) -> Any:
    """An object without identities, versions, times and status."""
    if isinstance(thing, dict):
        return {key: masked(value) for key, value in thing.items() if key not in MASKED}
    return [masked(each) for each in thing] if isinstance(thing, list) else thing


def differences(before: Any, after: Any, way: str = "") -> Iterator[str]:
    """Every place in which two things differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            there = [key in before, key in after]
            if all(there):
                yield from differences(before[key], after[key], f"{way}.{key}")
            else:
                yield f"{way}.{key} {'is gone' if there[0] else 'is new'}"
    elif before != after:
        yield f"{way}: {str(before)[:200]} -> {str(after)[:200]}"


def settled(namespace: Namespace, *, within: float = 40) -> World:
    """The namespace once two looks in a row see the same: what the controllers make of it is there."""
    last: list[World] = [{}]

    def look() -> World:
        things = namespace.list(",".join(KINDS))
        now = _told(things)
        same, last[0] = now == last[0] and all(map(_is_followed, things)), now
        return now if same else {}

    return eventually(look, within=within, what="the namespace to come to rest", every=0.2)


def _is_followed(thing: Any) -> bool:
    """Whether a workload has been seen in its newest form, with as many pods as it asks for."""
    if thing["kind"] not in ("Deployment", "StatefulSet"):
        return True
    status = thing.get("status") or {}
    is_seen = status.get("observedGeneration") == thing["metadata"]["generation"]
    return bool(is_seen and status.get("replicas", 0) == thing["spec"]["replicas"])


def as_before(namespace: Namespace, before: World, *, within: float = 40) -> None:
    """Wait until nothing in the namespace differs from what was there."""

    def look() -> bool:
        last[:] = differences(before, seen(namespace))
        return not last

    last: list[str] = []
    try:
        eventually(look, within=within, what="the namespace to be as it was", every=0.3)
    except AssertionError as fault:
        raise AssertionError(f"{fault}\n" + "\n".join(last)) from None
