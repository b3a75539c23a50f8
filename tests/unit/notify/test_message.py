"""What is said of an Incident to those outside: documented, bounded, and plain text whatever came with an alert."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta, timezone

from hypothesis import given, settings
from hypothesis import strategies as st

from incident_operator.notify import hooks as module
from incident_operator.notify.hooks import message

AT = datetime(2026, 11, 23, 16, 42, tzinfo=timezone(timedelta(hours=2)))
INCIDENT = {
    "metadata": {"namespace": "shop", "name": "bad-deploy", "uid": "uid-1", "labels": {"x": "<b>"}},
    "spec": {"severity": "SEV-1", "title": "5xx on web", "signals": [{"annotations": {"summary": "$(reboot)"}}]},
    "status": {"id": "INC-2026-1123-001", "phase": "Containment"},
}
TOLD = message(INCIDENT, "Escalation", "nobody has taken it on", at=AT, key="0")


def test_the_documented_fields_are_what_is_posted() -> None:
    assert {
        "version": "1",
        "key": TOLD["key"],
        "reason": "Escalation",
        "text": "nobody has taken it on",
        "time": "2026-11-23T14:42:00Z",
        "incident": {
            "namespace": "shop",
            "name": "bad-deploy",
            "uid": "uid-1",
            "id": "INC-2026-1123-001",
            "severity": "SEV-1",
            "phase": "Containment",
            "title": "5xx on web",
        },
    } == TOLD
    documented = set(re.findall(r'"(\w+)":', module.__doc__ or ""))
    assert documented == TOLD.keys() | TOLD["incident"].keys()


def test_the_key_is_the_same_for_the_same_thing_and_another_for_any_other() -> None:
    def key(
        reason: str = "Escalation", *, uid: str = "uid-1", of: str = "0", text: str = "t", at: datetime = AT
    ) -> str:
        incident = {**INCIDENT, "metadata": {**INCIDENT["metadata"], "uid": uid}}
        found: str = message(incident, reason, text, at=at, key=of)["key"]
        return found

    assert key() == key(text="after 12m") == key(at=AT + timedelta(hours=1)) == TOLD["key"]
    assert len({key(), key("Other"), key(uid="uid-2"), key(of="1")}) == 4
    assert key(of="", text="a") != key(of="", text="b")


def test_an_incident_that_is_quite_new_has_a_message() -> None:
    told = message({"metadata": {"namespace": "shop", "name": "a"}}, "Escalation", "t", at=AT)
    assert (told["incident"]["name"], told["incident"]["id"], told["incident"]["phase"]) == ("a", "", "")


@settings(deadline=None)
@given(text=st.text() | st.text(alphabet="<*_`{$%\u202e\x00\x1b\n\r\ud800é"), many=st.integers(1, 5000))
def test_any_text_is_bounded_and_arrives_as_text_that_can_be_seen(text: str, many: int) -> None:
    incident = {**INCIDENT, "spec": {"severity": text, "title": text * many}, "metadata": {"name": text * many}}
    told = message(incident, "Escalation", text * many, at=AT)
    body = json.dumps(told)
    assert body.isascii()
    assert json.loads(body) == told
    assert (len(told["text"]) <= 2048, len(told["incident"]["title"]) <= 200) == (True, True)
    assert all(each.isprintable() or each == "\n" for each in told["text"])
    assert all(each.isprintable() for each in "".join(told["incident"].values()))


def test_markup_and_templates_stay_what_they_are() -> None:
    text = "<!channel> *x* `{{ .Env }}` $(reboot) ${jndi:ldap://x} 'x'; DROP"
    told = message({"spec": {"title": text}}, "Escalation", text, at=AT)
    assert told["text"] == told["incident"]["title"] == text
