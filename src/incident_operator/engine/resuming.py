"""Goes on with a plan that has begun and halted, where a person asks: what is up, or has gone back, stays so."""

from __future__ import annotations

from incident_operator.engine.case import Case
from incident_operator.faults import Refused
from incident_operator.planning.progress import is_recovering, resumed
from incident_operator.planning.record import Record

BEGUN = (
    "its recovery has begun, and is not planned anew: that would stop again what is up. Undo the change of the spec, "
    "and it goes on; or cancel it, which gives back all that it has stopped, and apply another Incident"
)


def is_resumed(record: Record) -> bool:
    """Whether what is asked for again is gone on with as it was planned: a recovery, or what an end has left undone."""
    return is_recovering(record) or bool(record.timers.get("recovered"))


def refuse_another(record: Record) -> None:
    """Refused("RecoveryBegun") where another plan would take the place of a recovery that has begun."""
    if is_recovering(record):
        raise Refused("RecoveryBegun", BEGUN)


def resume(case: Case, asked: str) -> None:
    """Go on where it halted with the plan that it has: planned anew, what was done and is over would be done again.

    A recovery that has begun would stop what is up again; an Incident that is over but for what could not be put
    back would take away again what has gone back.
    """
    case.change(generation=case.meta["generation"], handled_request=asked)
    case.memory.windows.clear()
    if not case.record.timers.get("recovered"):
        case.change(checks=())  # they get their whole time again
    if is_recovering(case.record):
        case.record = resumed(case.record, case.stamp)
        case.note("Resumed", "the steps that had failed are tried again")
    else:
        case.note("Resumed", "what could not be put back is tried again")
