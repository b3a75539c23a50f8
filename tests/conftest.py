"""One lab for a run, a namespace for a test, an operator of its own where a test needs one.

``INCIDENT_TEST_KUBECONFIG`` names a cluster to use instead of a lab; nothing else is ever
looked at to find one.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_support.cluster import Kubectl, Namespace, OperatorProcess
from tests_support.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def lab() -> Iterator[object]:
    """A lab of this run's own; with root on Debian or Ubuntu its node and pods are real."""
    from incident_operator.lab import Lab

    if os.environ.get("INCIDENT_TEST_KUBECONFIG"):
        pytest.skip("INCIDENT_TEST_KUBECONFIG names a cluster; this test needs a lab of its own")
    folder = Path(tempfile.mkdtemp(prefix="incident-lab-"))
    made = Lab(folder)
    try:
        made.up()
        yield made
    finally:
        made.down()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def lab_kubeconfig(request: pytest.FixtureRequest) -> Path:
    """A kubeconfig with all rights on a cluster that tests may use."""
    named = os.environ.get("INCIDENT_TEST_KUBECONFIG")
    return Path(named) if named else request.getfixturevalue("lab").kubeconfig


@pytest.fixture(scope="session")
def kubectl(lab_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """kubectl on the test cluster, with the CRDs installed."""
    found = Kubectl(lab_kubeconfig, tmp_path_factory.mktemp("kubectl"))
    found("apply", "--server-side", "-f", str(ROOT / "crds"))
    found("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    for part in ("namespace", "service-account", "rbac", "admission"):
        found("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / f"manifests/base/{part}.yaml"))
    return found


@pytest.fixture(scope="session")
def real_pods(request: pytest.FixtureRequest, kubectl: Kubectl) -> None:
    """Skips where pods are simulated; brings the images of the demo application."""
    if os.environ.get("INCIDENT_TEST_KUBECONFIG"):
        return
    lab = request.getfixturevalue("lab")
    if lab.status().nodes != "real":
        pytest.skip("needs real pods: root on Debian or Ubuntu")
    from incident_operator.lab import app_image

    lab.import_image(app_image())


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[Namespace]:
    """A namespace of the test's own, with the responder's ServiceAccount and rights in it."""
    made = Namespace.create(kubectl)
    made.responder()
    yield made
    made.delete()


@pytest.fixture
def operator(lab_kubeconfig: Path, namespace: Namespace, tmp_path: Path) -> Iterator[OperatorProcess]:
    """An operator that looks after the test's namespace only."""
    process = OperatorProcess(lab_kubeconfig, namespace.name, tmp_path / "operator.log")
    process.start()
    yield process
    if process.process is not None and process.process.poll() is None:
        namespace("delete", "incidents.incident-operator.dev", "--all", "--timeout=30s")
    process.stop()
    text = process.log.read_text()
    assert "Traceback" not in text, text[-6000:]


__all__ = ["eventually"]
