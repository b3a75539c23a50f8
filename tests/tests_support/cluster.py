"""kubectl, a namespace, and an operator process, as a user has them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from tests_support.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent.parent


class Kubectl:
    """kubectl with a kubeconfig of its own and nothing of the user's."""

    def __init__(self, kubeconfig: Path, cache: Path) -> None:
        self.kubeconfig = kubeconfig
        self._program = _kubectl_program()
        self._cache = cache

    def argv(self, *args: str) -> list[str]:
        return [*self._program, "--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self._cache), *args]

    def run(self, *args: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        argv = self.argv(*args)
        env = {"PATH": os.environ["PATH"], "HOME": str(self._cache)}
        return subprocess.run(argv, input=given, capture_output=True, text=True, env=env, timeout=120, check=False)

    def __call__(self, *args: str, given: str | None = None) -> str:
        done = self.run(*args, given=given)
        assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    def json(self, *args: str) -> Any:
        return json.loads(self(*args, "-o", "json"))


def _kubectl_program() -> list[str]:
    from incident_operator.lab import kubectl_program

    return [str(kubectl_program())]


@dataclasses.dataclass
class Namespace:
    """One namespace and what a test does in it."""

    name: str
    kubectl: Kubectl

    @classmethod
    def create(cls, kubectl: Kubectl) -> Namespace:
        name = f"t-{secrets.token_hex(4)}"
        kubectl("create", "namespace", name)
        made = cls(name, kubectl)
        eventually(
            lambda: (
                kubectl.run("get", "serviceaccount", "default", "-n", name).returncode == 0
                or kubectl.run("get", "--raw", "/healthz").returncode == 0
            ),
            within=15,
            what="the namespace's default ServiceAccount",
        )
        return made

    def delete(self) -> None:
        self.kubectl.run("delete", "incidents.incident-operator.dev", "--all", "-n", self.name, "--timeout=20s")
        self.kubectl.run("delete", "namespace", self.name, "--wait=false")

    def __call__(self, *args: str, given: str | None = None) -> str:
        return self.kubectl("-n", self.name, *args, given=given)

    def run(self, *args: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
        return self.kubectl.run("-n", self.name, *args, given=given)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        text = yaml.safe_dump_all([dict(each) for each in objects])
        self("apply", "--server-side", "--force-conflicts", "-f", "-", given=text)

    def apply_file(self, path: Path) -> None:
        """Apply a manifest file, or a folder with a kustomization, into this namespace."""
        flag = "-k" if path.is_dir() and (path / "kustomization.yaml").exists() else "-f"
        self("apply", flag, str(path))

    def responder(self) -> None:
        """Apply the shipped ServiceAccount and its rights; return once the API server knows them: RBAC is cached."""
        self.apply_file(ROOT / "manifests/responder")
        who = f"--as=system:serviceaccount:{self.name}:incident-responder"
        can = lambda: self.run("auth", "can-i", "list", "pods", who).returncode == 0  # noqa: E731
        eventually(can, within=30, what=f"the rights of the responder in {self.name}")

    def get(self, kind: str, name: str) -> Any:
        done = self.run("get", kind, name, "-o", "json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def list(self, kind: str, selector: str = "") -> list[Any]:
        extra = ["-l", selector] if selector else []
        return json.loads(self("get", kind, *extra, "-o", "json"))["items"]  # type: ignore[no-any-return]

    def incident(self, name: str) -> Any:
        return self.get("incidents.incident-operator.dev", name)

    def conditions(self, name: str) -> dict[str, tuple[str, str]]:
        """Type -> (status, reason) of an Incident's conditions."""
        found = (self.incident(name) or {}).get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each["reason"]) for each in found}

    def await_condition(self, name: str, kind: str, status: str = "True", *, within: float = 60) -> Any:
        """Wait for a condition; the Incident as it is then."""

        def look() -> Any:
            if self.conditions(name).get(kind, ("", ""))[0] == status:
                return self.incident(name)
            return None

        try:
            return eventually(look, within=within, what=f"{name} {kind}={status}")
        except AssertionError as fault:
            state = json.dumps((self.incident(name) or {}).get("status"), indent=1)
            raise AssertionError(f"{fault}\n{state[:4000]}") from None


def incident(name: str, **spec: Any) -> dict[str, Any]:
    """An Incident with the fields that every one has."""
    given = {"title": name, "type": "Outage", "severity": "SEV-2", **spec}
    return {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "Incident",
        "metadata": {"name": name},
        "spec": given,
    }


class OperatorProcess:
    """``incident-operator run`` as a process on this machine."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, *more: str) -> None:
        self._argv = [
            sys.executable, "-m", "incident_operator", "run", "--kubeconfig", str(kubeconfig), "--namespace", namespace,
            "--listen", "127.0.0.1:0", "--log-format", "json", "--verified-after", "2s", *more,
        ]  # fmt: skip
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._begins = 0

    def start(self) -> None:
        self._begins = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self.process = self._launch(out)
        eventually(self._listens, within=20, what=f"the operator to listen; see {self.log}")

    def _launch(self, out: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=ROOT)

    def _listens(self) -> str:
        assert self.process is not None
        text = self.log.read_text()[self._begins :]
        assert self.process.poll() is None, f"the operator ended with {self.process.returncode}: {text[-3000:]}"
        found = re.search(r"http://127\.0\.0\.1:\d+", text)
        return found[0] if found else ""

    @property
    def url(self) -> str:
        return self._listens()

    def kill(self) -> None:
        """As a node that dies: no goodbye."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """As kubelet stops a pod."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)
