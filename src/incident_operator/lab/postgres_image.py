"""Makes an image of a real PostgreSQL from Debian's packages: downloaded and unpacked, nothing installed, no root.

In it are the server, its tools and the libraries that they load, and the demo's own program, which starts it.
Made anew when a package has a newer version; kept beside the other images.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from incident_operator.lab.build import app_program, cache_directory, locked
from incident_operator.lab.faults import LabError
from incident_operator.lab.images import ETC, Layer, busybox_layer, make_image
from incident_operator.lab.progress import doing

NAME = "localhost/incident-postgres:1"
USER = 999
REMEDY = "The image is made from Debian's or Ubuntu's packages. There, as root: apt-get update"
UNWANTED = ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
LEFT_OUT = ("libllvm", "libperl", "libpython", "libtcl")
"""Libraries for what is not used here: compiled queries and procedures in other languages."""
SKIP = re.compile(r"/(bitcode|llvmjit[^/]*|man|posix|right)(/|$)")


class AptError(LabError):
    """apt did not bring the packages; the message has the remedy."""


def postgres_image() -> Path:
    """The image ``localhost/incident-postgres:1``, made if need be; LabError with the remedy where it cannot be."""
    if not shutil.which("apt-get"):
        raise AptError(f"could not make an image of PostgreSQL: apt-get is not there\n{REMEDY}")
    images = cache_directory() / "images"
    with locked(images / "incident-postgres.lock"):
        try:
            return _current(images)
        except AptError:
            if os.geteuid():
                raise
        with doing("fetching the lists of packages"):  # old lists name packages that mirrors no longer have
            _apt("apt-get", "-q", "-o", "DPkg::Lock::Timeout=120", "update")
        return _current(images)


def _current(images: Path) -> Path:
    """The image of the packages as apt's lists have them now."""
    version = _major_version()
    packages = [f"postgresql-{version}", f"postgresql-client-{version}", "libc-bin", "tzdata"]
    packages += _libraries_of(packages[:2])
    program = app_program()
    recipe = hashlib.sha256(Path(__file__).read_bytes() + program.parent.name.encode())
    recipe.update(_apt("apt-get", "--print-uris", "download", *packages).encode())
    out = images / f"incident-postgres-{recipe.hexdigest()[:16]}.tar"
    if not out.exists():
        what = f"making an image of PostgreSQL {version} from Debian's packages; once, about 20 s"
        with doing(what), tempfile.TemporaryDirectory(prefix="incident-postgres-") as folder:
            root = _unpacked(packages, Path(folder))
            _make(root, version, program, out)
    return out


def _apt(*argv: str, cwd: Path | None = None) -> str:
    # As _apt, apt's own user, it could not write into a folder of ours.
    command = [argv[0], "-o", "APT::Sandbox::User=root", *argv[1:]]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        said = " ".join(done.stderr.split())[-500:]
        raise AptError(f"could not make an image of PostgreSQL: {' '.join(argv[:3])}: {said}\n{REMEDY}")
    return done.stdout


def _major_version() -> str:
    """The version that the distribution's own package ``postgresql`` stands for."""
    found = re.search(r"Depends: postgresql-(\d+)", _apt("apt-cache", "depends", "postgresql"))
    if found is None:
        raise AptError(f"could not make an image of PostgreSQL: apt knows no package postgresql\n{REMEDY}")
    return found[1]


def _libraries_of(packages: Sequence[str]) -> list[str]:
    """The packages of libraries that they depend on, however far; no other package is followed."""
    needs: dict[str, list[str]] = {}
    name = ""
    only = [f"--no-{kind}" for kind in UNWANTED]
    for line in _apt("apt-cache", "depends", "--recurse", *only, *packages).splitlines():
        if not line.startswith((" ", "<")):
            name = line
        elif "epends: " in line:
            needs.setdefault(name, []).append(line.partition("epends: ")[2])
    found: set[str] = set()
    todo = list(packages)
    while todo:
        for each in needs.get(todo.pop(), ()):
            if each.startswith(("lib", "zlib")) and not each.startswith(LEFT_OUT) and each not in found:
                found.add(each)
                todo.append(each)
    return sorted(found)


def _unpacked(packages: Sequence[str], folder: Path) -> Path:
    """Download and unpack them, as a root that nothing is installed in."""
    root = folder / "root"
    root.mkdir()
    _apt("apt-get", "-q", "download", *packages, cwd=folder)
    for each in sorted(folder.glob("*.deb")):
        done = subprocess.run(
            ["dpkg-deb", "--extract", str(each), str(root)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"could not unpack {each.name}: {done.stderr.strip()[-500:]}")
    return root


def _make(root: Path, version: str, program: Path, out: Path) -> None:
    """Choose from the unpacked packages what the server and its tools need, and make the image of it."""
    home, share = f"usr/lib/postgresql/{version}", f"usr/share/postgresql/{version}"
    folders = (f"{home}/bin", f"{home}/lib", share, "usr/lib/locale/C.utf8", "usr/share/zoneinfo")
    files = [(root / each, each) for each in folders]
    files += _loaded(root, home)
    tools = sorted((root / home / "bin").iterdir())
    links = {f"usr/local/bin/{tool.name}": f"/{home}/bin/{tool.name}" for tool in tools}
    links["var/run/postgresql"] = "/tmp"  # noqa: S108  where Debian's PostgreSQL has its socket; here it may write
    users = {
        **ETC,
        "etc/passwd": f"{ETC['etc/passwd']}postgres:x:{USER}:{USER}:postgres:/data:/bin/sh\n",
        "etc/group": f"{ETC['etc/group']}postgres:x:{USER}:\n",
    }
    server = Layer(files, users, ("data",), links, skip=lambda place: bool(SKIP.search(place)))
    make_image(
        NAME,
        out,
        layers=[busybox_layer(), server, Layer([(program, "app")])],
        command=["/app"],
        environment=["ROLE=postgres", "PGDATA=/data/pg", "LANG=C.UTF-8"],
        user=f"{USER}:{USER}",
    )


def _loaded(root: Path, home: str) -> Iterator[tuple[Path, str]]:
    """The loader, and every library that it says it would load, with their places in the image."""
    loader = next(path for path in sorted(root.rglob("ld-linux*.so.*")) if not path.is_symlink())
    server = root / home / "bin/postgres"
    asked_for = re.search(rb"/lib[^\0]*/ld-linux[^\0]*", server.read_bytes()[:8192])
    if asked_for is None:
        raise LabError(f"could not make an image of PostgreSQL: {server.name} names no loader")
    yield loader, asked_for[0].decode()
    folders = sorted({str(path.parent) for path in root.rglob("*.so.*")})
    command = [str(loader), "--library-path", ":".join(folders), "--list"]
    found: set[Path] = set()
    modules = [path for path in sorted((root / home / "lib").glob("*.so")) if not SKIP.search(str(path))]
    for each in (*sorted((root / home / "bin").iterdir()), *modules):
        said = subprocess.run([*command, str(each)], capture_output=True, text=True, check=False).stdout
        found |= {Path(path) for path in re.findall(rf"=> ({re.escape(str(root))}/\S+)", said)}
    for path in sorted(found):
        yield path.resolve(), str(path.relative_to(root))
