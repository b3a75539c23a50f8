"""The course of an outage, which is the same for all: struck, declared, followed, proved."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, Self

from incident_operator.demo.outages.readiness import Readiness
from incident_operator.demo.outages.shop import Shop, Thing
from incident_operator.demo.outages.watching import follow, stamp, tiers_of
from incident_operator.demo.rows import Loss
from incident_operator.demo.view import Status
from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for

TIERS = {"database": "db", "api": "api", "bot": "bot", "frontend": "frontend", "auxiliary": "exporter"}
"""The tiers in the order they come back, and the part of the application that tells when each is ready."""
MOST_SECONDS = 300.0
MORE_ROWS = 20
"""So many rows are written before anything may be said of a span of time."""
say_aloud = functools.partial(print, flush=True)


class Operator(Protocol):
    """The process that is at work, as far as an outage needs it."""

    def kill(self) -> None:
        """End it as a node that dies does: no goodbye."""
        ...

    def start(self) -> None:
        """Start it again, or see another one do so."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """Rows that were acknowledged in a span of time, and what must have become of all of them."""

    name: str
    start: float
    end: float
    fate: Literal["kept", "lost"] = "kept"

    def check(self, loss: Loss) -> None:
        """LabError where they are not all there, or all lost; and where there are none, as that proves nothing."""
        wanted = 0 if self.fate == "kept" else loss.acknowledged
        if not loss.acknowledged or len(loss.missing) != wanted:
            raise LabError(f"{self.name}: {loss}; all of them were to be {self.fate}, and some written")


class Outage:
    """One outage of the application; each kind says how it strikes and what must have become of the rows."""

    title: ClassVar[str]
    plan: ClassVar[str] = "recovery-plan.yaml"
    """The file of examples/outage that is applied with the Incident; empty: labels alone."""
    spec: Mapping[str, Any] = {}
    """What the Incident says besides, or instead of, ``examples/incidents/outage.yaml``."""

    def __init__(self, shop: Shop, operator: Operator, *, say: Callable[[str], None] = say_aloud) -> None:
        """Take an application that is well, and the operator; ``say`` is told the story."""
        self.shop, self.operator, self.say = shop, operator, say
        self.incident: Status = {}
        self.spans: list[Span] = []
        self.losses: dict[str, Loss] = {}

    def strike(self) -> None:
        """Cause it, and tell in ``spans`` what must become of which rows."""
        raise NotImplementedError

    def meanwhile(self, incident: Status) -> bool:  # noqa: ARG002 - for those that do something
        """Called on each look at the Incident; whether a halt is part of the play."""
        return False

    def proves(self) -> None:
        """What else must be so in the end; LabError where it is not."""

    def __enter__(self) -> Self:
        self.api = self.shop.api()
        self.rows = self.shop.rows()
        self.readiness = Readiness(self.shop.api(), self.shop.namespace)
        return self

    def __exit__(self, *_: object) -> None:
        self.rows.close()
        self.readiness.close()
        self.api.close()

    def play(self) -> None:
        """All of it; LabError where something is not as it must be."""
        self.shop("delete", "incidents.incident-operator.dev", "--all", "--timeout=60s")
        self.await_word("normal", 60)
        self.replicas = self.shop.deployments("spec.replicas")
        self.say(f"\n4. {self.title}. A client writes numbered rows all the while")
        self.strike()
        self.say(f"   the clients see {self.rows.lately()}")
        self.declare()
        self.incident = follow(self.look, self.meanwhile, self._beside, self.say, seconds=MOST_SECONDS)
        self.prove()

    def declare(self) -> None:
        """Apply the plan and the Incident."""
        plans = self.plans()
        files = " ".join(f"-f examples/{each}" for each in (*self._plan_files(), "incidents/outage.yaml"))
        more = f"   with spec {json.dumps(self.spec)}" if self.spec else ""
        self.say(f"\n5. $ kubectl apply {files}{more}")
        incident: Thing = self.shop.manifests("incidents/outage.yaml")[0]
        incident["spec"] |= self.spec
        self.shop.apply(*plans, incident)

    def plans(self) -> list[Thing]:
        """The objects of the plan's file."""
        return self.shop.manifests(*self._plan_files())

    def _plan_files(self) -> tuple[str, ...]:
        return (f"outage/{self.plan}",) if self.plan else ()

    def look(self) -> Status:
        """The Incident as it is now."""
        return self.api.object(self.shop.incident_path()) or {}

    def _beside(self) -> tuple[str, str]:
        return self.rows.word(), self.rows.lately()

    def await_word(self, word: str, seconds: float) -> None:
        """Wait until clients see that, for a whole second."""
        wait_for(lambda: self.rows.word() == word, seconds, f"clients to see {word}")

    def writes(self, count: int = MORE_ROWS) -> float:
        """Wait until so many more rows are acknowledged; when that was."""
        begun = time.time()
        wait_for(lambda: len(self.rows.acknowledged(begun)) >= count, 60, f"{count} acknowledged rows")
        return time.time()

    def contained(self) -> float:
        """When nothing wrote any more, in whole seconds, upwards: from then on what is acknowledged must be kept.

        The containment was done, or, where the Incident has none, the load was off the database.
        """
        steps = self.incident["status"]["plan"]["steps"]
        names = {each["name"] for each in steps if each["phase"] == "Containment"}
        return (self._done(names) if names else self._stopped()) + 1

    def _stopped(self) -> float:
        """When the last of the tiers that are stopped had been."""
        steps = self.incident["status"]["plan"]["steps"]
        stops = (each["name"] for each in steps if each.get("tier") and each["name"].startswith(("stop-", "suspend-")))
        return self._done(set(stops))

    def _done(self, names: set[str]) -> float:
        return max(stamp(step_of(self.incident, name)["finishedAt"]) for name in names)

    def prove(self) -> None:
        """Print the proof; LabError where it does not hold."""
        if self.incident["status"]["phase"] != "Resolved":
            raise LabError(f"the Incident is {self.incident['status']['phase']}, not Resolved")
        begun = time.time()
        wait_for(lambda: len(self.rows.acknowledged(begun)) >= MORE_ROWS, 60, "clients to be served again")
        self.await_word("normal", 30)
        self.say("\n   PROOF")
        order = self._order()
        self.say(f"   first ready              {' -> '.join(order)}, each after the gates of the one below")
        course = [word for _, word in self.rows.course()]
        self.say(f"   clients saw              {' -> '.join(course)}; now {self.rows.lately()}")
        contained = self.contained()
        for span in (*self.spans, Span("since containment", contained, time.time())):
            loss = self.losses[span.name] = self.rows.loss(span.start, span.end)
            self.say(f"   {span.name:<24} {loss}")
            span.check(loss)
        self.losses["in all"] = self.rows.loss(0, contained)
        self.say(f"   before containment       {self.losses['in all']}, in all")
        if "errors" not in course:
            raise LabError(f"the clients saw {' -> '.join(course)}: there was no outage")
        now = self.shop.deployments("spec.replicas")
        if now != self.replicas:
            raise LabError(f"there were {self.replicas}, and there are {now}")
        self.proves()

    def _order(self) -> list[str]:
        """The tiers by when they were first ready, each Up and begun after the one below; LabError if they were not."""
        tiers = tiers_of(self.incident)
        if [(each["name"], each["phase"]) for each in tiers] != [(name, "Up") for name in TIERS]:
            raise LabError(f"the tiers are {tiers}")
        stopped = self._stopped()
        ready = {name: self.readiness.first(part, stopped) for name, part in TIERS.items()}
        first = next(iter(TIERS))
        ready[first] = ready[first] or stamp(tiers[0]["finishedAt"])  # it need not have been down
        missing = [name for name, at in ready.items() if at is None]
        if missing:
            raise LabError(f"nobody saw a pod of {', '.join(missing)} become ready")
        for below, above in itertools.pairwise(tiers):
            if (ready[above["name"]] or 0) < stamp(below["finishedAt"]):
                raise LabError(f"{above['name']} was ready before {below['name']} was back")
        order = sorted(ready, key=lambda name: ready[name] or 0)
        if order != list(TIERS):
            raise LabError(f"the tiers were ready in another order: {', '.join(order)}")
        return order


def step_of(incident: Status, name: str) -> Status:
    """How far one step of an Incident is; empty if it has none of that name."""
    steps = incident.get("status", {}).get("steps", ())
    return next((each for each in steps if each["name"] == name), {})
