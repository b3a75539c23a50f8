"""A lab with an audit log, two lanes on it, and the reference courses."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faults.access import Access
from faults.lane import Lane
from faults.matrix import TALLY, References, make_reference
from tests_support.cluster import Kubectl

ROOT = Path(__file__).resolve().parent.parent.parent
POLICY = Path(__file__).resolve().parent / "audit-policy.yaml"
LANES = 3 * max(2, os.cpu_count() or 0)
"""A lane waits two thirds of its time."""
OURS = "/incident_operator/"
"""A traceback through these files is a bug; kopf has some of its own when its watch breaks while it stops."""
MakeLane = Callable[..., Lane]


@pytest.fixture(scope="session")
def witnessed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A lab of pretend nodes whose API server keeps an audit log.

    ``INCIDENT_FAULTS_LAB`` names a folder in which it may stay up from one session to the next.
    """
    from incident_operator.lab import Lab

    kept = os.environ.get("INCIDENT_FAULTS_LAB")
    folder = Path(kept) if kept else Path(tempfile.mkdtemp(prefix="incident-faults-"))
    lab = Lab(folder)
    policy = tmp_path_factory.mktemp("audit") / "policy.yaml"
    policy.write_text(POLICY.read_text())
    flags = (
        f"--audit-policy-file={policy if not kept else POLICY}",
        f"--audit-log-path={folder}/audit/audit.log",
        "--audit-log-maxbackup=2",  # a file of 100 MB is some hundred runs
    )
    try:
        lab.up("simulated", apiserver_flags=flags)
        yield lab
    finally:
        if not kept:
            lab.down()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def faults_kubectl(witnessed: object, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """kubectl on that lab, with all of the operator that lives in the cluster."""
    found = Kubectl(witnessed.kubeconfig, tmp_path_factory.mktemp("kubectl"))  # type: ignore[attr-defined]
    found("apply", "--server-side", "-f", str(ROOT / "crds"))
    found("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    for part in ("namespace", "service-account", "rbac", "admission"):
        found("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / f"manifests/base/{part}.yaml"))
    return found


@pytest.fixture(scope="session")
def make_lane(
    witnessed: object, faults_kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeLane]:
    """Makes lanes by name; all are closed in the end, and none may have hit a bug."""
    made: list[Lane] = []
    folder = tmp_path_factory.mktemp("lanes")
    access = Access.of(faults_kubectl.kubeconfig)
    audit = witnessed.directory / "audit/audit.log"  # type: ignore[attr-defined]

    def make(name: str, *more: str, namespace: str = "", access: Access = access) -> Lane:
        lane = Lane(name, faults_kubectl, access, audit, folder, *more, namespace=namespace)
        made.append(lane)
        return lane

    yield make
    for lane in made:
        lane.close()
    bad = [line for lane in made for line in lane.log.read_text().splitlines() if OURS in line and "Traceback" in line]
    assert not bad, bad[0][:4000]


@pytest.fixture(scope="session")
def lanes(make_lane: MakeLane) -> list[Lane]:
    return [make_lane(f"lane{number}") for number in range(LANES)]


@pytest.fixture
def lane(lanes: list[Lane]) -> Lane:
    """One of them."""
    return lanes[0]


@pytest.fixture(scope="session")
def reference(lanes: list[Lane]) -> References:
    """The course of a scenario without a fault, made once."""
    known: dict[str, object] = {}

    def find(scenario: str) -> object:
        if scenario not in known:
            known[scenario] = make_reference(lanes[0], scenario)
        return known[scenario]

    return find  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if TALLY.runs:
        terminalreporter.write_line(str(TALLY))
        for case in TALLY.different:
            terminalreporter.write_line(f"  differs: {case}")
        for case in TALLY.unreached:
            terminalreporter.write_line(f"  its turn did not come: {case}")
