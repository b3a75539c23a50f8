"""From a signal to what its Incident is to be: namespace, runbook and target, looked up where it does not say them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from incident_operator.api import names
from incident_operator.cluster.port import Cluster, Reader
from incident_operator.engine.fresh import Fresh
from incident_operator.faults import Fault, Waiting
from incident_operator.planning.plan import Manifest
from incident_operator.planning.rights import Rule
from incident_operator.signals import vocabulary
from incident_operator.signals.naming import key_of
from incident_operator.signals.signal import Signal, cut
from incident_operator.signals.vocabulary import UNSURE, Meaning, Runbook

RULES = (
    Rule("", ("pods",), ("get",), "see what owns the pod that an alert names"),
    Rule("apps", ("replicasets",), ("get",), "see which Deployment owns it"),
    Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "see its annotation on-alert"),
)
"""What is asked as the responder of the namespace that an alert is about."""
ANNOTATED = ("Deployment", "StatefulSet", "DaemonSet")
RUNBOOKS_SECONDS = 2.0
OWNERS_SECONDS = 10.0
SECURITY = frozenset({"Falco", "Trivy"})
MOST_HOPS = 4
PROBLEM = 2048

Targets = tuple[tuple[str, str], ...]
"""Kind and name of each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What one signal's Incident is to be."""

    signal: Signal
    namespace: str
    key: str
    """What tells it apart in its namespace, as a label's value."""
    runbook: Mapping[str, str] | None
    """As ``spec.runbookRef`` has it."""
    targets: Targets
    type: str
    severity: str
    mode: str
    hold_for: str
    title: str
    description: str
    problem: str
    note: str
    """What else a person is to know of it."""
    has_runbook: bool
    """Whether the runbook is there."""


class Caller:
    """Looks up what signals leave unsaid."""

    def __init__(self, cluster: Cluster, *, home: str, namespaces: Sequence[str] = ()) -> None:
        """``home`` is the namespace of Incidents whose alert names none, ``namespaces`` those that are looked after."""
        self.home = home
        self._cluster = cluster
        self._namespaces = namespaces
        self._runbooks: Fresh[str, Sequence[Manifest]] = Fresh(RUNBOOKS_SECONDS)
        self._owners: Fresh[tuple[str, str, str], tuple[Targets, str]] = Fresh(OWNERS_SECONDS)

    async def call(self, signal: Signal) -> Call:
        """What its Incident is to be. Raises Waiting where the API server is away; all else is its problem."""
        meaning = vocabulary.read(signal)
        problems, notes = list(meaning.problems), list(meaning.notes)
        namespace = self._namespace(meaning, problems)
        # Nothing of the namespace it was led home to is meant.
        is_home = namespace != meaning.namespace
        targets = () if is_home else await self._targets(meaning, namespace, problems)
        runbook, content = await self._runbook(signal, meaning, namespace, targets, problems)
        said: Mapping[str, Any] = (content or {}).get("spec") or {}
        about = [meaning.key] if meaning.key else [*sorted("/".join(each) for each in targets)] or [signal.fingerprint]
        named = "/".join(runbook.values()) if runbook else ""
        otherwise = said.get("severity") or UNSURE
        return Call(
            signal=signal,
            namespace=namespace,
            key=key_of([named, *about]),
            runbook=runbook,
            targets=targets,
            type=meaning.type or said.get("type") or ("Security" if signal.source in SECURITY else "Outage"),
            severity=meaning.severity or (min(otherwise, UNSURE) if meaning.is_severity_unsure else otherwise),
            mode=meaning.mode,
            hold_for=meaning.hold_for,
            title=meaning.title or said.get("title") or signal.name,
            description=meaning.description,
            problem=cut("; ".join(problems), PROBLEM),
            note=cut("; ".join(notes), PROBLEM),
            has_runbook=content is not None,
        )

    def _namespace(self, meaning: Meaning, problems: list[str]) -> str:
        if not meaning.namespace:
            problems.append("it names no namespace: give it the label namespace or the annotation incident_namespace")
            return self.home
        if self._namespaces and meaning.namespace not in self._namespaces:
            problems.append(f"namespace {meaning.namespace} is not looked after by this operator (--namespace)")
            return self.home
        return meaning.namespace

    async def _targets(self, meaning: Meaning, namespace: str, problems: list[str]) -> Targets:
        """What it is about, walked up to what owns it where a label named no more than a pod."""
        if not meaning.is_owner_meant:
            return meaning.targets
        ((kind, name),) = meaning.targets
        try:
            found, problem = await self._owners.get((namespace, kind, name), lambda: self._owner(namespace, kind, name))
        except Waiting:
            raise
        except Fault as fault:
            problems.append(f"what owns {kind} {namespace}/{name} could not be seen: {fault.message}")
            return ()
        if problem:
            problems.append(problem)
        return found

    async def _owner(self, namespace: str, kind: str, name: str) -> tuple[Targets, str]:
        """The workload at the top of the owners that are workloads, or why there is none; a pod may be its own."""
        hands = self._cluster.acting_as(namespace, names.RESPONDER)
        for _ in range(MOST_HOPS):
            found = await hands.get(kind, namespace, name)
            owners = found["metadata"].get("ownerReferences") or ()
            owner = next((each for each in owners if each.get("controller")), None)
            if owner is None or owner["kind"] not in ("ReplicaSet", *ANNOTATED, "Job"):
                if kind != "ReplicaSet":
                    return ((kind, name),), ""
                above = f"is owned by {owner['kind']} {owner['name']}" if owner else "has no owner"
                return (), f"ReplicaSet {namespace}/{name} {above}, which is no workload that is acted on here"
            kind, name = owner["kind"], owner["name"]
            if kind != "ReplicaSet":
                return ((kind, name),), ""
        return ((kind, name),), ""

    async def _runbook(
        self,
        signal: Signal,
        meaning: Meaning,
        namespace: str,
        targets: Sequence[tuple[str, str]],
        problems: list[str],
    ) -> tuple[dict[str, str] | None, Manifest | None]:
        """The runbook that the alert names, else the workload's for it, else one that answers it."""
        own, shared = await asyncio.gather(self._list(namespace), self._list(""))
        named = meaning.runbook or await self._on_alert(signal, namespace, targets, problems)
        if named is not None:
            return _named(named, own, shared)
        said = [each for each in (*own, *shared) if _answers(each, signal)]
        if not said:
            return None, None
        best = max(said, key=lambda each: (_answers(each, signal), each["kind"] == "Runbook"))
        return {"kind": best["kind"], "name": best["metadata"]["name"]}, best

    async def _list(self, namespace: str) -> Sequence[Manifest]:
        """The runbooks of a namespace, or the cluster's."""
        if namespace:
            return await self._runbooks.get(namespace, lambda: self._cluster.list("Runbook", namespace))
        return await self._runbooks.get("", lambda: self._cluster.list_all("ClusterRunbook"))

    async def _on_alert(
        self, signal: Signal, namespace: str, targets: Sequence[tuple[str, str]], problems: list[str]
    ) -> Runbook | None:
        """What the workload itself says is to be done about this alert."""
        hands: Reader = self._cluster.acting_as(namespace, names.RESPONDER)
        for kind, name in targets:
            if kind not in ANNOTATED:
                continue
            try:
                found = await hands.find(kind, namespace, name)
            except Waiting:
                raise
            except Fault:
                continue  # without the right to look there is no annotation
            said = ((found or {}).get("metadata") or {}).get("annotations") or {}
            runbook = vocabulary.on_alert(said.get(names.ON_ALERT, ""), signal.name, problems)
            if runbook is not None:
                return runbook
        return None


def _named(
    named: Runbook, own: Sequence[Manifest], shared: Sequence[Manifest]
) -> tuple[dict[str, str], Manifest | None]:
    """The runbook of a name: the namespace's own before the cluster's; one that is nowhere is kept as it was named."""
    places = {"Runbook": own, "ClusterRunbook": shared}
    for kind, there in places.items():
        if named.kind in ("", kind):
            found = next((each for each in there if each["metadata"]["name"] == named.name), None)
            if found is not None:
                return {"kind": kind, "name": named.name}, found
    return {"kind": named.kind or "Runbook", "name": named.name}, None


def _answers(runbook: Manifest, signal: Signal) -> int:
    """How well a runbook answers an alert: 0 not at all, else 1 and one for each label it asks for."""
    best = 0
    for trigger in runbook["spec"].get("triggers") or ():
        labels = trigger.get("labels") or {}
        if trigger["alert"] == signal.name and all(signal.labels.get(key) == labels[key] for key in labels):
            best = max(best, 1 + len(labels))
    return best
