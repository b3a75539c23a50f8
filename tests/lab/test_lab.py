"""A lab comes up, survives being killed, stands beside another, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from incident_operator.lab import Lab, LabError, packages, processes
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "lab"
    Lab(tmp_path / "lab").down()


def mentions(folder: Path) -> list[str]:
    """Processes whose command line names a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in words and path.parent.name != str(os.getpid()):
            found.append(words)
    return found


def leftovers(folder: Path) -> list[str]:
    """Everything of a lab that is still on the machine."""
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]
    groups = [
        str(path) for path in Path("/sys/fs/cgroup").glob("**/incident-lab-*") if path.name.endswith(_name(folder))
    ]
    files = [str(folder)] if folder.exists() else []
    return mentions(folder) + mounts + groups + files


def _name(folder: Path) -> str:
    from incident_operator.lab.layout import cgroup_name

    return cgroup_name(folder)


def ready(lab: Lab) -> bool:
    return lab.kubectl("get", "--raw", "/readyz", check=False).stdout == "ok"


def test_up_twice_status_and_down(folder: Path) -> None:
    lab = Lab(folder)
    assert not lab.status().running
    lab.up("none")
    first = lab.status()
    assert (first.running, first.nodes) == (True, "none")
    assert set(first.processes) == {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
    begun = time.monotonic()
    lab.up("none")
    assert lab.status().processes == first.processes, f"it was started again, in {time.monotonic() - begun:.1f} s"
    assert ready(lab)
    lab.down()
    assert leftovers(folder) == []
    lab.down()


def test_a_program_that_is_killed_is_started_again(folder: Path) -> None:
    lab = Lab(folder)
    lab.up("none")
    os.kill(lab.status().processes["kube-apiserver"], signal.SIGKILL)
    eventually(lambda: ready(lab), within=30, what="the API server to be back")


def test_up_after_everything_was_killed(folder: Path) -> None:
    lab = Lab(folder)
    lab.up("none")
    keeper = processes.recorded(folder / "run/lab.json")
    assert keeper is not None
    os.kill(keeper, signal.SIGKILL)
    eventually(lambda: not mentions(folder), within=20, what="the lab's programs to end with their keeper")
    assert not lab.status().running
    lab.up("none")
    assert ready(lab)


def test_two_labs_side_by_side(folder: Path, tmp_path: Path) -> None:
    one, two = Lab(folder), Lab(tmp_path / "second")
    try:
        one.up("none")
        two.up("none")
        one.kubectl("create", "namespace", "only-in-one")
        assert two.kubectl("get", "namespace", "only-in-one", check=False).returncode
    finally:
        two.down()
    assert leftovers(tmp_path / "second") == []
    assert ready(one)


@pytest.mark.slow  # kwok is built for it
def test_simulated_nodes_play_pods(folder: Path) -> None:
    lab = Lab(folder)
    lab.up("simulated", simulated_count=3)
    assert lab.kubectl("get", "nodes", "-o", "name").stdout.split() == [f"node/kwok-{number}" for number in range(3)]
    lab.kubectl("create", "deployment", "web", "--image=nothing", "--replicas=5")
    lab.kubectl("rollout", "status", "deployment/web", "--timeout=30s")
    lab.down()
    assert leftovers(folder) == []


@pytest.mark.pods
@pytest.mark.skipif(bool(packages.why_no_real_node()), reason=packages.why_no_real_node() or "-")
def test_a_real_node_ends_with_its_first_process_and_leaves_nothing(folder: Path) -> None:
    lab = Lab(folder)
    lab.up("real")
    assert "Ready" in lab.kubectl("get", "nodes").stdout
    assert "198.18" not in Path("/proc/net/fib_trie").read_text(), "the machine's own network is as it was"
    first = processes.recorded(folder / "run/lab.json")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    eventually(lambda: not lab.is_running, within=20, what="the end")
    lab.up("real")
    assert "Ready" in lab.kubectl("get", "nodes").stdout
    lab.down()
    assert leftovers(folder) == []


def test_a_folder_with_something_else_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    with pytest.raises(LabError, match="neither empty nor the folder of a lab"):
        Lab(tmp_path).up("none")
    with pytest.raises(LabError):
        Lab(tmp_path).down()
    assert (tmp_path / "precious").read_text() == "mine"
