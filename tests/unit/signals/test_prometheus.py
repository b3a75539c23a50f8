"""Alerts as Prometheus writes them: which become signals, and what those say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from incident_operator.signals.prometheus import read
from incident_operator.signals.signal import MOST_LABELS, MOST_NAME, MOST_VALUE

LABELS = {"alertname": "ErrorRate", "incident": "true", "namespace": "shop", "severity": "critical"}


def alert(**more: Any) -> dict[str, Any]:
    return {
        "labels": dict(LABELS),
        "annotations": {"incident_runbook": "bad-deploy"},
        "state": "firing",
        "activeAt": "2026-11-23T12:00:00.123456789+02:00",
        "value": "1e+00",
        **more,
    }


def labelled(**labels: Any) -> dict[str, Any]:
    return alert(labels={**LABELS, **labels})


def test_a_firing_alert_becomes_a_signal() -> None:
    found = read([alert()], server="main")
    (signal,) = found.signals
    assert (signal.source, signal.name, signal.group, signal.url) == ("Prometheus", "ErrorRate", "main", "")
    assert signal.starts_at == datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)
    assert signal.is_firing
    assert signal.labels == LABELS
    assert signal.annotations == {"incident_runbook": "bad-deploy"}
    assert found.truncated == 0


@pytest.mark.parametrize(
    "other", [alert(state="pending"), alert(state="inactive"), labelled(incident="false"), alert(labels={"a": "b"})]
)
def test_what_does_not_fire_or_is_not_labelled_for_us_is_not_ours(other: dict[str, Any]) -> None:
    found = read([other, alert()], server="main")
    assert len(found.signals) == 1
    assert found.truncated == 0


def test_those_that_are_pending_are_told_by_their_fingerprint_only() -> None:
    stranger = alert(state="pending", labels={"alertname": "NotOurs"})
    found = read([alert(state="pending"), stranger, alert(state="pending", labels=None)], server="main")
    assert found.signals == ()
    assert found.pending == {read([alert()], server="main").signals[0].fingerprint}
    assert found.truncated == 1, "the one that cannot be read"


def test_the_fingerprint_is_that_of_the_labels_whatever_else_changes() -> None:
    turned = alert(labels=dict(reversed(LABELS.items())), annotations={}, activeAt="2026-11-24T00:00:00Z")
    first, again, other = read([alert(), turned, labelled(pod="a")], server="main").signals
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len(first.fingerprint) == 16
    assert set(first.fingerprint) <= set("0123456789abcdef")
    assert first.fingerprint == read([alert()], server="replica").signals[0].fingerprint


def test_labels_that_run_together_have_different_fingerprints() -> None:
    one, two = read([labelled(a='b", "c', d=""), labelled(a="b", c=", d")], server="main").signals
    assert one.fingerprint != two.fingerprint


BROKEN = [
    {},
    None,
    [],
    "text",
    alert(labels=None),
    alert(labels=["incident"]),
    alert(labels={"incident": "true"}),
    labelled(alertname=""),
    labelled(alertname=7),
    labelled(pod=None),
    alert(annotations={"summary": 1}),
    alert(annotations="text"),
    alert(activeAt=None),
    alert(activeAt=5),
    alert(activeAt="yesterday"),
    alert(activeAt="2026-11-23T12:00:00"),
    alert(activeAt="0001-01-01T00:00:00+05:00"),
]


@pytest.mark.parametrize("broken", BROKEN, ids=repr)
def test_one_that_is_broken_is_counted_and_the_others_are_read(broken: Any) -> None:
    found = read([broken, alert()], server="main")
    assert [signal.name for signal in found.signals] == ["ErrorRate"]
    assert found.truncated == 1


def test_texts_are_bounded_and_the_fingerprint_is_of_all_of_them() -> None:
    many = {f"x{number:03}": "v" for number in range(200)}
    one, two = read(
        [labelled(**many, alertname="n" * 999, z="1"), labelled(**many, alertname="n" * 999, z="2")], server="main"
    ).signals
    assert len(one.name) == MOST_NAME
    assert len(one.labels) == MOST_LABELS
    assert max(map(len, one.labels.values())) <= MOST_VALUE
    assert one.labels == two.labels
    assert one.fingerprint != two.fingerprint


def test_without_annotations_it_is_read_all_the_same() -> None:
    bare = alert()
    del bare["annotations"]
    assert read([bare], server="main").signals[0].annotations == {}
