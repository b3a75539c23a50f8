"""Carries a record to the status subresource and back; the schema of it is ``api.status``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from incident_operator.engine.rights import named, needed
from incident_operator.planning import summary
from incident_operator.planning.merging import counted
from incident_operator.planning.plan import (
    Change,
    CheckWish,
    Entry,
    PlannedStep,
    canonical,
)
from incident_operator.planning.reach import Blast
from incident_operator.planning.record import CheckRecord, Condition, PolicyRecord, Record, StepRecord, Triage
from incident_operator.planning.tiers import spoken, tiers_of

MESSAGE_MOST = 2048
WHY_MOST = 400
DIFFS_MOST = 64_000
"""Characters of all diffs of a plan in status, which is bounded by what etcd takes."""
NOTHING: Mapping[str, str] = {}


def _slim(values: Mapping[str, Any]) -> dict[str, Any]:
    """Only what says something."""
    return {key: value for key, value in values.items() if value not in ("", None, (), [], {})}


def _condition(condition: Condition, generation: int) -> dict[str, Any]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message[:MESSAGE_MOST],
        "lastTransitionTime": condition.since,
        "observedGeneration": max(generation, 0),
    }


def contents(change: Change) -> dict[str, str]:
    """The long parts of an entry: what is done, and what it is put back from."""
    return {
        "request": canonical(dataclasses.asdict(change.request)) if change.request else "",
        "before": canonical(change.before),
        "after": canonical(change.after),
    }


def _entry(entry: Entry, stored: str, *, is_planned: bool) -> dict[str, Any]:
    """One ledger entry; the blast radius of one that the plan does not have any more, which has it otherwise."""
    change, blast = entry.change, None if is_planned else entry.change.blast
    return _slim(
        {
            "step": entry.step,
            "action": entry.action,
            "key": change.key,
            "target": _slim(dataclasses.asdict(change.target)),
            "verb": change.request.verb if change.request else "none",
            **({"stored": stored} if stored else contents(change)),
            "summary": change.summary,
            "release": entry.release.value,
            "state": entry.state.value,
            "message": entry.message[:MESSAGE_MOST],
            "intendedAt": entry.intended_at,
            "doneAt": entry.done_at,
            "releasedAt": entry.released_at,
            "expiresAt": entry.expires_at,
            "blast": _blast(blast) if blast else None,
        }
    )


def _ledger(record: Record, stored: Mapping[str, str]) -> list[dict[str, Any]]:
    """All entries, of earlier plans, too."""
    planned = {step.name for step in record.plan}
    telling = {each.place for each in counted(record.entries) if each.step not in planned}
    return [
        _entry(each, stored.get(f"{each.step}/{each.change.key}", ""), is_planned=each.place not in telling)
        for each in record.entries
    ]


def _planned(step: PlannedStep, changes: list[dict[str, Any]]) -> dict[str, Any]:
    return _slim(
        {
            "name": step.name,
            "phase": step.phase,
            "action": step.action,
            "stage": step.stage,
            "release": step.release.value,
            "timeoutSeconds": int(step.timeout_seconds),
            "onFailure": step.on_failure,
            "expiresAfterSeconds": int(step.expires_seconds) or None,
            "approval": "" if step.approval == "ByPolicy" else step.approval,
            "tier": step.tier,
            "gates": [_gate(gate) for gate in step.gates],
            "bringsBack": list(step.brings_back),
            "expectedSeconds": int(step.expected_seconds) or None,
            "changes": changes,
        }
    )


def _gate(gate: CheckWish) -> dict[str, Any]:
    return _slim(
        {
            "name": gate.name,
            "check": gate.kind,
            "parameters": canonical(gate.params),
            "targets": [_slim(dataclasses.asdict(ref)) for ref in gate.targets],
            "forSeconds": int(gate.hold_seconds) or None,
        }
    )


def _recovery(record: Record) -> dict[str, Any]:
    """How far each tier is, and in a few words which one is being brought back."""
    found = tiers_of(record)
    if not found:
        return {}
    up = sum(tier.state == "Up" for tier in found)
    left = [tier for tier in found if tier.state != "Up"]
    current = next((tier for tier in left if tier.state != "Failed"), left[0] if left else None)
    is_on_its_way = current is not None and current.state in ("Restoring", "Checking")
    said = f"{up}/{len(found)}" if current is None else f"{up}/{len(found)} {current.name} {current.state}"
    told = [
        _slim(
            {
                "name": tier.name,
                "phase": tier.state,
                "message": tier.message[:MESSAGE_MOST],
                "startedAt": tier.started_at,
                "finishedAt": tier.finished_at,
                "seconds": int(tier.seconds) or None,
                "expectedSeconds": int(tier.expected_seconds) or None,
            }
        )
        for tier in found
    ]
    now = {}
    if current is not None and is_on_its_way:
        now = _slim({"since": current.started_at, "expected": spoken(current.expected_seconds)})
    return {"summary": said, **now, "tiers": told}


def _checked(checks: Iterable[CheckRecord]) -> list[dict[str, Any]]:
    return [
        _slim({"name": c.name, "verdict": c.verdict.value, "since": c.since, "message": c.message[:MESSAGE_MOST]})
        | {"passed": c.passed}
        for c in checks
    ]


def _change(change: Change, room: int) -> dict[str, Any]:
    """One planned change; its diff as far as there is room for it."""
    diff = change.diff
    if len(diff) > room:
        diff = "(left out: the plan is too large for status; plan fewer targets at once to see it)"
    return _slim(
        {
            "key": change.key,
            "summary": change.summary[:MESSAGE_MOST],
            "notes": list(change.notes),
            "traits": list(change.traits),
            "further": [str(each) for each in change.further],
            "diff": diff,
            "blast": _blast(change.blast) if change.blast else None,
        }
    )


def _blast(blast: Blast) -> dict[str, Any]:
    told = {
        "workload": blast.workload,
        "pods": blast.pods,
        "of": blast.of,
        "inNamespace": blast.in_namespace,
        "how": blast.how,
    }
    more = {
        "disruptionBudgets": list(blast.budgets),
        "autoscaler": blast.autoscaler,
        "services": list(blast.services),
        "consumers": list(blast.consumers),
        "unknown": list(blast.unknown),
        "owner": blast.owner,
    }
    return told | _slim(more)


def _resolved(record: Record) -> dict[str, Any]:
    """What was taken over from the runbook."""
    found = record.resolved
    if found is None:
        return {}
    return {"runbook": found.runbook, "generation": found.generation, "spec": canonical(found.spec)}


def _triage(triage: Triage) -> dict[str, Any]:
    told = {
        "changes": [dict(each) for each in triage.changes],
        "affected": list(triage.affected),
        "users": triage.users,
        "data": triage.data,
        "business": triage.business,
        "unknown": [text[:WHY_MOST] for text in triage.unknown],
    }
    return _slim(told)


def _policy(policy: PolicyRecord) -> dict[str, Any]:
    told = {
        "names": list(policy.names),
        "mode": policy.mode,
        "why": [text[:WHY_MOST] for text in policy.why],
        "approvedBy": list(policy.approved_by),
        "approvedAt": policy.approved_at,
        "approvedPlan": policy.approved_plan,
        "approvedFor": list(policy.approved_for),
        "rejectedPlans": [{"hash": plan, "by": who} for plan, who in policy.rejected.items()],
    }
    return _slim(told)


def _step(step: StepRecord) -> dict[str, Any]:
    return _slim(
        {
            "name": step.name,
            "phase": step.state,
            "reason": step.reason,
            "message": step.message[:MESSAGE_MOST],
            "facts": dict(step.facts),
            "startedAt": step.started_at,
            "finishedAt": step.finished_at,
            "gates": _checked(step.gates),
        }
    )


def _steps_of(record: Record) -> list[dict[str, Any]]:
    """The planned steps; diffs share what room there is, in their order."""
    room, steps = DIFFS_MOST, []
    for step in record.plan:
        changes = []
        for entry in record.of_step(step.name):
            changes.append(_change(entry.change, room))
            room -= len(entry.change.diff)
        steps.append(_planned(step, changes))
    return steps


def to_status(record: Record, now: str, stored: Mapping[str, str] = NOTHING) -> dict[str, Any]:
    """The whole status of an Incident; what is absent from it is to be removed.

    ``stored`` names the IncidentLedger for each entry (``step/key``) whose long parts are there.
    """
    said = summary.conditions(record, now)
    plan = None
    if record.plan_hash:
        plan = {
            "hash": record.plan_hash,
            "generation": record.plan_generation,
            "createdAt": record.planned_at,
            "steps": _steps_of(record),
            **_slim({"resolved": _resolved(record)}),
            **_slim({"basis": record.plan_basis, "serviceAccountName": record.account}),
            **_slim({"rights": [named(right) for right in needed(e.change for e in record.entries)]}),
        }
    status = {
        "id": record.id,
        "phase": summary.phase(record),
        "summary": record.targets,
        "conditions": [_condition(condition, record.generation) for condition in said],
        "plan": plan,
        "resolved": _resolved(record) if plan is None else {},
        "triage": _triage(record.triage) if record.triage else None,
        "policy": _policy(record.policy) if record.policy else None,
        "steps": [_step(step) for step in record.steps],
        "ledger": _ledger(record, stored),
        "verification": _checked(record.checks),
        "recovery": _recovery(record),
        "timeline": [{"at": m.at, "reason": m.reason, "message": m.message[:MESSAGE_MOST]} for m in record.timeline],
        "timers": dict(record.timers),
        "asked": record.asked,
        "overdue": sorted(record.overdue),
        "escalated": list(record.escalated),
        "lastHandledRequest": record.handled_request,
    }
    return {"observedGeneration": record.generation, **_slim(status)}
