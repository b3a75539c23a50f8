"""What is overdue is on record once, and hooks are told until a person has taken the Incident on."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from incident_operator.api.configuration import Hook
from incident_operator.engine.clockwork import FORGOTTEN, LOOK, MOST_SECONDS, Looked
from incident_operator.engine.keys import Key
from incident_operator.faults import Stalled, Waiting
from incident_operator.notify.hooks import Hooks
from incident_operator.planning.record import Moment, Record
from unit.engine.clocked import AWAY, HOUR, MINUTE, PLAN, World


@pytest.fixture
async def world() -> World:
    """With every clock of the highest severity, and two hooks to tell."""
    return World()


@pytest.fixture
async def calm() -> World:
    """With no clock, so that all that is told is that nobody has taken it on."""
    return World(severity="SEV-4")


async def test_a_clock_that_runs_out_is_on_record_in_the_timeline_and_an_event_once() -> None:
    world = World(escalation=[])
    assert world.look(4 * MINUTE) == Looked(is_news=False, again=MINUTE)
    assert world.look(6 * MINUTE) == Looked(is_news=True, again=9 * MINUTE)  # for the next clock
    assert world.record.overdue == {"acknowledge": "acknowledge was due 2026-11-23 14:20 UTC"}
    (said,) = world.record.timeline
    assert said == Moment(
        "2026-11-23T14:21:00Z", "AcknowledgeOverdue", "acknowledge: 1m over (due 14:20 UTC)", warning=True, event=True
    )
    assert world.news == [said]
    assert world.look(7 * MINUTE) == Looked(is_news=False, again=8 * MINUTE)
    assert world.news == []


async def test_a_new_process_says_nothing_twice(world: World) -> None:
    world.look(14 * MINUTE)
    world.restart()
    assert not world.look().is_news
    assert world.seen.overdue == {"acknowledge": "acknowledge was due 2026-11-23 14:20 UTC"}
    assert world.reasons == ["AcknowledgeOverdue"]


async def test_all_that_ran_out_while_nobody_looked_is_said_the_first_due_in_front(world: World) -> None:
    world.incident["spec"]["escalation"] = []
    assert world.look(5 * HOUR) == Looked(is_news=True, again=None)
    assert list(world.record.overdue) == ["acknowledge", "contain", "update", "resolve"]
    assert world.reasons == ["AcknowledgeOverdue", "ContainOverdue", "UpdateOverdue", "ResolveOverdue"]


async def test_what_is_met_is_overdue_no_more_without_further_words(world: World) -> None:
    world.look(14 * MINUTE)
    world.incident["spec"]["acknowledgedBy"] = "ada"
    assert world.look() == Looked(is_news=True, again=MINUTE)
    assert world.record.overdue == {}
    assert world.reasons == ["AcknowledgeOverdue"]


@pytest.mark.parametrize("outcome", ["Resolved", "Cancelled", "Expired"])
async def test_no_clock_runs_and_nobody_is_told_when_it_is_over(world: World, outcome: Any) -> None:
    world.look(14 * MINUTE)
    world.record = dataclasses.replace(world.record, outcome=outcome)
    assert world.look(9 * HOUR) == Looked(is_news=True, again=None)
    assert (world.record.overdue, world.hooks) == ({}, [])


@pytest.mark.parametrize("outcome", ["Halted", "Contained", "Planned", "Waiting"])
async def test_clocks_run_on_while_it_waits_for_a_person(world: World, outcome: Any) -> None:
    world.record = dataclasses.replace(world.record, outcome=outcome)
    world.look(6 * MINUTE)
    assert list(world.record.overdue) == ["acknowledge"]


async def test_an_incident_without_a_plan_is_counted_from_its_creation(world: World) -> None:
    world.record = Record()
    world.look(6 * MINUTE)
    assert list(world.record.overdue) == ["acknowledge"]


async def test_silence_is_counted_from_the_last_thing_that_was_said_but_that_a_clock_ran_out() -> None:
    world = World(escalation=[], acknowledgedBy="ada")
    world.record = world.record.noted(Moment("2026-11-23T14:25:00Z", "StepDone", "undo"))
    world.look(20 * MINUTE)
    assert world.reasons[-1] == "ContainOverdue"
    assert not world.look(40 * MINUTE - timedelta(seconds=1)).is_news
    world.look(40 * MINUTE)
    assert list(world.record.overdue) == ["contain", "update"]
    assert not world.look(2 * HOUR).is_news, "what is said of a clock does not set it back"
    world.record = world.record.noted(Moment("2026-11-23T16:15:00Z", "StepDone", "scale"))
    assert world.look(2 * HOUR).is_news
    assert list(world.record.overdue) == ["contain"]
    world.look(3 * HOUR)
    assert world.reasons.count("UpdateOverdue") == 2, "silence once more"


async def test_a_higher_severity_has_shorter_clocks_at_once() -> None:
    world = World(severity="SEV-2")
    assert not world.look(14 * MINUTE).is_news
    world.incident["spec"]["severity"] = "SEV-1"
    assert world.look().is_news
    assert list(world.record.overdue) == ["acknowledge"]


async def test_judging_needs_no_case() -> None:
    world = World()
    world.passed = 27 * MINUTE
    record = dataclasses.replace(world.record, overdue={"acknowledge": ""})
    judged = world.clockwork.judge(record, "SEV-1", acknowledged=True)
    assert judged.overdue == {"contain": "contain was due 2026-11-23 14:30 UTC"}
    assert judged.news == (("ContainOverdue", "contain: 12m over (due 14:30 UTC)"),)
    assert judged.message == "contain: 12m over (due 14:30 UTC)"
    assert judged.again == 3 * MINUTE
    assert world.clockwork.judge(Record(), "SEV-1").again is None, "nothing is known of when it began"


async def test_a_hook_is_told_when_its_time_has_come_and_the_incident_is_woken(world: World) -> None:
    world.record = dataclasses.replace(world.record, overdue={"acknowledge": ""}, escalated=("acknowledge", "contain"))
    assert world.look(14 * MINUTE).again == MINUTE
    world.record = dataclasses.replace(world.record, overdue={"acknowledge": "", "contain": ""})
    assert world.look(15 * MINUTE).again == LOOK
    await world.answered()
    assert world.woken == [Key("shop", "slow")]
    assert world.look() == Looked(is_news=True, again=15 * MINUTE)
    assert world.record.escalated == ("acknowledge", "contain", "0")
    assert world.record.timeline[-1].message == "hook pager was told that nobody has taken it on"
    assert world.record.timeline[-1].event
    ((hook, told),) = world.desk.told
    assert (hook, told["reason"]) == ("pager", "Escalation")
    assert told["text"] == (
        "nobody has taken it on 15m after it was detected; "
        "acknowledge: 10m over (due 14:20 UTC); contain: 0s over (due 14:30 UTC)"
    )
    incident = told["incident"]
    assert (incident["id"], incident["phase"], incident["title"]) == ("INC-1", "Containment", "5xx on web")


async def test_each_escalation_is_made_once_also_by_a_new_process(calm: World) -> None:
    for after in (15 * MINUTE, 16 * MINUTE, HOUR, 2 * HOUR):
        await calm.go_on(after)
        calm.restart()
    assert calm.hooks == ["pager", "manager"]
    assert calm.record.escalated == ("0", "1")
    assert calm.reasons.count("Escalated") == 2


async def test_what_it_waits_for_is_told_with_it(calm: World) -> None:
    calm.record = dataclasses.replace(calm.record, outcome="Waiting", message="a plan waits for an approval")
    await calm.go_on(15 * MINUTE)
    assert calm.desk.told[0][1]["text"].endswith("; a plan waits for an approval")


@pytest.mark.parametrize("how", ["spec", "record"])
async def test_nobody_is_told_once_a_person_has_taken_it_on(calm: World, how: str) -> None:
    await calm.go_on(15 * MINUTE)
    if how == "spec":
        calm.incident["spec"]["acknowledgedBy"] = "ada"
    else:
        calm.record = calm.record.timed("acknowledged", "2026-11-23T14:50:00Z")
    await calm.go_on(2 * HOUR)
    assert calm.hooks == ["pager"]


async def test_a_hook_that_does_not_answer_keeps_nobody_waiting_and_is_let_go_when_it_is_taken_on(
    calm: World,
) -> None:
    calm.desk.gate = asyncio.Event()
    assert calm.look(15 * MINUTE).again == LOOK
    for _ in range(3):
        await asyncio.sleep(0)
        assert calm.look() == Looked(is_news=False, again=LOOK)
    assert calm.hooks == ["pager"]
    (task,) = (post.task for post in calm.clockwork._posts.values())
    calm.incident["spec"]["acknowledgedBy"] = "ada"
    assert calm.look() == Looked(is_news=False, again=None)
    await asyncio.wait([task])
    assert task.cancelled()
    assert calm.woken == []
    assert calm.record.escalated == ()


async def test_a_hook_that_is_away_is_told_again_less_and_less_often_and_that_is_said_once() -> None:
    world = World(severity="SEV-4", escalation=PLAN[:1])
    world.desk.faults = [AWAY] * 11
    waits, said = [], []
    again = (await world.go_on(15 * MINUTE)).again
    while again is not None:
        waits.append(again.total_seconds())
        said.append(world.reasons.count("EscalationFailed"))
        again = (await world.go_on(world.passed + again)).again
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert said == [0, 0, *[1] * 9], "a blip is no news"
    assert world.reasons == ["EscalationFailed", "Escalated"]
    failure = world.record.timeline[0]
    assert (failure.message, failure.warning, failure.event) == (AWAY.message, True, True)
    assert len({told["key"] for _, told in world.desk.told}) == 1


async def test_a_hook_may_say_when_to_come_back(calm: World) -> None:
    calm.desk.faults = [Waiting("HookUnavailable", "hook pager answered 429", delay=timedelta(seconds=90))]
    assert (await calm.go_on(15 * MINUTE)).again == timedelta(seconds=90)
    calm.look(15 * MINUTE + timedelta(seconds=89))
    assert calm.hooks == ["pager"]
    await calm.go_on(15 * MINUTE + timedelta(seconds=90))
    assert calm.hooks == ["pager", "pager"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Stalled("HookRefused", "hook pager answered 401; is it right?"), "hook pager answered 401; is it right?"),
        (Stalled("UnknownHook", "hook pager is not there"), "hook pager is not there"),
        (ValueError("https://secret"), "hook pager could not be told, which is a bug: ValueError"),
    ],
)
async def test_a_hook_that_says_no_is_told_of_at_once_and_tried_now_and_then(
    calm: World, fault: Exception, said: str
) -> None:
    calm.desk.faults = [fault, fault]
    looked = await calm.go_on(15 * MINUTE)
    assert looked == Looked(is_news=True, again=timedelta(seconds=MOST_SECONDS))
    assert calm.record.timeline[-1].message == said
    calm.restart()
    assert not (await calm.go_on(16 * MINUTE)).is_news, "it was said by the process before"
    await calm.go_on(22 * MINUTE)
    assert calm.record.escalated == ("0",), "and goes on when it was put right"


async def test_one_hook_that_fails_keeps_no_other_from_being_told(calm: World) -> None:
    calm.desk.faults = [AWAY]
    await calm.go_on(HOUR)
    assert calm.hooks == ["pager", "manager"]
    assert calm.record.escalated == ("1",)
    await calm.go_on(HOUR + 3 * timedelta(seconds=1))
    assert calm.record.escalated == ("1", "0")


async def test_one_that_was_told_and_not_saved_is_put_on_record_by_the_next_look_and_not_told_again(
    calm: World,
) -> None:
    calm.look(15 * MINUTE)
    await calm.answered()
    assert calm.look(is_saved=False).is_news
    assert calm.record.escalated == ()
    assert calm.look().is_news
    assert (calm.record.escalated, calm.hooks) == (("0",), ["pager"])
    calm.look()
    assert calm.clockwork._posts == {}


async def test_one_that_was_told_by_a_process_that_ended_then_is_told_again_under_the_same_key(calm: World) -> None:
    calm.look(15 * MINUTE)
    await calm.answered()
    await calm.clockwork.close()
    calm.restart()
    await calm.go_on(20 * MINUTE)
    first, second = (told for _, told in calm.desk.told)
    assert first["key"] == second["key"]


async def test_closing_ends_what_is_being_told(calm: World) -> None:
    calm.desk.gate = asyncio.Event()
    calm.look(HOUR)
    tasks = [post.task for post in calm.clockwork._posts.values()]
    await asyncio.sleep(0)
    await calm.clockwork.close()
    assert len(tasks) == 2
    assert all(task.cancelled() for task in tasks)


async def test_what_became_of_an_incident_that_is_gone_is_forgotten(calm: World) -> None:
    calm.look(15 * MINUTE)
    await calm.answered()
    gone = World()
    gone.clockwork, gone.incident["metadata"]["uid"] = calm.clockwork, "uid-2"
    calm.passed = gone.passed = 15 * MINUTE + FORGOTTEN / 2
    gone.look()
    assert ("uid-1", "0") in calm.clockwork._posts
    calm.passed = gone.passed = 16 * MINUTE + FORGOTTEN
    gone.look()
    assert ("uid-1", "0") not in calm.clockwork._posts
    await gone.answered()


async def test_a_clock_that_is_set_back_does_not_put_off_the_next_try(calm: World) -> None:
    calm.desk.faults = [AWAY]
    await calm.go_on(50 * MINUTE)
    calm.set_back = 30 * MINUTE
    assert calm.look().again == timedelta(seconds=2)
    await calm.go_on(50 * MINUTE + timedelta(seconds=2))
    assert calm.record.escalated == ("0",)


async def test_a_real_hook_is_told_and_a_fault_of_it_is_on_record(calm: World, tmp_path: Path) -> None:
    got: list[tuple[str, Any]] = []

    async def handle(request: web.Request) -> web.Response:
        got.append((request.headers["Idempotency-Key"], await request.json()))
        return web.Response(status=403 if len(got) == 1 else 200)

    application = web.Application()
    application.router.add_post("/{rest:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    (tmp_path / "url").write_text(f"http://127.0.0.1:{runner.addresses[0][1]}/s3cr3t")
    calm.desk = Hooks([Hook(name="pager", url_file=tmp_path / "url")])  # type: ignore[assignment]
    calm.restart()
    await calm.go_on(15 * MINUTE)
    assert calm.record.timeline[-1].message == "hook pager answered 403; is what its tokenFile holds right?"
    await calm.go_on(21 * MINUTE)
    await runner.cleanup()
    assert calm.record.escalated == ("0",)
    assert [key for key, _ in got] == [got[0][1]["key"]] * 2
    assert "s3cr3t" not in repr(calm.record)
