"""``make bench``: how fast, how much, how idle; everything of one run side by side, with ratios.

It prints what was wanted beside what was measured, and writes build/bench.json. How fast a machine is fails nothing; an
alert that was lost or became two Incidents does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import alerts, measures, recovery, report
from bench.world import world
from incident_operator.lab import Lab, kubectl_program
from incident_operator.lab.lab import Nodes

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("single", "burst", "alerts", "idle", "recovery")
RECOVERED = (5, 200)
"""Workloads of the recoveries that are measured."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default=",".join(PARTS), help=f"{', '.join(PARTS)}; several with commas")
    parser.add_argument("--repeat", type=int, default=200, help="single Incidents, one after the other")
    parser.add_argument("--burst", type=int, default=1000, help="Incidents at once")
    parser.add_argument("--closed", type=int, default=5000, help="closed Incidents that lie about when idle")
    return parser.parse_args()


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


async def recovered(lab: Lab, logs: Path) -> list[dict[str, Any]]:
    kubectl = await installed(lab, logs)
    async with world(lab.kubeconfig) as client:
        await recovery.limitless(client)
        found = []
        for count in RECOVERED:
            say(f"recovery: {count} workloads in five tiers")
            found.append(await recovery.measure(client, lab.kubeconfig, kubectl, logs, count))
        return found


async def installed(lab: Lab, logs: Path) -> list[str]:
    """kubectl for a lab in which our kinds are."""
    kubectl = [str(kubectl_program()), "--kubeconfig", str(lab.kubeconfig), "--cache-dir", str(logs / "cache")]
    for path in ("crds", "manifests/base/namespace.yaml", "manifests/base/admission.yaml"):
        done = [*kubectl, "apply", "--server-side", "-f", str(ROOT / path)]
        await asyncio.to_thread(subprocess.run, done, check=True, capture_output=True)
    wait = [*kubectl, "wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"]
    await asyncio.to_thread(subprocess.run, wait, check=True, capture_output=True)
    return kubectl


async def measured(lab: Lab, asked: argparse.Namespace, logs: Path) -> dict[str, Any]:
    kubectl = await installed(lab, logs)
    found: dict[str, Any] = {}
    async with world(lab.kubeconfig) as client:
        bench = measures.Bench(client, lab.kubeconfig, kubectl, logs, say)
        if "single" in asked.only:
            found["single"] = await bench.single(asked.repeat)
        if "burst" in asked.only:
            found["burst"] = await bench.burst(asked.burst)
        if "alerts" in asked.only:
            say(f"alerts: {asked.repeat} one by one, {asked.burst} at once, and one {asked.burst} times")
            path = alerts.Alerts(client, lab.kubeconfig, kubectl, logs)
            found["alerts"] = await path.measure(asked.repeat, asked.burst)
        if "idle" in asked.only:
            found["idle"] = await bench.idle(asked.closed, asked.burst)
    return found


def in_a_lab(folder: Path, nodes: Nodes, what: Callable[[Lab], Coroutine[Any, Any, Any]]) -> Any:
    lab = Lab(folder)
    try:
        say("bringing up a Kubernetes of its own")
        lab.up(nodes)
        return asyncio.run(what(lab))
    finally:
        lab.down()


def main() -> None:
    asked = arguments()
    folder = Path(tempfile.mkdtemp(prefix="incident-bench-"))
    found: dict[str, Any] = {}
    if set(asked.only.split(",")) - {"recovery"}:
        found = in_a_lab(folder / "lab", "none", lambda lab: measured(lab, asked, folder))
    if "recovery" in asked.only:
        found["recovery"] = in_a_lab(folder / "nodes", "simulated", lambda lab: recovered(lab, folder))
    shutil.rmtree(folder, ignore_errors=True)
    found["machine"] = {"cpus": os.cpu_count(), "load_before": round(os.getloadavg()[2], 2)}
    out = ROOT / "build/bench.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(found, indent=2) + "\n")
    print(report.table(found))
    print(f"\nwritten to {out.relative_to(ROOT)}")
    if "alerts" in found and (wrong := alerts.lapses(found["alerts"])):
        sys.exit(f"bench: {'; '.join(wrong)}")


main()
