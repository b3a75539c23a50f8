"""What a staged recovery costs beside the start of the workloads themselves: few and many of them, in five tiers."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from bench.contenders import PORT, namespace, operator
from bench.world import World, incidents

TIERS = ("database", "api", "bot", "frontend", "auxiliary")
GATE_SECONDS = 5.0
"""How long the gates of a tier that names none must hold: waited for on purpose."""
NODES = "simulated"


def a_workload(name: str, tier: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "none"}], "terminationGracePeriodSeconds": 0}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {**pod, "automountServiceAccountToken": False}},
    }
    meta = {"name": name, "labels": {"incident-operator.dev/tier": tier}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


class Course:
    """When each tier was asked to start, and when its last workload was ready."""

    def __init__(self) -> None:
        self.stopped: set[str] = set()
        self.started: dict[str, float] = {}
        self.ready: dict[str, float] = {}
        self.all_ready: set[str] = set()
        self.changed = asyncio.Event()

    def see(self, thing: dict[str, Any]) -> None:
        name, tier = thing["metadata"]["name"], thing["metadata"]["labels"]["incident-operator.dev/tier"]
        wanted, now = thing["spec"]["replicas"], time.perf_counter()
        seen = thing.get("status", {})
        is_ready = wanted > 0 and seen.get("readyReplicas", 0) == wanted
        if wanted == 0:
            self.stopped.add(name)
        elif name in self.stopped:
            self.started.setdefault(tier, now)
        if is_ready:
            self.all_ready.add(name)
        else:
            self.all_ready.discard(name)
        if is_ready and name in self.stopped:
            self.ready[tier] = now
        self.changed.set()

    async def until(self, is_so: Callable[[], bool], within: float, what: str) -> None:
        end = time.perf_counter() + within
        while not is_so():
            self.changed.clear()
            try:
                await asyncio.wait_for(self.changed.wait(), end - time.perf_counter())
            except TimeoutError:
                raise RuntimeError(f"not within {within:g} s: {what}") from None


async def measure(world: World, kubeconfig: Path, kubectl: list[str], logs: Path, count: int) -> dict[str, Any]:
    """One recovery of so many workloads; seconds that each tier cost beyond its own start and its gates."""
    async with namespace(world, kubectl, f"recovery-{count}") as space:
        course, path = Course(), f"/apis/apps/v1/namespaces/{space}/deployments"
        names = {f"w{number}": TIERS[number * len(TIERS) // count] for number in range(count)}
        watch = asyncio.create_task(world.follow(path, course.see))
        try:
            await asyncio.gather(*(world.post(path, a_workload(name, tier)) for name, tier in names.items()))
            await course.until(lambda: len(course.all_ready) == count, 300, "the workloads to be ready")
            with operator(kubeconfig, space, logs / f"recovery-{count}.log") as process:
                begun = time.perf_counter()
                await world.post(incidents(space), an_outage())
                ended = await _resolved(world, space, begun)
                return {
                    "workloads": count,
                    "tier_overhead_s": _overheads(course, ended),
                    "all_s": round(ended - begun, 2),
                    "peak_mib": process.mib("VmHWM"),
                    "api_calls": await _calls(),
                }
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)


def an_outage() -> dict[str, Any]:
    target = [{"kind": "Deployment", "name": "w0"}]
    spec = {"title": "all down", "type": "Outage", "severity": "SEV-1", "targets": target, "recovery": {}}
    meta = {"name": "all-down"}
    return {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "Incident", "metadata": meta, "spec": spec}


def _overheads(course: Course, ended: float) -> dict[str, float]:
    """From the readiness of a tier to the start of the next one (of the last: to the end), less the gates' window."""
    tiers = [tier for tier in TIERS if tier in course.ready]
    nexts = [course.started[tier] for tier in tiers[1:]] + [ended]
    return {tier: round(after - course.ready[tier] - GATE_SECONDS, 2) for tier, after in zip(tiers, nexts, strict=True)}


async def _resolved(world: World, space: str, begun: float) -> float:
    while time.perf_counter() - begun < 600:
        found = await world.request("GET", f"{incidents(space)}/all-down")
        ready = {each["type"]: each for each in (found.get("status") or {}).get("conditions") or ()}
        if ready.get("Ready", {}).get("status") == "True":
            return time.perf_counter()
        if "Stalled" in ready or ready.get("Ready", {}).get("reason") == "AwaitingApproval":
            raise RuntimeError(json.dumps(ready))
        await asyncio.sleep(0.05)
    raise RuntimeError("the recovery was not over within 600 s")


async def _calls() -> int:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{PORT}/metrics") as answer:
        text = await answer.text()
    values = re.findall(r"^incident_operator_api_requests_total\{[^}]*\} ([0-9.e+]+)$", text, re.MULTILINE)
    return int(sum(float(value) for value in values))


async def limitless(world: World) -> None:
    """A policy that lets any number of workloads be stopped: the built-in one asks a person from ten on."""
    kind = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "ResponsePolicy", "metadata": {"name": "bench"}}
    path = "/apis/incident-operator.dev/v1alpha1/responsepolicies"
    await world.post(path, {**kind, "spec": {"namespaceSelector": {}}})
