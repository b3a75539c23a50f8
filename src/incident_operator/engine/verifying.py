"""Makes the checks of an Incident, each over its window; unknown is never a pass."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from incident_operator.checks.contract import Check
from incident_operator.engine.case import Case
from incident_operator.engine.wishes import CheckWish
from incident_operator.faults import Refused, Stalled
from incident_operator.planning.plan import Finding, Verdict
from incident_operator.planning.record import CheckRecord


async def look(case: Case, catalogue: Mapping[str, Check]) -> bool:
    """Make every check once; whether all have passed over their windows, at the same time.

    Raises Stalled when the deadline of one is over: VerificationFailed if it fails,
    VerificationInconclusive if it could not be told.
    """
    wishes = case.wishes.checks
    findings = await asyncio.gather(*(_find(case, catalogue, wish) for wish in wishes))
    now = case.now
    records = tuple(_judge(case, wish, finding, now) for wish, finding in zip(wishes, findings, strict=True))
    case.change(checks=records)
    for wish, record in zip(wishes, records, strict=True):
        _within_deadline(case, wish, record, now)
    return all(record.passed for record in records)


async def _find(case: Case, catalogue: Mapping[str, Check], wish: CheckWish) -> Finding:
    check = catalogue.get(wish.kind)
    if check is None:
        known = ", ".join(sorted(catalogue))
        raise Refused("Invalid", f"check {wish.name}: there is no check {wish.kind}; use one of {known}")
    since = datetime.fromisoformat(case.record.timers["mitigated"])
    return await check.look(case.hands, case.meta["namespace"], wish.targets, wish.params, since=since)


def _judge(case: Case, wish: CheckWish, finding: Finding, now: datetime) -> CheckRecord:
    """The check's record after one more look."""
    windows = case.memory.windows
    if finding.verdict is Verdict.PASS:
        since = windows[wish.name] = min(windows.get(wish.name, now), now)  # a clock may be set back
        passed = now - since >= timedelta(seconds=wish.hold_seconds)
    else:
        windows.pop(wish.name, None)
        passed = False
    old = next((record for record in case.record.checks if record.name == wish.name), None)
    stamp = old.since if old and old.verdict is finding.verdict else case.stamp
    return CheckRecord(wish.name, finding.verdict, stamp, passed, finding.message)


def _within_deadline(case: Case, wish: CheckWish, record: CheckRecord, now: datetime) -> None:
    """Give up on a check that has neither passed nor is passing when its time is over."""
    begun = datetime.fromisoformat(case.record.timers["mitigated"])
    if record.verdict is Verdict.PASS or now - begun <= timedelta(seconds=wish.timeout_seconds):
        return
    limit = f"after {wish.timeout_seconds:g} s"
    if record.verdict is Verdict.FAIL:
        raise Stalled("VerificationFailed", f"check {wish.name} still fails {limit}: {record.message}")
    raise Stalled("VerificationInconclusive", f"check {wish.name} could not be told {limit}: {record.message}")
