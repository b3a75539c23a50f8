"""Steps of one plan that get in each other's way: each is planned from what is there now, before any is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence

from incident_operator.planning.plan import Change, PlannedStep, Ref, Request


def clash(steps: Sequence[PlannedStep], held: Collection[tuple[str, str]] = ()) -> str:
    """Two steps of which the second could never be made once the first is, in words with the remedy; empty: none.

    What takes back an earlier step of the plan is planned from that, and two that want the very same agree, if it is to
    go back at one time: else the end of the first would be the end of the second, too. ``held`` are the steps, and the
    keys of their changes, that an earlier plan of the Incident has made: a recovery goes on from these.
    """
    made: dict[Ref, list[tuple[PlannedStep, Change]]] = defaultdict(list)
    for step in steps:
        for change in step.changes:
            for earlier, other in made[change.target]:
                goes_on = change.later or (other.request is None and step.phase == "Recovery")
                said = "" if goes_on or not _overlap(other, change) else _disagree((earlier, other), (step, change))
                if said:
                    field = _what(other, change)
                    return f"steps {earlier.name} and {step.name} both set {field} of {other.target}{said}"
        for change in step.changes:
            is_made = change.request is not None or (step.name, change.key) in held
            if is_made and not change.later:
                made[change.target].append((step, change))
    return ""


def _disagree(first: tuple[PlannedStep, Change], second: tuple[PlannedStep, Change]) -> str:
    """Why two steps that set the same cannot both be made, and the remedy; empty if they can."""
    (earlier, other), (step, change) = first, second
    if change.after != other.after:
        return (
            ": the second is planned from what is there before the first, and would be refused after it; leave one of "
            "them out, or make it part of an Incident of its own"
        )
    ends = {(each.release, each.expires_seconds) for each in (earlier, step) if each.phase != "Recovery"}
    if len(ends) > 1:
        return (
            ", to go back at different times: the end of the first would be that of the second; give both the same "
            "release and expiresAfter, or leave one of them out"
        )
    return ""


def _overlap(first: Change, second: Change) -> bool:
    """Whether a change rests on what an earlier one sets: a field of the same object, or something in it."""
    if first.key == second.key and None in (first.request, second.request):
        return (first.target, first.after.keys()) == (second.target, second.after.keys())
    if first.request is None or second.request is None or first.request.ref != second.request.ref:
        return False
    rests_on = set(_paths(second.request, is_test=True))
    return any(_is_within(one, other) for one in _paths(first.request) for other in rests_on)


def _what(*changes: Change) -> str:
    """The first field that one of these changes sets, as people write it."""
    found = next((path for each in changes if each.request is not None for path in _paths(each.request)), "")
    return found.strip("/").replace("/", ".").replace("~1", "/") or "the same"


def _paths(request: Request, *, is_test: bool = False) -> Iterator[str]:
    """The fields that a JSON patch sets, or those that it tests; other writes have no such preconditions."""
    if request.verb == "patch" and isinstance(request.body, list):
        yield from (each["path"] for each in request.body if (each["op"] == "test") is is_test)


def _is_within(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
