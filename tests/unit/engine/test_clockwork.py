"""What is overdue is on record once, and hooks are told until a person has taken the Incident on."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from incident_operator.api.configuration import Configuration, Hook
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine import wishes
from incident_operator.engine.case import Case, Memory
from incident_operator.engine.clockwork import FORGOTTEN, LOOK, MOST_SECONDS, Clockwork, Looked
from incident_operator.engine.keys import Key
from incident_operator.faults import Stalled, Waiting
from incident_operator.notify.hooks import Hooks
from incident_operator.planning.record import Moment, Record

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
BEGUN = datetime(2026, 11, 23, 14, 15, tzinfo=UTC)
PLAN = [{"after": "15m", "hook": "pager"}, {"after": "1h", "hook": "manager"}]
AWAY = Waiting("HookUnavailable", "hook pager answered 503")


@dataclasses.dataclass
class Desk:
    """Stands in for the hooks: keeps what it is told, and fails as told."""

    told: list[tuple[str, Mapping[str, Any]]] = dataclasses.field(default_factory=list)
    faults: list[Exception] = dataclasses.field(default_factory=list)
    gate: asyncio.Event | None = None

    async def post(self, name: str, message: Mapping[str, Any]) -> None:
        self.told.append((name, message))
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)


class World:
    """One Incident whose record is what was saved, two clocks, and who is woken."""

    def __init__(self, **spec: Any) -> None:
        self.passed = self.set_back = timedelta(0)
        self.woken: list[Key] = []
        self.desk = Desk()
        meta = {"name": "slow", "namespace": "shop", "uid": "uid-1", "creationTimestamp": "2026-11-23T14:15:00Z"}
        given = {"title": "5xx on web", "type": "Outage", "severity": "SEV-1", "escalation": PLAN, **spec}
        self.incident = {"metadata": meta, "spec": given}
        self.record = Record(timers={"detected": "2026-11-23T14:15:00Z"}, id="INC-1", plan_hash="h")
        self.restart()

    def restart(self) -> None:
        """A new process knows only what is on record."""
        self.clockwork = Clockwork(
            Configuration(),
            self.desk,
            lambda: BEGUN + self.passed - self.set_back,
            self.woken.append,
            elapsed=lambda: 1e6 + self.passed.total_seconds(),
        )
        self.record = dataclasses.replace(self.record, overdue=dict.fromkeys(self.record.overdue, ""))

    def look(self, after: timedelta | None = None, *, is_saved: bool = True) -> Looked:
        """One look; what it makes of the record is kept only if it says that there is news."""
        self.passed = self.passed if after is None else after
        cluster, clock = FakeCluster(), lambda: BEGUN + self.passed
        wished, memory = wishes.read(self.incident), Memory("uid-1")
        case = Case(cluster, self.incident, self.record, wished, cluster, memory, clock, lambda _: None)
        looked = self.clockwork.look(case)
        self.news = case.news
        if looked.is_news and is_saved:
            self.record = case.record
        self.seen = case.record
        return looked

    async def answered(self) -> None:
        """Until all that is being told has ended."""
        await asyncio.gather(*(post.task for post in self.clockwork._posts.values()), return_exceptions=True)

    async def go_on(self, after: timedelta) -> Looked:
        """A look, and another when the hooks have answered, as there is when they wake it."""
        first = self.look(after)
        await self.answered()
        return self.look() if first.again == LOOK else first

    @property
    def reasons(self) -> list[str]:
        return [each.reason for each in self.record.timeline]

    @property
    def hooks(self) -> list[str]:
        return [name for name, _ in self.desk.told]


@pytest.fixture
async def world() -> World:
    return World()


async def test_a_clock_that_runs_out_is_on_record_in_the_timeline_and_an_event_once(world: World) -> None:
    assert world.look(4 * MINUTE) == Looked(is_news=False, again=MINUTE)
    assert world.look(6 * MINUTE) == Looked(is_news=True, again=9 * MINUTE)
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
    assert world.look(14 * MINUTE).again == MINUTE
    assert world.look(15 * MINUTE).again == LOOK
    await world.answered()
    assert world.woken == [Key("shop", "slow")]
    assert world.look() == Looked(is_news=True, again=15 * MINUTE)
    assert world.record.escalated == (0,)
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


async def test_each_escalation_is_made_once_also_by_a_new_process(world: World) -> None:
    for after in (15 * MINUTE, 16 * MINUTE, HOUR, 2 * HOUR):
        await world.go_on(after)
        world.restart()
    assert world.hooks == ["pager", "manager"]
    assert world.record.escalated == (0, 1)
    assert world.reasons.count("Escalated") == 2


async def test_what_it_waits_for_is_told_with_it(world: World) -> None:
    world.record = dataclasses.replace(world.record, outcome="Halted", message="the rollout does not come up")
    await world.go_on(15 * MINUTE)
    assert world.desk.told[0][1]["text"].endswith("; the rollout does not come up")
    assert world.desk.told[0][1]["incident"]["phase"] == "Halted"


@pytest.mark.parametrize("how", ["spec", "record"])
async def test_nobody_is_told_once_a_person_has_taken_it_on(world: World, how: str) -> None:
    await world.go_on(15 * MINUTE)
    if how == "spec":
        world.incident["spec"]["acknowledgedBy"] = "ada"
    else:
        world.record = world.record.timed("acknowledged", "2026-11-23T14:50:00Z")
    await world.go_on(2 * HOUR)
    assert world.hooks == ["pager"]


async def test_a_hook_that_does_not_answer_keeps_nobody_waiting_and_is_let_go_when_it_is_taken_on(
    world: World,
) -> None:
    world.desk.gate = asyncio.Event()
    assert world.look(15 * MINUTE).again == LOOK
    for _ in range(3):
        await asyncio.sleep(0)
        assert world.look() == Looked(is_news=False, again=LOOK)
    assert world.hooks == ["pager"]
    (task,) = (post.task for post in world.clockwork._posts.values())
    world.incident["spec"]["acknowledgedBy"] = "ada"
    assert world.look().is_news
    await asyncio.wait([task])
    assert task.cancelled()
    assert world.woken == []
    assert world.record.escalated == ()


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


async def test_a_hook_may_say_when_to_come_back(world: World) -> None:
    world.desk.faults = [Waiting("HookUnavailable", "hook pager answered 429", delay=timedelta(seconds=90))]
    assert (await world.go_on(15 * MINUTE)).again == timedelta(seconds=90)
    world.look(15 * MINUTE + timedelta(seconds=89))
    assert world.hooks == ["pager"]
    await world.go_on(15 * MINUTE + timedelta(seconds=90))
    assert world.hooks == ["pager", "pager"]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Stalled("HookRefused", "hook pager answered 401; is it right?"), "hook pager answered 401; is it right?"),
        (Stalled("UnknownHook", "hook pager is not there"), "hook pager is not there"),
        (ValueError("https://secret"), "hook pager could not be told, which is a bug: ValueError"),
    ],
)
async def test_a_hook_that_says_no_is_told_of_at_once_and_tried_now_and_then(
    world: World, fault: Exception, said: str
) -> None:
    world.desk.faults = [fault, fault]
    looked = await world.go_on(15 * MINUTE)
    assert looked == Looked(is_news=True, again=timedelta(seconds=MOST_SECONDS))
    assert world.record.timeline[-1].message == said
    world.restart()
    assert not (await world.go_on(16 * MINUTE)).is_news, "it was said by the process before"
    await world.go_on(22 * MINUTE)
    assert world.record.escalated == (0,), "and goes on when it was put right"


async def test_one_hook_that_fails_keeps_no_other_from_being_told(world: World) -> None:
    world.desk.faults = [AWAY]
    await world.go_on(HOUR)
    assert world.hooks == ["pager", "manager"]
    assert world.record.escalated == (1,)
    await world.go_on(HOUR + 3 * timedelta(seconds=1))
    assert world.record.escalated == (1, 0)


async def test_one_that_was_told_and_not_saved_is_put_on_record_by_the_next_look_and_not_told_again(
    world: World,
) -> None:
    world.look(15 * MINUTE)
    await world.answered()
    assert world.look(is_saved=False).is_news
    assert world.record.escalated == ()
    assert world.look().is_news
    assert (world.record.escalated, world.hooks) == ((0,), ["pager"])
    world.look()
    assert world.clockwork._posts == {}


async def test_one_that_was_told_by_a_process_that_ended_then_is_told_again_under_the_same_key(world: World) -> None:
    world.look(15 * MINUTE)
    await world.answered()
    await world.clockwork.close()
    world.restart()
    await world.go_on(20 * MINUTE)
    first, second = (told for _, told in world.desk.told)
    assert first["key"] == second["key"]
    assert first["text"] != second["text"]


async def test_closing_ends_what_is_being_told(world: World) -> None:
    world.desk.gate = asyncio.Event()
    world.look(HOUR)
    tasks = [post.task for post in world.clockwork._posts.values()]
    await asyncio.sleep(0)
    await world.clockwork.close()
    assert len(tasks) == 2
    assert all(task.cancelled() for task in tasks)


async def test_what_became_of_an_incident_that_is_gone_is_forgotten(world: World) -> None:
    world.look(15 * MINUTE)
    await world.answered()
    gone = World()
    gone.clockwork, gone.incident["metadata"]["uid"] = world.clockwork, "uid-2"
    world.passed = gone.passed = 15 * MINUTE + FORGOTTEN / 2
    gone.look()
    assert ("uid-1", 0) in world.clockwork._posts
    world.passed = gone.passed = 16 * MINUTE + FORGOTTEN
    gone.look()
    assert ("uid-1", 0) not in world.clockwork._posts
    await gone.answered()


async def test_a_clock_that_is_set_back_does_not_put_off_the_next_try(world: World) -> None:
    world.desk.faults = [AWAY]
    await world.go_on(50 * MINUTE)
    world.set_back = 30 * MINUTE
    assert world.look().again == timedelta(seconds=2)
    await world.go_on(50 * MINUTE + timedelta(seconds=2))
    assert world.record.escalated == (0,)


async def test_a_real_hook_is_told_and_a_fault_of_it_is_on_record(world: World, tmp_path: Path) -> None:
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
    world.desk = Hooks([Hook(name="pager", url_file=tmp_path / "url")])  # type: ignore[assignment]
    world.restart()
    await world.go_on(15 * MINUTE)
    assert world.record.timeline[-1].message == "hook pager answered 403; is what its tokenFile holds right?"
    await world.go_on(21 * MINUTE)
    await runner.cleanup()
    assert world.record.escalated == (0,)
    assert [key for key, _ in got] == [got[0][1]["key"]] * 2
    assert "s3cr3t" not in repr(world.record)
