"""Reads an Incident's status back into a record: what ``engine.statuses`` wrote."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from incident_operator.planning.plan import (
    Change,
    CheckWish,
    Entry,
    EntryState,
    Further,
    Manifest,
    PlannedStep,
    Ref,
    Release,
    Request,
    Verdict,
)
from incident_operator.planning.reach import Blast
from incident_operator.planning.record import (
    LIVE,
    CheckRecord,
    Condition,
    Moment,
    PolicyRecord,
    Record,
    Resolved,
    StepRecord,
    Triage,
)


def _blast_from(raw: Mapping[str, Any]) -> Blast:
    return Blast(
        raw["workload"],
        raw["pods"],
        raw.get("of", 0),
        raw.get("inNamespace", 0),
        raw["how"],
        tuple(raw.get("disruptionBudgets", ())),
        raw.get("autoscaler", ""),
        tuple(raw.get("services", ())),
        tuple(raw.get("consumers", ())),
        tuple(raw.get("unknown", ())),
        raw.get("owner", ""),
    )


def _policy_from(raw: Mapping[str, Any] | None) -> PolicyRecord | None:
    if not raw:
        return None
    return PolicyRecord(
        tuple(raw["names"]),
        raw["mode"],
        tuple(raw.get("why", ())),
        tuple(raw.get("approvedBy", ())),
        raw.get("approvedAt", ""),
        raw.get("approvedPlan", ""),
        tuple(raw.get("approvedFor", ())),
        {each["hash"]: each["by"] for each in raw.get("rejectedPlans", ())},
    )


def _resolved_from(raw: Mapping[str, Any] | None) -> Resolved | None:
    if not raw:
        return None
    return Resolved(raw["runbook"], raw.get("generation", 0), json.loads(raw.get("spec", "{}")))


def resolved_of(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a raw status says was taken over from a runbook: with the plan, or before there is one."""
    found: Mapping[str, Any] | None = (status.get("plan") or {}).get("resolved") or status.get("resolved")
    return found


def _triage_from(raw: Mapping[str, Any] | None) -> Triage | None:
    if not raw:
        return None
    return Triage(
        tuple(raw.get("changes", ())),
        tuple(raw.get("affected", ())),
        raw.get("users", ""),
        raw.get("data", ""),
        raw.get("business", ""),
        tuple(raw.get("unknown", ())),
    )


def _change_from(raw: Mapping[str, Any], planned: Mapping[str, Any], long: Mapping[str, Any]) -> Change:
    request, blast = None, planned.get("blast") or raw.get("blast")
    if long.get("request"):
        told = json.loads(long["request"])
        request = Request(**{**told, "ref": Ref(**told["ref"])})
    return Change(
        key=raw["key"],
        target=Ref(**{"uid": "", **raw["target"]}),
        request=request,
        before=json.loads(long.get("before", "null")),
        after=json.loads(long.get("after", "null")),
        summary=raw.get("summary", ""),
        notes=tuple(planned.get("notes", ())),
        traits=tuple(planned.get("traits", ())),
        diff=planned.get("diff", ""),
        blast=_blast_from(blast) if blast else None,
        further=tuple(Further(*text.split(" ", 1)) for text in planned.get("further", ())),
    )


def _entry_from(raw: Mapping[str, Any], planned: Mapping[str, Any], pages: Mapping[str, Mapping[str, Any]]) -> Entry:
    long = pages.get(f"{raw['step']}/{raw['key']}") if raw.get("stored") else raw
    if long is None:
        text = f"IncidentLedger {raw['stored']} is gone: what was there before is not known any more"
        lost = EntryState.CONFLICT if EntryState(raw["state"]) in LIVE else EntryState(raw["state"])
        raw = {**raw, "state": lost.value, "message": text}
        long = {}
    return Entry(
        step=raw["step"],
        action=raw["action"],
        change=_change_from(raw, planned, long),
        release=Release(raw["release"]),
        state=EntryState(raw["state"]),
        message=raw.get("message", ""),
        intended_at=raw.get("intendedAt", ""),
        done_at=raw.get("doneAt", ""),
        released_at=raw.get("releasedAt", ""),
        expires_at=raw.get("expiresAt", ""),
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
        expires_seconds=float(raw.get("expiresAfterSeconds", 0)),
        approval=raw.get("approval", "ByPolicy"),
        tier=raw.get("tier", ""),
        gates=tuple(_gate_from(gate) for gate in raw.get("gates", ())),
        brings_back=tuple(raw.get("bringsBack", ())),
        expected_seconds=float(raw.get("expectedSeconds", 0)),
    )


def _gate_from(raw: Mapping[str, Any]) -> CheckWish:
    targets = tuple(Ref(**{"uid": "", **each}) for each in raw.get("targets", ()))
    params = json.loads(raw.get("parameters", "{}"))
    return CheckWish(raw["name"], raw["check"], params, targets, float(raw.get("forSeconds", 0)), 0.0)


def _checks_from(found: Iterable[Mapping[str, Any]]) -> tuple[CheckRecord, ...]:
    return tuple(
        CheckRecord(raw["name"], Verdict(raw["verdict"]), raw.get("since", ""), raw["passed"], raw.get("message", ""))
        for raw in found
    )


def _outcome(conditions: tuple[Condition, ...]) -> tuple[Any, str, str]:
    """What the record had come to, with reason and message: told from Ready and Stalled."""
    found = {condition.type: condition for condition in conditions}
    ready = found.get("Ready")
    if ready is None:
        return "", "", ""
    if "Stalled" in found:
        return "Halted", ready.reason, ready.message
    if ready.status == "True":
        return ready.reason, ready.reason, ready.message
    reconciling = found.get("Reconciling")
    if ready.status == "False" and reconciling is not None and reconciling.reason != "ProgressingWithRetry":
        return "Waiting", ready.reason, ready.message
    return "", "", "" if ready.status == "False" else ready.message


def stored_in(incident: Manifest) -> dict[str, str]:
    """The IncidentLedger for each entry (``step/key``) whose long parts are in one."""
    ledger = (incident.get("status") or {}).get("ledger", ())
    return {f"{raw['step']}/{raw['key']}": raw["stored"] for raw in ledger if raw.get("stored")}


def conditions_of(incident: Manifest) -> tuple[Condition, ...]:
    """The conditions that an Incident's status has."""
    found = (incident.get("status") or {}).get("conditions", ())
    return tuple(
        Condition(c["type"], c["status"], c["reason"], c.get("message", ""), c.get("lastTransitionTime", ""))
        for c in found
    )


def from_incident(incident: Manifest, pages: Mapping[str, Mapping[str, Any]] | None = None) -> Record:
    """The record that an Incident's status holds; an empty one for a new Incident.

    ``pages`` has the long parts of the entries that are stored elsewhere, by ``step/key``.
    """
    status: Mapping[str, Any] = incident.get("status") or {}
    plan: Mapping[str, Any] = status.get("plan") or {}
    planned = {
        (step["name"], change["key"]): change for step in plan.get("steps", ()) for change in step.get("changes", ())
    }
    known = {} if pages is None else pages
    entries = tuple(
        _entry_from(raw, planned.get((raw["step"], raw["key"]), {}), known) for raw in status.get("ledger", ())
    )
    conditions = conditions_of(incident)
    outcome, reason, message = _outcome(conditions)
    return Record(
        generation=status.get("observedGeneration", -1),
        id=status.get("id", ""),
        targets=status.get("summary", ""),
        plan=tuple(_planned_from(raw, entries) for raw in plan.get("steps", ())),
        plan_hash=plan.get("hash", ""),
        plan_generation=plan.get("generation", -1),
        plan_basis=plan.get("basis", ""),
        resolved=_resolved_from(resolved_of(status)),
        triage=_triage_from(status.get("triage")),
        asked=status.get("asked", ""),
        overdue=dict.fromkeys(status.get("overdue", ()), ""),
        escalated=tuple(status.get("escalated", ())),
        account=plan.get("serviceAccountName", ""),
        policy=_policy_from(status.get("policy")),
        exceeded=next((c.message for c in conditions if c.type == "BlastRadiusExceeded"), ""),
        paused=any(c.type == "Paused" for c in conditions),
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
                gates=_checks_from(raw.get("gates", ())),
            )
            for raw in status.get("steps", ())
        ),
        entries=entries,
        checks=_checks_from(status.get("verification", ())),
        timeline=tuple(Moment(m["at"], m["reason"], m["message"]) for m in status.get("timeline", ())),
        timers=status.get("timers", {}),
        conditions=conditions,
        outcome=outcome,
        reason=reason,
        message=message,
        handled_request=status.get("lastHandledRequest", ""),
    )
