from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from incident_operator.signals.sentry import read, verify
from incident_operator.signals.signal import MOST_LABELS, BadSignal, Notification, Signal

SECRET = b"d2fe4a3b"
WEB_URL = "https://sentry.io/organizations/test-org/issues/1117540176/events/e4874d664c3540c1a32eab185f12c5ab/"
API_URL = "https://sentry.io/api/0/projects/test-org/front-end/events/e4874d664c3540c1a32eab185f12c5ab/"
# docs.sentry.io, Integration Platform, Webhooks: Issue Alerts, Metric Alerts, Issues; shortened.
EVENT = {
    "culprit": "?(<anonymous>)",
    "datetime": "2019-08-19T21:06:17.677000Z",
    "event_id": "e4874d664c3540c1a32eab185f12c5ab",
    "issue_url": "https://sentry.io/api/0/issues/1117540176/",
    "issue_id": "1117540176",
    "level": "error",
    "message": "",
    "project": 1,
    "received": 1566248777.677,
    "tags": [["browser.name", "Chrome"], ["namespace", "shop"], ["level", "error"], ["empty", None]],
    "time_spent": None,
    "title": "ReferenceError: heck is not defined",
    "url": API_URL,
    "version": "7",
    "web_url": WEB_URL,
}
METRIC = {
    "alert_rule": {
        "aggregate": "count()",
        "environment": None,
        "id": "7",
        "name": "Too many errors",
        "organization_id": "5",
        "projects": ["bar"],
        "triggers": [],
    },
    "date_closed": None,
    "date_created": "2020-09-13T12:26:40.000000Z",
    "date_detected": "2020-09-13T12:26:40.000000Z",
    "date_started": "2020-09-13T12:26:40.000000Z",
    "id": "4",
    "identifier": "1",
    "organization_id": "5",
    "projects": ["bar"],
    "status": 2,
    "title": "Sacred Marmot",
}
ISSUE = {
    "culprit": "?(runner)",
    "firstSeen": "2019-08-19T20:58:37.391000Z",
    "id": "1117540176",
    "lastSeen": "2019-08-20T10:00:00.000000Z",
    "level": "fatal",
    "permalink": None,
    "project": {"id": "1", "name": "front-end", "platform": "", "slug": "front-end"},
    "status": "unresolved",
    "title": "ReferenceError: heck is not defined",
    "web_url": "https://sentry.io/organizations/test-org/issues/1117540176/",
}


def body(data: Any, action: Any = "triggered") -> bytes:
    actor = {"id": "sentry", "name": "Sentry", "type": "application"}
    return json.dumps({"action": action, "actor": actor, "data": data, "installation": {"uuid": "a8e5"}}).encode()


def event_alert(settings: Any = None, **fields: Any) -> Signal:
    data = {
        "event": {**EVENT, **fields},
        "triggered_rule": "Very Important Alert Rule!",
        "issue_alert": {"title": "Very Important Alert Rule!", "settings": settings},
    }
    (signal,) = read("event_alert", body(data)).signals
    return signal


def metric_alert(action: str, triggers: Any = (), **fields: Any) -> Signal:
    alert = {**METRIC, **fields}
    alert["alert_rule"] = {**METRIC["alert_rule"], "triggers": list(triggers)}
    data = {
        "description_text": "1000 events in the last 10 minutes\\nFilter: level:error",
        "description_title": "Critical: Too many errors",
        "metric_alert": alert,
        "web_url": "https://sentry.io/organizations/baz/alerts/1/",
    }
    (signal,) = read("metric_alert", body(data, action)).signals
    return signal


def issue(action: str, **fields: Any) -> Notification:
    return read("issue", body({"issue": {**ISSUE, **fields}}, action))


def test_a_signature_holds_for_the_body_and_the_secret_that_it_was_made_for() -> None:
    signature = hmac.new(SECRET, b'{"a": 1}', hashlib.sha256).hexdigest()
    assert verify(SECRET, b'{"a": 1}', signature)
    assert not verify(SECRET, b'{"a":1}', signature)
    assert not verify(b"other", b'{"a": 1}', signature)


@pytest.mark.parametrize("signature", ["", "0" * 64, "ä", "\udcff", "sha256=" + "0" * 64])
def test_any_other_signature_does_not_hold(signature: str) -> None:
    assert not verify(SECRET, b"", signature)


def test_an_empty_secret_lets_nobody_in() -> None:
    assert not verify(b"", b"{}", hmac.new(b"", b"{}", hashlib.sha256).hexdigest())


def test_an_issue_alert_is_read() -> None:
    signal = event_alert()
    assert signal.source == "Sentry"
    assert signal.name == "ReferenceError: heck is not defined"
    assert signal.starts_at == datetime(2019, 8, 19, 21, 6, 17, 677000, tzinfo=UTC)
    assert signal.is_firing
    assert signal.url == WEB_URL
    assert signal.group == "1117540176"
    assert signal.labels == {
        "alertname": "Very Important Alert Rule!",
        "incident": "true",
        "severity": "error",
        "project": "front-end",
        "browser.name": "Chrome",
        "namespace": "shop",
        "level": "error",
    }
    assert signal.annotations == {"summary": "ReferenceError: heck is not defined", "description": "?(<anonymous>)"}


def test_an_issue_alert_without_a_rule_component_is_read_as_well() -> None:
    (signal,) = read("event_alert", body({"event": EVENT, "triggered_rule": "Rule"})).signals
    assert signal.labels["alertname"] == "Rule"


def test_settings_of_the_alert_rule_become_annotations_if_they_are_of_the_vocabulary() -> None:
    signal = event_alert(
        [
            {"name": "channel", "value": "#general"},
            {"name": "incident_runbook", "value": "bad-deploy"},
            {"name": "incident_target", "value": "deployment/web"},
            {"name": "incident_mode", "value": None},
            {"name": "summary", "value": "the shop fails"},
            {"name": "title", "label": "with no value"},
        ]
    )
    assert signal.annotations == {
        "summary": "the shop fails",
        "description": "?(<anonymous>)",
        "incident_runbook": "bad-deploy",
        "incident_target": "deployment/web",
    }


@pytest.mark.parametrize(("level", "severity"), [("fatal", "critical"), ("warning", "warning"), ("debug", "info")])
def test_the_level_of_an_event_is_its_severity(level: str, severity: str) -> None:
    assert event_alert(level=level).labels["severity"] == severity


def test_tags_neither_replace_nor_crowd_out_the_labels_that_are_ours() -> None:
    forged = [["incident", "false"], ["alertname", "Other"], ["severity", "info"], ["incident_runbook", "x"]]
    signal = event_alert(tags=forged + [[f"a{number:03}", "v"] for number in range(200)], level="fatal")
    assert len(signal.labels) == MOST_LABELS
    assert signal.labels["incident"] == "true"
    assert signal.labels["alertname"] == "Very Important Alert Rule!"
    assert signal.labels["severity"] == "critical"
    assert "incident_runbook" not in signal.annotations


def test_the_api_url_stands_in_for_a_web_url_that_is_no_link() -> None:
    assert event_alert(web_url="javascript:alert(1)").url == API_URL
    assert event_alert(web_url=None, url="x").url == ""


def test_all_events_of_an_issue_and_its_end_are_the_same_alert() -> None:
    first, second = event_alert(), event_alert(datetime="2019-08-19T23:00:00Z", issue_id=1117540176, title="changed")
    (resolved,) = issue("resolved").signals
    assert first.fingerprint == second.fingerprint == resolved.fingerprint
    assert event_alert(issue_id="1117540177").fingerprint != first.fingerprint


def test_a_new_issue_fires_since_it_was_first_seen() -> None:
    (signal,) = issue("created").signals
    assert (signal.starts_at, signal.ends_at) == (datetime(2019, 8, 19, 20, 58, 37, 391000, tzinfo=UTC), None)
    assert signal.labels == {
        "alertname": "ReferenceError: heck is not defined",
        "incident": "true",
        "severity": "critical",
        "project": "front-end",
    }
    assert signal.url == "https://sentry.io/organizations/test-org/issues/1117540176/"


def test_an_issue_that_came_back_fires_since_then_and_a_resolved_one_ended_then() -> None:
    last = datetime(2019, 8, 20, 10, tzinfo=UTC)
    (again,), (resolved,) = issue("unresolved").signals, issue("resolved").signals
    assert (again.starts_at, again.ends_at) == (last, None)
    assert resolved.ends_at == last
    (never_seen_again,) = issue("resolved", lastSeen=None).signals
    assert never_seen_again.ends_at == never_seen_again.starts_at


@pytest.mark.parametrize("action", ["assigned", "archived", "ignored", "", "something new"])
def test_what_people_do_to_an_issue_without_solving_it_says_nothing(action: str) -> None:
    assert issue(action) == Notification(())


def test_a_metric_alert_is_read() -> None:
    signal = metric_alert("critical")
    assert signal.name == "Too many errors"
    assert signal.starts_at == datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
    assert signal.is_firing
    assert signal.labels == {
        "alertname": "Too many errors",
        "incident": "true",
        "severity": "critical",
        "project": "bar",
    }
    assert signal.annotations["summary"] == "Critical: Too many errors"
    assert signal.url == "https://sentry.io/organizations/baz/alerts/1/"


def test_a_metric_alert_is_the_same_one_however_bad_and_until_it_is_over() -> None:
    closed = metric_alert("resolved", id="5", date_closed="2020-09-13T13:00:00Z")
    prints = {metric_alert(action).fingerprint for action in ("critical", "warning", "resolved")}
    assert prints == {closed.fingerprint}
    assert closed.ends_at == datetime(2020, 9, 13, 13, tzinfo=UTC)
    not_told = metric_alert("resolved")
    assert not_told.ends_at == not_told.starts_at
    assert "severity" not in not_told.labels
    assert metric_alert("critical", organization_id="6").fingerprint not in prints


def test_the_settings_of_the_trigger_that_has_fired_come_first() -> None:
    triggers = [
        {"label": label, "actions": [{"settings": [{"name": "incident_runbook", "value": f"for-{label}"}]}]}
        for label in ("critical", "warning")
    ]
    triggers[1]["actions"] += [{"type": "email"}, {"settings": [{"name": "incident_mode", "value": "Observe"}]}]
    assert metric_alert("critical", triggers).annotations["incident_runbook"] == "for-critical"
    assert metric_alert("critical", triggers).annotations["incident_mode"] == "Observe"
    assert metric_alert("warning", triggers).annotations["incident_runbook"] == "for-warning"


@pytest.mark.parametrize("resource", ["installation", "error", "comment", "seer", "", "EVENT_ALERT"])
def test_a_resource_that_is_no_alert_says_nothing_whatever_its_body(resource: str) -> None:
    assert read(resource, b"not even JSON") == Notification(())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"datetime": "yesterday"}, "data.event.datetime: 'yesterday' is not an RFC 3339 time"),
        ({"datetime": None}, "data.event.datetime: nothing is not an RFC 3339 time since when the alert fires"),
        ({"issue_id": None}, "data.event.issue_id: nothing is not the number that Sentry has given it"),
        ({"issue_id": True}, "data.event.issue_id: true is not a text"),
        ({"title": 7}, "data.event.title: 7 is not a text"),
        ({"level": []}, "data.event.level: a list is not a text"),
        ({"tags": "x"}, "data.event.tags: 'x' is not a list"),
        ({"tags": [["a", "b", "c"]]}, "data.event.tags[0]: a list is not a list of a key and a value"),
        ({"tags": [["a", "b"], {"key": "a"}]}, "data.event.tags[1]: an object is not a list of a key and a value"),
        ({"tags": [["a", 7]]}, "data.event.tags[0]: 7 is not a text"),
        ({"settings": {}}, "data.issue_alert.settings: an object is not a list"),
        ({"settings": ["x"]}, "data.issue_alert.settings[0]: 'x' is not an object"),
        (
            {"settings": [{"name": "incident_mode", "value": 7}]},
            "data.issue_alert.settings[0].value: 7 is not a text",
        ),
    ],
)
def test_what_is_wrong_with_an_event_is_told_by_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(BadSignal) as told:
        event_alert(**fields)
    assert str(told.value).startswith(message)


@pytest.mark.parametrize(
    ("resource", "sent", "message"),
    [
        ("event_alert", body(None), "data: nothing is not an object"),
        ("event_alert", body({}), "data.event: nothing is not an object"),
        ("metric_alert", body({}, "open"), "action: 'open' is not critical, warning or resolved"),
        ("metric_alert", body({}, "critical"), "data.metric_alert: nothing is not an object"),
        ("metric_alert", body({"metric_alert": {}}, "critical"), "data.metric_alert.alert_rule: nothing is not"),
        ("issue", body({"issue": {**ISSUE, "firstSeen": "x"}}, "created"), "data.issue.firstSeen: 'x' is not an RFC"),
        ("issue", body({}, 7), "action: 7 is not a text"),
    ],
)
def test_what_is_wrong_with_a_payload_is_told_by_its_field(resource: str, sent: bytes, message: str) -> None:
    with pytest.raises(BadSignal) as told:
        read(resource, sent)
    assert str(told.value).startswith(message)
