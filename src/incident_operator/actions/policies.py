"""NetworkPolicies: the one that isolates, and the others that still let traffic through.

Policies only ever allow, and what any of them allows is allowed: so a policy without rules
isolates only as far as no other one selects the same pod (kubernetes.io, "Network Policies").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from incident_operator.actions.contract import Occasion, plain
from incident_operator.api import names
from incident_operator.planning.plan import Change, Json, Manifest, Ref, Request, Standing, canonical, digest
from incident_operator.planning.selectors import labels_of, matches

KIND = "NetworkPolicy"
DIRECTIONS: Mapping[str, tuple[str, ...]] = {
    "Both": ("Ingress", "Egress"),
    "Ingress": ("Ingress",),
    "Egress": ("Egress",),
}
MOST_NAME = 63
TAG = 8


def name_of(occasion: Occasion, target: Ref, direction: str) -> str:
    """A DNS label of at most 63 characters, always the same for the same isolation."""
    tag = digest([occasion.uid, occasion.step, target.kind, target.namespace, target.name, direction])[:TAG]
    said = re.sub(r"[^a-z0-9]+", "-", f"incident-{occasion.incident}".lower())
    step = re.sub(r"[^a-z0-9]+", "-", occasion.step.lower()).strip("-")[:20].strip("-")
    head = said[: MOST_NAME - len(step) - TAG - 2].strip("-")
    return "-".join(part for part in (head, step, tag) if part)


def label_value(text: str) -> str:
    """A name as the value of a label: at most 63 characters, ends with a letter or digit."""
    return text[:MOST_NAME].rstrip("-._")


def spec_of(selector: Mapping[str, Any], direction: str) -> dict[str, Any]:
    """A policy that selects, and allows nothing in its directions."""
    return {"podSelector": plain(selector), "policyTypes": list(DIRECTIONS[direction])}


def creation(occasion: Occasion, target: Ref, selector: Mapping[str, Any], direction: str, before: Json) -> Change:
    """The policy that isolates a target.

    It has no owner reference to its Incident: deleting that one must put back what it did in
    order and on record, which its finalizer guarantees, and not at the garbage collector's leisure.
    It is always created, even where it is there: only so it is on record, and goes on release.
    """
    ref = Ref(KIND, name_of(occasion, target, direction), occasion.namespace)
    labels = {
        names.MANAGED_BY: names.FIELD_MANAGER,
        names.INCIDENT_LABEL: label_value(occasion.incident),
        names.INCIDENT_UID: occasion.uid,
    }
    spec = spec_of(selector, direction)
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": KIND,
        "metadata": {"name": ref.name, "namespace": ref.namespace, "labels": labels},
        "spec": spec,
    }
    what = {"Both": "all traffic", "Ingress": "traffic to it", "Egress": "traffic from it"}[direction]
    return Change(
        key=f"{KIND}/{ref.name}",
        target=ref,
        request=Request("create", ref, body),
        before=before,
        after={"incident": occasion.uid, "spec": spec},
        summary=f"{target.kind.lower()}/{target.name}: isolate, {what} is cut by NetworkPolicy {ref.name}",
    )


def standing(change: Change, current: Manifest | None) -> Standing:
    """How the policy of that name stands to the one that was to be made."""
    if current is None:
        return Standing.GONE if change.target.uid else Standing.BEFORE
    if change.target.uid and current["metadata"].get("uid") != change.target.uid:
        return Standing.GONE
    ours = labels_of(current).get(names.INCIDENT_UID) == change.after["incident"]
    same = canonical(_slim(current.get("spec") or {})) == canonical(_slim(change.after["spec"]))
    return Standing.AFTER if ours and same else Standing.OTHER


def _slim(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A policy's spec without empty rules and parts, in which API servers differ."""
    found = {key: value for key, value in plain(spec).items() if value or key == "podSelector"}
    found["podSelector"] = {key: value for key, value in (found.get("podSelector") or {}).items() if value}
    found["policyTypes"] = sorted(found.get("policyTypes") or ())
    return found


def removal(current: Manifest) -> Request:
    """Exactly this policy goes, not another of its name."""
    metadata = current["metadata"]
    return Request("delete", Ref(KIND, metadata["name"], metadata["namespace"], metadata["uid"]))


def _allowed(policy: Manifest) -> set[str]:
    """The directions in which a policy lets anything through; without policyTypes as the API defaults it."""
    spec = policy.get("spec") or {}
    types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
    return {each for each in types if spec.get(each.lower())}


def _has_rules(policy: Manifest) -> bool:
    """Whether a policy allows anything at all; in a burst of isolations most do not, so it is asked first."""
    spec = policy.get("spec") or {}
    return bool(spec.get("ingress") or spec.get("egress"))


def still_allowing(policies: Iterable[Manifest], pods: Sequence[Mapping[str, str]], direction: str) -> tuple[str, ...]:
    """Names of the policies that let traffic of an isolated direction through to pods with these labels."""
    cut = set(DIRECTIONS[direction])
    return tuple(
        sorted(
            f"{policy['metadata']['name']} ({', '.join(sorted(_allowed(policy) & cut))})"
            for policy in policies
            if _has_rules(policy)
            and _allowed(policy) & cut
            and any(matches(policy["spec"].get("podSelector") or {}, labels) for labels in pods)
        )
    )
