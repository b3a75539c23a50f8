"""Pretend nodes and pods, played by kwok: for scale, and for machines where no real node can be."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from incident_operator.lab.faults import LabError
from incident_operator.lab.processes import wait_for


def name(number: int) -> str:
    """The name of a pretend node."""
    return f"kwok-{number}"


def configure(folder: Path, stages: Path) -> None:
    """Put together the life cycles that kwok ships: nodes that stay ready, pods that get ready fast."""
    wanted = [stages / "node" / "fast", stages / "node" / "heartbeat-with-lease", stages / "pod" / "fast"]
    texts = [
        path.read_text() for part in wanted for path in sorted(part.glob("*.yaml")) if path.name != "kustomization.yaml"
    ]
    if not texts:
        raise LabError(f"kwok's life cycles are not in {stages}")
    (folder / "etc/kwok.yaml").write_text("\n---\n".join(texts))


def make_nodes(folder: Path, count: int) -> None:
    """Create the Node objects that kwok then plays."""
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name(number), "labels": {"kubernetes.io/hostname": name(number), "type": "kwok"}},
            "status": {
                "allocatable": {"cpu": "32", "memory": "256Gi", "pods": "250"},
                "capacity": {"cpu": "32", "memory": "256Gi", "pods": "250"},
            },
        }
        for number in range(count)
    ]
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": nodes})
    argv = [
        f"{folder}/bin/kubectl",
        "--kubeconfig",
        f"{folder}/etc/kwok.kubeconfig",
        "--cache-dir",
        str(folder / "tmp" / "kubectl"),
    ]

    def made() -> bool:
        done = subprocess.run([*argv, "apply", "-f", "-"], input=given, capture_output=True, text=True, check=False)
        return done.returncode == 0

    wait_for(made, 30, "the simulated nodes to be created", every=0.3)
