"""The model of the soak sees what is wrong: nothing in a world that is right, and each thing that is not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mutation.model import wrong


def entry(kind: str, name: str, state: str = "Done", **after: Any) -> dict[str, Any]:
    target = {"kind": kind, "name": name}
    what = {"step": "s", "key": name, "release": "OnResolve", "after": json.dumps(after)}
    return {**what, "target": target, "state": state}


def held(name: str, reason: str, *entries: dict[str, Any]) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True", "reason": reason}]
    return {"metadata": {"name": name}, "status": {"conditions": conditions, "ledger": list(entries)}}


DOWN, CUT = entry("Deployment", "w0", replicas=0), entry("NetworkPolicy", "p")
POLICY = {"metadata": {"name": "p"}}


@pytest.mark.parametrize(
    ("incidents", "policies", "replicas", "words"),
    [
        ([held("i", "Contained", DOWN, CUT)], [POLICY], {"w0": 0}, ""),
        ([held("i", "Resolved", entry("Deployment", "w0", "Released"))], [], {"w0": 2}, ""),
        ([held("i", "Contained", DOWN)], [], {"w0": 1}, "which has 1"),
        ([held("i", "Resolved", DOWN)], [], {"w0": 0}, "still holds"),
        ([held("i", "Contained")], [], {"w0": 2}, "holds nothing"),
        ([], [POLICY], {"w0": 2}, "is nobody's"),
        ([held("i", "Contained", CUT)], [], {"w0": 2}, "is not there"),
        ([held("i", "Contained", DOWN), held("j", "Contained", DOWN)], [], {"w0": 0}, "is held by ['i', 'j']"),
        ([], [], {"w0": 0}, "nobody holds w0"),
    ],
)
def test_each_thing_that_is_wrong_is_said(
    incidents: list[Any], policies: list[Any], replicas: dict[str, int], words: str
) -> None:
    found = wrong(incidents, policies, replicas, before=2, a_persons=())
    assert words in "; ".join(found)
    assert bool(found) is bool(words), found


def test_replicas_that_a_person_has_set_are_theirs() -> None:
    assert wrong([held("i", "Contained", DOWN)], [], {"w0": 4}, before=2, a_persons={"w0"}) == []
    assert wrong([], [], {"w0": 4}, before=2, a_persons={"w0"}) == []
