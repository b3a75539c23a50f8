"""Makes OCI images from files of this machine: no registry, no daemon, no root; the same bytes every time."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from incident_operator.lab.build import app_program, cache_directory, locked
from incident_operator.lab.faults import LabError

BUSYBOX = Path("/bin/busybox")
ETC = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    "nonroot:x:65532:65532:nonroot:/tmp:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
PATH_VARIABLE = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer: files and folders of this machine by their place in the image, and texts."""

    files: Sequence[tuple[Path, str]] = ()
    texts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    folders: Sequence[str] = ()
    links: Mapping[str, str] = dataclasses.field(default_factory=dict)
    skip: Callable[[str], bool] = lambda _: False

    def tarball(self) -> bytes:
        """The layer as a tar archive without owners and times, so that it is always the same."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            for folder in self.folders:
                mode = 0o1777 if folder.strip("/") == "tmp" else 0o755
                tar.addfile(_entry(folder, mode, tarfile.DIRTYPE))
            for place, text in sorted(self.texts.items()):
                data = text.encode()
                mode = 0o755 if text.startswith("#!") else 0o644
                tar.addfile(_entry(place, mode, size=len(data)), io.BytesIO(data))
            for place, target in sorted(self.links.items()):
                tar.addfile(_entry(place, kind=tarfile.SYMTYPE, target=target))
            for source, place in self.files:
                tar.add(source, place.strip("/"), filter=self._anonymous)
        return out.getvalue()

    def _anonymous(self, info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if self.skip(info.name):
            return None
        info.uid = info.gid = 0
        info.mtime = 0
        info.uname = info.gname = ""
        return info


def _entry(
    name: str, mode: int = 0o755, kind: bytes = tarfile.REGTYPE, *, size: int = 0, target: str = ""
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name.strip("/"))
    info.mode, info.type, info.size, info.linkname = mode, kind, size, target
    return info


def busybox_layer() -> Layer:
    """The ground layer: a shell and its tools, from Debian's busybox-static."""
    if not os.access(BUSYBOX, os.X_OK) or b"/ld-linux" in BUSYBOX.read_bytes()[:4096]:
        raise LabError(f"no static {BUSYBOX}: install busybox-static")
    listed = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True).stdout.split()
    links = {f"bin/{applet}": "busybox" for applet in listed if applet != "busybox"}
    return Layer([(BUSYBOX, "bin/busybox")], ETC, ("bin", "etc", "root", "tmp"), links)


def make_image(
    name: str,
    out: Path,
    *,
    layers: Sequence[Layer],
    command: Sequence[str],
    environment: Sequence[str] = (),
    user: str = "",
) -> Path:
    """Write an image as an OCI layout tarball that containerd, podman and docker load; ``name`` has a tag."""
    if ":" not in name.rpartition("/")[2]:
        raise LabError(f"image {name} has no tag")
    blobs: dict[str, bytes] = {}

    def put(data: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}

    contents, ids = [], []
    for layer in layers:
        plain = layer.tarball()
        ids.append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
        contents.append(put(gzip.compress(plain, compresslevel=1, mtime=0), "layer.v1.tar+gzip"))
    settings: dict[str, object] = {"Cmd": list(command), "Env": [PATH_VARIABLE, *environment], "WorkingDir": "/"}
    if user:
        settings["User"] = user
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": contents,
    }
    top = put(json.dumps(manifest).encode(), "manifest.v1+json")
    top["annotations"] = {
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [top]}).encode(),
        **{f"blobs/sha256/{digest}": data for digest, data in blobs.items()},
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".{out.name}.{os.getpid()}")
    with tarfile.open(half, "w") as tar:
        for place, data in files.items():
            tar.addfile(_entry(place, 0o644, size=len(data)), io.BytesIO(data))
    half.rename(out)
    return out


def app_image() -> Path:
    """The image ``localhost/incident-demo:1`` with the demo application, made if need be."""
    program = app_program()
    out = cache_directory() / "images" / f"incident-demo-{program.parent.name}.tar"
    with locked(out.with_suffix(".lock")):
        if not out.exists():
            layers = [busybox_layer(), Layer([(program, "app")])]
            make_image("localhost/incident-demo:1", out, layers=layers, command=["/app"], user="65532:65532")
    return out


def base_images(folder: Path) -> list[Path]:
    """The images every lab has: ``localhost/busybox:1`` and the sandbox ``localhost/pause:1``."""
    ground = busybox_layer()
    return [
        make_image("localhost/busybox:1", folder / "busybox.tar", layers=[ground], command=["sh"]),
        make_image("localhost/pause:1", folder / "pause.tar", layers=[ground], command=["sleep", "infinity"]),
    ]
