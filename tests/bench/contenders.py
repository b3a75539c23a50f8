"""What is compared: nobody at all, this operator, a kopf handler, a shell script; each in a namespace of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import yaml

from bench.world import World, a_policy, an_incident, incidents, policies

ROOT = Path(__file__).resolve().parents[2]
PORT = 18977
NUMBERS = itertools.count(1)


@dataclasses.dataclass
class Running:
    """A process that answers Incidents."""

    process: subprocess.Popen[bytes]

    def mib(self, field: str = "VmRSS") -> float:
        """Memory in MiB: now, or its peak (VmHWM)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        (found,) = re.findall(rf"^{field}:\s+(\d+) kB", text, re.MULTILINE)
        return round(int(found) / 1024, 1)


@contextlib.contextmanager
def running(argv: list[str], log: Path) -> Iterator[Running]:
    with log.open("ab") as out:
        process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=ROOT)
    try:
        yield Running(process)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def operator(kubeconfig: Path, namespace: str, log: Path, *more: str) -> contextlib.AbstractContextManager[Running]:
    """This operator as it ships, over one namespace, with its Lease; ``more`` are options for it."""
    argv = [
        sys.executable, "-m", "incident_operator", "run", "--kubeconfig", str(kubeconfig), "--namespace", namespace,
        "--listen", f"127.0.0.1:{PORT}", "--log-format", "json", "--lease", f"{namespace}/bench", *more,
    ]  # fmt: skip
    return running(argv, log)


def tutorial(kubeconfig: Path, namespace: str, log: Path) -> contextlib.AbstractContextManager[Running]:
    argv = [sys.executable, str(Path(__file__).with_name("tutorial.py")), str(kubeconfig), namespace]
    return running(argv, log)


async def floor_one(world: World, namespace: str, name: str) -> float:
    """Nobody: the client makes the Incident, then the NetworkPolicy; milliseconds until that is seen."""
    begun = time.perf_counter()
    await world.post(incidents(namespace), an_incident(name))
    await world.post(policies(namespace), a_policy(name))
    await world.until(lambda: name in world.policy_at, 20, f"the policy of {name}")
    return (world.policy_at[name] - begun) * 1000


async def answered_one(world: World, namespace: str, name: str) -> float:
    """Somebody answers; milliseconds from the create call until the NetworkPolicy is seen."""
    begun = time.perf_counter()
    await world.post(incidents(namespace), an_incident(name))
    await world.until(lambda: name in world.policy_at, 30, f"the policy of {name}")
    took = (world.policy_at[name] - begun) * 1000
    # One at a time: the next begins when the books of this one are closed, too.
    await world.until(lambda: name in world.told_at, 30, f"the status of {name}")
    return took


def script_one(kubectl: list[str], namespace: str, name: str) -> float:
    """A shell script with kubectl, as a person would write it."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for part in (an_incident(name), a_policy(name)):
            path = Path(folder) / f"{part['kind']}.yaml"
            path.write_text(yaml.safe_dump(part))
            files.append(str(path))
        lines = [f"set -e; {' '.join(kubectl)} -n {namespace} create -f {path}" for path in files]
        begun = time.perf_counter()
        subprocess.run(["sh", "-c", "; ".join(lines)], check=True, capture_output=True, env=dict(os.environ))
        return (time.perf_counter() - begun) * 1000


@contextlib.asynccontextmanager
async def namespace(world: World, kubectl: list[str], name: str) -> AsyncIterator[str]:
    """A namespace with the responder in it; what is in it stays, for the lab goes as a whole."""
    await world.post("/api/v1/namespaces", {"metadata": {"name": name}})
    path = str(ROOT / "manifests/responder")
    await asyncio.to_thread(
        subprocess.run, [*kubectl, "-n", name, "apply", "-k", path], check=True, capture_output=True
    )
    yield name


async def contained_at_first(world: World, space: str, seconds: float = 30) -> None:
    """One Incident that nobody counts: whoever is to answer does."""
    name = f"warm-{next(NUMBERS)}"
    await world.deployments(space, [name])
    await world.post(incidents(space), an_incident(name))
    await world.until(lambda: name in world.policy_at, seconds, f"somebody to answer in {space}")
