"""The oracles themselves: what they say of a log that is right, and of each that is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from faults.audit import AuditLog, Write, gaps, started_too_soon
from faults.matrix import FAULTS, Case, may_halt

US, BOB = "operator", "bob"


def write(at: int, verb: str, resource: str, name: str, *, agent: str = US, **more: Any) -> Write:
    stamp = f"{at:04}"
    code, request, response = more.get("code", 200), more.get("request"), more.get("response")
    return Write("", stamp, stamp, agent, agent, verb, resource, "shop", name, code, "", request, response)


def policy(at: int, verb: str = "create", **spec: Any) -> Write:
    return write(at, verb, "networkpolicies", "p", response={"metadata": {"uid": "1"}, "spec": spec})


def status(at: int, state: str = "Done") -> Write:
    entry = {"state": state, "target": {"kind": "NetworkPolicy", "name": "p"}}
    request = [{"op": "replace", "path": "/status", "value": {"ledger": [entry]}}]
    return write(at, "patch", "incidents/status", "i", request=request)


def asked(at: int, request: Any = None, verb: str = "patch") -> Write:
    return write(at, verb, "incidents", "i", agent=BOB, request=request)


RELEASE = {"spec": {"release": True}}


@pytest.mark.parametrize(
    ("writes", "words"),
    [
        ([status(1, "Intended"), policy(2), status(3), asked(4, RELEASE), policy(5, "delete")], ""),
        ([status(1, "Intended"), policy(2), status(3), asked(4, verb="delete"), policy(5, "delete")], ""),
        ([policy(1), policy(2, "delete"), policy(3), status(4)], ""),
        ([status(1, "Intended"), policy(2), status(3), policy(6, "delete"), asked(5, RELEASE)], ""),
        ([status(1), policy(2)], "is not there"),
        ([policy(1), status(2), policy(3, "delete"), policy(4), asked(5, RELEASE)], "delete networkpolicies p"),
        ([policy(1), status(2), policy(3, "patch", ingress=[{}])], "patch networkpolicies p"),
        ([policy(1), status(2), asked(3, {"metadata": {}}), policy(4, "delete")], "delete networkpolicies p"),
    ],
)
def test_an_isolation_that_is_away_is_seen(writes: list[Write], words: str) -> None:
    found = gaps(writes, frozenset({US}))
    assert words in "; ".join(found)
    assert bool(found) is bool(words), found


def seen(at: int, ready: int, *, generation: int = 1) -> Write:
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), ready)
    deployment = {
        "metadata": {"generation": generation},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 1, **counts},
    }
    return write(at, "update", "deployments/status", "db", agent="controller", response=deployment)


def scaled(at: int, replicas: int, code: int = 200) -> Write:
    return write(at, "patch", "deployments/scale", "api", code=code, response={"spec": {"replicas": replicas}})


@pytest.mark.parametrize(
    ("writes", "is_right"),
    [
        ([scaled(1, 0), seen(2, 1), seen(3, 2), scaled(4, 2)], True),
        ([scaled(1, 0), seen(2, 1), scaled(3, 2, code=409)], True),
        ([scaled(1, 0), scaled(2, 2)], False),
        ([seen(1, 1), scaled(2, 2), seen(3, 2)], False),
        ([seen(1, 2), seen(2, 1), scaled(3, 2)], False),
        ([seen(1, 2, generation=2), scaled(2, 2)], False),
    ],
)
def test_a_start_before_what_it_stands_on_is_up_is_seen(writes: list[Write], is_right: bool) -> None:
    assert (started_too_soon(writes, "db", "api") == []) is is_right


def test_only_after_a_refusal_may_a_person_be_needed() -> None:
    assert {each for each in FAULTS if may_halt(Case("", "list pods", 1, each))} == {"403", "422"}


def test_a_line_that_is_being_written_when_the_log_is_begun_is_read_when_it_is_whole(tmp_path: Path) -> None:
    line = json.dumps({"stage": "RequestReceived", "verb": "get"}).encode() + b"\n"
    path = tmp_path / "audit.log"
    path.write_bytes(line + line[:9])
    log = AuditLog(path)
    log.begin()
    with path.open("ab") as more:
        more.write(line[9:])
    assert log.writes("shop") == []
    log.close()


def test_what_is_written_before_and_after_the_log_is_rotated_is_read(tmp_path: Path) -> None:
    def line(name: str) -> bytes:
        about = {"resource": "pods", "namespace": "shop", "name": name}
        stamps = {"requestReceivedTimestamp": "", "stageTimestamp": "", "auditID": name, "requestURI": ""}
        event = {"stage": "ResponseComplete", "verb": "delete", "user": {"username": US}, "objectRef": about, **stamps}
        return json.dumps(event).encode() + b"\n"

    path = tmp_path / "audit.log"
    path.write_bytes(line("before"))
    log = AuditLog(path)
    with path.open("ab") as more:
        more.write(line("a"))
    assert [each.name for each in log.writes("shop")] == ["a"]
    with path.open("ab") as more:
        more.write(line("b"))
    path.rename(tmp_path / "audit-1.log")
    assert [each.name for each in log.writes("shop")] == ["a", "b"], "there may be no new one yet"
    path.write_bytes(line("c"))
    assert [each.name for each in log.writes("shop")] == ["a", "b", "c"]
    log.begin()
    assert log.writes("shop") == []
    log.close()
