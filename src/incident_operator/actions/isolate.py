"""``isolate``: cut pods off the network, and say honestly how far that went.

A workload is selected by its own selector, so that pods it makes later are isolated, too; a pod by
a label that only it has. Nothing is relabelled away: a StatefulSet would get stuck without its pod.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.actions import guards, policies, probing
from incident_operator.actions.contract import Occasion
from incident_operator.actions.patches import is_there, patch, ref_of, swap_member
from incident_operator.actions.settling import LIVE, begun, combined
from incident_operator.api import names
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused, Stalled
from incident_operator.planning.containers import containers_of
from incident_operator.planning.plan import (
    Change,
    Entry,
    Manifest,
    Ref,
    Release,
    Request,
    Settlement,
    Standing,
    digest,
    failed,
    settled,
)
from incident_operator.planning.reach import Reach
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import (
    controller_of,
    is_empty,
    is_finished,
    is_leaving,
    labels_of,
    matches,
    owns,
    workload_of,
)

VERB = "isolate"
POD_NAME = "statefulset.kubernetes.io/pod-name"
ONLY_ITS_OWN = (POD_NAME, "apps.kubernetes.io/pod-index", names.ISOLATED)
MOST_NAMED = 5
FLOWS = "established connections may live on (it depends on the network plugin), and so do the kubelet's own probes"
EXEC_PROBES = (
    "probes that use the network from inside a container fail: the kubelet restarts it, and its memory is lost"
)
OTHER_APIS = ("cilium.io", "crd.projectcalico.org", "policy.networking.k8s.io")
POLICY = Rule("networking.k8s.io", ("networkpolicies",), ("create",))


class Isolate:
    """Cuts pods off the network with a NetworkPolicy that allows nothing."""

    name: ClassVar[str] = "isolate"
    kinds: ClassVar[frozenset[str]] = frozenset({"Pod", "Deployment", "StatefulSet", "DaemonSet"})
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("", ("pods",), ("get", "list", "patch"), "find the pods, and label one that has no label of its own"),
        Rule(
            "apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "read the selector, and who is protected"
        ),
        Rule("apps", ("replicasets",), ("get",), "tell to which Deployment a pod belongs"),
        Rule(
            "networking.k8s.io",
            ("networkpolicies",),
            ("get", "list", "create", "delete"),
            "make and remove the policy, and find others that still allow traffic",
        ),
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "Pod": (POLICY, Rule("", ("pods",), ("patch",))),
        "Deployment": (POLICY,),
        "StatefulSet": (POLICY,),
        "DaemonSet": (POLICY,),
    }
    release: ClassVar[Release] = Release.ON_RESOLVE
    reversible: ClassVar[bool] = True
    destructive: ClassVar[bool] = False

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """A policy on the workload's selector; for a pod on a label of its own, given to it first if need be."""
        direction = params.get("direction") or "Both"
        if direction not in policies.DIRECTIONS:
            allowed = ", ".join(policies.DIRECTIONS)
            raise Refused("Invalid", f"direction must be one of {allowed}, not {direction!r}")
        thing = await reader.get(target.kind, target.namespace, target.name)
        guards.refuse_protected(VERB, thing)
        if target.kind == "Pod":
            return await _plan_pod(reader, occasion, thing, direction)
        return await _plan_workload(reader, occasion, thing, direction)

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """The policy by its labels and spec, the pod by its label."""
        if change.target.kind == policies.KIND:
            return policies.standing(change, current)
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        now = labels_of(current).get(names.ISOLATED)
        if now == change.after["label"]:
            return Standing.AFTER
        return Standing.BEFORE if now == change.before["label"] else Standing.OTHER

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """The policy goes, and so does the label."""
        if change.target.kind == policies.KIND:
            return policies.removal(current)
        operations = swap_member(current, "labels", names.ISOLATED, change.after["label"], change.before["label"])
        return patch(change.target, operations)

    async def settle(self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime) -> Settlement:
        """The policies are there; nothing else lets traffic through; and a connection that was possible is not."""
        made = [each for each in entries if each.state in LIVE and each.change.target.kind == policies.KIND]
        parts = await asyncio.gather(*(self._one(reader, entry, begun(entry, since), now) for entry in made))
        return combined(parts, {"isolation": probing.WORST})

    async def _one(self, reader: Reader, entry: Entry, made: datetime, now: datetime) -> Settlement:
        """One policy."""
        change, target = entry.change, entry.change.target
        there = await reader.list(policies.KIND, target.namespace)
        current = next((each for each in there if each["metadata"]["name"] == target.name), None)
        if current is None:  # the list may be a moment old
            current = await reader.find(target.kind, target.namespace, target.name)
        if self.standing(change, current) is not Standing.AFTER:
            return failed(
                "Reverted", f"{target} was changed or deleted after it was made; somebody else lifts the isolation"
            )
        selector = change.after["spec"]["podSelector"]
        types = change.after["spec"]["policyTypes"]
        direction = types[0] if len(types) == 1 else "Both"
        pods = [each for each in await reader.list("Pod", target.namespace, selector) if not is_finished(each)]
        others = [each for each in there if each["metadata"]["name"] != target.name]
        # A workload without pods has none to look at: the pods that it will make have its template's labels.
        labels = [labels_of(pod) for pod in pods] or [change.before["labels"]]
        through = policies.still_allowing(others, labels, direction)
        if through:
            text = f"isolated only in part: other NetworkPolicies still allow traffic: {', '.join(through)}"
            return settled(f"{text}; change or delete them, or scale to 0", {"isolation": "Partial"})
        if "Ingress" not in types:
            return probing.unverified("only connections into a pod can be tried from here")
        return await probing.again(reader, change.before["probe"], pods, made=made, now=now)


async def _plan_workload(reader: Reader, occasion: Occasion, workload: Manifest, direction: str) -> tuple[Change, ...]:
    """One policy on the workload's own selector."""
    selector = workload["spec"].get("selector")
    if is_empty(selector):
        raise Refused(
            "EmptySelector",
            f"could not {VERB} {guards.named(workload)}: its spec.selector is empty and selects the whole namespace",
        )
    template = workload["spec"]["template"]
    target = ref_of(workload)
    _refuse_host_network(target, template.get("spec") or {})
    pods, there = await asyncio.gather(
        reader.list("Pod", target.namespace, selector), reader.list(policies.KIND, target.namespace)
    )
    pods = [pod for pod in pods if not is_finished(pod)]
    for pod in pods:
        guards.refuse_protected(VERB, pod)
        _refuse_host_network(target, pod["spec"])
    foreign = [pod for pod in pods if not owns(workload, pod)]
    owners = {workload_of(pod): pod for pod in foreign}
    await asyncio.gather(*(_refuse_protected_owner(reader, pod) for pod in owners.values()))
    named = [pod["metadata"]["name"] for pod in foreign]
    notes = [f"pods of others match its selector and are isolated, too: {_few(named)}"] if named else []
    if not pods:
        notes.append("it has no pods now; those that it makes later are isolated")
    labels = (template.get("metadata") or {}).get("labels") or {}
    before = {"probe": await _probe(reader, pods, direction), "labels": dict(labels)}
    change = policies.creation(occasion, target, selector or {}, direction, before)
    through = _through(change, there, [labels_of(pod) for pod in pods] or [labels], direction)
    reach = Reach(f"{target.kind}/{target.name}", selector or {}, "cut off")
    return (dataclasses.replace(change, notes=(*notes, *through, *await _notes(reader, workload)), reach=reach),)


async def _plan_pod(reader: Reader, occasion: Occasion, pod: Manifest, direction: str) -> tuple[Change, ...]:
    """One policy on a label that only this pod has; one of a StatefulSet has it already."""
    target = ref_of(pod)
    if is_finished(pod) or is_leaving(pod):
        raise Refused("Completed", f"could not {VERB} {target}: it has run to its end or is being deleted")
    _refuse_host_network(target, pod["spec"])
    await _refuse_protected_owner(reader, pod)
    own = labels_of(pod).get(POD_NAME)
    changes: tuple[Change, ...] = ()
    labels = dict(labels_of(pod))
    if own == target.name:
        selector = {"matchLabels": {POD_NAME: own}}
        notes = ["the pod that takes its name is isolated, too"]
    else:
        mark = _mark(occasion, target)
        selector = {"matchLabels": {names.ISOLATED: mark}}
        changes = (_label(pod, mark),)
        labels[names.ISOLATED] = mark
        notes = ["only this pod is isolated, not one that replaces it"] if controller_of(pod) else []
    there, probe = await asyncio.gather(reader.list(policies.KIND, target.namespace), _probe(reader, [pod], direction))
    change = policies.creation(occasion, target, selector, direction, {"probe": probe, "labels": labels})
    notes += _through(change, there, [labels], direction)
    began = _beginning(there, labels_of(pod), labels)
    if began:
        notes.append(f"with the label {names.ISOLATED} these NetworkPolicies begin to select it: {_few(began)}")
    # Its share is that of the pods of its workload, which a template's hash or a claim of its name tells apart.
    own_labels = {key: value for key, value in labels_of(pod).items() if key not in ONLY_ITS_OWN}
    reach = Reach(f"Pod/{target.name}", {"matchLabels": own_labels}, "cut off", pod=target.name)
    return (*changes, dataclasses.replace(change, notes=(*notes, *await _notes(reader, pod)), reach=reach))


def _mark(occasion: Occasion, pod: Ref) -> str:
    """The value of the label: no two pods have the same, or each would be under what is meant for the other, too."""
    return f"{occasion.uid}.{digest(pod.name)[:8]}"


def _label(pod: Manifest, mark: str) -> Change:
    """The label by which the policy finds the pod; nobody else's is overwritten."""
    ref, now = ref_of(pod), labels_of(pod).get(names.ISOLATED)
    if now is not None and now != mark:
        raise Stalled(
            "IsolatedAlready",
            f"could not {VERB} {ref}: the Incident with UID {now.partition('.')[0]} isolates it already; "
            "release that one first",
        )
    return Change(
        key=f"Pod/{ref.name}",
        target=ref,
        # Made even where the label is ours already: only so it is on record, and goes on release.
        request=patch(ref, swap_member(pod, "labels", names.ISOLATED, now, mark)),
        before={"label": None},
        after={"label": mark},
        summary=f"pod/{ref.name}: label {names.ISOLATED}={mark}",
    )


async def _refuse_protected_owner(reader: Reader, pod: Manifest) -> None:
    """A pod is protected with the workload that it belongs to."""
    thing: Manifest = pod
    namespace = pod["metadata"]["namespace"]
    while (owner := controller_of(thing)) is not None:
        if owner["kind"] not in ("ReplicaSet", "Deployment", "StatefulSet", "DaemonSet"):
            return
        found = await reader.find(owner["kind"], namespace, owner["name"])
        if found is None:
            return
        guards.refuse_protected(VERB, found)
        thing = found


def _refuse_host_network(target: Ref, spec: Mapping[str, Any]) -> None:
    """What NetworkPolicies do to pods on the host's network is undefined (kubernetes.io, "Network Policies")."""
    if spec.get("hostNetwork"):
        raise Refused(
            "HostNetwork",
            f"could not {VERB} {target}: it is on the host's network (hostNetwork), which NetworkPolicies do not "
            "cover; cordon its node, or scale it to 0",
        )


async def _probe(reader: Reader, pods: Sequence[Manifest], direction: str) -> Any:
    """What can be tried from here before it is isolated."""
    if direction == "Egress":
        return {"why": "only connections into a pod can be tried from here"}
    return await probing.first(reader, pods)


def _through(
    change: Change, there: Sequence[Manifest], labels: Sequence[Mapping[str, str]], direction: str
) -> list[str]:
    """A warning, if other policies will make the isolation a partial one."""
    others = [each for each in there if each["metadata"]["name"] != change.target.name]
    found = policies.still_allowing(others, labels, direction)
    return (
        [f"other NetworkPolicies still allow traffic, so it is isolated only in part: {_few(found)}"] if found else []
    )


def _beginning(there: Sequence[Manifest], old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Policies that select a pod only once it has the new label."""
    found = []
    for each in there:
        selector = each["spec"].get("podSelector") or {}
        if matches(selector, new) and not matches(selector, old) and not is_empty(selector):
            found.append(each["metadata"]["name"])
    return found


async def _notes(reader: Reader, thing: Manifest) -> tuple[str, ...]:
    """What a person should know about isolation by NetworkPolicy."""
    served = [group for group in OTHER_APIS if group in await reader.groups()]
    more = (
        (f"policies of {', '.join(served)} are not looked at; they may allow or deny traffic by themselves",)
        if served
        else ()
    )
    return (FLOWS, EXEC_PROBES, *more) if _has_exec_probe(thing) else (FLOWS, *more)


def _has_exec_probe(thing: Manifest) -> bool:
    """Whether a container's liveness is told by a command in it."""
    spec = thing["spec"] if thing["kind"] == "Pod" else thing["spec"]["template"].get("spec") or {}
    return any("exec" in (each.get("livenessProbe") or {}) for each in containers_of(spec))


def _few(found: Sequence[str]) -> str:
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more
