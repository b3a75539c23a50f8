"""A lane: an operator behind a proxy, in a namespace of its own; its runs follow one another."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from faults.access import Access, Api
from faults.audit import AuditLog, Effects, Write, effects, gaps, masker, unannounced
from faults.forked import ForkedOperator
from faults.proxy import FaultProxy
from faults.rules import Rule, Seen
from faults.scenarios import LOOK, Scenario, is_followed, is_stalled, ready_reason, tidy
from faults.world import World, differences, snapshot
from incident_operator.engine.fresh import MOST_SECONDS
from incident_operator.engine.unchanged import RULES
from tests_support.cluster import Kubectl, Namespace
from tests_support.waiting import eventually, seconds_starved

REQUESTED_AT = "incident-operator.dev/requested-at"
UNASKED = "AwaitingApproval"
"""Where it is not held so far, a fault kept the blast radius from being known: a person would ask again."""
OPTIONS = ("--resync", "2s", "--verified-after", "10m")
FOLLOWED = 60.0
"""Seconds that the cluster's own controllers, or the whole machine, may be behind."""
KEPT_LISTS = frozenset(f"list {kind}" for rule in RULES for kind in rule.resources)
"""The lists that the operator shares among all who plan, and may watch."""
AFTER = 5.0
"""Seconds that a run has after they have caught up."""
WITHIN = 25.0
"""Seconds that a run may take beyond what its fault itself delays."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one run came to."""

    world: World
    effects: Effects
    unannounced: Sequence[str]
    requests: Sequence[Seen]
    restarts: int
    asked_again: int
    """How often it was Halted, and a person had to ask for another try."""
    seconds: float
    """How long it took, but for the time in which there was no process."""
    gaps: Sequence[str] = ()
    """Where an isolation that was in force was away."""
    trouble: str = ""
    """Why it did not come to its end, or that the operator died by itself."""

    def differs_from(self, reference: Outcome) -> list[str]:
        """Everything that is not as it is without a fault."""
        found = [self.trouble] if self.trouble else []
        found += differences(reference.world, self.world)
        for what in sorted(reference.effects.keys() | self.effects.keys()):
            is_so, ought = self.effects.get(what, 0), reference.effects.get(what, 0)
            if is_so != ought:
                found.append(f"effects: {what} was done {is_so} times instead of {ought}")
        found += [f"isolation: {each}" for each in self.gaps]
        return found + [f"not announced in status before: {each}" for each in self.unannounced]


class Lane:
    """One operator, its proxy and its namespace."""

    def __init__(
        self, name: str, kubectl: Kubectl, access: Access, audit: Path, folder: Path, *more: str, namespace: str = ""
    ) -> None:
        """Start all of it; ``more`` are options for the operator."""
        self.folder = folder / name
        self.folder.mkdir()
        self._made = Namespace.create(kubectl) if not namespace else None
        self.namespace = Namespace(namespace, kubectl) if namespace else self._made or Namespace("", kubectl)
        if self._made is not None:
            self._made.responder()
        self.api = Api(access, self.namespace.name)
        self.audit = AuditLog(audit)
        self.agent = f"faults-{name}-{self.namespace.name}"
        self.proxy = FaultProxy(access, self.agent, on_kill=self.kill)
        self.proxy.start()
        kubeconfig = self.proxy.kubeconfig(self.folder / "kubeconfig")
        self.log = self.folder / "operator.log"
        self.operator = ForkedOperator(kubeconfig, self.namespace.name, self.log, *OPTIONS, *more)
        self.operator.start()
        self._closed = False
        self._runs = 0

    def kill(self) -> None:
        """SIGKILL, from the proxy's thread: nobody waits for it there."""
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the operator as kubelet does, and take away the rest; once."""
        if self._closed:
            return
        self._closed = True
        self.operator.stop()
        self.proxy.stop()
        self.api.close()
        self.audit.close()
        if self._made is not None:
            self._made.delete()

    @property
    def is_up(self) -> bool:
        return self.operator.process is not None and self.operator.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.operator.process is not None
        return self.operator.process.pid

    def revive(self) -> bool:
        """Start the operator again if it is dead; whether it was."""
        if self.is_up:
            return False
        assert self.operator.process is not None
        self.operator.process.wait(10)
        self.operator.start()
        return True

    def name(self, scenario: Scenario) -> str:
        self._runs += 1
        return f"{scenario.name}{self._runs}"

    @contextlib.contextmanager
    def prepared(self, scenario: Scenario, *, cold: bool = False) -> Iterator[str]:
        """The world of a scenario, and its removal; what happened before counts no longer."""
        run = self.name(scenario)
        if cold:
            self.operator.stop()
        self.revive()
        scenario.prepare(self.api, run)
        eventually(lambda: self.proxy.is_watched("/incidents"), within=20, what="the operator's watch", every=LOOK)
        self.read_lists_anew()
        self.proxy.forget()
        self.audit.begin()
        try:
            yield run
        finally:
            self.proxy.clear()
            self.remove(run)

    def read_lists_anew(self) -> None:
        """Let no list be used that is older than now: which one would be hangs on what was before.

        One that is watched is not read again, so the watches of lists are cut; and one that took long to read, as on a
        busy machine, is kept for so many seconds that what has just been made would not be seen.
        """
        now = time.monotonic()

        def is_over() -> bool:
            since = time.monotonic() - MOST_SECONDS
            return not self.proxy.cut_list_watches() and not [
                each for each in self.proxy.seen if since < each.at < now and each.kind in KEPT_LISTS
            ]

        eventually(is_over, within=5, what="lists that are read anew", every=LOOK)

    def remove(self, run: str) -> None:
        """Delete the Incident, which puts back what is left of it, and all else."""
        if self.api.get("incidents", run) is not None:
            self.revive()
            self.api.delete("incidents", run)
            with contextlib.suppress(AssertionError):  # said by the run already, if it is so
                eventually(lambda: self.api.get("incidents", run) is None, within=20, what="its end", every=LOOK)
        self.api.merge("incidents", run, {"metadata": {"finalizers": []}})
        tidy(self.api, run)
        for policy in self.api.list("networkpolicies"):
            self.api.delete("networkpolicies", policy["metadata"]["name"])

    def run(self, scenario: Scenario, *rules: Rule, cold: bool = False, within: float = WITHIN) -> Outcome:
        """One scenario from its beginning to its end, with these rules in force; ``cold``: by a new process."""
        with self.prepared(scenario, cold=cold) as run:
            self.proxy.add(*rules)
            begun = time.monotonic()
            course = Course(self, scenario, run)
            trouble = course.to_the_end(begun + within + sum(rule.delay for rule in rules))
            seconds, requests = time.monotonic() - begun - course.seconds_dead, list(self.proxy.seen)
            self.proxy.clear()
            world, writes = self.settled_world(run), self.writes()
            return Outcome(
                world,
                effects(writes, masker(run)),
                unannounced(writes),
                requests,
                course.restarts,
                course.asked_again,
                seconds,
                gaps(self.audit.writes(self.namespace.name), frozenset({self.agent})),
                trouble,
            )

    def settled_world(self, run: str) -> World:
        """The world once it stands still: controllers follow a moment later."""
        last: World = {}

        def look() -> World:
            nonlocal last
            before, last = last, snapshot(self.api, run)
            return last if last == before else {}

        return eventually(look, within=10, what=f"the world of {run} to stand still", every=LOOK)

    def writes(self) -> list[Write]:
        """What this lane's operator wrote in its namespace, as the API server tells it, once it has told all."""

        def missing() -> set[str]:
            return set(self.proxy.audit_ids) - {each.audit_id for each in self.audit.writes(self.namespace.name)}

        with contextlib.suppress(AssertionError):  # an API server that was killed has not written down its last ones
            eventually(lambda: not missing(), within=5, what="the audit log to be complete", every=LOOK)
        return [each for each in self.audit.writes(self.namespace.name) if each.agent == self.agent]


class Course:
    """Leads one run to its end, as a person would and as kubelet would."""

    def __init__(self, lane: Lane, scenario: Scenario, run: str, *, is_applied: bool = False) -> None:
        """Begin with the Incident's creation, unless it is there already."""
        self.begun = time.monotonic()
        self._lane, self._scenario, self._run = lane, scenario, run
        self._finished = not scenario.held
        self.restarts = self.asked_again = 0
        self.seconds_dead = 0.0
        self._asked_for: set[str] = set()
        if not is_applied:
            scenario.apply(lane.api, run)

    def to_the_end(self, deadline: float) -> str:
        """Look until it is over; why it is not, if time is up.

        While a process comes up the time stands still, and while the cluster's own controllers have not done yet what
        their objects ask for: on a busy machine they may need longer than the operator is given. Seconds in which
        somebody waited for a CPU are nobody's fault, and count only when there are too many of them.
        """
        latest = deadline + FOLLOWED
        starved = seconds_starved()
        while True:
            dead_since = time.monotonic()
            if self._lane.revive():
                self.restarts += 1
                self.seconds_dead += time.monotonic() - dead_since
                deadline += time.monotonic() - dead_since
            found = self._lane.api.get("incidents", self._run)
            if self._finished and self._scenario.is_over(found):
                return self._after()
            self._go_on(found)
            before, starved = starved, seconds_starved()
            deadline = max(deadline, min(deadline + starved - before, latest))
            if deadline < time.monotonic() < latest and not is_followed(self._lane.api):
                deadline = time.monotonic() + AFTER
            if time.monotonic() > deadline:
                status = json.dumps((found or {}).get("status"), sort_keys=True)
                return f"not over in time, Ready is {ready_reason(found) or 'not said'}: {status[:600]}"
            time.sleep(LOOK)

    def _after(self) -> str:
        """A process that was killed with the last answer is followed by another."""
        if self._lane.revive():
            self.restarts += 1
        return ""

    def _go_on(self, found: Any) -> None:
        """Release it when it is held; ask for another try where it is halted by the fault."""
        if found is None:
            return
        if not self._finished and self._scenario.is_held(found):
            self._finished = True
            self._scenario.finish(self._lane.api, self._run)
        elif (is_stalled(found) or ready_reason(found) == UNASKED) and not self._scenario.is_held(found):
            stamp = next(
                each["lastTransitionTime"] for each in found["status"]["conditions"] if each["type"] == "Ready"
            )
            reason = f"{ready_reason(found)} {stamp} {len(found['status'].get('timeline', ()))}"
            if reason not in self._asked_for:
                self._asked_for.add(reason)
                self.asked_again += 1
                mark = {REQUESTED_AT: f"{time.time()}"}
                self._lane.api.merge("incidents", self._run, {"metadata": {"annotations": mark}})
