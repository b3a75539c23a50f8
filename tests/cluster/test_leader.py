"""Two replicas and one Lease: one acts, the other takes over, and a leader of the past does no harm."""

from __future__ import annotations

import json
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests_support.cluster import Namespace, OperatorProcess, incident
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster

TAKEOVER_SECONDS = 15


@pytest.fixture
def pair(
    lab_kubeconfig: Path, namespace: Namespace, tmp_path: Path
) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Two replicas, of which the first one leads."""
    made = [
        OperatorProcess(
            lab_kubeconfig, namespace.name, tmp_path / f"{name}.log", "--lease", f"{namespace.name}/operator"
        )
        for name in ("first", "second")
    ]
    made[0].start()
    eventually(lambda: leads(made[0]), within=15, what="the first replica to lead")
    made[1].start()
    eventually(lambda: "Standing by" in made[1].log.read_text(), within=15, what="the second replica to stand by")
    yield made[0], made[1]
    for each in made:
        if each.process is not None and each.process.poll() is None:
            each.process.send_signal(signal.SIGCONT)
    namespace("delete", "incidents.incident-operator.dev", "--all", "--timeout=30s")
    for each in made:
        if each.process is not None:
            each.stop()
        assert "Traceback" not in each.log.read_text()


def leads(replica: OperatorProcess) -> bool:
    with urllib.request.urlopen(f"{replica.url}/metrics", timeout=5) as answer:
        return "incident_operator_leader 1.0" in answer.read().decode()


def holder(namespace: Namespace) -> str:
    found: str = namespace.get("lease", "operator")["spec"].get("holderIdentity", "")
    return found


def isolated(name: str, target: str) -> dict[str, object]:
    targets = [{"kind": "Deployment", "name": target}]
    return incident(name, targets=targets, containment=[{"name": "cut", "isolate": {}}])


def test_the_standby_answers_probes_and_does_nothing(
    namespace: Namespace, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    _, standby = pair
    for path in ("/healthz", "/readyz"):
        with urllib.request.urlopen(standby.url + path, timeout=5) as answer:
            assert answer.read() == b"ok\n"
    namespace.apply(plain("api"), isolated("cut", "api"))
    eventually(lambda: namespace.list("networkpolicies"), within=20, what="the leader to act")
    with urllib.request.urlopen(f"{standby.url}/metrics", timeout=5) as answer:
        assert 'verb="PATCH"' not in answer.read().decode()
    assert not leads(standby)


def test_killed_the_leader_is_followed_within_the_promised_time(
    namespace: Namespace, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    leader.kill()
    namespace.apply(plain("api"), isolated("cut", "api"))
    eventually(lambda: namespace.list("networkpolicies"), within=TAKEOVER_SECONDS, what="the standby to act")
    assert leads(standby)


def test_stopped_the_leader_hands_over_at_once(
    namespace: Namespace, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    before = holder(namespace)
    assert leader.stop() == 0
    assert holder(namespace) != before, "it gave the Lease back"
    eventually(lambda: leads(standby), within=5, what="the standby to lead")


def test_a_leader_that_wakes_up_after_its_time_writes_nothing_more(
    namespace: Namespace, pair: tuple[OperatorProcess, OperatorProcess]
) -> None:
    leader, standby = pair
    assert leader.process is not None
    leader.process.send_signal(signal.SIGSTOP)
    namespace.apply(plain("api", replicas=3))
    targets = [{"kind": "Deployment", "name": "api"}]
    steps = [{"name": "less", "scale": {"replicas": 0}}, {"name": "cut", "isolate": {}}]
    namespace.apply(incident("load", targets=targets, containment=steps))
    eventually(lambda: namespace.list("networkpolicies"), within=30, what="the standby to act")
    namespace("patch", "incident/load", "--type=merge", "-p", json.dumps({"spec": {"release": True}}))
    eventually(lambda: namespace.conditions("load").get("Ready", ("", ""))[1] == "Resolved", within=20, what="its end")
    leader.process.send_signal(signal.SIGCONT)
    eventually(lambda: "Lease is over" in leader.log.read_text() or "taken by another" in leader.log.read_text(),
               within=15, what="the old leader to see that it leads no more")  # fmt: skip
    eventually(lambda: not leads(leader), within=10, what="the old leader to stand by")
    assert namespace.list("networkpolicies") == []
    assert namespace.get("deployment", "api")["spec"]["replicas"] == 3
    assert leads(standby)
