"""Recipe R10: random histories against real operators; when it is quiet all is right, and stays so."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from faults.access import Access, AnswerError, Api
from faults.proxy import FaultProxy
from faults.rules import Rule
from mutation.histories import HISTORIES, WORKLOADS
from mutation.model import wrong
from mutation.running import consistent, is_at_rest, is_well, quiet
from mutation.workloads import target, workload
from mutation.world import World, differences, seen, settled
from tests_support.cluster import Kubectl, Namespace, OperatorProcess, incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster

BEFORE = 2
AT_ONCE = 5
"""Histories that go on side by side, each with its operator and namespace: most of the time they only wait."""
ROUNDS, ROUNDS_NIGHTLY = 4, 41
"""Of which Hypothesis makes the first one of the shortest histories that there are: 20 and 200 others."""
REQUESTED_AT = "incident-operator.dev/requested-at"
History = list[tuple[Any, ...]]


@dataclasses.dataclass
class Soak:
    """A namespace, and an operator that is killed now and then, behind a proxy that spoils what it is told."""

    namespace: Namespace
    operator: OperatorProcess
    proxy: FaultProxy
    api: Api
    before: World
    scaled: set[str] = dataclasses.field(default_factory=set)
    """Workloads whose replicas a person has set: the operator must not know better."""

    def do(self, act: tuple[Any, ...]) -> None:
        kind, *rest = act
        with contextlib.suppress(AnswerError):  # what is there already, or may not be changed any more
            getattr(self, f"_{kind}")(*rest)

    def _create(self, name: str, targets: list[str], steps: list[Any]) -> None:
        self.api.create("incidents", incident(name, targets=[target(each) for each in targets], containment=steps))

    def _patch(self, name: str, spec: dict[str, Any]) -> None:
        self.api.merge("incidents", name, {"spec": spec})

    def _steps(self, name: str, steps: list[Any]) -> None:
        self._patch(name, {"containment": steps})

    def _again(self, name: str) -> None:
        self.api.merge("incidents", name, {"metadata": {"annotations": {REQUESTED_AT: "again"}}})

    def _delete(self, name: str) -> None:
        self.api.delete("incidents", name)

    def _flap(self, name: str) -> None:
        for each in self.api.list("pods", f"labelSelector=app%3D{name}"):
            self.api.delete("pods", each["metadata"]["name"])

    def _scale(self, name: str, number: int) -> None:
        self.scaled.add(name)
        self.api.merge("deployments", name, {"spec": {"replicas": number}})

    def _crash(self) -> None:
        self.operator.kill()
        self.operator.start()

    def _fault(self, rule: dict[str, Any]) -> None:
        self.proxy.add(Rule(**rule))

    def _unwatch(self) -> None:
        self.proxy.cut_watches()

    def _pause(self, name: str) -> None:
        """Let the operator come to something first."""
        eventually(lambda: self._has_begun(name), within=30, what=f"the operator to look at {name}")

    def _has_begun(self, name: str) -> bool:
        found = self.api.get("incidents", name)
        return found is None or found.get("status", {}).get("observedGeneration", -1) >= 0

    def come_to_rest(self) -> None:
        """Every Incident has come to something that is right, and lasting: no write for ten seconds."""
        self.proxy.clear()
        last: list[Any] = []

        def look() -> bool:
            found = self.api.list("incidents")
            last[:] = [each for each in found if "deletionTimestamp" in each["metadata"] or not is_at_rest(each)]
            return not last

        try:
            eventually(look, within=60, what="all Incidents to come to rest", every=0.3)
        except AssertionError as fault:
            raise AssertionError(f"{fault}\n{json.dumps(last, indent=1)[:8000]}") from None
        quiet(self.operator, seconds=10, within=90)
        is_well(self.operator)
        found = self.api.list("incidents")
        for each in found:
            assert is_at_rest(each), each["status"]["conditions"]
            consistent(each)
        replicas = {name: self.api.get("deployments", name)["spec"]["replicas"] for name in WORKLOADS}
        policies = self.api.list("networkpolicies")
        bad = wrong(found, policies, replicas, before=BEFORE, a_persons=self.scaled)
        assert not bad, "\n".join([*bad, json.dumps(found, indent=1)[:8000]])

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

    def live(self, history: History) -> None:
        """One history from its beginning to its end; the namespace is as it was afterwards."""
        try:
            for act in history:
                self.do(act)
            self.come_to_rest()
            self.end()
        finally:
            self.proxy.clear()
            self.namespace.run("delete", "incidents.incident-operator.dev", "--all", "--timeout=60s")
            for name in sorted(self.scaled):
                self.api.merge("deployments", name, {"spec": {"replicas": BEFORE}})
            self.scaled.clear()


def _soak(kubectl: Kubectl, access: Access, folder: Path, number: int) -> Soak:
    namespace = Namespace.create(kubectl)
    namespace.responder()
    namespace.apply(*(workload(name, replicas=BEFORE) for name in WORKLOADS))
    proxy = FaultProxy(access, f"soak-{number}")
    proxy.start()
    kubeconfig = proxy.kubeconfig(folder / f"kubeconfig-{number}")
    operator = OperatorProcess(kubeconfig, namespace.name, folder / f"operator-{number}.log", "--resync", "5s")
    operator.start()
    return Soak(namespace, operator, proxy, Api(access, namespace.name), settled(namespace))


@pytest.fixture(scope="module")
def soaks(kubectl: Kubectl, lab_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Soak]]:
    folder, access = tmp_path_factory.mktemp("soak"), Access.of(lab_kubeconfig)
    made = [_soak(kubectl, access, folder, number) for number in range(AT_ONCE)]
    yield made
    for each in made:
        each.namespace.delete()
        each.operator.stop()
        each.proxy.stop()
        each.api.close()


def live(soaks: list[Soak], histories: list[History]) -> None:
    """Each history somewhere else, at the same time; what went wrong is told with its history."""
    with ThreadPoolExecutor(len(soaks)) as pool:
        tried = [
            (soak, history, pool.submit(soak.live, history)) for soak, history in zip(soaks, histories, strict=True)
        ]
    bad = [(soak, history, done.exception()) for soak, history, done in tried if done.exception()]
    for soak, history, _ in bad:
        note(f"{soak.operator.log}: {history}")
    for _, _, fault in bad:
        assert fault is not None
        raise fault


BATCH = st.lists(HISTORIES, min_size=AT_ONCE, max_size=AT_ONCE)
RANDOM = settings(
    max_examples=ROUNDS,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")  # it would stand in place of what went wrong
@settings(RANDOM, derandomize=True)
@given(histories=BATCH)
def test_after_any_of_twenty_histories_and_more_all_is_right_and_stays_so(
    soaks: list[Soak], histories: list[History]
) -> None:
    live(soaks, histories)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@settings(RANDOM, max_examples=ROUNDS_NIGHTLY, print_blob=True)
@given(histories=BATCH)
def test_after_any_of_two_hundred_histories_and_more_all_is_right_and_stays_so(
    soaks: list[Soak], histories: list[History]
) -> None:
    live(soaks, histories)
