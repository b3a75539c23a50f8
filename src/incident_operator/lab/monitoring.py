"""A real Prometheus and a real Alertmanager, out of Debian's packages: unpacked, nothing installed, no root.

Their programs are fetched once into the cache. Each one that is started keeps all it has in a folder of its own, and
listens on the machine's loopback only.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from incident_operator.lab import processes
from incident_operator.lab.build import cache_directory, locked, run
from incident_operator.lab.faults import LabError

PACKAGES = ("prometheus", "prometheus-alertmanager")
PROGRAMS = {
    "prometheus": "prometheus",
    "promtool": "promtool",
    "alertmanager": "prometheus-alertmanager",
    "amtool": "amtool",
}
"""What they are called here, and in the packages."""
SHARE, OUR_SHARE = b"/usr/share/prometheus/", b".////share/prometheus/"
"""Debian's programs read templates and pages there instead of having them inside, and no flag names another place; \
the other one is as long, and in the folder that they are started in."""
REMEDY = "They come from Debian's or Ubuntu's packages. There, as root: apt-get update"
READY_SECONDS = 30.0
STOP_SECONDS = 10.0


def programs(say: Callable[[str], None]) -> Path:
    """The folder with prometheus, promtool, alertmanager and amtool; LabError with the remedy where they cannot be."""
    place = cache_directory() / "monitoring"
    if place.exists():
        return place
    if not shutil.which("apt-get"):
        raise LabError(f"could not fetch Prometheus and Alertmanager: apt-get is not there\n{REMEDY}")
    with locked(place.with_suffix(".lock")):
        if not place.exists():
            say(f"fetching Prometheus and Alertmanager with apt-get download: {' '.join(PACKAGES)}")
            _fetch(place)
    return place


def _fetch(place: Path) -> None:
    """Download and unpack beside the place, and put the programs there at once."""
    with tempfile.TemporaryDirectory(prefix=".monitoring-", dir=place.parent) as name:
        folder = Path(name)
        try:
            _apt("download", *PACKAGES, cwd=folder)
        except LabError:
            if os.geteuid():
                raise
            _apt("update", cwd=folder)  # old lists name packages that mirrors no longer have
            _apt("download", *PACKAGES, cwd=folder)
        for package in sorted(folder.glob("*.deb")):
            run(["dpkg-deb", "--extract", str(package), str(folder / "root")], f"unpack {package.name}")
        made = folder / "made"
        made.mkdir()
        (folder / "root/usr/share").rename(made / "share")
        for called, packed in PROGRAMS.items():
            program = made / called
            program.write_bytes((folder / "root/usr/bin" / packed).read_bytes().replace(SHARE, OUR_SHARE))
            program.chmod(0o755)
            run([str(program), "--version"], f"run {called}, which needs no more than the system's C library")
        made.rename(place)


def _apt(*argv: str, cwd: Path) -> None:
    # As _apt, apt's own user, it could not write into a folder of ours.
    command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "DPkg::Lock::Timeout=120", *argv]
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=env)
    if done.returncode:
        said = " ".join(done.stderr.split())[-500:]
        raise LabError(f"could not fetch Prometheus and Alertmanager: apt-get {argv[0]}: {said}\n{REMEDY}")


class Running:
    """A Prometheus or an Alertmanager, running until it is stopped, or until the thread that started it ends."""

    def __init__(self, folder: Path, port: int, argv: Sequence[str], *, cluster: str = "") -> None:
        """Name what to start; ``start`` does."""
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.cluster = cluster
        """Where other Alertmanagers join it; empty where it stands alone."""
        self.log = folder / "log"
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """What it is."""
        return Path(self._argv[0]).name

    @property
    def pid(self) -> int:
        """Its process; LabError if it was never started."""
        if self._process is None:
            raise LabError(f"{self.name} was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it where it was before, with what it has stored; LabError with its last words if it is not ready."""
        if self.is_running:
            return
        # Nothing of the user's: a proxy in the environment would be asked for 127.0.0.1, too.
        env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)}
        self._process = processes.start(self._argv, self.log, env=env, cwd=self.folder)
        deadline = time.monotonic() + READY_SECONDS
        while self.ask("/-/ready")[0] != http.client.OK:
            if not self.is_running:
                ended = self._process.returncode
                raise LabError(f"{self.name} ended with {ended}; {self.log} ends:\n{processes.tail(self.log)}")
            if time.monotonic() > deadline:
                self.stop()
                waited = f"not ready after {READY_SECONDS:g} s"
                raise LabError(f"{self.name}: {waited}; {self.log} ends:\n{processes.tail(self.log)}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as a service manager does, and by force where it does not end; what it has stored stays."""
        if self._process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.is_running:
                self._process.send_signal(number)
                try:
                    self._process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        if self.is_running:
            raise LabError(f"{self.name}: process {self._process.pid} does not end")

    def kill(self) -> None:
        """End it as a machine that fails does: at once, with nothing said and nothing saved."""
        if self._process is not None and self.is_running:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def reload(self, config: str | None = None) -> None:
        """Have it read its configuration again, a new one if it is given; LabError says what is wrong with it."""
        if config is not None:
            (self.folder / "config.yml").write_text(config)
        status, said = self.ask("/-/reload", method="POST")
        if status != http.client.OK:
            raise LabError(f"{self.name} did not take its configuration: {said.decode(errors='replace').strip()}")

    def ask(self, path: str, *, method: str = "GET", body: bytes = b"") -> tuple[int, bytes]:
        """Status and body of one request, with a body of JSON if any; status 0 where no answer came."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=5)
        try:
            connection.request(method, path, body or None, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()


def start_prometheus(folder: Path, config: str, rules: Mapping[str, str] | None = None) -> Running:
    """Start Prometheus in a folder and wait until it is ready.

    ``rules`` are files by name; all of them are loaded where the config has no ``rule_files`` of its own. A firing
    alert is sent again every two seconds, so that an Alertmanager that was away soon knows it.
    """
    folder = folder.resolve()
    if rules:
        (folder / "rules").mkdir(parents=True, exist_ok=True)
        for name, text in rules.items():
            (folder / "rules" / name).write_text(text)
        config = yaml.safe_dump({"rule_files": ["rules/*"], **yaml.safe_load(config)})
    _keep(folder, config)
    (port,) = free_ports(1)
    argv = [
        f"{programs(_quiet)}/prometheus", f"--config.file={folder}/config.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", f"--web.external-url=http://127.0.0.1:{port}/",
        "--web.enable-lifecycle", "--rules.alert.resend-delay=2s",
    ]  # fmt: skip
    return _started(Running(folder, port, argv))


def start_alertmanager(folder: Path, config: str, *, peers: Sequence[str] | None = None) -> Running:
    """Start Alertmanager in a folder and wait until it is ready.

    It stands alone unless ``peers`` is given: the ``cluster`` of each other one that is there already, none for the
    first of several.
    """
    folder = folder.resolve()
    _keep(folder, config)
    port, gossip = free_ports(2)
    cluster = "" if peers is None else f"127.0.0.1:{gossip}"
    argv = [
        f"{programs(_quiet)}/alertmanager", f"--config.file={folder}/config.yml", f"--storage.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", f"--web.external-url=http://127.0.0.1:{port}/",
        f"--cluster.listen-address={cluster}",
    ]  # fmt: skip
    if cluster:
        # Settling takes ten gossip intervals at least, and the second sends when the first did not in peer-timeout.
        argv += [f"--cluster.advertise-address={cluster}", "--cluster.gossip-interval=50ms"]
        argv += ["--cluster.settle-timeout=5s", "--cluster.peer-timeout=2s", "--cluster.reconnect-interval=1s"]
        argv += [f"--cluster.peer={peer}" for peer in peers or ()]
    return _started(Running(folder, port, argv, cluster=cluster))


def _keep(folder: Path, config: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yml").write_text(config)
    share = folder / "share"
    if not share.is_symlink():
        share.symlink_to(programs(_quiet) / "share")


def _started(running: Running) -> Running:
    running.start()
    return running


def _quiet(_: str) -> None:
    """Say nothing."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody has; they stay the same when it is started again, so it is told which."""
    found = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in found]
    for each in found:
        each.close()
    return ports
