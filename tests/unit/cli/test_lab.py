from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from incident_operator.cli import lab as module
from incident_operator.cli.main import cli
from incident_operator.lab import LabError, LabStatus


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lab", *arguments])


class PretendLab:
    """Takes the place of the lab, and remembers what it was asked."""

    calls: list[Any]
    fault: LabError | None = None
    running = True

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.is_running = self.running

    def up(self, nodes: str, **more: Any) -> None:
        more.pop("say")
        self._called("up", nodes, more)

    def down(self) -> None:
        self._called("down")

    def import_image(self, tarball: Path) -> None:
        self._called("import", tarball)

    def status(self) -> LabStatus:
        if not self.running:
            return LabStatus(str(self.directory), running=False)
        path = str(self.kubeconfig)
        return LabStatus(str(self.directory), True, "real", "https://127.0.0.1:1", path, {"kubelet": 7}, 321)

    def _called(self, *what: Any) -> None:
        type(self).calls.append((self.directory, *what))
        if self.fault:
            raise self.fault


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> type[PretendLab]:
    made = type("Made", (PretendLab,), {"calls": []})
    monkeypatch.setattr(module, "Lab", made)
    return made


def test_up_prints_the_kubeconfig_and_passes_on_what_was_asked(pretend: type[PretendLab], tmp_path: Path) -> None:
    result = invoke(
        "up", "--dir", str(tmp_path), "--nodes", "simulated", "--simulated-count", "5", "--apiserver-flag", "--v=1"
    )
    assert result.stdout == f"{tmp_path}/kubeconfig\n"
    assert pretend.calls == [(tmp_path, "up", "simulated", {"simulated_count": 5, "apiserver_flags": ("--v=1",)})]


def test_labs_have_names_and_each_its_folder(pretend: type[PretendLab], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    invoke("down", "--name", "other")
    assert pretend.calls == [(Path("/state/incident-operator/labs/other"), "down")]


def test_a_fault_of_the_lab_is_one_line_and_exit_status_1(pretend: type[PretendLab], tmp_path: Path) -> None:
    pretend.fault = LabError("no go: install golang")
    result = invoke("up", "--dir", str(tmp_path))
    assert (result.exit_code, result.output) == (1, "Error: no go: install golang\n")


def test_status_is_for_people_for_programs_and_for_the_shell(pretend: type[PretendLab], tmp_path: Path) -> None:
    text = invoke("status", "--dir", str(tmp_path))
    assert "running: https://127.0.0.1:1, nodes real, 321 MiB" in text.stdout
    told = json.loads(invoke("status", "--dir", str(tmp_path), "-o", "json").stdout)
    assert (told["running"], told["processes"]) == (True, {"kubelet": 7})
    assert invoke("status", "--dir", str(tmp_path), "--kubeconfig").stdout == f"{tmp_path}/kubeconfig\n"


def test_status_of_a_lab_that_does_not_run_is_exit_status_1(pretend: type[PretendLab], tmp_path: Path) -> None:
    pretend.running = False
    result = invoke("status", "--dir", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, f"not running: {tmp_path}\n")
    shell = invoke("status", "--dir", str(tmp_path), "--kubeconfig")
    assert (shell.exit_code, shell.stdout) == (1, "")


def test_import_image_wants_a_file_that_is_there(pretend: type[PretendLab], tmp_path: Path) -> None:
    assert invoke("import-image", str(tmp_path / "gone.tar")).exit_code == 2
    (tmp_path / "x.tar").touch()
    assert invoke("import-image", "--dir", str(tmp_path), str(tmp_path / "x.tar")).exit_code == 0
    assert pretend.calls == [(tmp_path, "import", tmp_path / "x.tar")]


def test_kubectl_on_a_lab_that_does_not_run_says_how_to_start_it(pretend: type[PretendLab], tmp_path: Path) -> None:
    pretend.running = False
    result = invoke("kubectl", "--dir", str(tmp_path), "get", "pods")
    assert result.exit_code == 1
    assert result.output.endswith("start it with: incident-operator lab up\n")


def test_kubectl_gets_its_arguments_as_they_are_and_nothing_of_the_users(
    pretend: type[PretendLab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Any] = []
    monkeypatch.setenv("KUBECONFIG", "/mine")
    monkeypatch.setattr(os, "execve", lambda *argv: ran.append(argv))
    invoke("kubectl", "--dir", str(tmp_path), "get", "pods", "-o", "json", "--name", "x")
    ((program, argv, env),) = ran
    assert argv[1:3] == ["--kubeconfig", f"{tmp_path}/kubeconfig"]
    assert argv[5:] == ["get", "pods", "-o", "json", "--name", "x"]
    assert program == argv[0] == f"{tmp_path}/bin/kubectl"
    assert "KUBECONFIG" not in env


def test_kind_that_is_not_installed_is_named_with_where_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = invoke("up", "--provider", "kind", "--dir", str(tmp_path))
    assert result.exit_code == 1
    assert "needs kind, which is not on PATH: install it (https://kind.sigs.k8s.io)" in result.output


def test_kind_creates_once_with_its_kubeconfig_in_the_labs_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, tools = tmp_path / "log", tmp_path / "tools"
    tools.mkdir()
    listed = tmp_path / "clusters"
    listed.touch()
    script = f'#!/bin/sh\necho "$@" >> {log}\n[ "$1 $2" != "get clusters" ] || /bin/cat {listed}\n'
    for name in ("kind", "docker"):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    lab = tmp_path / "lab"
    argv = [sys.executable, "-m", "incident_operator", "lab", "up", "--provider", "kind", "--dir", str(lab)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout == f"{lab}/kubeconfig\n"
    first, second = log.read_text().splitlines()
    assert first == "get clusters"
    assert second.startswith("create cluster --name incident-operator --config ")
    assert second.endswith(f"manifests/kind.yaml --kubeconfig {lab}/kubeconfig")
    listed.write_text("incident-operator\n")
    subprocess.run(argv, capture_output=True, check=True)
    assert log.read_text().splitlines()[-1].startswith("export kubeconfig --name incident-operator ")
    subprocess.run([*argv[:4], "down", *argv[5:]], capture_output=True, check=True)
    assert log.read_text().splitlines()[-1].startswith("delete cluster --name incident-operator ")
