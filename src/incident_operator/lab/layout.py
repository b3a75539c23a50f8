"""Where everything of a lab lies, and the addresses inside it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from pathlib import Path

NODE = "lab-node"
NODE_IP = "198.18.100.1"
POD_CIDR = "198.18.64.0/20"
SERVICE_CIDR = "198.19.0.0/16"
API_SERVICE_IP = "198.19.0.1"
CGROUPS = Path("/sys/fs/cgroup")

PACKAGES = ("busybox-static", "conntrack", "containerd", "containernetworking-plugins", "iproute2", "iptables", "runc")
"""Debian packages that a real node needs."""

PARTS = (
    "audit",
    "bin",
    "cni",
    "containerd",
    "etc",
    "etcd",
    "images",
    "kubelet",
    "kubeconfig",
    "log",
    "pki",
    "podlogs",
    "run",
    "tmp",
    "var",
)
"""All that a lab keeps in its folder; nothing else in it is ever removed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """What one start of a lab was asked for; the keeper reads it from ``run/settings.json``."""

    nodes: str
    port: int
    etcd_port: int
    etcd_peer_port: int
    simulated_count: int = 1
    apiserver_flags: tuple[str, ...] = ()
    kwok: str = ""
    kwok_stages: str = ""

    @property
    def is_real(self) -> bool:
        """Whether there is a node with real pods."""
        return self.nodes == "real"


def cgroup_name(folder: Path) -> str:
    """The name of the lab's cgroup, from its folder."""
    return "incident-lab-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]


def cgroup_tops() -> list[Path]:
    """The hierarchies of the machine: one for cgroup v2, one a controller for v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [path for path in CGROUPS.iterdir() if os.path.ismount(path) and not path.is_symlink()]
