"""Makes a real node inside the lab's own namespaces: mounts, cgroups, network, containerd, kubelet, kube-proxy.

Runs in the keeper, which has network, mount and PID namespaces of its own, so that nothing of
the machine's own changes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from incident_operator.lab.build import run
from incident_operator.lab.images import base_images
from incident_operator.lab.layout import CGROUPS, NODE, NODE_IP, POD_CIDR, SERVICE_CIDR, cgroup_name, cgroup_tops

MACHINE_SETTINGS = (
    "kernel/keys/root_maxbytes", "kernel/keys/root_maxkeys", "kernel/panic", "kernel/panic_on_oops",
    "vm/overcommit_memory", "vm/panic_on_oom", "net/netfilter/nf_conntrack_max",
)  # fmt: skip
"""Settings of the whole machine that kubelet would change: in here they are plain files."""


def sh(*argv: str) -> str:
    """Run one command of the system."""
    return run(list(argv), f"prepare the node with {' '.join(argv[:3])}")


def _mount(*argv: str) -> None:
    sh("mount", "--no-mtab", *argv)


def mounts(folder: Path) -> None:
    """Own /proc, /run, /sys and /var, and machine settings that may be written without effect."""
    _mount("-t", "proc", "proc", "/proc")
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for name in ("netns", "lock"):
        Path("/run", name).mkdir()
    for setting in MACHINE_SETTINGS:
        there, copy = Path("/proc/sys", setting), folder / "etc" / setting.replace("/", ".")
        if there.exists():
            copy.write_text(there.read_text())
            _mount("--bind", str(copy), str(there))
    aside = folder / "tmp/cgroup"
    aside.mkdir()
    _mount("--rbind", str(CGROUPS), str(aside))
    _mount("-t", "sysfs", "sysfs", "/sys")
    _mount("--move", str(aside), str(CGROUPS))
    for name in ("upper", "work"):
        (folder / "var" / name).mkdir()
    layers = f"lowerdir=/var,upperdir={folder}/var/upper,workdir={folder}/var/work"
    _mount("-t", "overlay", "-o", layers, "lab-var", "/var")
    for here, there in (("kubelet", Path("/var/lib/kubelet")), ("podlogs", Path("/var/log/pods"))):
        there.mkdir(parents=True, exist_ok=True)
        _mount("--bind", str(folder / here), str(there))
    _mount("--make-rshared", "/")


def cgroups(folder: Path) -> None:
    """A cgroup of the lab's own in every hierarchy there is; the pods go below it."""
    for top in cgroup_tops():
        made = top / cgroup_name(folder)
        made.mkdir(exist_ok=True)
        for given in ("cpuset.cpus", "cpuset.mems"):
            if (top / given).exists() and (made / given).exists():
                (made / given).write_text((top / given).read_text())


def network() -> None:
    """The node's address on a bridge that leads nowhere; pods get point-to-point links by CNI."""
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "node0", "type", "bridge")
    sh("ip", "address", "add", f"{NODE_IP}/24", "dev", "node0")
    sh("ip", "link", "set", "node0", "up")
    sh("ip", "route", "add", "default", "dev", "node0")
    sh("ip", "route", "add", SERVICE_CIDR, "dev", "node0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def settings(folder: Path) -> None:
    """Configuration of CNI, containerd, kubelet and kube-proxy."""
    etc, plugins = folder / "etc", folder / "cni/bin"
    plugins.mkdir(parents=True)
    for plugin in Path("/usr/lib/cni").iterdir():
        (plugins / plugin.name).symlink_to(plugin)
    (folder / "cni/net.d").mkdir()
    ipam = {"type": "host-local", "ranges": [[{"subnet": POD_CIDR}]], "routes": [{"dst": "0.0.0.0/0"}]}
    ptp = {"type": "ptp", "ipMasq": False, "ipam": ipam}
    chain = {
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [ptp, {"type": "portmap", "capabilities": {"portMappings": True}}],
    }
    (folder / "cni/net.d/10-lab.conflist").write_text(json.dumps(chain))
    (etc / "containerd.toml").write_text(_containerd(folder))
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    (etc / "kubelet.yaml").write_text(json.dumps(_kubelet(folder)))
    (etc / "proxy.yaml").write_text(json.dumps(_proxy(folder)))


def _containerd(folder: Path) -> str:
    return f"""version = 2
root = {json.dumps(str(folder / "containerd"))}
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true  # a machine may lack CAP_SYS_RESOURCE
  sandbox_image = "localhost/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {json.dumps(str(folder / "cni/bin"))}
    conf_dir = {json.dumps(str(folder / "cni/net.d"))}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
"""


def _kubelet(folder: Path) -> dict[str, object]:
    pki = folder / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-server.key",
        "cgroupRoot": f"/{cgroup_name(folder)}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": False,
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "50Mi"},
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "podLogsDir": "/var/log/pods",
        "resolvConf": str(folder / "etc/resolv.conf"),
        "clusterDNS": ["127.0.0.1"],
        "maxPods": 250,
        "syncFrequency": "10s",
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy(folder: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "clusterCIDR": POD_CIDR,
        "hostnameOverride": NODE,
        "clientConnection": {"kubeconfig": f"{folder}/etc/proxy.kubeconfig"},
        "metricsBindAddress": "127.0.0.1:10249",
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "iptables": {"minSyncPeriod": "100ms"},
    }


def kubelet(folder: Path) -> list[str]:
    """kubelet, on the node's own address."""
    return [
        f"{folder}/bin/kubelet", "--config", f"{folder}/etc/kubelet.yaml",
        "--kubeconfig", f"{folder}/etc/kubelet.kubeconfig", "--hostname-override", NODE, "--node-ip", NODE_IP,
    ]  # fmt: skip


def images(folder: Path) -> None:
    """Import the images that every lab has."""
    for tarball in base_images(folder / "images"):
        import_image(tarball)


def import_image(tarball: Path) -> None:
    """Import one image tarball into the node's containerd."""
    sh("ctr", "-n", "k8s.io", "images", "import", str(tarball))


def environment() -> dict[str, str]:
    """The environment of the node's programs: nothing of the user's."""
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/root"}
