"""Whatever is sent: a reader gives signals that are fit to keep, or BadSignal, and nothing else."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from incident_operator.api.signals import SignalSpec
from incident_operator.signals import alertmanager, falco, sentry, trivy
from incident_operator.signals.reading import UNFIT
from incident_operator.signals.signal import MOST_KEY, MOST_LABELS, MOST_NAME, MOST_VALUE, BadSignal, Signal

Reader = Callable[[bytes], Any]
READERS: Mapping[str, Reader] = {
    "alertmanager": alertmanager.read,
    "falco": falco.read,
    **{name: functools.partial(sentry.read, name) for name in ("event_alert", "metric_alert", "issue")},
}
SOME = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FIELDS = {
    "body", "version", "alerts", "groupKey", "truncatedAlerts", "action", "data",
    "rule", "priority", "time", "output", "output_fields", "source", "hostname",
}  # fmt: skip
AT = "2024-05-06T07:08:09Z"
# One of everything that other programs take for more than text.
METACHARACTERS = [
    "$(reboot) `id` ; rm -rf / | cat && : > x 2>&1 'a' \"b\" \\ * ? ~ !",
    '{{ 7*7 }} {% raw %} ${7*7} #{7*7} {{ template "x" . }} {{- .Values.x -}} %s %(name)s {0.__class__}',
    "app=web,tier in (a,b),!x",
    "<script>alert(1)</script> <img src=x onerror=alert(1)> &amp; <!-- ]]>",
    "&a *a !!python/object:os.system [x] {y: z} # c\n---\n- a: b\n\tc: |",
    "../../etc/passwd\n%0d%0aSet-Cookie: a=b",
    "'; DROP TABLE incidents; --",
    'up{job="x"} or vector(1) # \\',
    "\u202eevil\u2066 \U0001f525 \ufeff",
]  # fmt: skip


def payloads(texts: Any) -> dict[str, Any]:
    """For each reader a body in its shape; ``texts`` gives what stands in it where a text is free."""
    free = texts()
    alert = {"status": "firing", "labels": {"alertname": free, "x": free}, "annotations": {"summary": free}}
    rule = {"id": free, "name": free, "triggers": [{"actions": [{"settings": [{"name": "summary", "value": free}]}]}]}
    event = {"title": free, "issue_id": free, "level": free, "datetime": AT, "tags": [["a", free]], "culprit": free}
    metric = {"alert_rule": rule, "organization_id": free, "date_started": AT, "projects": [free]}
    issue = {"title": free, "id": free, "firstSeen": AT, "level": free, "project": {"slug": free}, "web_url": free}
    return {
        "alertmanager": {"version": "4", "groupKey": free, "alerts": [{**alert, "startsAt": AT, "generatorURL": free}]},
        "falco": {"rule": free, "time": AT, "output": free, "output_fields": {"k8s.ns.name": free}, "hostname": free},
        "event_alert": {"data": {"event": event, "triggered_rule": free}},
        "metric_alert": {"action": "critical", "data": {"metric_alert": metric, "description_text": free}},
        "issue": {"action": "created", "data": {"issue": issue}},
    }


def assert_fit(signal: Signal) -> None:
    assert 1 <= len(signal.name) <= MOST_NAME
    assert re.fullmatch(r"[0-9a-f]{1,64}", signal.fingerprint)
    assert signal.starts_at.tzinfo is not None
    assert signal.ends_at is None or signal.ends_at.tzinfo is not None
    assert len(signal.url) <= 1024
    assert signal.url == "" or re.fullmatch(r"https?://\S+", signal.url, re.IGNORECASE)
    assert len(signal.group) <= MOST_VALUE
    for texts in (signal.labels, signal.annotations):
        assert len(texts) <= MOST_LABELS
        assert all(len(key) <= MOST_KEY and len(value) <= MOST_VALUE for key, value in texts.items())
    said = [signal.name, signal.url, signal.group, *signal.labels.items(), *signal.annotations.items()]
    assert not UNFIT.search("".join(each if isinstance(each, str) else "".join(each) for each in said))
    json.dumps(said, ensure_ascii=False).encode()
    SignalSpec(
        name=signal.name,
        fingerprint=signal.fingerprint,
        starts_at=signal.starts_at.isoformat(),
        labels=dict(signal.labels),
        annotations=dict(signal.annotations),
        url=signal.url,
    )


def signals_or_message(reader: Reader, body: bytes) -> tuple[tuple[Signal, ...], str]:
    try:
        return reader(body).signals, ""
    except BadSignal as bad:
        return (), str(bad)


def assert_fit_or_bad(reader: Reader, body: bytes) -> None:
    signals, message = signals_or_message(reader, body)
    for signal in signals:
        assert_fit(signal)
    assert message == "" or (": " in message and re.match(r"\w+", message)[0] in FIELDS)
    assert not UNFIT.search(message)
    assert len(message.encode()) < 1000


# Hostile JSON: texts with half surrogates and control characters, numbers of any size, every type in every place.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=40)
MANY = st.builds(lambda text, times: text * times, ANY_TEXT, st.integers(1, 300))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), ANY_TEXT, MANY,
    st.sampled_from([10**40, -(10**40), "4", "1", "firing", "resolved", "created", "critical", AT, "https://x/", "true",
                     "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2024-05-06T24:00:00Z"]),
)  # fmt: skip
NAMES = st.one_of(
    ANY_TEXT,
    st.sampled_from([
        "version", "alerts", "status", "labels", "annotations", "startsAt", "endsAt", "fingerprint", "generatorURL",
        "groupKey", "truncatedAlerts", "orgId", "alertname", "rule", "time", "output_fields", "k8s.ns.name", "action",
        "data", "event", "metric_alert", "alert_rule", "issue", "tags", "settings", "name", "value", "title", "report",
        "datetime", "issue_id", "id", "firstSeen", "date_started", "organization_id", "triggers", "actions",
    ]),
)  # fmt: skip
ANY_JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=6), max_leaves=25
)


@st.composite
def broken(draw: st.DrawFn, name: str) -> Any:
    """A payload in a reader's shape, some of whose fields are something else, missing, or joined by others."""
    found = payloads(lambda: draw(SCALARS | MANY))[name]
    return _broken(draw, found)


def _broken(draw: st.DrawFn, found: Any) -> Any:
    chance = draw(st.integers(0, 12))
    if chance == 0:
        return draw(ANY_JSON)
    if isinstance(found, dict):
        kept = {key: _broken(draw, value) for key, value in found.items() if draw(st.integers(0, 15))}
        return {**kept, **draw(st.dictionaries(NAMES, SCALARS, max_size=2))} if chance == 1 else kept
    return [_broken(draw, each) for each in found] if isinstance(found, list) else found


@pytest.mark.parametrize("name", READERS)
@SOME
@given(body=st.binary(max_size=200))
@example(body=b"")
@example(body=b"\xff")
@example(body=b"\xef\xbb\xbf{}")
@example(body=b'"\\ud800"')
@example(body=b"\xed\xa0\x80")
def test_any_bytes_are_read_or_bad(name: str, body: bytes) -> None:
    assert_fit_or_bad(READERS[name], body)


@pytest.mark.parametrize("name", READERS)
@SOME
@given(data=st.data())
def test_any_json_in_roughly_the_right_shape_is_read_or_bad(name: str, data: st.DataObject) -> None:
    assert_fit_or_bad(READERS[name], json.dumps(data.draw(broken(name))).encode())


@SOME
@given(report=ANY_JSON, threshold=st.sampled_from(trivy.THRESHOLDS))
def test_any_report_is_read_or_bad(report: Any, threshold: str) -> None:
    artifact = {"repository": report, "tag": "1"}
    for said in (report, {"summary": {"criticalCount": 1}, "artifact": artifact, "vulnerabilities": report}):
        whole = {"metadata": {"creationTimestamp": AT, "namespace": "shop", "labels": report}, "report": said}
        try:
            signal = trivy.read(whole, threshold)
        except BadSignal:
            continue
        if signal is not None:
            assert_fit(signal)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[" * 100_000, "body: its objects and lists are nested too deeply"),
        (b'{"a":' * 100_000, "body: its objects and lists are nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "body: its objects and lists are nested too deeply"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "body: a whole number has more than 32 digits"),
        (b'{"a": -' + b"9" * 5_000 + b"}", "body: a whole number has more than 32 digits"),
        (b'{"a": NaN}', "body: NaN is not a number of JSON"),
        (b'{"a": [-Infinity]}', "body: -Infinity is not a number of JSON"),
        (b'{"a": 1, "b": 2, "a": 3}', "body: the key 'a' is there twice in one object"),
        (b'{"x": {"a\\u0000": 1, "a\\u0000": 1}}', "body: the key 'a\ufffd' is there twice in one object"),
        (b'{"a": "\xff"}', "body: byte 7 is not UTF-8"),
        (b'{"a": "\xed\xa0\x80"}', "body: byte 7 is not UTF-8"),
        ('{"a": "ä"}'.encode("utf-16"), "body: byte 0 is not UTF-8"),
        (b'{"a": "\n"}', "body: is not JSON: Invalid control character"),
        (b"{'a': 1}", "body: is not JSON: Expecting property name"),
        (b'{"a": 1} {}', "body: is not JSON: Extra data"),
        (b"", "body: is not JSON: Expecting value"),
        (b"[]", "body: a list is not an object"),
        (b"null", "body: nothing is not an object"),
        (b'"x"', "body: 'x' is not an object"),
    ],
)
def test_what_is_not_one_sound_json_object_is_bad_and_told_why(name: str, body: bytes, message: str) -> None:
    with pytest.raises(BadSignal) as told:
        READERS[name](body)
    assert str(told.value).startswith(message)


def test_a_field_that_is_nested_as_deeply_as_can_be_parsed_is_bad_too() -> None:
    for depth in range(100, 1000, 25):
        deep = b"[" * depth + b"]" * depth
        body = b'{"version": "4", "alerts": [{"status": "firing", "labels": {"a": ' + deep + b"}}]}"
        with pytest.raises(BadSignal, match=r"^(alerts\[0\]\.labels\.a: a list is not a text|body: .* too deeply)$"):
            alertmanager.read(body)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", METACHARACTERS)
def test_metacharacters_arrive_as_the_text_that_they_are(name: str, text: str) -> None:
    (signal,) = READERS[name](json.dumps(payloads(lambda: text)[name]).encode()).signals
    assert signal.name == " ".join(text.split())
    assert signal.labels["alertname"] == text
    assert text in signal.annotations.values()
    assert signal.url == ""


@SOME
@given(text=st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=200))
def test_every_text_without_control_characters_arrives_unchanged(text: str) -> None:
    (signal,) = alertmanager.read(json.dumps(payloads(lambda: text)["alertmanager"]).encode()).signals
    assert signal.labels == {"alertname": text, "x": text}
    assert (signal.annotations, signal.group) == ({"summary": text}, text)


def test_what_cannot_be_kept_is_replaced_and_the_rest_stays() -> None:
    sent = "a\x00b\x1b[31m\r\n\tc\ud83d\udd25\x7f\x9f \ud800d"
    payload = payloads(lambda: sent)["alertmanager"]
    payload["alerts"][0]["labels"][sent] = "x"
    (signal,) = alertmanager.read(json.dumps(payload).encode()).signals
    kept = "a\ufffdb\ufffd[31m\ufffd\n\tc\U0001f525\ufffd\ufffd \ufffdd"
    assert signal.labels == {"alertname": kept, "x": kept, kept: "x"}
    assert signal.group == kept
