"""sql, logs and job: asked inside pods and of Jobs, three-valued, and telling nothing that is not everybody's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from incident_operator.checks.job import JobVerdict
from incident_operator.checks.logs import AT_ONCE, MOST_BYTES, Logs
from incident_operator.checks.sql import Sql
from incident_operator.cluster.fake import FakeCluster
from incident_operator.cluster.port import Ran
from incident_operator.faults import Waiting
from incident_operator.planning.plan import Finding, Verdict
from unit.actions.objects import later, pod, stamp, target, workload

DATABASE = workload("StatefulSet", "db")
PRIMARY, REPLICA = Ran(0, "primary\n1\n"), Ran(0, "replica\n1\n")


def a_database(*answers: Any, ready: bool = True) -> FakeCluster:
    fake = FakeCluster(DATABASE, *(pod(DATABASE, f"db-{number}", ready=ready) for number in range(len(answers))))
    fake.network.programs = {f"db-{number}": answer for number, answer in enumerate(answers)}
    return fake


async def sql(fake: FakeCluster, **params: Any) -> Finding:
    return await Sql().look(fake, "shop", (target(DATABASE),), params, since=later(0))


async def test_a_primary_that_answers_passes_and_is_asked_without_a_shell() -> None:
    fake = a_database(PRIMARY)
    assert (await sql(fake, query="select 'a; b' from \"rows\"", database="app")).verdict is Verdict.PASS
    (ran,) = fake.network.ran
    assert ran[2][0] == "psql"
    assert ran[2][-1] == "select 'a; b' from \"rows\"", "one argument, whatever is in it"
    assert ran[2][ran[2].index("-d") + 1] == "app"


@pytest.mark.parametrize(
    ("answers", "params", "verdict", "words"),
    [
        ((PRIMARY, REPLICA), {}, Verdict.PASS, "db-0 answers and is the primary"),
        ((PRIMARY, PRIMARY), {}, Verdict.FAIL, "more than one is a primary: db-0, db-1"),
        ((REPLICA, REPLICA), {}, Verdict.FAIL, "every server is in recovery"),
        ((REPLICA,), {"recovery": True}, Verdict.PASS, "answers"),
        ((PRIMARY,), {"expect": "1"}, Verdict.PASS, "answers"),
        ((PRIMARY,), {"expect": "2"}, Verdict.FAIL, "something else than was expected"),
        (
            (Ran(2, "", 'psql: error: connection to "x" failed'),),
            {},
            Verdict.FAIL,
            "ended with 2",
        ),
        ((Ran(None, "", ""),), {}, Verdict.FAIL, "could not be run"),
        (
            (Ran(1, "", "x"), PRIMARY),
            {},
            Verdict.UNKNOWN,
            "db-1 is the primary, and whether it is the only one is open: pod db-0: psql ended with 1: x",
        ),
        ((Ran(1, "", "x"), PRIMARY), {"recovery": True}, Verdict.PASS, "db-1 answers"),
        ((Ran(1, "", "x"), PRIMARY), {"expect": "2"}, Verdict.FAIL, "something else than was expected"),
        ((Ran(1, "", "x"), PRIMARY, PRIMARY), {}, Verdict.FAIL, "more than one is a primary: db-1, db-2"),
        ((Ran(1, "", "x"), REPLICA), {}, Verdict.FAIL, "db-0: psql ended with 1"),
        ((Waiting("ExecTimedOut", "it had not ended"),), {}, Verdict.UNKNOWN, "ExecTimedOut"),
    ],
)
async def test_what_servers_say_is_judged(answers: Any, params: Any, verdict: Verdict, words: str) -> None:
    found = await sql(a_database(*answers), **params)
    assert found.verdict is verdict, found
    assert words in found.message


async def test_nobody_ready_is_unknown() -> None:
    assert (await sql(a_database(PRIMARY, ready=False))).verdict is Verdict.UNKNOWN
    assert (await sql(FakeCluster(DATABASE))).verdict is Verdict.UNKNOWN


async def test_no_answer_and_no_part_of_an_error_that_may_be_a_row_is_told() -> None:
    secret = "hunter2"
    error = Ran(1, "", f'ERROR:  duplicate key value "{secret}" in query')
    for answer in (Ran(0, f"primary\n{secret}\n"), error):
        found = await sql(a_database(answer), expect="other")
        assert found.verdict is Verdict.FAIL
        assert secret not in found.message


async def logs(text: str, **params: Any) -> Finding:
    fake = a_database(PRIMARY)
    fake.network.logs = {("db-0", "web"): text}
    given = {"patterns": ["FATAL", "panic:"], **params}
    return await Logs().look(fake, "shop", (target(DATABASE),), given, since=later(0))


@pytest.mark.parametrize(
    ("text", "params", "verdict"),
    [
        ("all is well\n", {}, Verdict.PASS),
        ("", {}, Verdict.PASS),
        ("one fatal thing\n", {}, Verdict.FAIL),
        ("one fatal thing\n", {"atMost": 1}, Verdict.PASS),
        ("FATAL\nPANIC: x\n", {"atMost": 1}, Verdict.FAIL),
        ("x" * MOST_BYTES, {}, Verdict.UNKNOWN),
        ("fatal\n" + "x" * MOST_BYTES, {}, Verdict.FAIL),
    ],
)
async def test_lines_with_a_text_are_counted_and_never_told(text: str, params: Any, verdict: Verdict) -> None:
    found = await logs(text, **params)
    assert found.verdict is verdict, found
    assert "thing" not in found.message


RATE = {"perMinute": 4, "over": "30s"}


async def rate(at: float, *lines: float, **params: Any) -> Finding:
    """What a look finds so many seconds after the action, with a bad line at each of these seconds."""
    fake = a_database(PRIMARY)
    fake.network.logs = {("db-0", "web"): [(later(each), "a FATAL thing") for each in lines]}
    given = {"patterns": ["fatal"], **RATE, **params}
    check = Logs(clock=lambda: later(at))
    return await check.look(fake, "shop", (target(DATABASE),), given, since=later(0))


@pytest.mark.parametrize(
    ("at", "lines", "params", "verdict"),
    [
        (30, (), {}, Verdict.PASS),
        (30, (1, 2), {}, Verdict.PASS),
        (30, (1, 2, 3), {}, Verdict.FAIL),
        (29, (1, 2), {}, Verdict.UNKNOWN),
        (5, (1, 2, 3), {}, Verdict.FAIL),
        (30, (-3, -2, -1, 1), {}, Verdict.PASS),
        (60, (1,), {"over": None}, Verdict.PASS),
        (59, (1,), {"over": None}, Verdict.UNKNOWN),
        (30, (1,), {"perMinute": 0}, Verdict.FAIL),
        (30, (1,), {"perMinute": 1}, Verdict.FAIL),
        (30, (), {"over": "soon"}, Verdict.UNKNOWN),
    ],
)
async def test_a_rate_is_counted_since_the_action_and_only_a_whole_window_proves_it_is_low(
    at: float, lines: tuple[float, ...], params: Any, verdict: Verdict
) -> None:
    found = await rate(at, *lines, **params)
    assert found.verdict is verdict, found


async def test_a_burst_of_errors_fails_and_is_over_when_it_is_out_of_the_window_where_a_sum_stays_bad() -> None:
    burst = tuple(range(1, 11))
    assert (await rate(35, *burst)).message.startswith("6 lines have one of the texts, at most 4 a minute are good")
    assert (await rate(41, *burst)).verdict is Verdict.PASS
    assert (await rate(3600, *burst, perMinute=None, atMost=4)).verdict is Verdict.FAIL


async def ended(text: str = "", before: str = "", *, params: Any = None, **status: Any) -> Finding:
    """What a look finds whose container is as this status says, with its log and the one of what ended last."""
    thing = pod(DATABASE, "db-0")
    thing["status"]["containerStatuses"][0] |= {"restartCount": 9, **status}
    fake = FakeCluster(DATABASE, thing, pod(DATABASE, "db-1"))
    fake.network.logs, fake.network.logs_before = {("db-0", "web"): text}, {("db-0", "web"): before}
    given = {"patterns": ["fatal"], **(params or {})}
    return await Logs(clock=lambda: later(60.7)).look(fake, "shop", (target(DATABASE),), given, since=later(0.7))


def until(seconds: float | None, began: float = -99) -> dict[str, Any]:
    times = {"startedAt": began} | ({} if seconds is None else {"finishedAt": seconds})
    return {"terminated": {"exitCode": 1, **{key: stamp(later(at)) for key, at in times.items()}}}


def running(seconds: float) -> dict[str, Any]:
    return {"running": {"startedAt": stamp(later(seconds))}}


@pytest.mark.parametrize(
    ("status", "params", "is_read"),
    [
        pytest.param({"lastState": until(30)}, {}, True, id="since the action"),
        pytest.param({"lastState": until(0)}, {}, True, id="in the second of the action"),
        pytest.param({"lastState": until(-1)}, {}, False, id="before the action"),
        pytest.param({"lastState": until(29)}, RATE | {"perMinute": 0}, False, id="before the window of a rate"),
        pytest.param({"lastState": until(31)}, RATE | {"perMinute": 0}, True, id="in the window of a rate"),
        pytest.param({"lastState": until(None), "state": running(9)}, {}, True, id="some time before 9"),
        pytest.param({"lastState": until(None), "state": running(-9)}, {}, False, id="some time before -9"),
        pytest.param({"lastState": until(None), "state": {}}, {}, True, id="nobody knows when"),
        pytest.param({"lastState": {}}, {}, False, id="never"),
        pytest.param({"lastState": until(30), "state": {"waiting": {}}}, {}, False, id="its log is that one"),
    ],
)
async def test_what_ended_since_the_action_is_read_too(status: Any, params: Any, is_read: bool) -> None:
    found = await ended("well", "fatal\n", params=params, **status)
    assert (found.verdict is Verdict.FAIL) is is_read, found
    assert (await ended("well", "well", params=params, **status)).verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        pytest.param({"lastState": until(30, 20)}, Verdict.UNKNOWN, id="twice"),
        pytest.param({"lastState": until(30, 20), "restartCount": 1}, Verdict.PASS, id="the first time"),
        pytest.param(
            {"lastState": until(30, 20), "restartCount": 1, "state": {"waiting": {}}}, Verdict.UNKNOWN, id="again"
        ),
        pytest.param({"lastState": until(30, -1)}, Verdict.PASS, id="what ran before the action"),
    ],
)
async def test_few_lines_of_a_container_that_has_ended_twice_since_prove_nothing(status: Any, verdict: Verdict) -> None:
    found = await ended("fine", **status)
    assert found.verdict is verdict, found
    assert ("pod db-0: container web ended more than once" in found.message) is (verdict is Verdict.UNKNOWN)
    assert (await ended("fatal", **status)).verdict is Verdict.FAIL


async def test_few_logs_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = a_database(*[PRIMARY] * 20)
    held = most = 0

    async def log_text(*_: Any, **__: Any) -> str:
        nonlocal held, most
        held += 1
        most = max(most, held)
        await asyncio.sleep(0)
        held -= 1
        return "fatal\n"

    monkeypatch.setattr(fake, "log_text", log_text)
    found = await Logs().look(fake, "shop", (target(DATABASE),), {"patterns": ["fatal"]}, since=later(0))
    assert found.message.startswith("20 lines have one of the texts")
    assert most == AT_ONCE


async def test_logs_of_no_pod_are_unknown() -> None:
    found = await Logs().look(FakeCluster(DATABASE), "shop", (target(DATABASE),), {"patterns": ["x"]}, since=later(0))
    assert found.verdict is Verdict.UNKNOWN


def a_job(name: str, seconds: float, ended: str = "", owner: str = "integrity") -> dict[str, Any]:
    reference = {"kind": "CronJob", "name": owner, "uid": "u", "controller": True, "apiVersion": "batch/v1"}
    meta = {
        "name": name,
        "namespace": "shop",
        "creationTimestamp": stamp(later(seconds)),
        "ownerReferences": [reference],
    }
    status = {"conditions": [{"type": ended, "status": "True"}]} if ended else {}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {}, "status": status}


@pytest.mark.parametrize(
    ("jobs", "verdict"),
    [
        ([], Verdict.UNKNOWN),
        ([a_job("a", 5, "Complete")], Verdict.PASS),
        ([a_job("a", 5, "Failed")], Verdict.FAIL),
        ([a_job("a", 5)], Verdict.UNKNOWN),
        ([a_job("a", -5, "Complete")], Verdict.UNKNOWN),
        ([a_job("a", 5, "Complete", owner="other")], Verdict.UNKNOWN),
        ([a_job("a", 5, "Failed"), a_job("b", 9, "Complete")], Verdict.PASS),
        ([a_job("a", 5, "Complete"), a_job("b", 9)], Verdict.UNKNOWN),
    ],
)
async def test_the_newest_job_since_the_last_action_is_what_counts(jobs: list[Any], verdict: Verdict) -> None:
    found = await JobVerdict().look(FakeCluster(*jobs), "shop", (), {"cronJob": "integrity"}, since=later(0))
    assert found.verdict is verdict, found
