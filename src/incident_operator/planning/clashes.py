"""Steps of one plan that get in each other's way: each is planned from what is there now, before any is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from incident_operator.planning.plan import Change, PlannedStep, Ref, Request


def clash(steps: Sequence[PlannedStep]) -> str:
    """Two steps of which the second could never be made once the first is, in words with the remedy; empty: none.

    What takes back an earlier step of the plan is planned from that, and two that want the very same agree.
    """
    made: dict[Ref, list[tuple[PlannedStep, Change]]] = defaultdict(list)
    for step in steps:
        for change in step.changes:
            for earlier, other in made[change.target]:
                if not change.later and change.after != other.after and _overlap(other, change):
                    return (
                        f"steps {earlier.name} and {step.name} both set {_what(other)} of {other.target}: the second "
                        "is planned from what is there before the first, and would be refused after it; leave one of "
                        "them out, or make it part of an Incident of its own"
                    )
        for change in step.changes:
            if change.request is not None and not change.later:
                made[change.target].append((step, change))
    return ""


def _overlap(first: Change, second: Change) -> bool:
    """Whether a change rests on what an earlier one sets: a field of the same object, or something in it."""
    if first.key == second.key and second.request is None:
        return (first.target, first.after.keys()) == (second.target, second.after.keys())
    if first.request is None or second.request is None or first.request.ref != second.request.ref:
        return False
    rests_on = set(_paths(second.request, is_test=True))
    return any(_is_within(one, other) for one in _paths(first.request) for other in rests_on)


def _what(change: Change) -> str:
    """The first field that a change sets, as people write it."""
    found = next(_paths(change.request), "") if change.request is not None else ""
    return found.strip("/").replace("/", ".").replace("~1", "/")


def _paths(request: Request, *, is_test: bool = False) -> Iterator[str]:
    """The fields that a JSON patch sets, or those that it tests; other writes have no such preconditions."""
    if request.verb == "patch" and isinstance(request.body, list):
        yield from (each["path"] for each in request.body if (each["op"] == "test") is is_test)


def _is_within(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
