"""One operator and one namespace for all tests of a file; every test leaves the namespace as it found it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from mutation.running import is_well
from mutation.workloads import ALL
from mutation.world import World, as_before, settled
from tests_support.cluster import Kubectl, Namespace, OperatorProcess


@dataclasses.dataclass
class Stage:
    """A namespace with workloads, an operator that looks after it, and what was there before the test."""

    namespace: Namespace
    operator: OperatorProcess
    before: World
    is_clean: bool = False
    """Whether the namespace has been seen as it was before, so that the next test need not look again."""

    def goes_back(self, *incidents: str) -> None:
        """Delete Incidents; afterwards the namespace is as it was before the test."""
        for name in incidents:
            self.namespace("delete", "incident", name, "--timeout=40s", "--ignore-not-found")
        as_before(self.namespace, self.before)
        self.is_clean = True


@pytest.fixture(scope="module")
def scene(kubectl: Kubectl, lab_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    namespace = Namespace.create(kubectl)
    namespace.responder()
    namespace.apply(*ALL)
    process = OperatorProcess(lab_kubeconfig, namespace.name, tmp_path_factory.mktemp("operator") / "operator.log")
    process.start()
    yield Stage(namespace, process, {})
    namespace.delete()
    process.stop()


@pytest.fixture
def stage(scene: Stage) -> Iterator[Stage]:
    if not scene.is_clean:
        scene.before = settled(scene.namespace)
    scene.is_clean = False
    said = scene.operator.log.stat().st_size
    yield scene
    if not scene.is_clean:
        scene.namespace("delete", "incidents.incident-operator.dev", "--all", "--timeout=40s")
    is_well(scene.operator, since=said)
