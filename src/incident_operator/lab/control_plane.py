"""The command lines of the control plane, and the certificates and kubeconfigs it needs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from incident_operator.lab.build import run
from incident_operator.lab.layout import API_SERVICE_IP, NODE, NODE_IP, POD_CIDR, SERVICE_CIDR, Settings


def certificates(folder: Path) -> None:
    """Make the authority and every certificate of the lab."""
    system = "system:kube-"
    hosts = [
        "localhost",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "127.0.0.1",
        NODE_IP,
        API_SERVICE_IP,
    ]
    wishes = [
        {"name": "apiserver", "user": "kube-apiserver", "hosts": hosts},
        {"name": "kubelet-server", "user": NODE, "hosts": [NODE, "127.0.0.1", NODE_IP]},
        {"name": "apiserver-kubelet", "user": "apiserver-kubelet", "groups": ["system:masters"]},
        {"name": "admin", "user": "admin", "groups": ["system:masters"]},
        {"name": "controller-manager", "user": f"{system}controller-manager"},
        {"name": "scheduler", "user": f"{system}scheduler"},
        {"name": "proxy", "user": f"{system}proxy"},
        {"name": "kwok", "user": "kwok", "groups": ["system:masters"]},
        {"name": "kubelet", "user": f"system:node:{NODE}", "groups": ["system:nodes"]},
    ]
    run([str(folder / "bin/certs"), str(folder / "pki"), json.dumps(wishes)], "make the lab's certificates")


def kubeconfig(folder: Path, user: str, port: int, path: Path) -> None:
    """A kubeconfig for one user of the lab, with all it needs inside."""
    pki = folder / "pki"

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": data("ca.crt")}
    login = {"client-certificate-data": data(f"{user}.crt"), "client-key-data": data(f"{user}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": user, "user": login}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": user}}],
    }
    path.write_text(json.dumps(config, indent=1) + "\n")
    path.chmod(0o600)


def etcd(folder: Path, settings: Settings) -> list[str]:
    """etcd, without fsync: nothing of a lab has to survive the machine."""
    client = f"http://127.0.0.1:{settings.etcd_port}"
    peer = f"http://127.0.0.1:{settings.etcd_peer_port}"
    return [
        f"{folder}/bin/etcd", "--data-dir", f"{folder}/etcd", "--unsafe-no-fsync", "--log-level", "warn",
        "--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
        "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
    ]  # fmt: skip


def apiserver(folder: Path, settings: Settings) -> list[str]:
    """kube-apiserver, on the same port inside the node's network and on the machine's loopback."""
    pki = folder / "pki"
    address = ["--bind-address", "0.0.0.0", "--advertise-address", NODE_IP]  # noqa: S104 - of its own namespace
    if not settings.is_real:
        address = ["--bind-address", "127.0.0.1", "--endpoint-reconciler-type", "none"]
    return [
        f"{folder}/bin/kube-apiserver", "--etcd-servers", f"http://127.0.0.1:{settings.etcd_port}", *address,
        "--secure-port", str(settings.port), "--client-ca-file", f"{pki}/ca.crt",
        "--tls-cert-file", f"{pki}/apiserver.crt", "--tls-private-key-file", f"{pki}/apiserver.key",
        "--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", f"{pki}/sa.pub",
        "--service-account-signing-key-file", f"{pki}/sa.key", "--service-cluster-ip-range", SERVICE_CIDR,
        "--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--allow-privileged",
        "--kubelet-certificate-authority", f"{pki}/ca.crt", "--kubelet-preferred-address-types", "InternalIP",
        "--kubelet-client-certificate", f"{pki}/apiserver-kubelet.crt",
        "--kubelet-client-key", f"{pki}/apiserver-kubelet.key", "--profiling=false", *settings.apiserver_flags,
    ]  # fmt: skip


def controller_manager(folder: Path, settings: Settings) -> list[str]:
    """kube-controller-manager."""
    pki = folder / "pki"
    bind = ["--bind-address", "127.0.0.1"] if settings.is_real else ["--secure-port", "0"]
    # A pretend node that is late on a busy machine has not failed: pods that are called unready for it stay so.
    late = [] if settings.is_real else ["--node-monitor-grace-period", "10m"]
    return [
        f"{folder}/bin/kube-controller-manager", "--kubeconfig", f"{folder}/etc/controller-manager.kubeconfig", *bind,
        "--leader-elect=false", "--use-service-account-credentials", "--root-ca-file", f"{pki}/ca.crt",
        "--service-account-private-key-file", f"{pki}/sa.key", "--cluster-signing-cert-file", f"{pki}/ca.crt",
        "--cluster-signing-key-file", f"{pki}/ca.key", "--allocate-node-cidrs", "--cluster-cidr", POD_CIDR,
        "--node-cidr-mask-size", "24", *late,
    ]  # fmt: skip


def scheduler(folder: Path, settings: Settings) -> list[str]:
    """kube-scheduler."""
    bind = ["--bind-address", "127.0.0.1"] if settings.is_real else ["--secure-port", "0"]
    return [
        f"{folder}/bin/kube-scheduler", "--kubeconfig", f"{folder}/etc/scheduler.kubeconfig", *bind,
        "--leader-elect=false",
    ]  # fmt: skip


def kwok(settings: Settings, folder: Path) -> list[str]:
    """kwok, which plays every node there is, and their pods."""
    return [
        settings.kwok, "--kubeconfig", f"{folder}/etc/kwok.kubeconfig", "--manage-all-nodes=true",
        "--config", f"{folder}/etc/kwok.yaml", "--cidr", "198.18.128.0/17", "--server-address", "",
        "--node-lease-duration-seconds", "40",
    ]  # fmt: skip
