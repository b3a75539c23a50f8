"""The lab's first process: brings everything up, says so, and starts again what ends.

``python -m incident_operator.lab.keeper FOLDER``. On a real node it is the first process of a
PID namespace, so that its end is the end of everything; elsewhere its children die with it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from incident_operator.lab import control_plane, node, simulated
from incident_operator.lab.faults import LabError
from incident_operator.lab.layout import NODE, Settings
from incident_operator.lab.processes import start, tail

USERS = ("controller-manager", "scheduler", "proxy", "kubelet", "kwok")


class Keeper:
    """Keeps the programs of one lab."""

    def __init__(self, folder: Path) -> None:
        """Read what was asked for."""
        self.folder = folder
        told = json.loads((folder / "run/settings.json").read_text())
        self.settings = Settings(**{**told, "apiserver_flags": tuple(told["apiserver_flags"])})
        self.programs: dict[str, tuple[list[str], subprocess.Popen[bytes]]] = {}
        self.begun = time.monotonic()

    def say(self, what: str) -> None:
        """One line of progress."""
        print(f"{time.monotonic() - self.begun:5.1f} s  {what}", flush=True)

    def start(self, name: str, argv: list[str]) -> None:
        """Start one program, its output in ``log/NAME.log``."""
        fds: tuple[int, ...] = ()
        if name == "relay":
            os.set_inheritable(3, True)
            fds = (3,)
        process = start(argv, self.folder / f"log/{name}.log", env=node.environment(), pass_fds=fds, cwd=self.folder)
        (self.folder / f"run/{name}.pid").write_text(f"{process.pid}\n")
        self.programs[name] = argv, process

    def until(self, what: str, check: Callable[[], object], seconds: float = 90) -> None:
        """Wait for something; LabError names the program that ended, with the end of its log."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if check():
                    self.say(what)
                    return
            except OSError:
                pass
            for name, (_, process) in self.programs.items():
                if process.poll() is not None:
                    log = self.folder / f"log/{name}.log"
                    raise LabError(f"{name} ended with {process.returncode}; {log} ends:\n{tail(log)}")
            if time.monotonic() > deadline:
                raise LabError(f"{seconds:g} s and not yet: {what}; the logs are in {self.folder / 'log'}")
            time.sleep(0.05)

    def ask(self, path: str) -> object:
        """One GET of the API server as admin; None if it is not 200."""
        pki = self.folder / "pki"
        context = ssl.create_default_context(cafile=pki / "ca.crt")
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        url = f"https://127.0.0.1:{self.settings.port}{path}"
        try:
            with urllib.request.urlopen(url, context=context, timeout=5) as answer:
                body = answer.read()
        except urllib.error.HTTPError:
            return None
        return json.loads(body) if body.startswith(b"{") else body

    def bring_up(self) -> None:
        """Everything, in order."""
        folder, settings = self.folder, self.settings
        if settings.is_real:
            node.mounts(folder)
            node.cgroups(folder)
            node.network()
            node.settings(folder)
        control_plane.certificates(folder)
        for user in USERS:
            control_plane.kubeconfig(folder, user, settings.port, folder / f"etc/{user}.kubeconfig")
        if settings.is_real:
            self.start("relay", [f"{folder}/bin/relay", f"127.0.0.1:{settings.port}"])
            self.start("containerd", ["containerd", "--config", f"{folder}/etc/containerd.toml"])
        self.start("etcd", control_plane.etcd(folder, settings))
        self.start("kube-apiserver", control_plane.apiserver(folder, settings))
        if settings.is_real:
            self.until("containerd answers", _containerd_answers)
            node.images(folder)
        self.until("API server ready", lambda: self.ask("/readyz"))
        self.start("kube-controller-manager", control_plane.controller_manager(folder, settings))
        self.start("kube-scheduler", control_plane.scheduler(folder, settings))
        if settings.is_real:
            self.start("kubelet", node.kubelet(folder))
            self.start("kube-proxy", [f"{folder}/bin/kube-proxy", "--config", f"{folder}/etc/proxy.yaml"])
            self.until("node Ready", lambda: self.is_node_ready(NODE))
        elif settings.nodes == "simulated":
            simulated.configure(folder, Path(settings.kwok_stages))
            self.start("kwok", control_plane.kwok(settings, folder))
            simulated.make_nodes(folder, settings.simulated_count)
            self.until(
                "simulated nodes Ready", lambda: self.is_node_ready(simulated.name(settings.simulated_count - 1))
            )
        self.until("default ServiceAccount", lambda: self.ask("/api/v1/namespaces/default/serviceaccounts/default"))
        control_plane.kubeconfig(folder, "admin", settings.port, folder / "kubeconfig")

    def is_node_ready(self, name: str) -> bool:
        """Whether a node says that it is ready."""
        found = self.ask(f"/api/v1/nodes/{name}")
        if not isinstance(found, dict):
            return False
        return any(
            each["type"] == "Ready" and each["status"] == "True" for each in found["status"].get("conditions", ())
        )

    def keep(self) -> None:
        """Start again, after a second, each program that ends; not while ``run/NAME.hold`` exists."""
        while True:
            time.sleep(1)
            for name, (argv, process) in list(self.programs.items()):
                if process.poll() is not None and not (self.folder / f"run/{name}.hold").exists():
                    self.say(f"{name} ended with {process.returncode}; started again")
                    self.start(name, argv)


def _containerd_answers() -> bool:
    return subprocess.run(["ctr", "version"], capture_output=True, check=False).returncode == 0


def main() -> None:
    """Bring the lab up and keep it."""
    folder = Path(sys.argv[1])
    keeper = Keeper(folder)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        keeper.bring_up()
        (folder / "run/ready").write_text("")
        keeper.keep()
    except (LabError, OSError) as fault:
        (folder / "run/failed").write_text(f"{fault}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
