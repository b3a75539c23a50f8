"""Processes that outlive the command that starts them: recorded, recognised, ended by what was recorded."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from incident_operator.lab.faults import LabError

PR_SET_PDEATHSIG = 1
_KEPT: list[subprocess.Popen[bytes]] = []
"""Detached processes of this one: their handles are kept, so that they are reaped when they end before us."""


@atexit.register
def _let_go() -> None:
    """At our own end, stop minding the detached processes: they outlive us on purpose, and Popen would complain."""
    for process in _KEPT:
        if process.poll() is None:
            process.returncode = 0


def started_at(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def boot_id() -> str:
    """Names the time since the machine was started."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def record(path: Path, pid: int) -> None:
    """Put on record which process it is, so that no other of its number is taken for it."""
    half = path.with_suffix(".new")
    half.write_text(json.dumps({"pid": pid, "start": started_at(pid), "boot": boot_id()}))
    half.rename(path)


def recorded(path: Path) -> int | None:
    """The recorded process, if it is still that one and alive."""
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    pid = int(known["pid"])
    same = known["boot"] == boot_id() and known["start"] is not None and started_at(pid) == known["start"]
    return pid if same and not is_zombie(pid) else None


def die_with_parent() -> None:
    """In a child, before it becomes its program: end when the parent does, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def start(
    argv: Sequence[str],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    detached: bool = False,
) -> subprocess.Popen[bytes]:
    """Start a program with its output in a log; not detached, it ends with this process."""
    _KEPT[:] = [process for process in _KEPT if process.poll() is None]
    with log.open("ab") as out:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=None if env is None else dict(env),
            pass_fds=list(pass_fds),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=None if detached else die_with_parent,  # noqa: PLW1509 - single-threaded when it forks
        )
    if detached:
        _KEPT.append(process)
    return process


def end(path: Path, *, seconds: float = 30) -> None:
    """End the recorded process, if it is there, and wait until it is gone."""
    pid = recorded(path)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: recorded(path) is None, seconds, f"process {pid} to end")
    path.unlink(missing_ok=True)


def wait_for(check: Callable[[], object], seconds: float, what: str, *, every: float = 0.05) -> None:
    """Wait until something is true; LabError says what was waited for."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            raise LabError(f"waited {seconds:g} s for {what}")
        time.sleep(every)


def tail(log: Path, lines: int = 8) -> str:
    """The end of a log, for a message."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"
