"""The engine against everything that can come in between: crashes, faults, other people, changed minds.

Each rule is one thing that happens; the order is Hypothesis's. What must hold whatever happens is checked
after each, by what is stored and by what was written, never by what the engine believes.

A crash at any await is a crash at a call: between two calls to the cluster nothing that outlives the process
changes, so to die at an await in between is to die before the next call. To be cancelled is another thing, for
the process and what it remembers live on: that is tried at every call as well, where the engine awaits its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api import names
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cluster.fake import Call, FakeCluster
from incident_operator.engine.cycle import Engine
from incident_operator.engine.keys import Key
from incident_operator.engine.settings import EngineSettings
from incident_operator.faults import Conflict, Fault, Waiting
from incident_operator.planning.plan import Ref, Request
from incident_operator.telemetry.metrics import Metrics
from unit.engine.shop import OURS
from unit.planning.machine_world import (
    ADDRESS,
    FORBIDDEN,
    INCIDENT,
    LIVE,
    LOWER,
    NAMESPACE,
    OVER,
    Clock,
    Witness,
    conditions_of,
    follow,
    incident_of,
    is_done,
    ledger,
    status_of,
    world,
)
from unit.planning.somebody import SOMEBODY
from unit.planning.votes import REPORTER

KEY = Key(NAMESPACE, INCIDENT)
METRICS = Metrics()


class DeadError(BaseException):
    """The process is gone: nothing catches this, and nothing is answered any more."""


def step(name: str, action: str, params: dict[str, Any], kind: str = "Deployment", target: str = "api") -> Any:
    return {"name": name, action: params, "targets": [{"kind": kind, "name": target}], "timeout": "60s"}


TERMS = st.fixed_dictionaries(
    {},
    optional={
        "release": st.sampled_from(["OnResolve", "Manual", "Never"]),
        "onFailure": st.sampled_from(["Halt", "Continue", "Release"]),
        "stage": st.just("together"),
        "expiresAfter": st.just("90s"),
    },
)
STEPS = st.lists(
    st.sampled_from(
        [
            step("down", "scale", {"replicas": 0}),
            step("down", "scale", {"replicas": 5}),
            step("cut", "isolate", {"direction": "Both"}, target="web"),
            step("pod", "isolate", {"direction": "Egress"}, "Pod", "api-0"),
            step("undo", "rolloutUndo", {}, target="web"),
            step("again", "rolloutRestart", {}, target="web"),
            step("hold", "suspend", {}, "CronJob", "nightly"),
        ]
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda each: each["name"],
)
CHECK = {"name": "answers", "http": {"service": "web", "port": "http", "path": "/"}, "timeout": "60s"}
RECOVERY: Any = st.sampled_from([None, {"planRef": {"name": "shop"}}])
VERIFICATION = st.sampled_from([[], [{**CHECK, "for": "0s"}], [{**CHECK, "for": "3s"}]])
FAULTS = st.sampled_from([Waiting("ApiUnreachable", "cut off"), Conflict("in between"), FORBIDDEN])
NTH = st.integers(1, 12)
CALLS = st.sampled_from(["call", "write", "target"])
WHEN = st.sampled_from(["before", "after"])


def _at(nth: int, when: str, at: str, act: Callable[[], None]) -> Callable[[Call], None]:
    """Do something at the nth call of a kind."""
    count = 0

    def hook(call: Call) -> None:
        nonlocal count
        is_one = {"call": True, "write": call.is_write, "target": call.is_write and call.ref.kind not in OURS}[at]
        count += call.when == when and is_one
        if count == nth and call.when == when and is_one:
            act()

    return hook


class EngineMachine(RuleBasedStateMachine):
    """One Incident, one engine at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = Clock()
        self.ended = ""
        self.looks = 0
        self.is_dead = False

    @initialize(
        steps=STEPS,
        more=st.lists(TERMS, min_size=3, max_size=3),
        checks=VERIFICATION,
        recovery=RECOVERY,
        autoscaled=st.booleans(),
    )
    def begin(self, steps: list[Any], more: list[Any], checks: list[Any], recovery: Any, autoscaled: bool) -> None:
        spec = {"title": "t", "type": "Outage", "severity": "SEV-2", "mode": "Enforce", "verification": checks}
        spec["reportedBy"] = REPORTER
        spec["targets"] = [{"kind": "Deployment", "name": "api"}]
        spec["containment"] = [{**each, **policy} for each, policy in zip(steps, more, strict=False)]
        spec |= {"recovery": recovery} if recovery else {}
        self.fake: FakeCluster = world(self.clock, spec, autoscaled=autoscaled)
        self.witness = Witness(self.fake)
        self.restart()

    @rule()
    def restart(self) -> None:
        """A new process knows nothing but what is stored."""
        self.engine = Engine(
            self.fake, actions=ACTIONS, checks=CHECKS, settings=EngineSettings(), clock=self.clock, metrics=METRICS
        )

    def run(self, hook: Callable[[Call], None] = lambda _: None) -> None:
        """One look, with the witness at every call."""

        def seen(call: Call) -> None:
            if self.is_dead:
                raise DeadError
            hook(call)
            self.witness.see(call)

        self.looks += 1
        before = {line.id: line for line in ledger(self.fake)}
        is_over, version = status_of(self.fake).get("phase") in OVER, self.version
        was_done = is_done(self.fake, LOWER)
        self.fake.on_call(seen)
        self.runner.run(self._look())
        self.fake.on_call()
        writes = self.witness.writes()
        if is_over:
            self.quiet_at_the_end(writes, version)
        self.witness.released(before)
        self.witness.intended(before)
        self.witness.passed(was_done=was_done)
        self.clock.move(1)

    @property
    def version(self) -> str:
        found = incident_of(self.fake)
        return str(found["metadata"]["resourceVersion"]) if found else ""

    async def _look(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        self.task = asyncio.ensure_future(self.engine.step(KEY))
        with contextlib.suppress(Fault, DeadError, asyncio.CancelledError):
            await self.task
        left = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        for each in left:
            each.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def quiet_at_the_end(self, writes: list[Any], version: str) -> None:
        incident = incident_of(self.fake)
        if incident is None or incident["metadata"].get("deletionTimestamp"):
            return  # what stayed until a person says so goes back now
        assert not writes, f"a finished Incident still writes: {writes}"
        asked = (incident["metadata"].get("annotations") or {}).get(names.REQUESTED_AT, "")
        if self.last_known == (incident["metadata"]["generation"], asked):
            assert incident["metadata"]["resourceVersion"] == version, "a finished Incident was written to again"

    last_known: tuple[int, str] | None = None
    """The generation and the request of the Incident that its status answered before the last look."""

    @rule(times=st.integers(1, 4), follows=st.booleans())
    def look(self, times: int, follows: bool) -> None:
        for _ in range(times):
            if follows:
                follow(self.fake)
            status = status_of(self.fake)
            self.last_known = (status.get("observedGeneration", -1), status.get("lastHandledRequest", ""))
            self.run()

    @rule(nth=NTH, when=WHEN, at=CALLS)
    def crash(self, nth: int, when: str, at: str) -> None:
        """Killed at a call (or a write, or a write to a target), or just after it took effect."""

        def die() -> None:
            self.is_dead = True
            raise DeadError

        self.last_known = None
        self.run(_at(nth, when, at, die))
        self.is_dead = False
        self.restart()

    @rule(nth=NTH, when=WHEN, at=CALLS, remembers=st.booleans())
    def cancelled(self, nth: int, when: str, at: str, remembers: bool) -> None:
        """The look is cancelled at a call, as when the office is lost; the same process may look again later."""
        self.last_known = None
        self.run(_at(nth, when, at, lambda: self.task.cancel() and None))
        if not remembers:
            self.restart()

    @rule(nth=NTH, when=WHEN, at=CALLS, fault=FAULTS)
    def break_down(self, nth: int, when: str, at: str, fault: Fault) -> None:
        """One call fails; where it fails after it took effect, nobody can know."""

        def fail() -> None:
            raise fault if when == "before" else Waiting("ApiUnreachable", "no answer")

        self.last_known = None
        self.run(_at(nth, when, at, fail))

    @rule(who=st.sampled_from(SOMEBODY))
    def somebody(self, who: Callable[[FakeCluster, Clock], list[tuple[str, str]]]) -> None:
        """Other people, and controllers that know nothing of Incidents, write to the same objects."""
        before = dict(self.fake.objects)
        for kind, name in who(self.fake, self.clock):
            self.witness.foreign((kind, name), before.get((kind, NAMESPACE, name)))

    @rule(answer=st.sampled_from([(200, 1), (503, 1), None]), reachable=st.booleans())
    def the_network_changes(self, answer: tuple[int, int] | None, reachable: bool) -> None:
        unseen = Waiting("ServiceUnreachable", "no endpoints")
        self.fake.network.answers[NAMESPACE, "web"] = answer or unseen
        self.fake.network.reachable = {ADDRESS} if reachable else set()

    @rule(seconds=st.sampled_from([5, 30, 100, 200]))
    def time_passes(self, seconds: int) -> None:
        self.clock.move(seconds)

    @precondition(lambda self: incident_of(self.fake) is not None)
    @rule(
        what=st.sampled_from(
            ["again", "suspend", "go on", "replicas 0", "replicas 1", "replicas 5", "Observe", "Enforce"]
        )
    )
    def asked(self, what: str) -> None:
        """The one who made the Incident wants something else."""
        stamp = f"{self.clock.now:%Y-%m-%dT%H:%M:%SZ}"

        def change(thing: Any) -> None:
            word, _, number = what.partition(" ")
            if word == "again":
                thing["metadata"].setdefault("annotations", {})[names.REQUESTED_AT] = stamp
            elif word in ("Observe", "Enforce"):
                thing["spec"]["mode"] = word
            elif word == "replicas":
                for each in thing["spec"]["containment"]:
                    if "scale" in each:
                        each["scale"] = {"replicas": int(number)}
            else:
                thing["spec"]["suspend"] = word == "suspend"

        self._edit(change)

    @precondition(lambda self: self.looks > 5 and not self.ended and incident_of(self.fake) is not None)
    @rule(how=st.sampled_from(["release", "cancel", "delete"]))
    def asked_to_end(self, how: str) -> None:
        self.ended = how
        if how == "delete":
            self.deleted()
        else:
            self._edit(lambda thing: thing["spec"].update({how: True}))

    def _edit(self, change: Callable[[Any], None]) -> None:
        self.fake.edit("Incident", NAMESPACE, INCIDENT, change)

    def deleted(self) -> None:
        found = incident_of(self.fake)
        assert found is not None
        ref = Ref("Incident", INCIDENT, NAMESPACE, found["metadata"]["uid"])
        self.runner.run(self.fake.send(Request("delete", ref)))

    @invariant()
    def nothing_is_wrong_with_any_write(self) -> None:
        if hasattr(self, "witness"):
            assert not self.witness.wrong, "\n".join(self.witness.wrong)

    @invariant()
    def it_is_never_reconciling_and_stalled(self) -> None:
        if hasattr(self, "fake"):
            assert not {"Reconciling", "Stalled"} <= conditions_of(self.fake).keys()

    @invariant()
    def it_is_never_resolved_on_what_is_not_known(self) -> None:
        if not hasattr(self, "fake") or self.ended == "release":
            return
        if conditions_of(self.fake).get("Ready") == ("True", "Resolved"):
            found, status = incident_of(self.fake), status_of(self.fake)
            assert found is not None
            said = [(each["verdict"], each["passed"]) for each in status.get("verification", ())]
            assert said == [("Pass", True)] * len(found["spec"]["verification"]), said

    @invariant()
    def what_is_over_holds_nothing_that_was_to_go_back(self) -> None:
        if hasattr(self, "fake") and status_of(self.fake).get("phase") in OVER:
            held = [line for line in ledger(self.fake) if line.state in LIVE and line.release == "OnResolve"]
            assert not held, f"over, and still held: {held}"

    def teardown(self) -> None:
        """Left in peace and deleted, every Incident comes to its end, and leaves nothing of its own."""
        try:
            if hasattr(self, "fake"):
                self.left_in_peace()
        finally:
            self.runner.close()

    def left_in_peace(self) -> None:
        if incident_of(self.fake) is not None:
            self.deleted()
        for _ in range(12):
            self.last_known = None
            self.run()
            self.clock.move(60)
        self.nothing_is_wrong_with_any_write()
        assert incident_of(self.fake) is None, f"deleted, and still there: {conditions_of(self.fake)}"


FEW = settings(
    max_examples=200, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


class TestEngine(EngineMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(FEW, derandomize=True, database=None)
    """The same ones each time, as long as the code that is loaded is the same (Hypothesis draws its constants, too), so
    that a change is what makes it fail; the long one looks elsewhere each night."""


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestEngineLong(EngineMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(FEW, max_examples=3000, stateful_step_count=50)
