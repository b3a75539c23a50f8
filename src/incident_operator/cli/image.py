"""The operator's image, from what is installed on this machine: its Python, its packages, its C library."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

from incident_operator import __version__
from incident_operator.lab import LabError
from incident_operator.lab.images import Layer, busybox_layer, make_image

NAME = "incident-operator"
HOME = "usr/local"
UNUSED = frozenset(
    {"__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "site-packages", "dist-packages"}
)
"""Folders of Python's own library that no program of a pod needs; packages have a layer of their own."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
START = f'#!/bin/sh\nexec /{HOME}/bin/python3 -m incident_operator "$@"\n'


def operator_image(out: Path) -> Path:
    """Write the image as an OCI tarball; LabError says what is missing here."""
    library = Path(sysconfig.get_paths()["stdlib"])
    python = Path(sys.executable).resolve()
    packages = list(_packages())
    shared = _shared_libraries(
        [python, *library.rglob("*.so"), *(path for path, _ in packages if ".so" in path.suffixes)]
    )
    target = f"{HOME}/lib/{library.name}"
    with tempfile.TemporaryDirectory() as scratch:
        start = Path(scratch) / NAME
        start.write_text(START)
        start.chmod(0o755)
        certificates = [(CERTIFICATES, str(CERTIFICATES))] if CERTIFICATES.exists() else []
        layers = [
            busybox_layer(),
            Layer([*((path, str(path)) for path in shared), (python, f"{HOME}/bin/python3"), *certificates]),
            Layer([(library, target)], skip=lambda name: not UNUSED.isdisjoint(name.removeprefix(target).split("/"))),
            Layer([(path, f"{target}/site-packages/{place}") for path, place in packages]),
            Layer([(start, f"{HOME}/bin/{NAME}")]),
        ]
        environment = [f"PYTHONHOME=/{HOME}", "PYTHONDONTWRITEBYTECODE=1", "PYTHONUNBUFFERED=1"]
        return make_image(
            f"{NAME}:{__version__}",
            out,
            layers=layers,
            command=[NAME, "run"],
            environment=environment,
            user="65532:65532",
        )


def _packages() -> Iterator[tuple[Path, str]]:
    """Every file of this program and of what it needs to run, with its place among the packages."""
    source = Path(__file__).resolve().parents[1]
    for path in sorted(source.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path, f"incident_operator/{path.relative_to(source)}"
    for name in sorted(_needed()):
        for file in importlib.metadata.distribution(name).files or ():
            path = Path(str(file.locate()))
            if ".." not in file.parts and "__pycache__" not in file.parts and path.is_file():
                yield path, str(file)


def _needed() -> set[str]:
    """The distributions that this one needs, and those that they need; extras and other platforms left out."""
    found: set[str] = set()
    todo = _requirements(NAME)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _requirements(name)
    return found


def _requirements(name: str) -> list[str]:
    """Names of what one distribution requires, as far as it is installed."""
    try:
        told = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError as cause:
        if name == NAME:
            raise LabError(
                f"{NAME} is not installed for {sys.executable}: run it from its environment (make image)"
            ) from cause
        return []
    names = [re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0] for text in told if "extra ==" not in text]
    return [each for each in names if _is_installed(each)]


def _is_installed(name: str) -> bool:
    """A requirement of another platform or Python is not."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _shared_libraries(programs: list[Path]) -> list[Path]:
    """Every shared library that the dynamic loader would load for these, at the path where it looks for it."""
    found: set[Path] = set()
    for begin in range(0, len(programs), 100):
        names = [str(path) for path in programs[begin : begin + 100]]
        done = subprocess.run(["ldd", *names], capture_output=True, text=True, check=False)  # noqa: S603, S607 - a list, no shell
        found |= {Path(path) for path in re.findall(r"(?:=>\s+|^\s+)(/\S+) \(0x", done.stdout, flags=re.MULTILINE)}
    return sorted(path for path in found if path not in programs)
