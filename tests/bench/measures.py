"""The measurements, each of everybody in one run."""

from __future__ import annotations

import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from bench.contenders import (
    PORT,
    Running,
    answered_one,
    contained_at_first,
    floor_one,
    namespace,
    operator,
    script_one,
    tutorial,
)
from bench.world import World, a_policy, an_incident, incidents, policies

BLOCKS = 4
SCRIPTS = 20
WARM = 20
IDLE_SECONDS = 65.0


def percentiles(found: Sequence[float]) -> dict[str, float]:
    ordered = sorted(found)
    at = min(int(len(ordered) * 0.99), len(ordered) - 1)
    return {"p50_ms": round(statistics.median(ordered), 1), "p99_ms": round(ordered[at], 1)}


class Bench:
    """One API server, and everybody who is measured on it."""

    def __init__(
        self, world: World, kubeconfig: Path, kubectl: list[str], logs: Path, say: Callable[[str], None]
    ) -> None:
        self._world = world
        self._kubeconfig = kubeconfig
        self._kubectl = kubectl
        self._logs = logs
        self._say = say

    async def single(self, repeat: int) -> dict[str, Any]:
        """One after the other, in blocks that take turns, so that whatever drifts drifts for all."""
        took: dict[str, list[float]] = {"floor": [], "operator": [], "kopf": [], "script": []}
        world, size = self._world, -(-repeat // BLOCKS)
        async with contextlib.AsyncExitStack() as stack:
            spaces = {
                who: await stack.enter_async_context(namespace(world, self._kubectl, f"single-{who}")) for who in took
            }
            for space in spaces.values():
                await stack.enter_async_context(world.watching(space))
            for block in range(-1, BLOCKS):
                for who in ("floor", "operator", "kopf"):
                    self._say(f"single: {who}, " + ("warming up" if block < 0 else f"block {block + 1} of {BLOCKS}"))
                    found = await self._block(who, spaces[who], block, WARM if block < 0 else size)
                    took[who] += found if block >= 0 else []
            for number in range(SCRIPTS):
                took["script"].append(
                    await asyncio.to_thread(script_one, self._kubectl, spaces["script"], f"script-{number}")
                )
        return {who: percentiles(each) for who, each in took.items()}

    async def _block(self, who: str, space: str, block: int, size: int) -> list[float]:
        names = [f"{who}-{block + 1}-{number}" for number in range(size)]
        await self._world.deployments(space, names)
        with self._answering(who, space):
            if who == "floor":
                return [await floor_one(self._world, space, name) for name in names]
            await contained_at_first(self._world, space)
            return [await answered_one(self._world, space, name) for name in names]

    def _answering(self, who: str, space: str) -> contextlib.AbstractContextManager[Running | None]:
        log = self._logs / f"{who}.log"
        if who == "operator":
            return operator(self._kubeconfig, space, log)
        return tutorial(self._kubeconfig, space, log) if who == "kopf" else contextlib.nullcontext()

    async def burst(self, count: int) -> dict[str, Any]:
        """All at once."""
        return {who: await self._burst_of(who, count) for who in ("floor", "kopf", "operator")}

    async def _burst_of(self, who: str, count: int) -> dict[str, Any]:
        world = self._world
        names = [f"{who}-burst-{number}" for number in range(count)]
        async with namespace(world, self._kubectl, f"burst-{who}") as space:
            self._say(f"burst: {who}, {count} Incidents at once")
            await world.deployments(space, names)
            async with world.watching(space):
                with self._answering(who, space) as process:
                    if who != "floor":
                        await contained_at_first(world, space)
                        await asyncio.sleep(1)  # its books are closed, too
                    return await self._measure_burst(who, space, names, process)

    async def _measure_burst(self, who: str, space: str, names: list[str], process: Running | None) -> dict[str, Any]:
        world, before, begun = self._world, await self._world.writes(), time.perf_counter()

        async def one(name: str) -> None:
            await world.post(incidents(space), an_incident(name))
            if who == "floor":
                await world.post(policies(space), a_policy(name))

        await asyncio.gather(*(one(name) for name in names))
        await world.until(lambda: all(name in world.policy_at for name in names), 300, f"{who} to contain all")
        contained = max(world.policy_at[name] for name in names)
        if who != "floor":
            await world.until(lambda: all(name in world.told_at for name in names), 300, f"{who} to close its books")
            first_told = min(world.told_at[name] for name in names)
            await asyncio.sleep(1)  # Events come after the status
        ended = contained if who == "floor" else max(world.told_at[name] for name in names)
        written = await world.writes() - before
        other = written.pop("other", 0)
        took = [(world.policy_at[name] - begun) * 1000 for name in names]
        found: dict[str, Any] = {
            "per_s": round(len(names) / (contained - begun), 1),
            "writes_per_s": round(written.total() / (ended - begun), 1),
            "p99_ms": percentiles(took)["p99_ms"],
            "writes_per_incident": round(written.total() / len(names) - 1, 2),
            "all_contained_s": round(contained - begun, 2),
            "all_told_s": round(ended - begun, 2),
        }
        if process is not None:
            found["peak_mib"] = process.mib("VmHWM")
            found["other_writes_per_incident"] = round(other / len(names), 2)
            found["told_before_all_contained"] = sum(world.told_at[name] < contained for name in names)
            found["first_told_s"] = round(first_told - begun, 2)
        return found

    async def idle(self, closed: int, waiting: int) -> dict[str, Any]:
        """Thousands of closed Incidents: what a start costs, and then what nothing to do costs."""
        world = self._world
        async with namespace(world, self._kubectl, "idle") as space, world.watching(space):
            self._say(f"idle: making {closed} closed Incidents and {waiting} that wait")
            await asyncio.gather(*(self._closed(space, f"closed-{number}") for number in range(closed)))
            names = [f"waiting-{number}" for number in range(waiting)]
            await world.deployments(space, [*names, "urgent"])
            await asyncio.gather(*(world.post(incidents(space), an_incident(name, "SEV-3")) for name in names))
            await world.post(incidents(space), an_incident("urgent", "SEV-1"))
            self._say("idle: starting the operator")
            begun = time.perf_counter()
            with operator(self._kubeconfig, space, self._logs / "idle.log") as process:
                await world.until(lambda: "urgent" in world.policy_at, 60, "the most urgent Incident")
                start = world.policy_at["urgent"] - begun
                before = sum(world.policy_at.get(name, 1e18) < world.policy_at["urgent"] for name in names)
                await world.until(lambda: all(name in world.told_at for name in names), 300, "all others")
                await asyncio.sleep(35)  # one re-list, after which nothing is left to do
                self._say(f"idle: looking on for {IDLE_SECONDS:g} s")
                first = await self._calls()
                await asyncio.sleep(IDLE_SECONDS)
                calls = await self._calls() - first
                return {
                    "calls_per_minute": round(calls * 60 / IDLE_SECONDS, 1),
                    "mib": process.mib(),
                    "peak_mib": process.mib("VmHWM"),
                    "start_s": round(start, 2),
                    "contained_before_the_urgent_one": before,
                }

    async def _closed(self, space: str, name: str) -> None:
        """An Incident as it lies about when it is over, of a usual size."""
        made = await self._world.post(incidents(space), an_incident(name, "SEV-3"))
        condition = {"type": "Ready", "status": "True", "reason": "Resolved", "message": "resolved: 1 put back"}
        stamp = "2026-11-23T10:00:00Z"
        items = [{"at": stamp, "reason": "StepDone", "message": "x" * 200} for _ in range(10)]
        status = {
            "observedGeneration": made["metadata"]["generation"],
            "phase": "Resolved",
            "conditions": [{**condition, "lastTransitionTime": stamp}],
            "timeline": items,
        }
        path = f"{incidents(space)}/{name}/status"
        await self._world.request("PATCH", path, {"status": status}, "application/merge-patch+json")

    async def _calls(self) -> int:
        """Requests that the operator has made, by its own count."""
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{PORT}/metrics") as answer:
            text = await answer.text()
        values = re.findall(r"^incident_operator_api_requests_total\{[^}]*\} ([0-9.e+]+)$", text, re.MULTILINE)
        return int(sum(float(value) for value in values))
