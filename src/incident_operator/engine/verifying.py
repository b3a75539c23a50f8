"""Makes the checks of an Incident, each over its window; unknown is never a pass."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from incident_operator.checks.contract import Check
from incident_operator.engine.case import Case
from incident_operator.faults import Refused, Stalled
from incident_operator.planning.plan import (
    CheckWish,
    Finding,
    PlannedStep,
    Settlement,
    Verdict,
    failed,
    pending,
    settled,
)
from incident_operator.planning.record import CheckRecord
from incident_operator.planning.roles import RESUMED, clock_of, looked_from

LATE_LEAST, LATE_MOST = timedelta(seconds=2), timedelta(seconds=10)
"""How late a look may be at least and at most, else half its window: nobody knows what was there meanwhile."""


async def look(case: Case, catalogue: Mapping[str, Check]) -> bool:
    """Make every check of the verification once; whether all have passed over their windows, at the same time.

    Raises Stalled when the deadline of one is over: VerificationFailed if it fails,
    VerificationInconclusive if it could not be told.
    """
    wishes = case.wishes.checks
    since = _begun(case)
    records = await _look(case, catalogue, wishes, case.record.checks, lambda _: since)
    case.change(checks=records)
    for wish, record in zip(wishes, records, strict=True):
        _within_deadline(case, wish, record, case.now)
    return all(record.passed for record in records)


async def gates(case: Case, catalogue: Mapping[str, Check], step: PlannedStep) -> Settlement:
    """Look at the gates of a tier once: Settled when all have held over their windows, at the same time.

    Unknown holds as Fail does. When the tier's time is over it has failed: GateFailed where a gate
    fails, GateInconclusive where it could not be told.
    """
    old = case.record.step(step.name)
    records = await _look(
        case, catalogue, step.gates, old.gates, lambda kind: _instant(case, looked_from(case.record, step, kind)), step
    )
    case.record = case.record.with_step(dataclasses.replace(old, gates=records))
    if all(record.passed for record in records):
        return settled("; ".join(f"{record.name}: {record.message}" for record in records))
    first = next(
        (each for verdict in (Verdict.FAIL, Verdict.UNKNOWN) for each in records if each.verdict is verdict), None
    )
    if first is None:
        waiting = ", ".join(record.name for record in records if not record.passed)
        return pending(f"passing, and must go on to: {waiting}")
    of = f" of tier {step.tier}" if step.tier else ""
    seen = f"gate {first.name}{of}: {first.verdict.value}: {first.message}"
    begun = _instant(case, clock_of(case.record, step))
    if case.now - begun <= timedelta(seconds=step.timeout_seconds):
        return pending(seen)
    reason = "GateFailed" if first.verdict is Verdict.FAIL else "GateInconclusive"
    left = "; the tiers above it are left as they are" if step.tier and step.on_failure != "Continue" else ""
    return failed(reason, f"{seen}; after {step.timeout_seconds:g} s{left}")


def _begun(case: Case) -> datetime:
    """When the verification began; what was before a person put things right and asked to go on counts no more."""
    timers = case.record.timers
    return datetime.fromisoformat(max(timers["mitigated"], timers.get(RESUMED, "")))


def _instant(case: Case, at: str) -> datetime:
    """An instant on record; now, where what it is about begins with this look."""
    return datetime.fromisoformat(at) if at else case.now


def window_left(case: Case, step: PlannedStep) -> timedelta | None:
    """How long the gates of a step that all pass must go on to; None if one does not, or there are none."""
    known = case.record.step(step.name).gates
    if not step.gates or any(gate.verdict is not Verdict.PASS for gate in known) or len(known) < len(step.gates):
        return None
    begun, now = case.memory.windows, case.now
    ends = [
        begun.get(f"{step.name}/{gate.name}", (now, now))[0] + timedelta(seconds=gate.hold_seconds)
        for gate in step.gates
    ]
    return max(max(ends) - now, timedelta(milliseconds=50))


def _slack(wish: CheckWish) -> timedelta:
    """How late a look may be that counts for the window of the ones before it."""
    return min(max(timedelta(seconds=wish.hold_seconds / 2), LATE_LEAST), LATE_MOST)


async def _look(
    case: Case,
    catalogue: Mapping[str, Check],
    wishes: Sequence[CheckWish],
    old: Sequence[CheckRecord],
    since: Callable[[str], datetime],
    step: PlannedStep | None = None,
) -> tuple[CheckRecord, ...]:
    """Make checks once, each with its record after that; ``since`` says from when on, for each kind."""
    prefix, begun = f"{step.name}/" if step else "", case.now
    findings = await asyncio.gather(*(_find(case, catalogue, wish, since(wish.kind)) for wish in wishes))
    now, known = case.now, {record.name: record for record in old}
    return tuple(
        _judge(case, wish, finding, (begun, now), (known.get(wish.name), prefix))
        for wish, finding in zip(wishes, findings, strict=True)
    )


async def _find(case: Case, catalogue: Mapping[str, Check], wish: CheckWish, since: datetime) -> Finding:
    check = catalogue.get(wish.kind)
    if check is None:
        known = ", ".join(sorted(catalogue))
        raise Refused("Invalid", f"check {wish.name}: there is no check {wish.kind}; use one of {known}")
    params = {**wish.params, **_told(case, wish)}
    return await check.look(case.hands, case.meta["namespace"], wish.targets, params, since=since)


def _told(case: Case, wish: CheckWish) -> dict[str, Any]:
    """What the Incident itself knows that a check asks for: a person's word, or whether its alerts fire."""
    match wish.kind:
        case "confirm":
            return {"name": wish.name, "incident": case.meta["name"], "confirmed": wish.name in case.wishes.confirmed}
        case "alertResolved":
            return {"known": case.wishes.signals.known, "firing": case.wishes.signals.firing}
        case _:
            return {}


def _judge(
    case: Case,
    wish: CheckWish,
    finding: Finding,
    looked: tuple[datetime, datetime],
    before: tuple[CheckRecord | None, str],
) -> CheckRecord:
    """The check's record after one more look, which began and ended then.

    ``before`` has the record it had, and what its window is named after.
    """
    (begun, now), (old, prefix) = looked, before
    windows, name = case.memory.windows, f"{prefix}{wish.name}"
    if finding.verdict is Verdict.PASS:
        since, last = windows.get(name, (now, now))
        # What nobody has looked at is a gap; and a clock may be set back.
        since = now if begun - max(case.memory.due or last, last) > _slack(wish) else min(since, now)
        windows[name] = since, now
        passed = now - since >= timedelta(seconds=wish.hold_seconds)
    else:
        windows.pop(name, None)
        passed = False
    stamp = old.since if old and old.verdict is finding.verdict else case.stamp
    return CheckRecord(wish.name, finding.verdict, stamp, passed, finding.message)


def _within_deadline(case: Case, wish: CheckWish, record: CheckRecord, now: datetime) -> None:
    """Give up on a check that has neither passed nor is passing when its time is over."""
    begun = _begun(case)
    if record.verdict is Verdict.PASS or now - begun <= timedelta(seconds=wish.timeout_seconds):
        return
    limit = f"after {wish.timeout_seconds:g} s"
    if record.verdict is Verdict.FAIL:
        raise Stalled("VerificationFailed", f"check {wish.name} still fails {limit}: {record.message}")
    raise Stalled("VerificationInconclusive", f"check {wish.name} could not be told {limit}: {record.message}")
