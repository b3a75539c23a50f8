"""Recipe R12: the engine's clock is wrong, jumps, or lives in another zone; the API server's is right."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine.cycle import Engine
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings
from incident_operator.faults import Stalled, Waiting
from incident_operator.planning.plan import Ref, Request
from incident_operator.telemetry.metrics import Metrics
from unit.actions.objects import Object, pod, revision, workload

KEY = Key("shop", "slow")
BEGUN = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
HOUR, DAY, YEAR = (timedelta(hours=1), timedelta(days=1), timedelta(days=365))
NONE = {"name": "none", "scale": {"replicas": 0}, "timeout": "60s"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NEGATIVE = re.compile(r"^incident_operator_\S+ -", re.MULTILINE)
MERGE = "application/merge-patch+json"


@dataclasses.dataclass
class World:
    """One Deployment, one Incident, and two clocks: the API server's, and the engine's, which may be off."""

    spec: Mapping[str, Any]
    policy: Mapping[str, Any] | None = None
    now: datetime = BEGUN
    off: timedelta = timedelta(0)
    metrics: Metrics = dataclasses.field(default_factory=Metrics)
    delays: list[timedelta] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.fake = FakeCluster(clock=lambda: self.now)
        api = workload("Deployment", "api", version="2", replicas=3)
        self.fake.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        self.fake.put(api, revision(api, 2), *(pod(api, f"api-{each}", 2) for each in range(3)))
        given = {"title": "t", "type": "Outage", "severity": "SEV-2", "mode": "Enforce", **self.spec}
        given.setdefault("targets", [{"kind": "Deployment", "name": "api"}])
        meta = {"name": "slow", "namespace": "shop", "creationTimestamp": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}
        self.fake.put({"apiVersion": names.API_VERSION, "kind": "Incident", "metadata": meta, "spec": given})
        if self.policy is not None:
            meta = {"name": "windows"}
            self.fake.put(
                {"apiVersion": names.API_VERSION, "kind": "ResponsePolicy", "metadata": meta, "spec": self.policy}
            )
        self.restart()

    def restart(self) -> None:
        """A new process knows only what is stored."""
        self.engine = Engine(
            self.fake,
            actions=ACTIONS,
            checks=CHECKS,
            settings=EngineSettings(),
            clock=lambda: self.now + self.off,
            metrics=self.metrics,
        )

    async def look(self, times: int = 1, *, follows: bool = True) -> None:
        """So many looks, a second apart; what the controllers do in between, if they do."""
        for _ in range(times):
            try:
                await self.engine.step(KEY)
            except Waiting as fault:
                self.delays.append(fault.delay)
            if follows:
                self.follow()
            self.now += timedelta(seconds=1)

    def follow(self) -> None:
        key = ("Deployment", "shop", "api")
        wanted = self.fake.objects[key]["spec"]["replicas"]
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), wanted)
        seen = {"observedGeneration": self.fake.objects[key]["metadata"]["generation"], **counts}
        self.fake.edit(*key, lambda thing: thing.__setitem__("status", seen))
        there = sorted(name for kind, _, name in self.fake.objects if kind == "Pod")
        for extra in there[wanted:]:
            self.fake.take("Pod", "shop", extra)
        self.fake.put(*(pod(self.fake.objects[key], f"api-n{each}", 2) for each in range(wanted - len(there))))

    async def change(self, **spec: Any) -> None:
        await self.fake.send(Request("patch", self.ref, {"spec": spec}, MERGE))

    @property
    def ref(self) -> Ref:
        return Ref("Incident", "slow", "shop", self.incident["metadata"]["uid"])

    @property
    def incident(self) -> Object:
        return self.fake.at("Incident", "slow")

    @property
    def replicas(self) -> int:
        found: int = self.fake.at("Deployment", "api")["spec"]["replicas"]
        return found

    @property
    def ready(self) -> str:
        found: list[Any] = self.incident.get("status", {}).get("conditions", [])
        return next((each["reason"] for each in found if each["type"] == "Ready"), "")

    def is_sound(self) -> None:
        """Every time in status is one in UTC, and no metric and no wait is negative."""
        assert all(delay >= timedelta(0) for delay in self.delays), self.delays
        text = self.metrics.exposition().decode()
        assert not NEGATIVE.search(text), NEGATIVE.findall(text)
        for at in times(self.incident.get("status") or {}):
            assert STAMP.fullmatch(at), at


def times(thing: Any, name: str = "") -> Iterator[str]:
    """What the fields of a status hold that are times."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield from times(value, "At" if name == "timers" else key)
    elif isinstance(thing, list):
        for each in thing:
            yield from times(each)
    elif isinstance(thing, str) and thing and re.fullmatch(r"at|.*At|lastTransitionTime|since", name):
        yield thing


OFFS = [-YEAR, -2 * HOUR, timedelta(seconds=-90), timedelta(0), timedelta(seconds=90), 2 * HOUR, YEAR]


@pytest.mark.parametrize("off", OFFS, ids=str)
async def test_a_clock_that_is_off_changes_nothing_about_what_is_done(off: timedelta) -> None:
    world = World({"containment": [NONE]}, off=off)
    await world.look(8)
    assert (world.ready, world.replicas) == ("Contained", 0)
    await world.change(release=True)
    await world.look(4)
    assert (world.ready, world.replicas) == ("Resolved", 3)
    world.is_sound()


@pytest.mark.parametrize("off", OFFS, ids=str)
async def test_a_clock_that_is_off_neither_hurries_nor_delays_a_verification(off: timedelta) -> None:
    check = {"name": "up", "podsReady": {}, "for": "10s", "timeout": "60s"}
    world = World({"containment": [{**NONE, "scale": {"replicas": 2}}], "verification": [check]}, off=off)
    await world.look(9)
    assert world.ready == "Progressing", "the window is not over"
    await world.look(12)
    assert world.ready == "Resolved"
    world.is_sound()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Kiritimati", "Pacific/Niue"])
async def test_the_zone_of_the_machine_is_nobodys_business(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        world = World({"containment": [NONE], "expiresAfter": "30s"})
        await world.look(8)
        assert world.ready == "Contained"
        world.now += timedelta(seconds=10)
        await world.look(2)
        assert world.replicas == 0, "not over yet"
        world.now += timedelta(seconds=30)
        await world.look(3)
        assert world.replicas == 3
        world.is_sound()
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("2026-11-23T23:00:00+14:00", "2026-11-24T00:01:00+14:00"),
        ("2026-11-22T22:00:00-12:00", "2026-11-22T22:01:00-12:00"),
        ("2026-11-23T10:00:00Z", "2026-11-23T15:31:00+05:30"),
    ],
)
async def test_a_window_in_another_zone_opens_and_closes_when_it_says(start: str, end: str) -> None:
    window = {"name": "quiet", "start": start, "end": end}
    world = World({"containment": [NONE]}, {"namespaceSelector": {}, "freezeWindows": [window]})
    await world.look(3)
    assert (world.ready, world.replicas) == ("AwaitingApproval", 3)
    world.now = BEGUN + timedelta(seconds=59)
    await world.look(1)
    assert world.replicas == 3
    world.now = BEGUN + timedelta(seconds=61)
    await world.look(8)
    assert (world.ready, world.replicas) == ("Contained", 0)
    world.is_sound()


@pytest.mark.parametrize(
    ("before", "after", "opens", "closes"),
    [
        ("2026-03-29T00:30:00Z", "2026-03-29T02:00:00Z", "01:00", "04:00"),
        ("2026-10-25T00:30:00Z", "2026-10-25T03:30:00Z", "01:00", "04:00"),
    ],
    ids=["spring forward", "fall back"],
)
async def test_a_weekly_window_survives_the_change_of_summer_time(
    before: str, after: str, opens: str, closes: str
) -> None:
    window = {"name": "night", "days": ["Sunday"], "opens": opens, "closes": closes, "timeZone": "Europe/Berlin"}
    policy = {"namespaceSelector": {}, "freezeWindows": [window]}
    world = World({"containment": [NONE]}, policy, now=datetime.fromisoformat(before))
    await world.look(3)
    assert (world.ready, world.replicas) == ("AwaitingApproval", 3)
    world.now = datetime.fromisoformat(after)
    await world.look(8)
    assert (world.ready, world.replicas) == ("Contained", 0)


async def test_an_expiry_that_passed_while_nobody_looked_is_made_up_for_once() -> None:
    world = World({"containment": [NONE], "expiresAfter": "1h"})
    await world.look(8)
    assert world.replicas == 0
    world.now += YEAR
    world.restart()
    await world.look(3)
    assert (world.ready, world.replicas) == ("Expired", 3)
    writes = len(world.fake.journal)
    await world.look(5)
    assert len(world.fake.journal) == writes
    world.is_sound()


async def test_a_deadline_that_passed_while_nobody_looked_is_no_failure_if_the_world_got_there() -> None:
    world = World({"containment": [NONE]})
    await world.look(1, follows=False)
    assert world.replicas == 0
    world.now += DAY
    world.follow()
    world.restart()
    await world.look(3)
    assert world.ready == "Contained"
    world.is_sound()


async def test_a_deadline_that_passed_while_nobody_looked_is_one_if_the_world_did_not() -> None:
    world = World({"containment": [NONE]})
    await world.look(1, follows=False)
    world.now += DAY
    world.restart()
    await world.look(3, follows=False)
    assert world.ready == "TimedOut"
    world.is_sound()


async def test_a_deletion_of_long_ago_that_cannot_be_put_back_is_let_go_at_once() -> None:
    world = World({"containment": [NONE]})
    await world.look(8)
    await world.fake.send(Request("delete", world.ref))
    world.now += DAY
    world.restart()
    refusal = Stalled("Forbidden", "the responder has no rights any more")
    world.fake.fail(refusal, lasting=True, of=lambda call: call.ref.kind == "Deployment")
    await world.look(2)
    assert ("Incident", "shop", "slow") not in world.fake.objects
    events = [each for key, each in world.fake.objects.items() if key[0] == "Event"]
    assert any(each["reason"] == "ReleaseAbandoned" for each in events), "and it is said"


@pytest.mark.parametrize("back", [timedelta(seconds=5), HOUR, YEAR], ids=str)
async def test_a_clock_that_jumps_back_releases_nothing_early(back: timedelta) -> None:
    world = World({"containment": [NONE], "expiresAfter": "10m"})
    await world.look(8)
    world.off = -back
    for minute in range(9):
        world.now = BEGUN + timedelta(minutes=minute, seconds=30)
        await world.look(2)
        assert world.replicas == 0, f"released after {minute} minutes"
    world.restart()
    await world.look(2)
    assert world.replicas == 0
    world.off = timedelta(0)
    world.now = BEGUN + timedelta(minutes=11)
    await world.look(3)
    assert (world.ready, world.replicas) == ("Expired", 3)
    world.is_sound()


async def test_a_clock_that_jumps_back_before_anything_is_done_breaks_nothing() -> None:
    world = World({"containment": [NONE]}, off=-2 * YEAR)
    await world.look(1)
    world.off = timedelta(0)
    await world.look(2)
    world.off = -HOUR
    await world.look(6)
    assert (world.ready, world.replicas) == ("Contained", 0)
    await world.change(cancel=True)
    world.off = -DAY
    await world.look(4)
    assert (world.ready, world.replicas) == ("Cancelled", 3)
    world.is_sound()


@pytest.mark.parametrize("jump", [-HOUR, timedelta(seconds=-7)], ids=str)
async def test_a_clock_that_jumps_back_never_shortens_a_window(jump: timedelta) -> None:
    check = {"name": "up", "podsReady": {}, "for": "20s", "timeout": "60s"}
    world = World({"containment": [{**NONE, "scale": {"replicas": 2}}], "verification": [check]})
    await world.look(8)
    assert world.ready == "Progressing"
    world.off = jump
    await world.look(10)
    assert world.ready == "Progressing", "18 s are not 20 s"
    world.off = timedelta(0)
    await world.look(22)
    assert world.ready == "Resolved"
    world.is_sound()


async def test_a_cooldown_counts_from_the_last_change_whatever_the_clock_did_since() -> None:
    world = World({"containment": [NONE]}, {"namespaceSelector": {}, "cooldown": "10m"})
    await world.look(8)
    await world.change(release=True)
    await world.look(3)
    assert world.ready == "Resolved"
    spec = {**world.incident["spec"], "release": False}
    second = {"apiVersion": names.API_VERSION, "kind": "Incident", "spec": spec}
    world.fake.put({**second, "metadata": {"name": "next", "namespace": "shop"}})
    world.off = -HOUR
    for _ in range(3):
        await world.engine.step(Key("shop", "next"))
    assert world.replicas == 3, "it still cools down"
    world.off = timedelta(minutes=11)
    for _ in range(3):
        await world.engine.step(Key("shop", "next"))
        world.follow()
    assert world.replicas == 0


async def test_what_expires_before_the_next_step_has_begun_is_not_the_end_of_the_incident() -> None:
    world = World({"containment": [{**NONE, "expiresAfter": "3s"}, {"name": "long", "isolate": {}}]})
    await world.look(1, follows=False)
    world.now += timedelta(seconds=10)
    await world.look(8)
    assert world.ready != "Expired"
    assert world.replicas == 3
    assert [kind for kind, _, _ in world.fake.objects if kind == "NetworkPolicy"] == ["NetworkPolicy"]
    world.is_sound()


async def test_what_was_put_back_is_not_done_again_where_the_end_could_not_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An Incident is given a time when it is contained: its plan is made anew, and the next look puts it back."""
    world = World({"containment": [NONE]})
    await world.look(8)
    assert world.replicas == 0
    await world.change(expiresAfter="1s")
    world.now += timedelta(minutes=1)
    write, lost = world.fake.patch_status, []

    async def once_lost(*args: Any, **more: Any) -> Any:
        if world.replicas and not lost:
            lost.append(world.replicas)
            raise Waiting("ApiServerError", "could not patch the status: 503")
        return await write(*args, **more)

    monkeypatch.setattr(world.fake, "patch_status", once_lost)
    await world.look(2)
    assert (lost, world.replicas) == ([3], 3)
    for _ in range(4):
        await world.look(1)
        assert world.replicas == 3, "scaled down once more, after it was put back"
    assert world.ready == "Expired"
