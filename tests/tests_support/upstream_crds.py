"""The CRDs of other projects that tests need: their own, from their Go modules, else small ones of ours."""

from __future__ import annotations

import json
import os
import subprocess
import warnings
from functools import cache
from pathlib import Path

from incident_operator.lab.build import go_program
from tests_support.cluster import ROOT

OURS = ROOT / "tests/tests_support/crds"
MODULES = {
    "snapshot": (
        "github.com/kubernetes-csi/external-snapshotter/client/v8@v8.2.0",
        ("config/crd/snapshot.storage.k8s.io_volumesnapshots.yaml",),
    ),
    "velero": (
        "github.com/vmware-tanzu/velero@v1.16.0",
        ("config/crd/v1/bases/velero.io_backups.yaml", "config/crd/v1/bases/velero.io_restores.yaml"),
    ),
    "cnpg": (
        "github.com/cloudnative-pg/cloudnative-pg@v1.26.0",
        ("config/crd/bases/postgresql.cnpg.io_clusters.yaml", "config/crd/bases/postgresql.cnpg.io_backups.yaml"),
    ),
    "trivy": (
        "github.com/aquasecurity/trivy-operator@v0.28.0",
        ("deploy/helm/crds/aquasecurity.github.io_vulnerabilityreports.yaml",),
    ),
}


@cache
def files(name: str) -> tuple[Path, ...]:
    """The CRDs of one project; where the Go proxy has them not, the small ones, and a warning says so."""
    module, paths = MODULES[name]
    argv = [go_program(), "mod", "download", "-json", module]
    done = subprocess.run(
        argv, cwd="/", capture_output=True, text=True, check=False, timeout=180, env={**os.environ, "GO111MODULE": "on"}
    )
    folder = json.loads(done.stdout).get("Dir") if done.returncode == 0 else None
    found = tuple(Path(folder) / path for path in paths) if folder else ()
    if found and all(path.is_file() for path in found):
        return found
    warnings.warn(f"no {module}: tried with a small CRD of our own instead", stacklevel=2)
    return (OURS / f"{name}.yaml",)


def flags(*names: str) -> list[str]:
    """Arguments of kubectl for some of them, or all."""
    return [part for name in names or MODULES for path in files(name) for part in ("-f", str(path))]
