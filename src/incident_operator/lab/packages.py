"""What a real node needs of the machine, and who may have one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from incident_operator.lab.faults import LabError
from incident_operator.lab.layout import PACKAGES
from incident_operator.lab.progress import doing


def why_no_real_node() -> str:
    """Why this machine cannot have a real node; empty if it can."""
    if os.geteuid():
        return "a real node needs root"
    if not shutil.which("apt-get"):
        return "a real node needs Debian or Ubuntu, for its packages"
    if "overlay" not in Path("/proc/filesystems").read_text().split():
        return "the kernel has no overlay file system"
    return ""


def choose(nodes: str, say: Callable[[str], None]) -> str:
    """The kind of nodes to have: real, simulated or none; LabError if the one asked for cannot be."""
    why = why_no_real_node()
    if nodes == "real" and why:
        raise LabError(f"--nodes real: {why}")
    if nodes != "auto":
        return nodes
    if not why:
        return "real"
    say(f"{why}: nodes and PODS ARE SIMULATED by kwok; nothing runs in them")
    return "simulated"


def missing() -> list[str]:
    """The packages that are not installed."""
    show = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *PACKAGES]
    asked = subprocess.run(show, capture_output=True, text=True, check=False).stdout.splitlines()
    return [package for package in PACKAGES if f"{package} installed" not in asked]


def install(log: Path, say: Callable[[str], None]) -> None:
    """Install what is missing with apt-get, saying what it is first."""
    wanted = missing()
    if not wanted:
        return
    say(f"installing with apt-get: {' '.join(wanted)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with doing("installing packages"), log.open("ab") as out:
        for argv in (["update"], ["install", "-y", "--no-install-recommends", *wanted]):
            command = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", *argv]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, check=False)
            if done.returncode:
                raise LabError(f"apt-get {argv[0]} failed: see {log}")
