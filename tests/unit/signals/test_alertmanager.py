from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from incident_operator.signals.alertmanager import MOST_ALERTS, read
from incident_operator.signals.signal import MOST_LABELS, MOST_NAME, MOST_VALUE, BadSignal, Notification, Signal

LABELS = {"alertname": "HighErrorRate", "incident": "true", "severity": "critical", "namespace": "shop"}
ALERT_0_25 = {
    "status": "firing",
    "labels": LABELS,
    "annotations": {"summary": "5 % of requests fail", "incident_runbook": "bad-deploy"},
    "startsAt": "2024-05-06T07:08:09.123456789Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus-0:9090/graph?g0.expr=rate%28errors%5B5m%5D%29+%3E+0.05&g0.tab=1",
    "fingerprint": "6a1ce5f7a1ae2bd3",
}
# Alertmanager 0.25, notify/webhook/webhook.go: Message embeds template.Data.
PAYLOAD_0_25 = {
    "receiver": "incident-operator",
    "status": "firing",
    "alerts": [ALERT_0_25],
    "groupLabels": {"alertname": "HighErrorRate"},
    "commonLabels": LABELS,
    "commonAnnotations": {"summary": "5 % of requests fail"},
    "externalURL": "http://alertmanager-0:9093",
    "version": "4",
    "groupKey": '{}/{incident="true"}:{alertname="HighErrorRate"}',
    "truncatedAlerts": 0,
}
PAYLOAD_0_34 = {
    **PAYLOAD_0_25,
    "truncatedAlerts": 3,
    "notification_reason": "new alerts added",
    "routeLabels": {"team": "shop"},
}
# Grafana 11, "Configure the webhook notifier for Alerting".
PAYLOAD_GRAFANA = {
    "receiver": "My Super Webhook",
    "status": "firing",
    "orgId": 1,
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "High memory usage", "team": "blue", "zone": "us-1"},
            "annotations": {
                "description": "The system has high memory usage",
                "runbook_url": "https://myrunbook.com/runbook/1234",
                "summary": "This alert was triggered for zone us-1",
            },
            "startsAt": "2021-10-12T09:51:03.157076+02:00",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "https://play.grafana.org/alerting/1afz29v7z/edit",
            "fingerprint": "c6eadffa33fcdf37",
            "silenceURL": "https://play.grafana.org/alerting/silence/new?alertmanager=grafana",
            "dashboardURL": "",
            "panelURL": "",
            "values": {"B": 44.23943737541908, "C": 1},
        }
    ],
    "groupLabels": {},
    "commonLabels": {"team": "blue"},
    "commonAnnotations": {},
    "externalURL": "https://play.grafana.org/",
    "version": "1",
    "groupKey": "{}:{}",
    "truncatedAlerts": 0,
    "title": "[FIRING:2]  (blue)",
    "state": "alerting",
    "message": "**Firing**\n\nLabels:\n - alertname = T2\n",
}


def reading(payload: Any) -> Notification:
    return read(json.dumps(payload).encode())


def only(payload: Any) -> Signal:
    (signal,) = reading(payload).signals
    return signal


def with_alert(**fields: Any) -> dict[str, Any]:
    """The payload of 0.25 with fields of its alert replaced; ``...`` leaves one out."""
    alert = {key: value for key, value in {**ALERT_0_25, **fields}.items() if value is not ...}
    return {**PAYLOAD_0_25, "alerts": [alert]}


@pytest.mark.parametrize("payload", [PAYLOAD_0_25, PAYLOAD_0_34])
def test_an_alert_of_old_and_new_alertmanagers_is_read(payload: dict[str, Any]) -> None:
    assert reading(payload) == Notification(
        (
            Signal(
                source="Alertmanager",
                name="HighErrorRate",
                fingerprint="6a1ce5f7a1ae2bd3",
                starts_at=datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
                labels=LABELS,
                annotations={"summary": "5 % of requests fail", "incident_runbook": "bad-deploy"},
                url="http://prometheus-0:9090/graph?g0.expr=rate%28errors%5B5m%5D%29+%3E+0.05&g0.tab=1",
                group='{}/{incident="true"}:{alertname="HighErrorRate"}',
            ),
        ),
        truncated=payload["truncatedAlerts"],
    )


def test_grafana_is_told_from_alertmanager_and_its_time_zone_is_kept_in_mind() -> None:
    signal = only(PAYLOAD_GRAFANA)
    assert (signal.source, signal.name, signal.fingerprint) == ("Grafana", "High memory usage", "c6eadffa33fcdf37")
    assert signal.starts_at == datetime(2021, 10, 12, 7, 51, 3, 157076, tzinfo=UTC)
    assert signal.starts_at.utcoffset() == UTC.utcoffset(None)
    assert signal.is_firing
    assert signal.url == "https://play.grafana.org/alerting/1afz29v7z/edit"


def test_several_alerts_of_a_group_stay_in_their_order() -> None:
    alerts = [{**ALERT_0_25, "labels": {"alertname": name}} for name in ("B", "A", "C")]
    assert [each.name for each in reading({**PAYLOAD_0_25, "alerts": alerts}).signals] == ["B", "A", "C"]


def test_a_firing_alert_has_no_end_whatever_its_ends_at_says() -> None:
    assert only(with_alert(endsAt="2999-01-01T00:00:00Z")).ends_at is None


@pytest.mark.parametrize("missing", [..., None, "", "0001-01-01T00:00:00Z"])
def test_a_resolved_alert_ends_when_it_says_or_else_when_it_began(missing: Any) -> None:
    resolved = only(with_alert(status="resolved", endsAt="2024-05-06T08:00:00Z"))
    assert resolved.ends_at == datetime(2024, 5, 6, 8, tzinfo=UTC)
    assert not resolved.is_firing
    without = only(with_alert(status="resolved", endsAt=missing))
    assert without.ends_at == without.starts_at


@pytest.mark.parametrize("bad", [..., None, "", "XYZ", "6A1CE5F7A1AE2BD3", "a" * 65, "abc\n", 42, ["a"]])
def test_a_fingerprint_that_is_none_is_computed_from_the_labels_alone(bad: Any) -> None:
    first = only(with_alert(fingerprint=bad))
    turned = dict(reversed(LABELS.items()))
    second = only(with_alert(fingerprint=bad, labels=turned, status="resolved", annotations={}))
    other = only(with_alert(fingerprint=bad, labels={**LABELS, "namespace": "bank"}))
    assert len(first.fingerprint) == 16
    assert set(first.fingerprint) <= set("0123456789abcdef")
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_what_an_alert_may_lack_is_empty() -> None:
    payload = with_alert(annotations=..., generatorURL=..., endsAt=..., fingerprint=..., labels={})
    del payload["groupKey"], payload["truncatedAlerts"]
    notification = reading(payload)
    assert notification.truncated == 0
    (signal,) = notification.signals
    assert (signal.name, signal.group, signal.url, signal.annotations) == ("alert", "", "", {})


def test_unknown_fields_are_ignored_everywhere() -> None:
    payload = copy.deepcopy(PAYLOAD_0_25)
    payload["alerts"][0]["new"] = payload["new"] = {"deep": [1, 2.5, None, True]}
    assert reading(payload) == reading(PAYLOAD_0_25)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil", "ftp://x/", "http://", "http://a b", "https://a\x00b", "h" * 9, "https:/x"]
)
def test_only_a_link_to_a_web_page_is_kept(url: str) -> None:
    assert only(with_alert(generatorURL=url)).url == ""


def test_a_link_that_would_have_to_be_cut_is_left_out() -> None:
    assert only(with_alert(generatorURL="http://p/" + "x" * 1015)).url
    assert only(with_alert(generatorURL="http://p/" + "x" * 1016)).url == ""


def test_everything_is_bounded() -> None:
    many = {f"label{number:03}": "v" * 5000 for number in range(200)}
    payload = with_alert(labels={"alertname": "n" * 5000, **many}, annotations=many)
    payload["groupKey"] = "g" * 5000
    signal = only(payload)
    assert len(signal.name) == MOST_NAME
    assert len(signal.labels) == len(signal.annotations) == MOST_LABELS
    assert {len(each) for each in [signal.group, *signal.labels.values(), *signal.annotations.values()]} == {MOST_VALUE}


def test_as_many_alerts_as_are_taken_and_not_one_more() -> None:
    alerts = [ALERT_0_25] * MOST_ALERTS
    assert len(reading({**PAYLOAD_0_25, "alerts": alerts}).signals) == MOST_ALERTS
    with pytest.raises(BadSignal, match=r"^alerts: 10001 are too many, 10000 are taken; set max_alerts"):
        reading({**PAYLOAD_0_25, "alerts": [*alerts, ALERT_0_25]})


def test_no_alert_is_no_signal() -> None:
    assert reading({**PAYLOAD_0_25, "alerts": []}) == Notification(())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"startsAt": "x"}, "alerts[0].startsAt: 'x' is not an RFC 3339 time, such as 2024-05-06T07:08:09Z"),
        ({"startsAt": "2024-05-06"}, "alerts[0].startsAt: '2024-05-06' is not an RFC 3339 time"),
        ({"startsAt": "2024-05-06T07:08:09"}, "alerts[0].startsAt: '2024-05-06T07:08:09' is not an RFC 3339 time"),
        ({"startsAt": "2024-02-30T07:08:09Z"}, "'2024-02-30T07:08:09Z' is not an RFC 3339 time that there is"),
        ({"startsAt": "9999-12-31T23:59:59-23:00"}, "is not an RFC 3339 time that there is"),
        ({"startsAt": "0001-01-01T00:00:00Z"}, "is not an RFC 3339 time since when the alert fires"),
        ({"startsAt": ...}, "alerts[0].startsAt: nothing is not an RFC 3339 time since when the alert fires"),
        ({"startsAt": 1714979289}, "alerts[0].startsAt: 1714979289 is not an RFC 3339 time"),
        ({"endsAt": "soon"}, "alerts[0].endsAt: 'soon' is not an RFC 3339 time"),
        ({"status": "suppressed"}, "alerts[0].status: 'suppressed' is not firing or resolved"),
        ({"status": ["firing"]}, "alerts[0].status: a list is not firing or resolved"),
        ({"status": ...}, "alerts[0].status: nothing is not firing or resolved"),
        ({"labels": ...}, "alerts[0].labels: nothing is not an object"),
        ({"labels": []}, "alerts[0].labels: a list is not an object"),
        ({"labels": {"severity": 3}}, "alerts[0].labels.severity: 3 is not a text"),
        ({"labels": {"severity": None}}, "alerts[0].labels.severity: nothing is not a text"),
        ({"annotations": "x"}, "alerts[0].annotations: 'x' is not an object"),
        ({"annotations": {"a": {}}}, "alerts[0].annotations.a: an object is not a text"),
        ({"generatorURL": False}, "alerts[0].generatorURL: false is not a text"),
    ],
)
def test_what_is_wrong_with_an_alert_is_told_by_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSignal) as told:
        reading(with_alert(**fields))
    assert message in str(told.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": "3"}, "version: '3' is not '4', as Alertmanager sends it, or Grafana's '1'"),
        ({"version": "1"}, "version: '1' is not '4', as Alertmanager sends it, or Grafana's '1'"),
        ({"version": 4}, "version: 4 is not '4'"),
        ({"version": None}, "version: nothing is not '4'"),
        ({"alerts": None}, "alerts: nothing is not a list"),
        ({"alerts": {}}, "alerts: an object is not a list"),
        ({"alerts": [ALERT_0_25, 7]}, "alerts[1]: 7 is not an object"),
        ({"groupKey": 7}, "groupKey: 7 is not a text"),
        ({"truncatedAlerts": -1}, "truncatedAlerts: -1 is not a whole number from 0 to"),
        ({"truncatedAlerts": True}, "truncatedAlerts: true is not a whole number from 0 to"),
        ({"truncatedAlerts": 2**63}, "truncatedAlerts: 9223372036854775808 is not a whole number from 0 to"),
        ({"truncatedAlerts": 1.5}, "truncatedAlerts: 1.5 is not a whole number from 0 to"),
    ],
)
def test_what_is_wrong_with_a_payload_is_told_by_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSignal) as told:
        reading({**PAYLOAD_0_25, **fields})
    assert str(told.value).startswith(message)
