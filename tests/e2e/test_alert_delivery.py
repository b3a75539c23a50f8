"""Alerts come through whatever fails on the way, by a real Alertmanager: each is one Incident, and none is lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from incident_operator.lab import Lab
from incident_operator.lab.monitoring import Running
from tests_support.alerting import INCIDENTS, Receiver, alert, given_up, over, post, requests, waiting
from tests_support.cluster import ROOT, Kubectl, Namespace, OperatorProcess
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster
OUTAGE_SECONDS = 60
"""Alertmanager gives a notification up after its group_interval, or 10 s if that is less, and sends anew."""


@pytest.fixture
def receiver(tmp_path: Path) -> Receiver:
    if not shutil.which("apt-get"):
        pytest.skip("needs apt-get, for Debian's packages")
    return Receiver.made(tmp_path)


@pytest.fixture
def alertmanagers(receiver: Receiver) -> Iterator[Callable[..., Running]]:
    """Starts Alertmanagers by name, and stops them after the test."""
    made: list[Running] = []

    def start(name: str, **options: Any) -> Running:
        made.append(receiver.alertmanager(name, **options))
        return made[-1]

    yield start
    for each in made:
        each.stop()


@pytest.fixture
def web(namespace: Namespace) -> Namespace:
    """A Deployment that alerts are about, and the Runbook that they name."""
    namespace.apply(plain("web"), waiting(namespace))
    return namespace


@pytest.fixture
def operator(receiver: Receiver, web: Namespace) -> Iterator[OperatorProcess]:
    """One that takes alerts in."""
    made = receiver.operator(web.kubectl.kubeconfig, web.name)
    made.start()
    yield made
    web("delete", INCIDENTS, "--all", "--timeout=30s")
    made.stop()
    assert "Traceback" not in made.log.read_text()


def only(namespace: Namespace) -> Any:
    """The Incident, once there is one; there must not be two."""
    found = eventually(lambda: namespace.list(INCIDENTS), within=60, what="an Incident")
    assert len(found) == 1, [each["metadata"]["name"] for each in found]
    return found[0]


def delivered(alertmanager: Running, count: int) -> None:
    """Wait until so many requests have come through."""

    def come() -> bool:
        made, failed = requests(alertmanager)
        return made - failed >= count

    eventually(come, within=60, what=f"{count} requests that the operator took")


def await_outage(alertmanager: Running) -> None:
    """Wait for a minute, in which Alertmanager has given the notification up and begun anew, more than once."""
    since = time.monotonic()

    def is_over() -> bool:
        return given_up(alertmanager) >= 2 and time.monotonic() - since >= OUTAGE_SECONDS

    eventually(is_over, within=2 * OUTAGE_SECONDS, what="a minute, and notifications that were given up")


def ends_well(namespace: Namespace, incident: Any, alertmanager: Running, given: dict[str, Any]) -> None:
    """The alert resolves, and the very Incident it has made is Resolved."""
    name = incident["metadata"]["name"]
    post(alertmanager, over(given))
    done = namespace.await_condition(name, "Ready", within=60)
    assert done["status"]["phase"] == "Resolved"
    assert [each["metadata"]["uid"] for each in namespace.list(INCIDENTS)] == [incident["metadata"]["uid"]]


def test_an_alertmanager_that_has_forgotten_everything_makes_no_second_incident(
    web: Namespace, operator: OperatorProcess, alertmanagers: Callable[..., Running]
) -> None:
    alertmanager, given = alertmanagers("one"), alert(web.name)
    post(alertmanager, given)
    first = only(web)
    alertmanager.kill()
    shutil.rmtree(alertmanager.folder / "data")
    alertmanager.start()
    post(alertmanager, given)
    delivered(alertmanager, 1)
    assert only(web)["metadata"]["uid"] == first["metadata"]["uid"]
    ends_well(web, first, alertmanager, given)


def test_two_alertmanagers_that_do_not_see_each_other_make_one_incident(
    web: Namespace, operator: OperatorProcess, alertmanagers: Callable[..., Running]
) -> None:
    pair, given = [alertmanagers("one"), alertmanagers("two")], alert(web.name)
    for each in pair:
        post(each, given)
    for each in pair:
        delivered(each, 1)
    first = only(web)
    post(pair[0], over(given))
    ends_well(web, first, pair[1], given)
    delivered(pair[0], 2)
    assert only(web)["metadata"]["uid"] == first["metadata"]["uid"]


def test_of_a_pair_of_alertmanagers_the_second_ends_what_the_first_began(
    web: Namespace, operator: OperatorProcess, alertmanagers: Callable[..., Running]
) -> None:
    one = alertmanagers("one", peers=())
    two = alertmanagers("two", peers=[one.cluster])
    given = alert(web.name)
    for each in (one, two):
        post(each, given)
    first = only(web)
    one.kill()
    ends_well(web, first, two, given)


def test_what_comes_while_the_operator_is_down_is_delivered_when_it_is_back(
    web: Namespace, operator: OperatorProcess, alertmanagers: Callable[..., Running]
) -> None:
    operator.kill()
    alertmanager, given = alertmanagers("one"), alert(web.name)
    post(alertmanager, given)
    await_outage(alertmanager)
    assert web.list(INCIDENTS) == []
    operator.start()
    ends_well(web, only(web), alertmanager, given)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Lab, Kubectl]]:
    """A control plane whose API server may be taken away."""
    lab = Lab(tmp_path / "lab")
    try:
        lab.up("none")
        kubectl = Kubectl(lab.kubeconfig, tmp_path)
        kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        for part in ("namespace", "service-account", "rbac", "admission"):
            kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / f"manifests/base/{part}.yaml"))
        yield lab, kubectl
    finally:
        lab.down()


def test_what_comes_while_the_api_server_is_down_is_refused_and_delivered_when_it_is_back(
    own: tuple[Lab, Kubectl], receiver: Receiver, alertmanagers: Callable[..., Running]
) -> None:
    lab, kubectl = own
    namespace = Namespace.create(kubectl)
    namespace.responder()
    namespace.apply(plain("web"), waiting(namespace))
    operator = receiver.operator(lab.kubeconfig, namespace.name)
    operator.start()
    try:
        alertmanager, given = alertmanagers("one"), alert(namespace.name)
        lab.hold("kube-apiserver")
        post(alertmanager, given)
        await_outage(alertmanager)
        assert "code 503" in alertmanager.log.read_text()
        # One that is under way is counted as made already, and as refused once it is over.
        eventually(lambda: len({*requests(alertmanager)}) == 1, within=30, what="every request to have been refused")
        lab.resume("kube-apiserver")
        eventually(
            lambda: kubectl.run("get", "--raw", "/readyz").returncode == 0, within=60, what="the API server to be back"
        )
        ends_well(namespace, only(namespace), alertmanager, given)
    finally:
        operator.stop()
