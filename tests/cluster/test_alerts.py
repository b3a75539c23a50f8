"""Alerts sent to a real operator on a real API server: whatever happens on the way, one Incident for each thing."""

from __future__ import annotations

import http.server
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests_support.cluster import Namespace, OperatorProcess
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster
COUNT = 200
"""Alerts of a burst; .ci/run has `make bench` send a thousand, and fails where one is lost or doubled."""
PRODUCT = str(7000001 * 7000001)
"""What HOSTILE has in it, should anything take it for a template."""
SHOWN = "{{ 7000001 * 7000001 }} $(id) `id` <script>"
"""What of it is text in every language that it is shown in."""
LESS = {"name": "less", "scale": {"replicas": 1}, "timeout": "1s", "onFailure": "Continue"}
HOSTILE = "{{ 7000001 * 7000001 }} $(id) `id` <script>x</script> \u202e key: [a, *b]\n---\nkind: Secret, in (a), !x"


class Hook:
    """Somebody who is told of escalations."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        hook = self

        class Taking(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing is said."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Sender:
    """An operator that takes alerts in, and somebody who sends them."""

    def __init__(self, kubeconfig: Path, namespace: Namespace, folder: Path) -> None:
        self.namespace = namespace
        (folder / "token").write_text("sesame")
        receiver = {"listen": "127.0.0.1:0", "tokenFile": str(folder / "token"), "perSecond": 10000}
        self.hook = Hook()
        (folder / "hook").write_text(self.hook.url)
        configured = {
            "receiver": {**receiver, "namespace": namespace.name},
            "hooks": [{"name": "people", "urlFile": str(folder / "hook")}],
        }
        (folder / "config.yaml").write_text(json.dumps(configured))
        more = ("--config", str(folder / "config.yaml"))
        self.operator = OperatorProcess(kubeconfig, namespace.name, folder / "operator.log", *more)

    def start(self) -> None:
        self.operator.start()
        eventually(lambda: "Takes alerts in" in self.operator.log.read_text(), within=20, what="the receiver")

    @property
    def url(self) -> str:
        lines = [line for line in self.operator.log.read_text().splitlines() if "Takes alerts in" in line]
        found = re.search(r"http://127\.0\.0\.1:\d+", lines[-1])
        assert found is not None
        return found[0]

    def send(self, *alerts: dict[str, Any], url: str = "") -> tuple[int, Any]:
        payload = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "x", "alerts": list(alerts)}
        headers = {"Authorization": "Bearer sesame", "Content-Type": "application/json"}
        request = urllib.request.Request((url or self.url) + "/alerts", json.dumps(payload).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def alert(self, name: str = "Slow", number: int = 0, **more: Any) -> dict[str, Any]:
        labels = {"alertname": name, "namespace": self.namespace.name, "deployment": "web", "incident": "true"}
        return {
            "status": "firing",
            "labels": {**labels, **more.pop("labels", {})},
            "annotations": {"incident_runbook": "less", **more.pop("annotations", {})},
            "startsAt": "2026-11-24T03:00:00.123456789Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "fingerprint": f"{number:016x}",
            **more,
        }

    def over(self, alert: dict[str, Any]) -> dict[str, Any]:
        return {**alert, "status": "resolved", "endsAt": "2026-11-24T03:01:00Z"}

    @property
    def incidents(self) -> list[Any]:
        return self.namespace.list("incidents.incident-operator.dev")

    @property
    def one(self) -> Any:
        (found,) = self.incidents
        return found


@pytest.fixture
def sender(lab_kubeconfig: Path, namespace: Namespace, tmp_path: Path) -> Iterator[Sender]:
    made = Sender(lab_kubeconfig, namespace, tmp_path)
    made.start()
    kind = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "Runbook"}
    namespace.apply(
        plain("web", replicas=3),
        {**kind, "metadata": {"name": "less"}, "spec": {"remediation": [LESS]}},
        {
            **kind,
            "metadata": {"name": "told"},
            "spec": {"remediation": [LESS], "escalation": [{"after": "1s", "hook": "people"}]},
        },
    )
    yield made
    made.hook.close()
    namespace("delete", "incidents.incident-operator.dev", "--all", "--wait=false")
    eventually(lambda: not made.incidents, within=240, what="all Incidents to be gone")
    assert made.operator.stop() == 0
    text = made.operator.log.read_text()
    assert "Traceback" not in text, text[-4000:]
    assert "sesame" not in text


def replicas(namespace: Namespace) -> int:
    found: int = namespace.get("deployment", "web")["spec"]["replicas"]
    return found


def ends(sender: Sender, name: str) -> None:
    """An Incident comes to be resolved."""
    look = lambda: sender.namespace.conditions(name).get("Ready", ("", ""))[1] == "Resolved"  # noqa: E731
    try:
        eventually(look, within=30, what=f"{name} to be resolved")
    except AssertionError as fault:
        raise AssertionError(f"{fault}: {sender.namespace.conditions(name)}") from None


def test_the_same_alert_a_hundred_times_at_once_is_one_incident_that_acts_once(sender: Sender) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: sender.send(sender.alert()), range(100)))
    assert {status for status, _ in answers} == {200}
    assert {tuple(told["incidents"]) for _, told in answers} == {
        (f"{sender.namespace.name}/{sender.one['metadata']['name']}",)
    }
    eventually(lambda: replicas(sender.namespace) == 1, within=30, what="the runbook's step")
    assert len(sender.one["spec"]["signals"]) == 1


def test_whatever_the_order_it_is_one_incident_and_a_resolved_alert_does_nothing(sender: Sender) -> None:
    orders = {
        "resolved first": [sender.over, dict],
        "twice": [sender.over, sender.over],
        "late firing": [sender.over, dict, sender.over, dict],
    }
    for number, (order, told) in enumerate(orders.items()):
        alert = sender.alert(order, number, annotations={"incident_dedup_key": order})
        for each in told:
            assert sender.send(each(alert))[0] == 200
    assert len(sender.incidents) == len(orders)
    for each in sender.incidents:
        (signal,) = each["spec"]["signals"]
        assert signal["endsAt"] == "2026-11-24T03:01:00Z"
        ends(sender, each["metadata"]["name"])
    assert replicas(sender.namespace) == 3


def test_an_alert_acts_and_its_end_resolves_and_a_new_one_is_a_new_incident(sender: Sender) -> None:
    sender.send(sender.alert())
    eventually(lambda: replicas(sender.namespace) == 1, within=30, what="the runbook's step")
    sender.send(sender.over(sender.alert()))
    ends(sender, sender.one["metadata"]["name"])
    sender.send(sender.alert(startsAt="2026-11-24T03:10:00Z"))
    assert len(sender.incidents) == 2


def test_of_many_alerts_in_one_burst_none_is_lost_and_none_doubled(sender: Sender) -> None:
    alerts = [
        sender.alert(
            f"Alert{number}", number, labels={"deployment": f"d{number}"}, annotations={"incident_mode": "Observe"}
        )
        for number in range(COUNT)
    ]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda of: sender.send(*of), [alerts[at : at + 20] for at in range(0, COUNT, 20)]))
    again = [at * 20 for at, (status, _) in enumerate(answers) if status == 503]
    for at in again:  # as Alertmanager does
        assert eventually(lambda at=at: sender.send(*alerts[at : at + 20])[0] == 200, within=60, what="room")
    assert {status for status, _ in answers} <= {200, 503}
    names = {each["metadata"]["name"] for each in sender.incidents}
    assert len(names) == COUNT
    assert {each["spec"]["signals"][0]["name"] for each in sender.incidents} == {
        each["labels"]["alertname"] for each in alerts
    }


def test_an_operator_that_was_killed_makes_no_second_one(sender: Sender) -> None:
    sender.send(sender.alert(annotations={"incident_mode": "Propose"}))
    sender.operator.kill()
    sender.start()
    assert sender.send(sender.alert(annotations={"incident_mode": "Propose"}))[0] == 200
    sender.send(sender.alert("Other", 7, startsAt="2026-11-24T03:02:00Z"))
    assert {each["name"] for each in sender.one["spec"]["signals"]} == {"Slow", "Other"}


def test_whatever_an_alert_says_arrives_as_text_and_does_nothing_else(sender: Sender) -> None:
    labels = {"alertname": HOSTILE, "pod": HOSTILE, "deployment": "web"}
    said = {"summary": HOSTILE, "description": HOSTILE}
    assert sender.send(sender.alert(labels=labels, annotations=said))[0] == 200
    found = sender.one
    signal = found["spec"]["signals"][0]
    assert signal["labels"]["alertname"] == HOSTILE
    assert signal["annotations"]["description"] == HOSTILE
    assert found["spec"]["title"] == " ".join(HOSTILE.split())
    eventually(lambda: replicas(sender.namespace) == 1, within=30, what="the runbook's step, and nothing else")
    assert PRODUCT not in json.dumps(sender.one)


WORDS = {
    "incident_runbook": "SignalUnclear",
    "incident_severity": "SignalUnclear",
    "incident_type": "SignalUnclear",
    "incident_mode": "SignalUnclear",
    "incident_hold_for": "SignalUnclear",
    "incident_target": "TargetNotFound",
    "incident_namespace": "TargetNotFound",
    "namespace": "TargetNotFound",
}
"""Annotations of ours, and the label, with why their Incident waits if they make no sense."""


def test_metacharacters_in_every_word_of_ours_are_text_in_conditions_events_and_the_log(sender: Sender) -> None:
    secrets = [each["metadata"]["name"] for each in sender.namespace.list("secrets")]
    for number, word in enumerate(WORDS):
        said = {"labels": {}, "annotations": {"incident_dedup_key": word}}
        said["labels" if word == "namespace" else "annotations"][word] = HOSTILE
        assert sender.send(sender.alert(f"Odd{number}", number, **said))[0] == 200
    found = {each["spec"]["signals"][0]["name"]: each["metadata"]["name"] for each in sender.incidents}
    assert set(found) == {f"Odd{number}" for number in range(len(WORDS))}
    for number, reason in enumerate(WORDS.values()):
        told = sender.namespace.await_condition(found[f"Odd{number}"], "Stalled", within=30)
        (seen,) = [each for each in told["status"]["conditions"] if each["type"] == "Stalled"]
        assert seen["reason"] == reason, seen
        assert SHOWN in seen["message"], seen
        assert all(each.isprintable() for each in seen["message"]), seen
        assert PRODUCT not in json.dumps(told)
    noted = lambda: {  # noqa: E731
        each["regarding"]["name"]: each["note"]
        for each in sender.namespace.list("events.events.k8s.io")
        if SHOWN in each["note"]
    }
    eventually(lambda: set(noted()) == set(found.values()), within=30, what="an Event for each that says it")
    lines = [json.loads(line) for line in sender.operator.log.read_text().splitlines()]
    assert [line for line in lines if SHOWN in line.get("said", "")] != [], "every line is one of ours, and some say it"
    assert PRODUCT not in json.dumps([lines, noted()])
    assert [each["metadata"]["name"] for each in sender.namespace.list("secrets")] == secrets
    assert replicas(sender.namespace) == 3


def test_metacharacters_are_text_in_what_a_hook_is_told(sender: Sender) -> None:
    said = {"summary": HOSTILE, "description": HOSTILE, "incident_dedup_key": HOSTILE}
    alert = sender.alert(HOSTILE, annotations={**said, "incident_runbook": "told", "incident_mode": "Observe"})
    assert sender.send(alert)[0] == 200
    eventually(lambda: sender.hook.bodies, within=30, what="the hook to be told")
    told = json.loads(sender.hook.bodies[0])
    assert SHOWN in told["incident"]["title"]
    assert all(each.isprintable() for each in told["incident"]["title"])
    assert PRODUCT.encode() not in b"".join(sender.hook.bodies)
    assert told["incident"]["name"] == sender.one["metadata"]["name"]


UNCLEAR = {
    "no runbook of the name": ({"annotations": {"incident_runbook": "nothing"}}, "RunbookNotFound", "are there: less"),
    "a pod that is gone": ({"labels": {"deployment": "", "pod": "web-gone"}}, "TargetNotFound", "web-gone"),
    "no workload": ({"annotations": {"incident_target": "service/web"}}, "TargetNotFound", "incident_target"),
    "no mode": ({"annotations": {"incident_mode": "Force"}}, "SignalUnclear", "Observe, Propose, Enforce"),
    "no runbook": ({"annotations": {"incident_runbook": ""}}, "NoRunbook", "incident_runbook"),
    "no namespace": ({"labels": {"namespace": "no-such-namespace"}}, "TargetNotFound", "not looked after"),
}


def test_what_cannot_be_resolved_waits_for_a_person_with_the_alerts_own_words(sender: Sender) -> None:
    for number, (name, (change, _, _)) in enumerate(UNCLEAR.items()):
        told = {"incident_dedup_key": name, "summary": name, **change.get("annotations", {})}
        assert sender.send(sender.alert(name, number, **{**change, "annotations": told}))[0] == 200
    found = {each["spec"]["title"]: each["metadata"]["name"] for each in sender.incidents}
    assert set(found) == set(UNCLEAR)
    for title, (_, reason, said) in UNCLEAR.items():
        stalled = sender.namespace.await_condition(found[title], "Stalled", within=30)
        (seen,) = [each for each in stalled["status"]["conditions"] if each["type"] == "Stalled"]
        assert (seen["reason"], said in seen["message"], title in seen["message"]) == (reason, True, True), seen
    assert replicas(sender.namespace) == 3
