"""The whole program as a process, on a pretend API server."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

Until = Callable[..., Any]


class Program:
    """``incident-operator run`` and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.text: list[str] = []

    async def read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            self.text.append(raw.decode())
            if raw.startswith(b"{"):
                self.lines.append(json.loads(raw))

    @property
    def url(self) -> str:
        return next((line["listen"] for line in self.lines if "listen" in line), "")

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            return response.status, await response.text()


def kubeconfig(folder: Path, server: str) -> Path:
    path = folder / "kubeconfig"
    named = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(named))
    return path


@pytest.fixture
async def program(api: Any, tmp_path: Path, until: Until) -> Any:
    argv = ["run", "--kubeconfig", str(kubeconfig(tmp_path, api.url)), "--listen", "127.0.0.1:0", "--resync", "200ms"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "incident_operator", *argv, stderr=asyncio.subprocess.PIPE
    )
    made = Program(process)
    reading = asyncio.create_task(made.read())
    await until(lambda: made.url)
    yield made
    if process.returncode is None:
        process.kill()
    await process.wait()
    await reading


async def test_it_starts_answers_probes_lists_and_watches_and_stops_when_told(
    api: Any, program: Program, until: Until
) -> None:
    await until(lambda: api.watches == 1)
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d+", program.url)
    assert await program.get("/healthz") == (200, "ok\n")
    assert await program.get("/readyz") == (200, "ok\n")
    metrics = (await program.get("/metrics"))[1]
    assert 'incident_operator_relists_total{outcome="success"}' in metrics
    assert re.search(r'incident_operator_api_requests_total\{code="200",verb="GET"\} [1-9]', metrics)
    assert api.writes == []
    program.process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(program.process.wait(), 10) == 0
    assert [line["msg"] for line in program.lines] == ["Started", "Stopping", "Stopped"]
    assert "".join(line for line in program.text if not line.startswith("{")) == ""


async def test_not_ready_and_still_alive_without_an_api_server(tmp_path: Path, until: Until) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = kubeconfig(tmp_path, f"http://127.0.0.1:{taken.getsockname()[1]}")
        argv = ["run", "--kubeconfig", str(config), "--listen", "127.0.0.1:0"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "incident_operator", *argv, stderr=asyncio.subprocess.PIPE
        )
        program = Program(process)
        reading = asyncio.create_task(program.read())
        await until(lambda: program.url)
        await until(lambda: any("Could not list" in line["msg"] for line in program.lines))
        code, why = await program.get("/readyz")
        assert (code, why.split(":")[0]) == (503, "no list of Incidents has succeeded yet")
        assert (await program.get("/healthz"))[0] == 200
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 15) == 0
        await reading
        assert "Traceback" not in "".join(program.text)


async def test_an_address_that_is_taken_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        argv = ["run", "--kubeconfig", str(kubeconfig(tmp_path, "http://127.0.0.1:1")), "--listen", f"127.0.0.1:{port}"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "incident_operator", *argv, stderr=asyncio.subprocess.PIPE
        )
        _, said = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert said.decode().startswith(f"Error: could not listen on 127.0.0.1:{port}: ")
    assert said.decode().endswith("choose another with --listen\n")
    assert said.count(b"\n") == 1
