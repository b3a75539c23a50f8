"""Plays a complete outage of an application with real state, and what its clients see of the recovery."""

from __future__ import annotations

import time

from incident_operator.demo.api import Api
from incident_operator.demo.rows import Rows
from incident_operator.demo.scene import OUTAGE_NAMESPACE, OutageScene, shipped
from incident_operator.demo.view import Status, condition
from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for

INCIDENT = f"/apis/incident-operator.dev/v1alpha1/namespaces/{OUTAGE_NAMESPACE}/incidents/all-down"
TIERS = ["database", "api", "bot", "frontend", "auxiliary"]
MOST_SECONDS = 300.0
MORE_ROWS = 20
"""Rows written after the dump: those that no restore can bring back."""
DESTROY = 'rm -rf "$PGDATA"/base "$PGDATA"/global/pg_filenode.map'


def play(scene: OutageScene) -> None:
    """The database loses its files, an Incident brings everything back; LabError if the proof does not hold."""
    rows = Rows(scene.lab.kubeconfig, OUTAGE_NAMESPACE)
    try:
        wait_for(lambda: rows.word() == "normal", 60, "clients to be served")
        dumped = _dump(scene, rows)
        broken = _destroy(scene, rows)
        print(
            "\n   $ kubectl apply -f examples/outage/recovery-plan.yaml -f examples/incidents/outage.yaml", flush=True
        )
        scene.apply(shipped("examples/outage/recovery-plan.yaml"))
        scene.apply(shipped("examples/incidents/outage.yaml"))
        incident = _follow(Api(scene.lab.kubeconfig), rows, time.time())
        _prove(scene, incident, rows, (*dumped, broken))
    finally:
        rows.close()


def _dump(scene: OutageScene, rows: Rows) -> tuple[float, float]:
    """Take a dump, as the CronJob does each night, and let the client write on; from when to when it was taken."""
    lab, space = scene.lab, ("-n", OUTAGE_NAMESPACE)
    print("\n4. A client writes ten numbered rows a second; last night's dump is taken now", flush=True)
    lab.kubectl("delete", "job/last-night", *space, "--ignore-not-found", "--timeout=30s")
    wait_for(lambda: len(rows.acknowledged()) >= MORE_ROWS, 60, "rows before the dump")
    begun = time.time()
    lab.kubectl("create", "job", "--from=cronjob/dump", "last-night", *space)
    lab.kubectl("wait", "--for=condition=Complete", "job/last-night", *space, "--timeout=60s")
    dumped = time.time()
    wait_for(lambda: len(rows.acknowledged(dumped)) >= MORE_ROWS, 60, "rows after the dump")
    print(f"   the clients see {rows.lately()}", flush=True)
    return begun, dumped


def _destroy(scene: OutageScene, rows: Rows) -> float:
    """The files of the database go, and its pod with them; when every client saw it."""
    lab, space = scene.lab, ("-n", OUTAGE_NAMESPACE)
    print("\n5. The database loses its files; nothing above it works any more", flush=True)
    lab.kubectl("exec", "db-0", *space, "--", "sh", "-c", DESTROY)
    lab.kubectl("delete", "pod", "db-0", *space, "--grace-period=0", "--force")
    wait_for(lambda: rows.word() == "errors", 90, "clients to see it")
    print(f"   the clients see {rows.lately()}", flush=True)
    return time.time()


def _follow(api: Api, rows: Rows, begun: float) -> Status:
    """Print every step that is done, every tier and every change of what clients see, until it is over."""
    told: dict[str, str] = {}
    print(f"\n   {'':>7}  {'tier':<10} {'the operator':<66} the clients see", flush=True)
    while time.time() - begun < MOST_SECONDS:
        incident = api.object(INCIDENT) or {}
        lines = _news(incident, told)
        word = rows.word()
        if told.get("clients") != word:
            told["clients"] = word
            lines = lines or [("", "")]
        for tier, text in lines:
            print(f"   {time.time() - begun:5.1f} s  {tier:<10} {text:<66.66} {rows.lately()}", flush=True)
        status, reason, message = condition(incident, "Ready")
        if condition(incident, "Stalled")[0] == "True":
            raise LabError(f"the recovery halted: {reason}: {message}")
        if status == "True":
            return incident
        time.sleep(0.1)
    raise LabError(f"the recovery was not over after {MOST_SECONDS:g} s; see kubectl describe")


def _news(incident: Status, told: dict[str, str]) -> list[tuple[str, str]]:
    """What has changed since it was told last: steps that are done, and tiers."""
    status = incident.get("status", {})
    of = {step["name"]: step.get("tier", "") for step in status.get("plan", {}).get("steps", ())}
    lines = []
    for step in status.get("steps", ()):
        name = step["name"]
        if step["phase"] == "Done" and f"step {name}" not in told:
            told[f"step {name}"] = "Done"
            lines.append((of.get(name, ""), f"{name}: {step.get('message', '')}"))
    for tier in status.get("recovery", {}).get("tiers", ()):
        took = f" after {tier.get('seconds', 0)} s" if tier["phase"] == "Up" else ""
        if told.get(tier["name"]) != tier["phase"]:
            told[tier["name"]] = tier["phase"]
            if tier["phase"] != "Pending":
                lines.append((tier["name"], f"[{tier['phase']}{took}]"))
    return lines


def _prove(scene: OutageScene, incident: Status, rows: Rows, times: tuple[float, float, float]) -> None:
    """Print the proof; LabError where it does not hold."""
    begun, dumped, broken = times
    restored = time.time()
    wait_for(lambda: len(rows.acknowledged(restored)) >= MORE_ROWS, 30, "clients to be served again")
    tiers = incident["status"]["recovery"]["tiers"]
    order = [tier["name"] for tier in sorted(tiers, key=lambda tier: tier["finishedAt"])]
    before, between, since = rows.loss(0, begun), rows.loss(dumped, broken), rows.loss(restored)
    course = [word for at, word in rows.course() if at >= broken - 1]
    claims = scene.lab.kubectl("get", "pvc", "-n", OUTAGE_NAMESPACE, "-o", "name").stdout.split()
    print("\n   PROOF", flush=True)
    print(f"   tiers came back          {' -> '.join(order)}", flush=True)
    print(f"   clients saw              normal -> {' -> '.join(course)}, and now {rows.lately()}", flush=True)
    print(f"   written before the dump  {before}", flush=True)
    print(f"   after it, lost           {between}: no backup had them", flush=True)
    print(f"   since it is over         {since}", flush=True)
    print(f"   the broken volume        kept, as the claim db-data; {len(claims)} claims in all", flush=True)
    if order != TIERS:
        raise LabError(f"the tiers came back in another order: {', '.join(order)}")
    if before.missing or since.missing:
        raise LabError("rows are missing that should be there")
    if "errors" not in course or rows.word() != "normal":
        raise LabError(f"the clients saw {' -> '.join(course)}")
