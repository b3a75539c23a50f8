"""isolate: cut pods off the network with a NetworkPolicy, and say honestly what came of it.

NetworkPolicies only add up (no policy can take away what another allows), are enforced by the
cluster's network or silently not at all, and need not cut connections that stand already
(kubernetes/website #43438). So the outcome is one of

Full         a connection was possible before and is not any more
Partial      other policies still allow traffic to or from the pods; they are named
NotEnforced  a connection is still possible: the cluster does not enforce NetworkPolicy
Unverified   the policy is there, and whether it is enforced could not be seen
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar

from incident_operator.actions.contract import Occasion
from incident_operator.actions.targets import admit, escaped, guarded, identified, lost
from incident_operator.api import names
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Entry,
    Json,
    Manifest,
    Ref,
    Release,
    Request,
    Settlement,
    Standing,
    digest,
    failed,
    pending,
    settled,
)
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import is_ready
from incident_operator.planning.selectors import is_empty, lets_through

POD_NAME = "statefulset.kubernetes.io/pod-name"
CONNECT_SECONDS = 1.0
ENFORCED_WITHIN = timedelta(seconds=5)
"""How long a network may take to enforce a new policy; measured: Cilium 0.1-0.2 s."""
DIRECTIONS = {"Both": ("Ingress", "Egress"), "Ingress": ("Ingress",), "Egress": ("Egress",)}
REMEDY = "scale it to 0, delete the pod after keeping evidence, or use a network that enforces NetworkPolicy"


class Isolate:
    """Implements ``Action``."""

    name: ClassVar[str] = "isolate"
    kinds: ClassVar[frozenset[str]] = frozenset({"Pod", "Deployment", "StatefulSet", "DaemonSet"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "read the selector of a workload"),
        Rule("", ("pods",), ("get", "list", "patch"), "find the pods, and label a single one"),
        Rule(
            "networking.k8s.io", ("networkpolicies",), ("get", "list", "create", "delete"),
            "make the isolating policy, and see which others still allow traffic",
        ),
    )  # fmt: skip
    release: ClassVar[Release] = Release.ON_RESOLVE
    reversible: ClassVar[bool] = True

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """A policy that selects just the target, and a label first where nothing else does."""
        found = await reader.get(target.kind, target.namespace, target.name)
        admit(target, found, own_it=target.kind != "Pod")
        target = identified(target, found)
        wanted = DIRECTIONS[params.get("direction", "Both")]
        changes: list[Change] = []
        if target.kind == "Pod":
            _admit_pod(target, found)
            selector, label = _pod_selector(occasion, found)
            pods: Sequence[Manifest] = (found,)
            if label is not None:
                changes.append(_label(target, found, label))
        else:
            selector = found["spec"]["selector"]
            if is_empty(selector):
                raise Refused("Invalid", f"{target} has an empty selector: isolating it would isolate the whole namespace")
            pods = await reader.list("Pod", target.namespace, selector)
            for pod in pods:
                _admit_pod(Ref("Pod", pod["metadata"]["name"], target.namespace), pod)
        probe = await _probe(reader, pods, wanted)
        changes.append(_policy(occasion, target, selector, wanted, probe))
        return tuple(changes)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """For the label: its value. For the policy: ours and as we made it, or somebody else's."""
        if change.target.kind == "Pod":
            gone = lost(change, current)
            if gone or current is None:
                return Standing.GONE
            value = (current["metadata"].get("labels") or {}).get(names.ISOLATED)
            if value == change.after["label"]:
                return Standing.AFTER
            return Standing.BEFORE if value == change.before["label"] else Standing.OTHER
        if current is None:
            return Standing.BEFORE if not change.target.uid else Standing.GONE
        if lost(change, current):
            return Standing.GONE
        labels = current["metadata"].get("labels") or {}
        ours = labels.get(names.INCIDENT_UID) == change.after["incident"]
        return Standing.AFTER if ours and current["spec"] == change.after["spec"] else Standing.OTHER

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """The policy goes, and so does the label."""
        target = change.target
        if target.kind != "Pod":
            meta = current["metadata"]
            return Request("delete", Ref(target.kind, target.name, target.namespace, meta["uid"]))
        where, old = f"/metadata/labels/{escaped(names.ISOLATED)}", change.before["label"]
        test = {"op": "test", "path": where, "value": change.after["label"]}
        back = {"op": "remove", "path": where} if old is None else {"op": "replace", "path": where, "value": old}
        return guarded(target, test, back)

    async def settle(
        self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime
    ) -> Settlement:
        """What the isolation is worth, by what other policies allow and what connections show."""
        outcomes: list[tuple[str, str]] = []
        for entry in entries:
            if entry.change.target.kind != "NetworkPolicy":
                continue
            done = datetime.fromisoformat(entry.done_at) if entry.done_at else since
            outcome, message = await self._outcome(reader, entry.change, waited=now - done)
            if outcome == "Pending":
                return pending(message)
            outcomes.append((outcome, message))
        worst = min(outcomes, key=lambda each: ("NotEnforced", "Partial", "Unverified", "Full").index(each[0]))
        text = "; ".join(message for _, message in outcomes)
        facts = {"isolation": worst[0]}
        if worst[0] == "NotEnforced":
            return failed("NotEnforced", text, facts)
        return settled(text, facts)

    async def _outcome(self, reader: Reader, change: Change, *, waited: timedelta) -> tuple[str, str]:
        """Outcome and message for one policy; Pending while it may still take effect."""
        target, after = change.target, change.after
        policies = await reader.list("NetworkPolicy", target.namespace)
        if not any(policy["metadata"]["name"] == target.name for policy in policies):
            if await reader.find("NetworkPolicy", target.namespace, target.name) is None:
                return "NotEnforced", f"the policy {target.name} was deleted by somebody else; {REMEDY}"
        others = [policy for policy in policies if policy["metadata"]["name"] != target.name]
        pods = await reader.list("Pod", target.namespace, after["spec"]["podSelector"])
        allowed = _allowed(others, pods, frozenset(after["spec"]["policyTypes"]))
        if allowed:
            return "Partial", f"{allowed}, and no policy can take that away: delete or narrow it, or {REMEDY}"
        probe = after["probe"]
        if not probe.get("open"):
            return "Unverified", f"the policy is in place; whether it is enforced could not be seen: {probe['why']}"
        if not any((pod.get("status") or {}).get("podIP") == probe["address"] for pod in pods):
            return "Unverified", "the policy is in place; the pod that was tried before is gone, so nothing could be seen"
        where = f"{probe['address']}:{probe['port']}"
        if not await reader.connects(probe["address"], probe["port"], timeout_seconds=CONNECT_SECONDS):
            return "Full", f"a connection to {where} was possible before and is not any more; ones that stood may live on"
        if waited < ENFORCED_WITHIN:
            return "Pending", f"a connection to {where} is still possible"
        return "NotEnforced", (
            f"a connection to {where} is still possible after {waited.total_seconds():.0f} s: "
            f"this cluster does not enforce NetworkPolicy; {REMEDY}"
        )


def _admit_pod(target: Ref, pod: Manifest) -> None:
    """Refuse pods that a NetworkPolicy cannot hold."""
    admit(target, pod, own_it=False)
    if pod["spec"].get("hostNetwork"):
        raise Refused("HostNetwork", f"{target} uses its node's network, which no NetworkPolicy holds: cordon the node, or {REMEDY}")
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        raise Refused("PodFinished", f"{target} has ended already: there is nothing to isolate")


def _pod_selector(occasion: Occasion, pod: Manifest) -> tuple[dict[str, Any], str | None]:
    """A selector for one pod, and the label value it needs put on; the pods of StatefulSets have one already."""
    labels = pod["metadata"].get("labels") or {}
    if POD_NAME in labels:
        return {"matchLabels": {POD_NAME: labels[POD_NAME]}}, None
    value = digest([occasion.uid, pod["metadata"]["uid"]])[:16]
    return {"matchLabels": {names.ISOLATED: value}}, value


def _label(target: Ref, pod: Manifest, value: str) -> Change:
    """The label that the policy selects."""
    labels = pod["metadata"].get("labels")
    old = (labels or {}).get(names.ISOLATED)
    operation: dict[str, Any] = {"op": "add", "path": f"/metadata/labels/{escaped(names.ISOLATED)}", "value": value}
    if not labels:
        operation = {"op": "add", "path": "/metadata/labels", "value": {names.ISOLATED: value}}
    return Change(
        key=f"Pod/{target.name}",
        target=target,
        request=None if old == value else guarded(target, operation),
        before={"label": old},
        after={"label": value},
        summary=f"Pod/{target.name}: label {names.ISOLATED}={value}",
    )


def _policy(
    occasion: Occasion, target: Ref, selector: Mapping[str, Any], wanted: tuple[str, ...], probe: Json
) -> Change:
    """The policy; without an owner, so that only a release, on record, ever removes it."""
    name = f"incident-{digest([occasion.uid, occasion.step, target.kind, target.name])[:8]}-{target.kind.lower()}"
    name = f"{name}-{target.name}"[:63].rstrip("-.").replace(".", "-")
    spec = {"podSelector": dict(selector), "policyTypes": list(wanted)}
    labels = {
        names.MANAGED_BY: names.FIELD_MANAGER,
        names.INCIDENT_LABEL: occasion.incident[:63].rstrip("-."),
        names.INCIDENT_UID: occasion.uid,
    }
    ref = Ref("NetworkPolicy", name, occasion.namespace)
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": occasion.namespace, "labels": labels},
        "spec": spec,
    }
    return Change(
        key=f"NetworkPolicy/{name}",
        target=ref,
        request=Request("create", ref, body),
        before=None,
        after={"spec": spec, "incident": occasion.uid, "probe": probe},
        summary=f"{target.kind}/{target.name}: NetworkPolicy {name} cuts {' and '.join(wanted).lower()} traffic",
        notes=("connections that stand already may live on, as the cluster's network decides",),
    )


async def _probe(reader: Reader, pods: Sequence[Manifest], wanted: tuple[str, ...]) -> Json:
    """Whether a connection to one of the pods is possible before the policy is there."""
    if "Ingress" not in wanted:
        return {"open": False, "why": "only traffic out of the pods is cut, which cannot be tried from here"}
    for pod in pods:
        address, port = (pod.get("status") or {}).get("podIP"), _port(pod)
        if not is_ready(pod) or not address or port is None:
            continue
        if await reader.connects(address, port, timeout_seconds=CONNECT_SECONDS):
            return {"open": True, "address": address, "port": port}
        return {"open": False, "why": f"{address}:{port} could not be reached from the operator before either"}
    return {"open": False, "why": "no ready pod names a TCP port to try"}


def _port(pod: Manifest) -> int | None:
    """The first TCP port that a container of the pod names."""
    for container in pod["spec"].get("containers", ()):
        for port in container.get("ports") or ():
            if port.get("protocol", "TCP") == "TCP":
                return int(port["containerPort"])
    return None


def _allowed(policies: Sequence[Manifest], pods: Sequence[Manifest], wanted: frozenset[str]) -> str:
    """Which other policies still allow traffic of these pods, in words; empty if none does."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        for name, directions in lets_through(policies, pod["metadata"].get("labels") or {}, wanted):
            found.setdefault(name, set()).update(directions)
    return " and ".join(
        f"NetworkPolicy {name} still allows {', '.join(sorted(directions)).lower()}" for name, directions in sorted(found.items())
    )


