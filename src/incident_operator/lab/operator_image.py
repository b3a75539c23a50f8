"""Makes the operator's own image from the running Python and its packages: no registry, no Docker, no base image."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from incident_operator.lab.build import cache_directory, locked
from incident_operator.lab.images import Layer, busybox_layer, make_image
from incident_operator.lab.progress import doing

NAME = "docker.io/library/incident-operator:0.1.0"
"""What a pod's ``incident-operator:0.1.0`` means to containerd."""

SKIP = re.compile(
    r"(^|/)(__pycache__|test|tests|idlelib|tkinter|turtledemo|ensurepip|lib2to3|config-3[^/]*|pydoc_data|site-packages)(/|$)"
    r"|\.a$|/libpython3[^/]*\.a$|_test[a-z]*\.cpython[^/]*\.so$"
)
PACKAGES_SKIP = re.compile(r"(^|/)(__pycache__|tests?)(/|$)|\.dist-info/RECORD$")


def requirements(
    name: str, found: dict[str, importlib.metadata.Distribution] | None = None
) -> dict[str, importlib.metadata.Distribution]:
    """The distribution and everything it needs at run time, as installed here."""
    found = {} if found is None else found
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key in found:
        return found
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return found  # for another platform or Python
    found[key] = distribution
    for requirement in distribution.requires or ():
        if "extra ==" not in requirement:
            requirements(re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0], found)
    return found


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """Shared libraries that programs need, with the loader, by the paths they are looked for at."""
    found: set[Path] = set()
    for program in programs:
        said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        found |= {Path(path) for path in re.findall(r"(/[^\s()]+)", said) if Path(path).is_file()}
    return {path for path in found if path not in set(programs)}


def python_layer() -> Layer:
    """The interpreter with its standard library, at the place it has here, and the libraries of the system it needs."""
    base = Path(sys.base_prefix)
    program = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": str(base), "base": str(base)}))
    shared = _libraries([program, *library.glob("lib-dynload/*.so"), *_extensions()])
    files = [(program, str(program)), (library, str(library))]
    files += [(path.resolve(), str(path)) for path in sorted(shared)]
    return Layer(files, links={"usr/local/bin/python3": str(program)}, skip=lambda place: bool(SKIP.search(place)))


def _site_files() -> list[Path]:
    """The files of every package that is needed, but for our own."""
    found: list[Path] = []
    for key, distribution in sorted(requirements("incident-operator").items()):
        if key == "incident-operator":
            continue
        for each in distribution.files or ():
            path = Path(str(distribution.locate_file(each))).resolve()
            if path.is_file() and "site-packages" in path.parts and not PACKAGES_SKIP.search(str(path)):
                found.append(path)
    return found


def _extensions() -> list[Path]:
    return [path for path in _site_files() if path.suffix == ".so"]


def packages_layer() -> Layer:
    """The packages that the operator needs."""
    files = []
    for path in _site_files():
        inside = path.parts[path.parts.index("site-packages") + 1 :]
        files.append((path, "/opt/packages/" + "/".join(inside)))
    return Layer(files)


def own_layer() -> Layer:
    """The operator itself."""
    package = Path(__file__).resolve().parents[1]
    start = '#!/bin/sh\nexec /usr/local/bin/python3 -m incident_operator "$@"\n'
    return Layer(
        [(package, "/opt/operator/incident_operator")],
        {"opt/incident-operator.sh": start},
        links={"usr/local/bin/incident-operator": "/opt/incident-operator.sh"},
        skip=lambda place: "__pycache__" in place,
    )


def operator_image(out: Path | None = None) -> Path:
    """The image as a tarball, made anew only when what is in it has changed."""
    package = Path(__file__).resolve().parents[1]
    found = hashlib.sha256(sys.version.encode())
    for path in sorted(package.rglob("*.py")):
        found.update(path.read_bytes())
    for key, distribution in sorted(requirements("incident-operator").items()):
        found.update(f"{key}=={distribution.version}".encode())
    target = out or cache_directory() / "images" / f"incident-operator-{found.hexdigest()[:16]}.tar"
    with locked(cache_directory() / "images" / "incident-operator.lock"):
        if out is None and target.exists():
            return target
        with doing("making the operator's image"):
            layers = [busybox_layer(), python_layer(), packages_layer(), own_layer()]
            environment = ["PYTHONPATH=/opt/operator:/opt/packages", "PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1"]
            command = ["incident-operator", "run"]
            make_image(NAME, target, layers=layers, command=command, environment=environment, user="65532:65532")
    return target
