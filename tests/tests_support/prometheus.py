"""The programs of Prometheus and Alertmanager, and the CRDs of Prometheus Operator, as users have them."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from incident_operator.lab import LabError
from incident_operator.lab.build import go_program
from incident_operator.lab.monitoring import programs

MODULE = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
KINDS = ("alertmanagerconfigs", "alertmanagers", "prometheusrules", "servicemonitors")


@cache
def folder() -> Path | None:
    """Where the programs are; None where this machine cannot have them."""
    try:
        return programs(lambda _: None)
    except LabError:
        return None


def run(program: str, *args: str, cwd: Path | None = None) -> str:
    """What a program says; it must succeed. Skips the test where there is no Debian to take it from."""
    place = folder()
    if place is None:
        pytest.skip(f"needs {program} of Debian's packages")
    done = subprocess.run([place / program, *args], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{program} {' '.join(args)}: {done.stdout}{done.stderr}"
    return done.stdout


@cache
def _crds() -> dict[str, Path]:
    argv = [go_program(), "mod", "download", "-json", MODULE]
    env = {**os.environ, "GO111MODULE": "on"}
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False, timeout=180, env=env)
    found = json.loads(done.stdout).get("Dir") if done.returncode == 0 else None
    if not found:
        return {}
    there = Path(found) / "example/prometheus-operator-crd"
    return {kind: there / f"monitoring.coreos.com_{kind}.yaml" for kind in KINDS}


def crds() -> dict[str, Path]:
    """Files of Prometheus Operator's own CRDs, by plural; skips the test where the Go proxy has them not."""
    found = _crds()
    if not found:
        pytest.skip(f"needs {MODULE} of the Go proxy")
    return found


def rules_in(path: Path) -> list[dict[str, object]]:
    """The rules of a plain rule file."""
    return [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
