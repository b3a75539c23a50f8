"""From a RecoveryPlan, or labels alone, to the steps of a recovery: stop from the top down, bring back from below."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from incident_operator.api import names
from incident_operator.api.schema import parse_duration
from incident_operator.cluster.port import Cluster, Reader
from incident_operator.cluster.resources import resource
from incident_operator.engine import levels
from incident_operator.engine.wishes import StepWish, Wishes, check_wish, step_wish
from incident_operator.faults import NotFound, Refused
from incident_operator.planning.plan import GATES, CheckWish, Ref, Release
from incident_operator.planning.recovery import (
    READY,
    ROLLED_OUT,
    SCALED,
    SUSPENDED,
    USER_ACCESS,
    Tier,
    Workload,
    by_label,
    default_gates,
    questions,
    refuse_same_words,
    refuse_ungated,
    standard_gates,
    waves,
)
from incident_operator.planning.rights import Rule

KINDS = ("Deployment", "StatefulSet", "DaemonSet", "CronJob")
CLUSTER = "Cluster"
"""The database of CloudNativePG, where that is there."""
RULES = (
    Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("list",), "find the workloads of each tier"),
    Rule("batch", ("cronjobs",), ("list",), "find the CronJobs of each tier"),
    Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("watch",), "see at once when they are back"),
    Rule("", ("pods",), ("watch",), "see at once when pods are ready"),
    Rule("batch", ("jobs",), ("watch",), "see at once when a Job is over"),
    Rule("", ("persistentvolumeclaims",), ("watch",), "see at once when a new volume is bound"),
    Rule("snapshot.storage.k8s.io", ("volumesnapshots",), ("watch",), "see at once when a snapshot is ready"),
    Rule("velero.io", ("restores",), ("watch",), "see at once when Velero has restored"),
    Rule("postgresql.cnpg.io", ("clusters",), ("list", "watch"), "find, and see at once when one is healthy"),
)
"""What a recovery reads besides what its steps and gates do."""
ASK_SECONDS = 24 * 3600.0
"""How long a person may take to say that a tier may begin."""


async def steps(cluster: Cluster, reader: Reader, namespace: str, wishes: Wishes) -> tuple[StepWish, ...]:
    """The steps of the recovery in their order; none if the Incident asks for none."""
    if wishes.recovery is None:
        return ()
    tiers = await _tiers(cluster, reader, namespace, wishes.recovery)
    refuse_ungated(tiers)
    refuse_same_words(questions(tiers, wishes.checks, is_standard=wishes.standard))
    found = [wish for tier in reversed(tiers) for wish in _stop(tier)]
    for tier in tiers:
        found += _bring_back(tier, namespace)
    if wishes.standard:
        found += _standard(tiers, wishes.performance)
    taken = {wish.name for wish in wishes.steps}
    for wish in found:
        if wish.name in taken:
            raise Refused("Invalid", f"two steps are called {wish.name}: rename the one in the Incident or in the tier")
        taken.add(wish.name)
    return tuple(found)


async def _tiers(cluster: Cluster, reader: Reader, namespace: str, plan: str) -> tuple[Tier, ...]:
    """The tiers that a RecoveryPlan names, or those that labels tell."""
    if not plan:
        found = by_label(await _labelled(reader, namespace, None))
        if not found:
            raise Refused(
                "NothingToRecover",
                f"no workload of namespace {namespace} carries the label {names.TIER}; label them, or name a "
                "RecoveryPlan in spec.recovery.planRef",
            )
        return tuple(
            Tier(name, tuple(Workload(ref) for ref in refs), number > 0, gates=default_gates(refs))
            for number, (name, refs) in enumerate(found)
        )
    try:
        thing = await cluster.get("RecoveryPlan", namespace, plan)
    except NotFound as fault:
        text = f"there is no RecoveryPlan {plan} in namespace {namespace}, which spec.recovery.planRef names"
        raise Refused("PlanNotFound", text) from fault
    raw = thing["spec"]["tiers"]
    return tuple(
        await asyncio.gather(*(_tier(reader, namespace, each, is_first=number == 0) for number, each in enumerate(raw)))
    )


async def _labelled(reader: Reader, namespace: str, labels: Mapping[str, str] | None) -> list[tuple[str, Ref]]:
    """Workloads with their tier label: those with these labels, or all that have one."""
    selector: dict[str, Any] = {"matchExpressions": [{"key": names.TIER, "operator": "Exists"}]}
    if labels is not None:
        selector = {"matchLabels": dict(labels)}
    served = await reader.groups()
    kinds = (*KINDS, CLUSTER) if resource(CLUSTER).group in served else KINDS
    lists = await asyncio.gather(*(reader.list(kind, namespace, selector) for kind in kinds))
    return [
        (thing["metadata"].get("labels", {}).get(names.TIER, ""), Ref(kind, thing["metadata"]["name"], namespace))
        for kind, things in zip(kinds, lists, strict=True)
        for thing in things
    ]


async def _tier(reader: Reader, namespace: str, raw: Mapping[str, Any], *, is_first: bool) -> Tier:
    """One tier of a RecoveryPlan, its workloads found."""
    name = raw["name"]
    workloads = tuple(
        Workload(Ref(each["kind"], each["name"], namespace), each.get("replicas"), tuple(each.get("after") or ()))
        for each in raw.get("workloads") or ()
    )
    if not workloads:
        labels = raw.get("selector") or {names.TIER: name}
        found = sorted(ref for _, ref in await _labelled(reader, namespace, labels))
        workloads = tuple(Workload(ref) for ref in found)
        if not workloads:
            said = ", ".join(f"{key}={value}" for key, value in labels.items())
            raise Refused("NothingToRecover", f"tier {name}: no workload of namespace {namespace} has {said}")
    refs = tuple(each.ref for each in workloads)
    gates = tuple(check_wish(each, namespace, _seen(refs, each)) for each in raw.get("gates") or ())
    return Tier(
        name,
        workloads,
        raw.get("quiesce", not is_first),
        tuple(raw.get("steps") or ()),
        gates or default_gates(refs),
        parse_duration(raw.get("timeout", "10m")).total_seconds(),
        parse_duration(raw.get("expected", "0s")).total_seconds(),
        raw.get("onFailure", "Halt"),
        raw.get("approval") == "Required",
    )


def _seen(refs: Sequence[Ref], gate: Mapping[str, Any]) -> tuple[Ref, ...]:
    """Of a tier's workloads those that a gate can look at: what has a rollout, or instances that can be ready."""
    kinds = READY if "podsReady" in gate else ROLLED_OUT
    return tuple(ref for ref in refs if ref.kind in kinds) or tuple(refs)


def _wish(tier: Tier, name: str, action: str, targets: tuple[Ref, ...], **more: Any) -> StepWish:
    told: dict[str, Any] = {
        "params": {},
        "release": None,
        "stage": "",
        "expires_seconds": 0.0,
        "on_failure": tier.on_failure,
        "expected_seconds": tier.expected_seconds,
        **more,
    }
    return StepWish(
        name=name,
        phase="Recovery",
        action=action,
        targets=targets,
        timeout_seconds=told.pop("timeout_seconds", tier.timeout_seconds),
        approval="ByPolicy",
        tier=tier.name,
        **told,
    )


def _stop(tier: Tier) -> list[StepWish]:
    """What takes the load off the tiers below."""
    if not tier.quiesce:
        return []
    found, stage = [], f"stop-{tier.name}"
    scaled, suspended = tier.refs(SCALED), tier.refs(SUSPENDED)
    if scaled:
        found.append(_wish(tier, f"stop-{tier.name}", "scale", scaled, params={"replicas": 0}, stage=stage))
    if suspended:
        found.append(_wish(tier, f"suspend-{tier.name}", "suspend", suspended, stage=stage))
    return found


def _bring_back(tier: Tier, namespace: str) -> list[StepWish]:
    """A person's word if it needs one, its own steps, its start in waves, then its gates."""
    found: list[StepWish] = []
    if tier.needs_word:
        ask = CheckWish(tier.name, "confirm", {"question": f"may tier {tier.name} begin?"}, (), 0.0, 0.0)
        # Whatever may be gone past when it fails: what nobody has allowed is not begun.
        name = f"confirm-{tier.name}"
        found.append(_wish(tier, name, GATES, (), gates=(ask,), timeout_seconds=ASK_SECONDS, on_failure="Halt"))
    refs = tuple(each.ref for each in tier.workloads)
    for raw in tier.steps:
        given = {**raw, "name": f"{tier.name}-{raw['name']}"}
        found.append(step_wish(given, "Recovery", namespace, refs, tier=tier.name, on_failure=tier.on_failure))
    ordered = waves(tier)
    for number, wave in enumerate(ordered, start=1):
        turn = f"-{number}" if len(ordered) > 1 else ""
        found += _start(tier, wave, turn)
    if tier.gates:
        found.append(_wish(tier, f"gates-{tier.name}", GATES, (), gates=tier.gates))
    return found


def _standard(tiers: Sequence[Tier], performance: Mapping[str, Any] | None) -> list[StepWish]:
    """The guide's list of what must be true in the end: what can be looked at, then a person's word."""
    seconds = max(tier.timeout_seconds for tier in tiers) + levels.window_seconds(performance)
    looked = [StandardStep("verification", standard_gates(tiers, performance), seconds)]
    asked = StandardStep(USER_ACCESS.name, (USER_ACCESS,), ASK_SECONDS)
    return [
        StepWish(
            name=each.name,
            phase="Recovery",
            action=GATES,
            params={},
            targets=(),
            release=None,
            stage="",
            timeout_seconds=each.seconds,
            on_failure="Halt",
            expires_seconds=0.0,
            approval="ByPolicy",
            gates=each.gates,
        )
        for each in (*looked, asked)
        if each.gates
    ]


class StandardStep(NamedTuple):
    """One step of the standard verification."""

    name: str
    gates: tuple[CheckWish, ...]
    seconds: float


def _start(tier: Tier, wave: tuple[Workload, ...], turn: str) -> list[StepWish]:
    """Give back what was stopped, to the workloads of one wave."""
    stage = f"start-{tier.name}{turn}"
    scaled = tuple(each.ref for each in wave if each.ref.kind in SCALED)
    suspended = tuple(each.ref for each in wave if each.ref.kind in SUSPENDED)
    replicas = {each.ref: each.replicas for each in wave if each.replicas}
    found = []
    if scaled and (tier.quiesce or replicas):
        back, never = (f"stop-{tier.name}",), Release.NEVER
        name = f"start-{tier.name}{turn}"
        found.append(
            _wish(tier, name, "scale", scaled, stage=stage, brings_back=back, release=never, replicas=replicas)
        )
    if suspended and tier.quiesce:
        name, back = f"resume-{tier.name}{turn}", (f"suspend-{tier.name}",)
        found.append(_wish(tier, name, "suspend", suspended, stage=stage, brings_back=back, release=Release.NEVER))
    return found
