"""LabelSelectors, judged here rather than by the API server: which pods does this select, which would it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from incident_operator.planning.plan import Manifest

Selector = Mapping[str, Any]
HASH_LABEL = "pod-template-hash"


def matches(selector: Selector | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector selects something with these labels.

    None selects nothing, an empty one everything; NotIn and DoesNotExist also hold where the
    key is absent (apimachinery ``LabelSelectorAsSelector`` and ``Requirement.Matches``).
    """
    if selector is None:
        return False
    wanted: Mapping[str, str] = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_holds(each, labels) for each in selector.get("matchExpressions") or ())


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether one requirement of a selector holds."""
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            return key not in labels or labels[key] not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case unknown:
            raise ValueError(f"could not read a LabelSelector: operator {unknown!r} is not known")


def is_empty(selector: Selector | None) -> bool:
    """Whether a selector has no requirement, and so selects everything (or, being None, nothing)."""
    return not selector or not (selector.get("matchLabels") or selector.get("matchExpressions"))


def labels_of(thing: Manifest) -> Mapping[str, str]:
    """The labels of an object; empty if it has none."""
    found: Mapping[str, str] = thing["metadata"].get("labels") or {}
    return found


def annotations_of(thing: Manifest) -> Mapping[str, str]:
    """The annotations of an object; empty if it has none."""
    found: Mapping[str, str] = thing["metadata"].get("annotations") or {}
    return found


def controller_of(thing: Manifest) -> Mapping[str, Any] | None:
    """The owner reference of the controller that manages an object, if one does."""
    owners = thing["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def owns(workload: Manifest, pod: Manifest) -> bool:
    """Whether a pod belongs to a workload and not to another one with an overlapping selector.

    A Deployment's pods are told by the name of their ReplicaSet, which the controller builds
    as ``<deployment>-<pod-template-hash>``: so no ReplicaSet need be read.
    """
    owner = controller_of(pod)
    if owner is None:
        return False
    if workload["kind"] == "Deployment":
        expected = f"{workload['metadata']['name']}-{labels_of(pod).get(HASH_LABEL, '')}"
        return owner.get("kind") == "ReplicaSet" and owner.get("name") == expected
    return bool(owner.get("uid") == workload["metadata"]["uid"])


def workload_of(pod: Manifest) -> str:
    """The workload that a pod belongs to, as ``Deployment/api``; empty for one that stands alone."""
    owner = controller_of(pod)
    if owner is None:
        return ""
    kind, name, template = owner.get("kind", ""), owner.get("name", ""), labels_of(pod).get(HASH_LABEL, "")
    if kind == "ReplicaSet" and template and name.endswith(f"-{template}"):
        return f"Deployment/{name.removesuffix(f'-{template}')}"
    return f"{kind}/{name}"


def pods_of(workload: Manifest, pods: Iterable[Manifest]) -> list[Manifest]:
    """The pods of a workload that have not run to their end, by name; those being deleted included."""
    found = [pod for pod in pods if owns(workload, pod) and not is_finished(pod)]
    return sorted(found, key=lambda pod: str(pod["metadata"]["name"]))


def is_finished(pod: Manifest) -> bool:
    """Whether a pod has run to its end, or was evicted: it has no containers any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_leaving(thing: Manifest) -> bool:
    """Whether an object is being deleted."""
    return bool(thing["metadata"].get("deletionTimestamp"))
