"""A real Prometheus and a real Alertmanager: fetched once, on loopback only, and what one says reaches the other."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from incident_operator.lab import LabError, monitoring
from incident_operator.lab.monitoring import Running, start_alertmanager, start_prometheus
from tests_support.waiting import eventually

NOBODY = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
ALWAYS = 'groups: [{name: demo, rules: [{alert: Always, expr: vector(1), labels: {incident: "true"}}]}]\n'
SAMPLES = "/api/v1/query?query=alertmanager_alerts_received_total"


@pytest.fixture
def started() -> Iterator[list[Running]]:
    """Whatever a test puts in is stopped after it."""
    if not shutil.which("apt-get"):
        pytest.skip("needs apt-get, for Debian's packages")
    found: list[Running] = []
    yield found
    for each in found:
        each.stop()


def config(*alertmanagers: Running) -> str:
    targets = [each.url.removeprefix("http://") for each in alertmanagers]
    return json.dumps(
        {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": targets}]}]},
            "scrape_configs": [{"job_name": "alertmanager", "static_configs": [{"targets": targets}]}],
        }
    )


def asked(running: Running, path: str) -> Any:
    status, body = running.ask(path)
    assert status == 200, body
    return json.loads(body)


def alerts(alertmanager: Running) -> list[str]:
    return [each["labels"]["alertname"] for each in asked(alertmanager, "/api/v2/alerts")]


def listens(pid: int) -> set[str]:
    """The addresses, as the kernel writes them, of all sockets of a process that take connections or datagrams."""
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    inodes = {link[8:-1] for link in links if link.startswith("socket:[")}
    found = set()
    for table, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and fields[9] in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def test_an_alert_goes_from_a_rule_to_every_alertmanager(tmp_path: Path, started: list[Running]) -> None:
    started.append(start_alertmanager(tmp_path / "one", NOBODY, peers=()))
    started.append(start_alertmanager(tmp_path / "two", NOBODY, peers=[started[0].cluster]))
    started.append(start_prometheus(tmp_path / "prometheus", config(*started), {"always.yml": ALWAYS}))
    one, two, prometheus = started
    eventually(lambda: alerts(one) == alerts(two) == ["Always"], within=30, what="the alert at both")
    assert len(asked(one, "/api/v2/status")["cluster"]["peers"]) == 2
    eventually(lambda: asked(prometheus, SAMPLES)["data"]["result"], within=30, what="what was scraped")
    assert {"0100007F"} == set.union(*(listens(each.pid) for each in started)), "127.0.0.1 and nothing else"


def test_the_same_place_and_the_same_memory_after_a_restart(tmp_path: Path, started: list[Running]) -> None:
    started.append(start_alertmanager(tmp_path / "one", NOBODY))
    started.append(start_prometheus(tmp_path / "prometheus", config(started[0]), {"always.yml": ALWAYS}))
    alertmanager, prometheus = started
    eventually(lambda: alerts(alertmanager), within=30, what="the alert")
    eventually(lambda: asked(prometheus, SAMPLES)["data"]["result"], within=30, what="samples")
    before, url, pid = time.time(), alertmanager.url, alertmanager.pid
    for each in started:
        each.stop()
        assert not each.is_running
        assert each.ask("/-/ready")[0] == 0
        each.start()
    assert (alertmanager.url, alertmanager.pid != pid) == (url, True)
    assert asked(prometheus, f"{SAMPLES}&time={before:.3f}")["data"]["result"], "what it had seen before"
    eventually(lambda: alerts(alertmanager), within=30, what="the alert again")
    alertmanager.kill()
    assert not alertmanager.is_running


def test_a_configuration_is_changed_while_it_runs_and_a_wrong_one_is_refused(
    tmp_path: Path, started: list[Running]
) -> None:
    started.append(start_alertmanager(tmp_path / "one", NOBODY))
    started[0].reload(NOBODY.replace("nobody", "another"))
    assert "another" in asked(started[0], "/api/v2/status")["config"]["original"]
    with pytest.raises(LabError, match="alertmanager did not take its configuration"):
        started[0].reload("route: {}\n")


def test_one_that_cannot_start_says_why(tmp_path: Path, started: list[Running]) -> None:
    with pytest.raises(LabError, match=r"(?s)prometheus ended with 2.*field nonsense not found"):
        start_prometheus(tmp_path, "nonsense: 1\n")


def program(folder: Path, name: str, *lines: str) -> None:
    (folder / name).write_text("\n".join(("#!/bin/sh", *lines, "")))
    (folder / name).chmod(0o755)


def test_without_apt_the_remedy_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(LabError, match=r"apt-get is not there\nThey come from Debian's or Ubuntu's packages"):
        monitoring.programs(print)


def test_what_apt_says_is_said_with_the_remedy_and_nothing_half_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "apt-get", "echo E: no network >&2", "exit 100")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(LabError, match=r"(?s)E: no network.*apt-get update"):
        monitoring.programs(print)
    assert [path.name for path in (tmp_path / "cache/incident-operator").iterdir()] == ["monitoring.lock"]
