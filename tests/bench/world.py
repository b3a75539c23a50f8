"""The API server that is measured against: requests, one watch for everybody, and its own count of writes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import ssl
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

CONNECTIONS = 8
INCIDENT = "incident-operator.dev/incident"
COUNTED = {"incidents", "networkpolicies", "events", "incidentledgers"}
"""What is written for an Incident; Leases and reviews are told apart."""
SERVED_WITHIN = 15
"""Seconds: a kind that was just defined answers 404 or 429 until its storage is there."""
REQUESTS = re.compile(r"^apiserver_request_total\{(.*)\} ([0-9.e+]+)$", re.MULTILINE)


def incidents(namespace: str) -> str:
    return f"/apis/incident-operator.dev/v1alpha1/namespaces/{namespace}/incidents"


def policies(namespace: str) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"


def an_incident(name: str, severity: str = "SEV-2", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "Incident",
        "metadata": {"name": name},
        "spec": {
            "title": name,
            "type": "Security",
            "severity": severity,
            "targets": [{"kind": "Deployment", "name": name}],
            "containment": [{"name": "cut", "isolate": {}}],
            **spec,
        },
    }


def a_policy(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"isolate-{name}", "labels": {INCIDENT: name}},
        "spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress", "Egress"]},
    }


def a_deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "none"}]}
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


class World:
    """Requests to one API server, and when each NetworkPolicy was seen on a watch."""

    def __init__(self, session: aiohttp.ClientSession, host: str) -> None:
        self._session = session
        self._host = host
        self.policy_at: dict[str, float] = {}
        self.told_at: dict[str, float] = {}
        """When each Incident was first seen with its containment in its conditions."""
        self._changed = asyncio.Event()
        self._watches: list[asyncio.Task[None]] = []

    async def request(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": kind}
        async with self._session.request(method, self._host + path, data=data, headers=headers) as answer:
            found = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {found[:400]}")
            return json.loads(found) if found.startswith("{") else found

    async def post(self, path: str, body: Any) -> Any:
        return await self.request("POST", path, body)

    async def deployments(self, namespace: str, names: list[str]) -> None:
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        await asyncio.gather(*(self.post(path, a_deployment(name)) for name in names))

    async def writes(self) -> Counter[str]:
        """Persisted writes by resource, and ``other`` for dry runs and reviews, as the API server counts them."""
        found: Counter[str] = Counter()
        for labels, value in REQUESTS.findall(await self.request("GET", "/metrics")):
            told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if told["verb"] not in ("POST", "PATCH", "PUT", "DELETE", "APPLY"):
                continue
            is_ours = told["resource"] in COUNTED and not told["dry_run"]
            if is_ours:
                found[told["resource"]] += int(float(value))
            elif told["dry_run"] or told["resource"].endswith("accessreviews"):
                found["other"] += int(float(value))
        return found

    @contextlib.asynccontextmanager
    async def watching(self, namespace: str) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._watch(policies(namespace), self._policy)),
            asyncio.create_task(self._watch(incidents(namespace), self._incident)),
        ]
        self._watches += tasks
        await asyncio.sleep(0.5)  # a watch says nothing when it begins
        try:
            yield
        finally:
            for task in tasks:
                self._watches.remove(task)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, path: str, see: Callable[[dict[str, Any]], None]) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        url = f"{self._host}{path}?watch=true&resourceVersion=0"
        end = time.perf_counter() + SERVED_WITHIN
        while True:
            async with self._session.get(url, timeout=timeout) as answer:
                if answer.ok:
                    async for line in answer.content:
                        see(json.loads(line)["object"])
                        self._changed.set()
                    raise RuntimeError(f"{path}: the API server ended the watch")
                if time.perf_counter() > end:
                    raise RuntimeError(f"{path}: {answer.status} {await answer.text()}")
            await asyncio.sleep(0.2)

    async def follow(self, path: str, see: Callable[[dict[str, Any]], None]) -> None:
        """Tell of everything of a collection, as it is and as it changes, until cancelled."""
        await self._watch(path, see)

    def _policy(self, thing: dict[str, Any]) -> None:
        name = thing["metadata"].get("labels", {}).get(INCIDENT, "")
        self.policy_at.setdefault(name, time.perf_counter())

    def _incident(self, thing: dict[str, Any]) -> None:
        status = thing.get("status") or {}
        kinds = {each["type"] for each in status.get("conditions") or ()}
        annotations = thing["metadata"].get("annotations") or {}
        if "Contained" in kinds or "kopf.zalando.org/last-handled-configuration" in annotations:
            self.told_at.setdefault(thing["metadata"]["name"], time.perf_counter())

    async def until(self, is_so: Callable[[], bool], within: float, what: str) -> None:
        end = time.perf_counter() + within
        while not is_so():
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), end - time.perf_counter())
            except TimeoutError:
                for ended in (watch for watch in self._watches if watch.done()):
                    ended.result()  # nothing can be seen any more: say why
                raise RuntimeError(f"not within {within:g} s: {what}") from None


@contextlib.asynccontextmanager
async def world(kubeconfig: Path) -> AsyncIterator[World]:
    """A client with the lab's own credentials and a bounded number of connections, besides its watches."""
    told = yaml.safe_load(kubeconfig.read_text())  # noqa: ASYNC240 - once, before anything runs
    cluster, user = told["clusters"][0]["cluster"], told["users"][0]["user"]
    with tempfile.TemporaryDirectory() as folder:

        def file(source: dict[str, Any], key: str) -> str:
            if key in source:
                return str(source[key])
            path = Path(folder) / key
            path.write_bytes(base64.b64decode(source[f"{key}-data"]))
            return str(path)

        tls = ssl.create_default_context(cafile=file(cluster, "certificate-authority"))
        tls.load_cert_chain(file(user, "client-certificate"), file(user, "client-key"))
        connector = aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS + 2)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield World(session, cluster["server"])
