"""What checks share: findings over several targets, and faults that mean "could not be seen"."""

from __future__ import annotations

from collections.abc import Iterable

from incident_operator.faults import Fault
from incident_operator.planning.plan import Finding, Verdict

RANK = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.PASS: 2}


def unknown(message: str) -> Finding:
    """It could not be seen; this never counts as a pass."""
    return Finding(Verdict.UNKNOWN, message)


def unseen(fault: Fault) -> Finding:
    """What kept a check from seeing."""
    return unknown(f"{fault.reason}: {fault.message}")


def overall(findings: Iterable[Finding]) -> Finding:
    """Fail if any fails, else Unknown if any is; without any there is nothing that could pass."""
    found = list(findings)
    if not found:
        return unknown("there is nothing to look at: give the check targets")
    verdict = min((each.verdict for each in found), key=RANK.__getitem__)
    return Finding(verdict, "; ".join(each.message for each in found if each.verdict is verdict))
