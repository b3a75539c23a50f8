"""What a real node needs of the machine, and who may have one."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from incident_operator.lab.faults import LabError
from incident_operator.lab.layout import PACKAGES
from incident_operator.lab.progress import doing

LOCKED_SECONDS = 120
"""How long another apt-get is waited for."""


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
    with doing("installing packages"):
        for argv in (["update"], ["install", "-y", "--no-install-recommends", *wanted]):
            if not _apt(argv, log):
                raise LabError(f"apt-get {argv[0]} failed: see {log}")


def _apt(argv: list[str], log: Path) -> bool:
    """Run apt-get, once nobody else does; whether it succeeded.

    ``DPkg::Lock::Timeout`` is for dpkg's lock alone: the one of the lists, which an automatic update may hold at any
    time, apt-get does not wait for.
    """
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    command = ["apt-get", "-q", "-o", f"DPkg::Lock::Timeout={LOCKED_SECONDS}", *argv]
    end = time.monotonic() + LOCKED_SECONDS
    while True:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)
        with log.open("a") as out:
            out.write(done.stdout + done.stderr)
        if not done.returncode or "Could not get lock" not in done.stderr or time.monotonic() > end:
            return not done.returncode
        time.sleep(1)
