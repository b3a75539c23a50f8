"""One lab: everything it is lies under its folder, and one recorded process is its life."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from incident_operator.lab import packages, processes
from incident_operator.lab.build import kube_program, kwok_program
from incident_operator.lab.faults import LabError
from incident_operator.lab.layout import PARTS, Settings, cgroup_name, cgroup_tops
from incident_operator.lab.progress import doing

Nodes = Literal["auto", "real", "simulated", "none"]
UP_SECONDS = 180


def default_directory(name: str = "default") -> Path:
    """Where a lab of this name lives: ``$XDG_STATE_HOME/incident-operator/labs/NAME``."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local/state")
    return Path(home) / "incident-operator/labs" / name


@dataclasses.dataclass(frozen=True, slots=True)
class LabStatus:
    """What a lab is doing."""

    directory: str
    running: bool
    nodes: str = "none"
    server: str = ""
    kubeconfig: str = ""
    processes: dict[str, int] = dataclasses.field(default_factory=dict)
    memory_mib: int = 0


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


class Lab:
    """A Kubernetes of one's own."""

    def __init__(self, directory: Path) -> None:
        """Name the folder; nothing is made before ``up``."""
        self.directory = Path(directory).resolve()
        self.kubeconfig = self.directory / "kubeconfig"
        self._record = self.directory / "run/lab.json"
        self._mark = self.directory / ".incident-lab"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One up or down at a time."""
        if self.directory.exists() and any(self.directory.iterdir()) and not self._mark.exists():
            raise LabError(f"{self.directory} is neither empty nor the folder of a lab")
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._mark.open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    @property
    def is_running(self) -> bool:
        """Whether it is up."""
        return processes.recorded(self._record) is not None and (self.directory / "run/ready").exists()

    def settings(self) -> Settings:
        """What it was started with."""
        told = json.loads((self.directory / "run/settings.json").read_text())
        return Settings(**{**told, "apiserver_flags": tuple(told["apiserver_flags"])})

    def up(
        self,
        nodes: Nodes = "auto",
        *,
        simulated_count: int = 1,
        apiserver_flags: Sequence[str] = (),
        say: Callable[[str], None] = _say,
    ) -> None:
        """Start the lab, or find it running; whatever an earlier one left behind is cleaned up first."""
        kind = packages.choose(nodes, say)
        programs = kube_program()
        kwok, stages = kwok_program() if kind == "simulated" else (Path(), Path())
        with self._locked():
            if self.is_running:
                return
            self._clean()
            for part in PARTS:
                if part != "kubeconfig":
                    (self.directory / part).mkdir(mode=0o700 if part in ("etcd", "pki") else 0o755)
            for program in programs.iterdir():
                if not program.name.startswith("."):
                    (self.directory / "bin" / program.name).symlink_to(program)
            if kind == "real":
                packages.install(self.directory / "log/apt.log", say)
            try:
                with doing("starting Kubernetes"):
                    self._launch(kind, simulated_count, apiserver_flags, kwok, stages)
            except BaseException:
                self._stop()
                raise

    def _launch(self, kind: str, count: int, flags: Sequence[str], kwok: Path, stages: Path) -> None:
        """Start the keeper and wait until it says that all is there."""
        with closing(_listener()) as listener:
            port = listener.getsockname()[1]
            etcd, peer = (2379, 2380) if kind == "real" else _free_ports(2)
            settings = Settings(kind, port, etcd, peer, count, tuple(flags), str(kwok), str(stages))
            (self.directory / "run/settings.json").write_text(json.dumps(dataclasses.asdict(settings)))
            self._start_keeper(settings, listener)
        self._await_ready()

    def _start_keeper(self, settings: Settings, listener: socket.socket) -> None:
        log = self.directory / "log/lab.log"
        package = Path(__file__).resolve().parents[2]
        env = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"}
        python = [sys.executable, "-m"]
        if not settings.is_real:
            listener.close()
            argv = [*python, "incident_operator.lab.keeper", str(self.directory)]
            keeper = processes.start(argv, log, env=env, cwd=Path("/"), detached=True)
            processes.record(self._record, keeper.pid)
            return
        os.dup2(listener.fileno(), 3) if listener.fileno() != 3 else None  # noqa: PLR2004
        spaces = ["unshare", "--mount", "--propagation", "private", "--net", "--pid", "--fork", "--kill-child"]
        argv = [*spaces, *python, "incident_operator.lab.first", str(self.directory)]
        outer = processes.start(argv, log, env=env, pass_fds=[3], cwd=Path("/"), detached=True)
        processes.wait_for(lambda: _child(outer.pid) or outer.poll() is not None, 10, "the lab's namespaces")
        inner = _child(outer.pid)
        if inner is None:
            raise LabError(f"could not make namespaces: {processes.tail(log)}")
        processes.record(self._record, inner)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + UP_SECONDS
        while not (self.directory / "run/ready").exists():
            failed = self.directory / "run/failed"
            if failed.exists():
                raise LabError(failed.read_text().strip())
            if processes.recorded(self._record) is None:
                raise LabError(f"the lab ended by itself: {processes.tail(self.directory / 'log/lab.log')}")
            if time.monotonic() > deadline:
                raise LabError(f"not ready after {UP_SECONDS} s: see {self.directory / 'log'}")
            time.sleep(0.05)

    def down(self) -> None:
        """Stop the lab and remove all it kept; the built programs stay in the cache."""
        if not self.directory.exists():
            return
        with self._locked():
            self._clean()
        self._mark.unlink(missing_ok=True)
        if not any(self.directory.iterdir()):
            self.directory.rmdir()

    def _stop(self) -> None:
        """End the first process, and with it every other one; then the cgroups."""
        children = list(self.directory.glob("run/*.pid"))
        pids = {int(path.read_text()): path for path in children if path.read_text().strip().isdigit()}
        real = (self.directory / "run/settings.json").exists() and self.settings().is_real
        processes.end(self._record)
        if not real:
            processes.wait_for(
                lambda: not any(_is_ours(pid, self.directory) for pid in pids), 30, "the lab's programs to end"
            )
        processes.wait_for(self._remove_cgroups, 30, "the lab's cgroups to be empty")

    def _remove_cgroups(self) -> bool:
        for top in cgroup_tops():
            for folder, _, _ in os.walk(top / cgroup_name(self.directory), topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError:
                    return False  # a process in it is still ending
        return True

    def _clean(self) -> None:
        """Stop whatever runs, and remove what a lab keeps in its folder; nothing else that lies there."""
        self._stop()
        inside = f"{self.directory}/"
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        left = [path for path in mounted if path.startswith(inside)]
        if left:
            raise LabError(f"{left[0]} is mounted: nothing in {self.directory} is removed")
        for part in PARTS:
            path = self.directory / part
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def status(self) -> LabStatus:
        """What it is doing, for people and for ``-o json``."""
        if not self.is_running:
            return LabStatus(str(self.directory), running=False)
        settings = self.settings()
        found = {
            path.stem: int(path.read_text())
            for path in sorted(self.directory.glob("run/*.pid"))
            if path.read_text().strip()
        }
        memory = self._memory()
        server = f"https://127.0.0.1:{settings.port}"
        return LabStatus(str(self.directory), True, settings.nodes, server, str(self.kubeconfig), found, memory)

    def _memory(self) -> int:
        """Resident memory of everything below the first process, in MiB."""
        top = processes.recorded(self._record)
        total, todo = 0, [top] if top else []
        while todo:
            pid = todo.pop()
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                tasks = list(Path(f"/proc/{pid}/task").iterdir())
                todo += [int(each) for task in tasks for each in (task / "children").read_text().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += pages * os.sysconf("SC_PAGE_SIZE")
        return total // 2**20

    def kubectl(self, *args: str, given: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run kubectl on this lab, with nothing of the user's; LabError if it fails and ``check`` is set."""
        argv = [
            f"{self.directory}/bin/kubectl",
            "--kubeconfig",
            str(self.kubeconfig),
            "--cache-dir",
            str(self.directory / "tmp" / "kubectl"),
        ]
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.directory / "tmp")}
        done = subprocess.run([*argv, *args], input=given, capture_output=True, text=True, env=env, check=False)
        if check and done.returncode:
            raise LabError(f"kubectl {' '.join(args)}: {done.stderr.strip()[-2000:]}")
        return done

    def import_image(self, tarball: Path) -> None:
        """Import an image tarball into a real node; pods use it with imagePullPolicy Never or IfNotPresent."""
        self.exec_on_node("ctr", "-n", "k8s.io", "images", "import", str(tarball))

    def exec_on_node(self, *argv: str) -> str:
        """Run a command of the machine on the real node: its network, processes and mounts."""
        top = processes.recorded(self._record)
        if top is None or not self.settings().is_real:
            raise LabError(f"{self.directory}: no real node is running")
        enter = ["nsenter", "--target", str(top), "--mount", "--net", "--pid", "--", *argv]
        done = subprocess.run(enter, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(f"{' '.join(argv[:4])} on the node: {(done.stderr or done.stdout).strip()[-1000:]}")
        return done.stdout

    def hold(self, program: str) -> None:
        """End one program of the lab and keep it from being started again, until ``resume``."""
        (self.directory / f"run/{program}.hold").touch()
        self._signal(program, signal.SIGKILL)

    def resume(self, program: str) -> None:
        """Let a program that was held be started again."""
        (self.directory / f"run/{program}.hold").unlink(missing_ok=True)

    def _signal(self, program: str, number: signal.Signals) -> None:
        pid = int((self.directory / f"run/{program}.pid").read_text())
        if self.settings().is_real:
            self.exec_on_node("kill", f"-{int(number)}", str(pid))
        else:
            os.kill(pid, number)


def _listener() -> socket.socket:
    """A port of the machine's loopback that the kernel chose."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    made.listen(1024)
    return made


def _free_ports(count: int) -> list[int]:
    found = [_listener() for _ in range(count)]
    ports = [each.getsockname()[1] for each in found]
    for each in found:
        each.close()
    return ports


def _child(parent: int) -> int | None:
    """The only child of a process."""
    try:
        found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(found[0]) if found else None


def _is_ours(pid: int, folder: Path) -> bool:
    """Whether a process still runs a program of this lab."""
    try:
        return str(folder).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
