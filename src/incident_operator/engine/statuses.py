"""Carries a record to the status subresource and back; the schema of it is ``api.status``."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from typing import Any

from incident_operator.planning import summary
from incident_operator.planning.plan import (
    Change,
    Entry,
    EntryState,
    Manifest,
    PlannedStep,
    Ref,
    Release,
    Request,
    Verdict,
    canonical,
)
from incident_operator.planning.record import CheckRecord, Condition, Moment, Record, StepRecord

MESSAGE_MOST = 2048


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


def _entry(entry: Entry) -> dict[str, Any]:
    change = entry.change
    return _slim(
        {
            "step": entry.step,
            "action": entry.action,
            "key": change.key,
            "target": _slim(dataclasses.asdict(change.target)),
            "verb": change.request.verb if change.request else "none",
            "request": canonical(dataclasses.asdict(change.request)) if change.request else "",
            "before": canonical(change.before),
            "after": canonical(change.after),
            "summary": change.summary,
            "notes": list(change.notes),
            "release": entry.release.value,
            "state": entry.state.value,
            "message": entry.message[:MESSAGE_MOST],
            "intendedAt": entry.intended_at,
            "doneAt": entry.done_at,
            "releasedAt": entry.released_at,
        }
    )


def _planned(step: PlannedStep, entries: Iterable[Entry]) -> dict[str, Any]:
    return _slim(
        {
            "name": step.name,
            "phase": step.phase,
            "action": step.action,
            "stage": step.stage,
            "release": step.release.value,
            "timeoutSeconds": int(step.timeout_seconds),
            "onFailure": step.on_failure,
            "changes": [
                _slim({"key": e.change.key, "summary": e.change.summary, "notes": list(e.change.notes)})
                for e in entries
            ],
        }
    )


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
        }
    )


def to_status(record: Record, now: str) -> dict[str, Any]:
    """The whole status of an Incident; what is absent from it is to be removed."""
    said = summary.conditions(record, now)
    plan = None
    if record.plan_hash:
        plan = {
            "hash": record.plan_hash,
            "generation": record.plan_generation,
            "createdAt": record.planned_at,
            "steps": [_planned(step, record.of_step(step.name)) for step in record.plan],
        }
    checks = [
        _slim({"name": c.name, "verdict": c.verdict.value, "since": c.since, "message": c.message[:MESSAGE_MOST]})
        | {"passed": c.passed}
        for c in record.checks
    ]
    status = {
        "id": record.id,
        "phase": summary.phase(record),
        "summary": record.targets,
        "conditions": [_condition(condition, record.generation) for condition in said],
        "plan": plan,
        "steps": [_step(step) for step in record.steps],
        "ledger": [_entry(entry) for entry in record.entries],
        "verification": checks,
        "timeline": [{"at": m.at, "reason": m.reason, "message": m.message[:MESSAGE_MOST]} for m in record.timeline],
        "timers": dict(record.timers),
        "lastHandledRequest": record.handled_request,
    }
    return {"observedGeneration": record.generation, **_slim(status)}


def _change_from(raw: Mapping[str, Any]) -> Change:
    request = None
    if raw.get("request"):
        told = json.loads(raw["request"])
        request = Request(**{**told, "ref": Ref(**told["ref"])})
    return Change(
        key=raw["key"],
        target=Ref(**{"uid": "", **raw["target"]}),
        request=request,
        before=json.loads(raw.get("before", "null")),
        after=json.loads(raw.get("after", "null")),
        summary=raw.get("summary", ""),
        notes=tuple(raw.get("notes", ())),
    )


def _entry_from(raw: Mapping[str, Any]) -> Entry:
    return Entry(
        step=raw["step"],
        action=raw["action"],
        change=_change_from(raw),
        release=Release(raw["release"]),
        state=EntryState(raw["state"]),
        message=raw.get("message", ""),
        intended_at=raw.get("intendedAt", ""),
        done_at=raw.get("doneAt", ""),
        released_at=raw.get("releasedAt", ""),
    )


def _planned_from(raw: Mapping[str, Any], entries: Iterable[Entry]) -> PlannedStep:
    return PlannedStep(
        name=raw["name"],
        phase=raw["phase"],
        action=raw["action"],
        changes=tuple(entry.change for entry in entries if entry.step == raw["name"]),
        release=Release(raw["release"]),
        stage=raw.get("stage", ""),
        timeout_seconds=float(raw.get("timeoutSeconds", 600)),
        on_failure=raw.get("onFailure", "Halt"),
    )


def _outcome(conditions: tuple[Condition, ...]) -> tuple[Any, str, str]:
    """What the record had come to, with reason and message: told from Ready and Stalled."""
    found = {condition.type: condition for condition in conditions}
    ready = found.get("Ready")
    if ready is None:
        return "", "", ""
    if "Stalled" in found:
        return "Halted", ready.reason, ready.message
    if ready.reason == "AwaitingApproval" or (
        ready.status == "True" and ready.reason in ("Planned", "Contained", "Resolved")
    ):
        return ready.reason, ready.reason, ready.message
    return "", "", ready.message


def from_incident(incident: Manifest) -> Record:
    """The record that an Incident's status holds; an empty one for a new Incident."""
    status: Mapping[str, Any] = incident.get("status") or {}
    entries = tuple(_entry_from(raw) for raw in status.get("ledger", ()))
    plan: Mapping[str, Any] = status.get("plan") or {}
    conditions = tuple(
        Condition(c["type"], c["status"], c["reason"], c.get("message", ""), c.get("lastTransitionTime", ""))
        for c in status.get("conditions", ())
    )
    outcome, reason, message = _outcome(conditions)
    return Record(
        generation=status.get("observedGeneration", -1),
        id=status.get("id", ""),
        targets=status.get("summary", ""),
        plan=tuple(_planned_from(raw, entries) for raw in plan.get("steps", ())),
        plan_hash=plan.get("hash", ""),
        plan_generation=plan.get("generation", -1),
        planned_at=plan.get("createdAt", ""),
        steps=tuple(
            StepRecord(
                name=raw["name"],
                state=raw.get("phase", "Pending"),
                reason=raw.get("reason", ""),
                message=raw.get("message", ""),
                facts=raw.get("facts", {}),
                started_at=raw.get("startedAt", ""),
                finished_at=raw.get("finishedAt", ""),
            )
            for raw in status.get("steps", ())
        ),
        entries=entries,
        checks=tuple(
            CheckRecord(
                raw["name"], Verdict(raw["verdict"]), raw.get("since", ""), raw["passed"], raw.get("message", "")
            )
            for raw in status.get("verification", ())
        ),
        timeline=tuple(Moment(m["at"], m["reason"], m["message"]) for m in status.get("timeline", ())),
        timers=status.get("timers", {}),
        conditions=conditions,
        outcome=outcome,
        reason=reason,
        message=message,
        handled_request=status.get("lastHandledRequest", ""),
    )
