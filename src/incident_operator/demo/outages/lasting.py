"""Outages after which the database is as it was: a failover to its replica, and those that it lives through."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

from incident_operator.demo.outages.course import Outage, Span, step_of
from incident_operator.demo.outages.restoring import DESTROY
from incident_operator.demo.outages.shop import INCIDENT
from incident_operator.demo.outages.watching import tiers_of
from incident_operator.demo.view import Status, condition
from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for

REPLICA = "db-replica"
APPROVER = "second-person"
REQUESTED = "incident-operator.dev/requested-at"


class Failover(Outage):
    """The primary is gone for good, with rows that its replica has not received."""

    title = "The primary stops to stream to its replica, and then loses its files and is killed"
    plan: ClassVar[str] = "failover-plan.yaml"
    spec: Mapping[str, Any] = {
        "title": "The primary is gone for good, its replica takes over",
        "recovery": {"planRef": {"name": "shop-failover"}},
    }

    def strike(self) -> None:
        """Start the replica, let it follow, hold what sends to it, write on, kill."""
        self.is_approved = False
        self.shop.apply(*self.shop.manifests("outage/replica.yaml"))
        self.shop("rollout", "status", f"statefulset/{REPLICA}", "--timeout=120s")
        before = self.writes()
        wanted = max(self.rows.acknowledged(end=before))
        wait_for(lambda: self._received() >= wanted, 30, "the replica to receive what was written", every=0.2)
        # As a network does that loses packets: the primary goes on, and nothing more arrives.
        sender = self.shop.psql("select pid from pg_stat_replication")
        self.shop("exec", "db-0", "--", "kill", "-STOP", sender)
        held = time.time()
        self.writes()
        self.say(f"   nothing reaches the replica any more; {self.rows.lately()}")
        self.shop.crash(DESTROY)
        self.await_word("errors", 90)
        self.spans = [
            Span("received by the replica", 0, before),
            Span("held back, and lost", held, time.time(), "lost"),
        ]

    def _received(self) -> int:
        """The highest row that the replica has."""
        return int(self.shop.psql("select coalesce(max(n), 0) from rows", pod=f"{REPLICA}-0"))

    def proves(self) -> None:
        """The replica is the primary, the Service follows it, and the old primary cannot come back as one."""
        if not self.is_approved:
            raise LabError("nobody was asked to approve what cannot be undone")
        selector = self.shop.json("service", "db")["spec"]["selector"]
        recovering = self.shop.psql("select pg_is_in_recovery()", pod=f"{REPLICA}-0")
        old = self.shop.json("statefulset", "db")["spec"]["replicas"]
        if selector.get("role") != "replica" or recovering != "f" or old:
            raise LabError(f"Service db selects {selector}, in recovery: {recovering}, old primary: {old} replicas")
        self.say("   the replica              is the primary, Service db follows it, the old one has no pods")

    def declare(self) -> None:
        """Say who reports it: nobody approves an Incident of their own, so it must be known whose it is."""
        me = self.shop("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}")
        self.spec = {**self.spec, "reportedBy": me}
        role = ("--clusterrole=incident-operator-approver", f"--user={APPROVER}")
        self.shop("delete", "rolebinding", APPROVER, "--ignore-not-found")
        self.shop("create", "rolebinding", APPROVER, *role)
        super().declare()

    def meanwhile(self, incident: Status) -> bool:
        """Approve it as somebody else, once: a failover cannot be undone, and nothing is done before."""
        if self.is_approved or condition(incident, "Ready")[1] != "AwaitingApproval":
            return False
        if any(step["phase"] != "Pending" for step in incident["status"].get("steps", ())):
            raise LabError("something was done before anybody had approved")
        plan: str = incident["status"]["plan"]["hash"]
        told = {"incident": INCIDENT, "planHash": plan, "decision": "Approved", "approver": APPROVER}
        approval = {
            "apiVersion": "incident-operator.dev/v1alpha1",
            "kind": "IncidentApproval",
            "metadata": {"name": f"{INCIDENT}-{plan[:6]}"},
            "spec": {**told, "reason": "the primary's disk is gone"},
        }
        self.say(f"   $ kubectl create -f examples/incidents/approval.yaml --as={APPROVER}   with planHash {plan}")
        self.shop("create", f"--as={APPROVER}", "-f", "-", given=json.dumps(approval))
        self.is_approved = True
        return False


class Everything(Outage):
    """Every pod is gone at once, by force, and labels alone say what the tiers are."""

    title = "Every pod of the application is deleted at once, by force"
    plan: ClassVar[str] = ""
    spec: Mapping[str, Any] = {"title": "Everything is down", "recovery": {}}

    def strike(self) -> None:
        """All at once; the database's processes are killed first, so that nothing is flushed."""
        self.writes()
        self.shop.crash("kill -KILL -1")
        self.shop("delete", "pods", "--all", "--force", "--grace-period=0")
        self.await_word("errors", 90)
        self.spans = [Span("written before it", 0, time.time())]


class Halted(Outage):
    """A release of the api is ready and answers 500: its tier halts, a person takes it back, and the rest goes on."""

    title = "A release of the api answers 500 to everything, while its pods are ready"
    plan: ClassVar[str] = "restart-plan.yaml"
    spec: Mapping[str, Any] = {
        "title": "The shop answers errors only",
        "recovery": {"planRef": {"name": "shop-restart"}},
    }
    GATE: ClassVar[str] = "reads-the-database"
    ABOVE: ClassVar[tuple[str, ...]] = ("bot", "frontend", "exporter")

    def strike(self) -> None:
        """Roll the release out: its readiness probe asks whether the program lives, and not whether it works."""
        self.asked = ""
        self.halted: dict[str, Any] = {}
        self.generations: dict[str, int] = {}
        self.writes()
        container = {
            "name": "api",
            "env": [{"name": "BREAK", "value": "errors"}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}},
        }
        release = {"spec": {"template": {"spec": {"containers": [container]}}}}
        self.shop("patch", "deployment/api", "-p", json.dumps(release))
        self.shop("rollout", "status", "deployment/api", "--timeout=120s")
        self.await_word("errors", 60)
        self.spans = [Span("written before it", 0, time.time())]

    def meanwhile(self, incident: Status) -> bool:
        """Note what stands above the api when its tier begins; when it has halted, put it right and ask again."""
        phases = {tier["name"]: tier["phase"] for tier in tiers_of(incident)}
        if phases.get("database") == "Up" and not self.generations:
            self.generations = self._above()
        if condition(incident, "Stalled")[0] != "True":
            return False
        if self.asked:
            return bool(incident["status"].get("lastHandledRequest") != self.asked)
        self._check_halt(incident, phases)
        self.shop("rollout", "undo", "deployment/api")
        self.shop("rollout", "status", "deployment/api", "--timeout=120s")
        self.asked = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        self.say(f"\n   $ kubectl rollout undo deployment/api; kubectl annotate incident/{INCIDENT} {REQUESTED}=...\n")
        self.shop("annotate", f"incident/{INCIDENT}", f"{REQUESTED}={self.asked}", "--overwrite")
        return True

    def _above(self) -> dict[str, int]:
        found = self.shop.deployments("metadata.generation")
        return {name: found[name] for name in self.ABOVE}

    def _check_halt(self, incident: Status, phases: dict[str, str]) -> None:
        """The message names the gate and what it saw; what is below is up, and what is above was not touched."""
        _, reason, message = condition(incident, "Ready")
        self.halted = {"reason": reason, "message": message, "phases": phases}
        self.say(f"\n   HALTED: {reason}: {message}")
        wanted = {"database": "Up", "api": "Failed", "bot": "Stopped", "frontend": "Stopped", "auxiliary": "Stopped"}
        if reason != "GateFailed" or self.GATE not in message or "answered 500" not in message:
            raise LabError(f"it does not say which gate failed and what it saw: {reason}: {message}")
        gates = {each["name"]: each["verdict"] for each in step_of(incident, "gates-api")["gates"]}
        if phases != wanted or gates != {"ready": "Pass", self.GATE: "Fail"}:
            raise LabError(f"tiers: {phases}; gates of the api: {gates}")
        self.untouched("when it had halted")

    def untouched(self, when: str) -> None:
        """LabError if anything above the api was changed since its tier began, or has a ready pod."""
        now, replicas = self._above(), self.shop.deployments("spec.replicas")
        if now != self.generations or any(replicas[name] for name in self.ABOVE):
            raise LabError(f"{when} generations above the api were {now}, not {self.generations}; replicas {replicas}")

    def proves(self) -> None:
        """It had halted, and went on with the tier that had failed: what was up was not stopped again."""
        if not self.halted:
            raise LabError("it never halted")
        self.say(f"   halted by                {self.halted['reason']}, and gone on with after a person's word")
