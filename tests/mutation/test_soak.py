"""Recipe R10: random histories against a real operator; when it is quiet all is right, and stays so."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from mutation.running import consistent, is_at_rest, is_well, quiet
from mutation.workloads import target, workload
from mutation.world import World, differences, seen, settled
from tests_support.cluster import Kubectl, Namespace, OperatorProcess, incident
from tests_support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(3000)]

ROOT = Path(__file__).resolve().parents[2]
WORKLOADS = ("w0", "w1", "w2")
INCIDENTS = ("i0", "i1", "i2", "i3")
BEFORE = 2
HISTORIES = 20

CUT = {"name": "cut", "isolate": {}}
STEPS = st.sampled_from(
    [
        [CUT],
        [{"name": "none", "scale": {"replicas": 0}}],
        [{"name": "none", "scale": {"replicas": 0}, "stage": "s"}, {**CUT, "stage": "s"}],
        [{"name": "three", "scale": {"replicas": 3}, "timeout": "1s", "onFailure": "Continue"}, CUT],
        [{"name": "three", "scale": {"replicas": 3}, "timeout": "1s", "onFailure": "Release"}],
        [{"name": "lost", "rolloutUndo": {"toRevision": 77}}],
        [{"name": "brief", "scale": {"replicas": 1}, "timeout": "1s", "expiresAfter": "2s"}],
    ]
)
NAMES = st.sampled_from(INCIDENTS)
TARGETS = st.lists(st.sampled_from(WORKLOADS), min_size=1, max_size=2, unique=True)
FIELDS = st.sampled_from(
    [
        {"release": True},
        {"cancel": True},
        {"suspend": True},
        {"suspend": False},
        {"mode": "Observe"},
        {"mode": "Enforce"},
        {"severity": "SEV-1"},
        {"title": "another"},
    ]
)
ACTS = st.one_of(
    st.tuples(st.just("create"), NAMES, TARGETS, STEPS),
    st.tuples(st.just("create"), NAMES, TARGETS, STEPS),
    st.tuples(st.just("patch"), NAMES, FIELDS),
    st.tuples(st.just("steps"), NAMES, STEPS),
    st.tuples(st.just("again"), NAMES),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("flap"), st.sampled_from(WORKLOADS)),
    st.tuples(st.just("scale"), st.sampled_from(WORKLOADS), st.integers(0, 4)),
    st.tuples(st.just("crash")),
    st.tuples(st.just("pause"), NAMES),
)


@dataclasses.dataclass
class Soak:
    """A namespace and an operator that is killed now and then."""

    namespace: Namespace
    operator: OperatorProcess
    before: World
    scaled: set[str] = dataclasses.field(default_factory=set)
    """Workloads whose replicas a person has set: the operator must not know better."""

    def do(self, act: tuple[Any, ...]) -> None:
        kind, *rest = act
        getattr(self, f"_{kind}")(*rest)

    def _create(self, name: str, targets: list[str], steps: list[Any]) -> None:
        made = incident(name, targets=[target(each) for each in targets], containment=steps)
        self.namespace.run("create", "-f", "-", given=json.dumps(made))

    def _merge(self, name: str, spec: dict[str, Any]) -> None:
        self.namespace.run("patch", "incident", name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def _patch(self, name: str, spec: dict[str, Any]) -> None:
        self._merge(name, spec)

    def _steps(self, name: str, steps: list[Any]) -> None:
        self._merge(name, {"containment": steps})

    def _again(self, name: str) -> None:
        self.namespace.run("annotate", "incident", name, "incident-operator.dev/requested-at=again", "--overwrite")

    def _delete(self, name: str) -> None:
        self.namespace.run("delete", "incident", name, "--wait=false")

    def _flap(self, name: str) -> None:
        self.namespace.run("delete", "pods", "-l", f"app={name}", "--now", "--wait=false")

    def _scale(self, name: str, number: int) -> None:
        self.scaled.add(name)
        self.namespace("scale", f"deployment/{name}", f"--replicas={number}")

    def _crash(self) -> None:
        self.operator.kill()
        self.operator.start()

    def _pause(self, name: str) -> None:
        """Let the operator come to something first."""
        eventually(lambda: self._has_begun(name), within=30, what=f"the operator to look at {name}")

    def _has_begun(self, name: str) -> bool:
        found = self.namespace.incident(name)
        return found is None or found.get("status", {}).get("observedGeneration", -1) >= 0

    def come_to_rest(self) -> None:
        """Every Incident has come to something, consistent and lasting: no write for ten seconds."""

        def moving() -> list[Any]:
            found = self.namespace.list("incidents.incident-operator.dev")
            return [each for each in found if "deletionTimestamp" in each["metadata"] or not is_at_rest(each)]

        last: list[Any] = []

        def look() -> bool:
            last[:] = moving()
            return not last

        try:
            eventually(look, within=60, what="all Incidents to come to rest", every=0.3)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{json.dumps(last, indent=1)[:8000]}") from None
        quiet(self.operator, seconds=10, within=90)
        is_well(self.operator)
        for each in self.namespace.list("incidents.incident-operator.dev"):
            assert is_at_rest(each), each["status"]["conditions"]
            consistent(each)

    def end(self) -> None:
        """Without its Incidents the namespace is as it was, but for replicas that a person has set."""
        self.namespace("delete", "incidents.incident-operator.dev", "--all", "--timeout=60s")
        last: list[str] = []

        def look() -> bool:
            last[:] = [each for each in differences(self.before, seen(self.namespace)) if not self._is_a_persons(each)]
            return not last

        try:
            eventually(look, within=40, what="the namespace to be as it was", every=0.3)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n" + "\n".join(last)) from None

    def _is_a_persons(self, difference: str) -> bool:
        """Replicas that a person has set, with the pods and annotations that follow from them."""
        return any(
            difference.startswith((f".Deployment/{name}.spec.replicas", f".ReplicaSet/{name}-"))
            or (difference.startswith(".pods ") and f'"app": "{name}"' in difference)
            for name in self.scaled
        )

    def reset(self) -> None:
        for name in sorted(self.scaled):
            self.namespace("scale", f"deployment/{name}", f"--replicas={BEFORE}")
        self.scaled.clear()


@pytest.fixture(scope="module")
def soak(kubectl: Kubectl, lab_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Soak]:
    namespace = Namespace.create(kubectl)
    namespace.apply_file(ROOT / "manifests/responder")
    namespace.apply(*(workload(name, replicas=BEFORE) for name in WORKLOADS))
    log = tmp_path_factory.mktemp("soak") / "operator.log"
    operator = OperatorProcess(lab_kubeconfig, namespace.name, log, "--resync", "5s")
    operator.start()
    yield Soak(namespace, operator, settled(namespace))
    namespace.delete()
    operator.stop()


@settings(
    max_examples=HISTORIES,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(history=st.lists(ACTS, min_size=5, max_size=25))
def test_after_any_history_all_is_right_and_stays_so(soak: Soak, history: list[tuple[Any, ...]]) -> None:
    note(f"log: {soak.operator.log}")
    try:
        for act in history:
            soak.do(act)
        soak.come_to_rest()
        soak.end()
    finally:
        soak.namespace.run("delete", "incidents.incident-operator.dev", "--all", "--timeout=60s")
        soak.reset()
