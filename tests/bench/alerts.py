"""What an alert costs: from the webhook to the first write, a burst of different ones, and one that never stops."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from bench.contenders import PORT, floor_one, namespace, operator
from bench.measures import percentiles
from bench.world import CONNECTIONS, INCIDENT, World, incidents, policies

RECEIVER = PORT + 1
BLOCKS = 4
WARM = 10
TOKEN = "bench"
KIND = {"apiVersion": "incident-operator.dev/v1alpha1"}
BUSY = 503
"""Come again: Alertmanager does, and so do we."""


def a_runbook() -> dict[str, Any]:
    spec = {"type": "Security", "severity": "SEV-2", "containment": [{"name": "cut", "isolate": {}}]}
    return {**KIND, "kind": "Runbook", "metadata": {"name": "cut"}, "spec": spec}


def an_alert(space: str, name: str) -> dict[str, Any]:
    """One firing alert about a Deployment, as Alertmanager posts it."""
    labels = {"alertname": f"Alert-{name}", "namespace": space, "deployment": name, "incident": "true"}
    return {
        "status": "firing",
        "labels": labels,
        "annotations": {"incident_runbook": "cut", "summary": f"{name} is not well"},
        "startsAt": "2026-11-24T03:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": hashlib.sha256(name.encode()).hexdigest()[:16],
    }


class Sender:
    """Posts alerts as Alertmanager does, and comes again when it is told to."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self.asked_again = 0

    async def post(self, *alerts: dict[str, Any]) -> list[str]:
        """Names of the Incidents they became."""
        payload = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "bench", "alerts": list(alerts)}
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{RECEIVER}/alerts"
        while True:
            async with self._session.post(url, data=json.dumps(payload), headers=headers) as answer:
                if answer.status == 200:
                    return [each.partition("/")[2] for each in (await answer.json())["incidents"]]
                if answer.status != BUSY:
                    raise RuntimeError(f"{answer.status}: {await answer.text()}")
            self.asked_again += 1
            await asyncio.sleep(0.1)

    async def until_heard(self, alert: dict[str, Any]) -> list[str]:
        """The first alert to an operator that is coming up."""
        end = time.perf_counter() + 30
        while True:
            try:
                return await self.post(alert)
            except aiohttp.ClientConnectionError:
                if time.perf_counter() > end:
                    raise
                await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def sender() -> AsyncIterator[Sender]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        yield Sender(session)


class Alerts:
    """One operator that takes alerts in, measured beside a client that writes the same by itself."""

    def __init__(self, world: World, kubeconfig: Path, kubectl: list[str], logs: Path) -> None:
        self._world = world
        self._kubeconfig = kubeconfig
        self._kubectl = kubectl
        self._logs = logs

    async def measure(self, repeat: int, count: int) -> dict[str, Any]:
        """Everything, in one namespace after the other."""
        return {
            "single": await self._single(repeat),
            "burst": await self._burst(count),
            "same": await self._same(count),
        }

    @contextlib.asynccontextmanager
    async def _listening(self, name: str, names: list[str]) -> AsyncIterator[tuple[str, Sender]]:
        """A namespace with a runbook and workloads, an operator that listens, and somebody who posts."""
        world, settings = self._world, self._logs / f"{name}.json"
        (self._logs / "token").write_text(TOKEN)
        receiver = {"listen": f"127.0.0.1:{RECEIVER}", "tokenFile": str(self._logs / "token"), "perSecond": 10000}
        async with namespace(world, self._kubectl, name) as space, world.watching(space), sender() as posts:
            settings.write_text(json.dumps({"receiver": {**receiver, "namespace": space}}))
            await world.post(f"/apis/incident-operator.dev/v1alpha1/namespaces/{space}/runbooks", a_runbook())
            await world.deployments(space, [*names, "first"])
            log = self._logs / f"{name}.log"
            with operator(self._kubeconfig, space, log, "--config", str(settings)):
                (first,) = await posts.until_heard(an_alert(space, "first"))
                await world.until(lambda: first in world.policy_at, 30, f"the operator to answer in {space}")
                await world.until(lambda: first in world.told_at, 30, "its books to be closed")
                yield space, posts

    async def _single(self, repeat: int) -> dict[str, Any]:
        """One after the other: webhook sent to NetworkPolicy seen, in turns with a client that makes writes itself.

        That client makes two of its own (floor), and once more just those of the operator (its writes).
        """
        world = self._world
        took: dict[str, list[float]] = {who: [] for who in ("floor", "its writes", "recorded", "operator")}
        names = [f"one-{number}" for number in range(WARM + repeat)]
        async with (
            self._listening("alerts-single", names) as (space, posts),
            namespace(world, self._kubectl, "alerts-floor") as bare,
            world.watching(bare),
        ):
            pattern = await self._pattern(space)
            size = -(-repeat // BLOCKS)
            for at in range(0, len(names), size):
                block = names[at : at + size]
                took["floor"] += [await floor_one(world, bare, f"floor-{name}") for name in block]
                took["its writes"] += [await self._in_a_row(bare, pattern, name) for name in block]
                for name in block:
                    recorded, contained = await self._answered(posts, space, name)
                    took["recorded"].append(recorded)
                    took["operator"].append(contained)
        return {who: percentiles(each[WARM:]) for who, each in took.items()}

    async def _pattern(self, space: str) -> tuple[Any, Any]:
        """The Incident of the first alert and its NetworkPolicy, as the operator has written them."""
        (incident,) = (await self._world.request("GET", incidents(space)))["items"]
        (policy,) = (await self._world.request("GET", policies(space)))["items"]
        kinds = {**KIND, "kind": "Incident"}, {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
        return {**incident, **kinds[0]}, {**policy, **kinds[1]}

    async def _in_a_row(self, space: str, pattern: tuple[Any, Any], name: str) -> float:
        """The operator's writes by a client that knows them: Incident, intent, policy; milliseconds until it is seen.

        The Incident has its finalizer from the beginning, so that is no write of its own.
        """
        old = pattern[0]["metadata"]["name"]
        incident, policy = (_again(each, {old: name, "first": name}) for each in pattern)
        status = incident.pop("status")
        begun = time.perf_counter()
        made = await self._world.post(incidents(space), incident)
        said = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "status": status}
        path = f"{incidents(space)}/{name}/status"
        await self._world.request("PATCH", path, said, "application/merge-patch+json")
        await self._world.post(policies(space), policy)
        await self._world.until(lambda: name in self._world.policy_at, 20, f"the policy of {name}")
        return (self._world.policy_at[name] - begun) * 1000

    async def _answered(self, posts: Sender, space: str, name: str) -> tuple[float, float]:
        """Milliseconds until the webhook is answered, which is when its Incident is in etcd, and until the policy."""
        begun = time.perf_counter()
        (made,) = await posts.post(an_alert(space, name))
        recorded = (time.perf_counter() - begun) * 1000
        await self._world.until(lambda: made in self._world.policy_at, 30, f"the policy of {made}")
        contained = (self._world.policy_at[made] - begun) * 1000
        await self._world.until(lambda: made in self._world.told_at, 30, f"the status of {made}")
        return recorded, contained

    async def _burst(self, count: int) -> dict[str, Any]:
        """Different alerts at once, each in a webhook of its own: how many Incidents, and how fast."""
        world, names = self._world, [f"burst-{number}" for number in range(count)]
        async with self._listening("alerts-burst", names) as (space, posts):
            begun = time.perf_counter()
            answers = await asyncio.gather(*(posts.post(an_alert(space, name)) for name in names))
            accepted = time.perf_counter()
            made = {name for answer in answers for name in answer}
            await world.until(lambda: made <= world.policy_at.keys(), 300, "all to be contained")
            contained = max(world.policy_at[name] for name in made)
            there = await self._made(space)
            about = [target["name"] for each in there for target in each["spec"]["targets"]]
            return {
                "alerts": count,
                "lost": len(set(names) - set(about)),
                "doubled": len(about) - len(set(about)),
                "accepted_per_s": round(count / (accepted - begun), 1),
                "contained_per_s": round(count / (contained - begun), 1),
                "asked_again": posts.asked_again,
            }

    async def _same(self, count: int) -> dict[str, Any]:
        """One alert, again and again, several at once: one Incident."""
        async with self._listening("alerts-same", ["one"]) as (space, posts):
            begun = time.perf_counter()
            await asyncio.gather(*(posts.post(an_alert(space, "one")) for _ in range(count)))
            ended = time.perf_counter()
            return {
                "posts": count,
                "incidents": len(await self._made(space)),
                "posts_per_s": round(count / (ended - begun), 1),
                "asked_again": posts.asked_again,
            }

    async def _made(self, space: str) -> list[Any]:
        """Incidents but for the first one, which nobody counts."""
        found = (await self._world.request("GET", incidents(space)))["items"]
        return [each for each in found if each["spec"]["targets"][0]["name"] != "first"]


def _again(thing: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A thing as it was first written, about something else."""
    text = json.dumps(thing)
    for old, new in names.items():
        text = text.replace(f'"{old}', f'"{new}').replace(f"-{old}", f"-{new}").replace(f"/{old}", f"/{new}")
    made: dict[str, Any] = json.loads(text)
    kept = ("name", "labels", "annotations", "finalizers")
    made["metadata"] = {key: made["metadata"][key] for key in kept if key in made["metadata"]}
    new = next(iter(names.values()))
    made["metadata"]["name"] = new
    if thing["kind"] == "NetworkPolicy":
        made["metadata"]["labels"][INCIDENT] = new
    return made


def lapses(found: dict[str, Any]) -> list[str]:
    """What may never happen to an alert, whatever the machine: that it is lost, or becomes two Incidents."""
    burst, same = found["burst"], found["same"]
    said = {
        f"{burst['lost']} of {burst['alerts']} different alerts were lost": burst["lost"],
        f"{burst['doubled']} of {burst['alerts']} different alerts were doubled": burst["doubled"],
        f"one alert, {same['posts']} times, became {same['incidents']} Incidents": same["incidents"] != 1,
    }
    return [text for text, is_so in said.items() if is_so]
