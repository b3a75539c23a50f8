"""Sentry's webhooks of an integration: issue alerts, metric alerts, and issues as they come and go.

Shapes and signature: docs.sentry.io, Integration Platform, Webhooks (Issue Alerts, Metric Alerts,
Issues); the settings that a team gives in its alert rule: UI Components, Alert Rule Action.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from incident_operator.signals import reading
from incident_operator.signals.signal import MOST_LABELS, MOST_VALUE, Notification, Signal, bounded, cut

SEVERITIES: Final = {"fatal": "critical", "debug": "info"}
"""Sentry's levels that alerts call otherwise; error, warning and info are the same."""
SETTINGS: Final = ("summary", "description", "runbook_url")
"""Settings of an alert rule that become annotations, as do those that begin with ``incident_``."""
PROJECT = re.compile(r"/projects/[^/]+/([^/]+)/events/")
"""The project's name in the API URL of an event, which has only its number otherwise."""
PAIR: Final = 2
NOTHING: Final = Notification(())


def verify(secret: bytes, body: bytes, signature: str) -> bool:
    """Whether the header ``Sentry-Hook-Signature`` is the body's HMAC with the client secret, as it came."""
    wanted = hmac.new(secret, body, hashlib.sha256).hexdigest()
    is_same = hmac.compare_digest(wanted.encode(), signature.encode(errors="replace"))
    return is_same and bool(secret)  # anyone can sign with an empty secret


def read(resource: str, body: bytes) -> Notification:
    """What a body says under the header ``Sentry-Hook-Resource``; nothing for a resource that is no alert."""
    if resource not in ("event_alert", "metric_alert", "issue"):
        return NOTHING  # installation, error, comment, seer and what else there will be
    payload = reading.parsed(body)
    action = reading.text(payload.get("action"), "action")
    data = reading.mapping(payload.get("data"), "data")
    if resource == "event_alert":
        return Notification((_event_alert(data),))
    if resource == "metric_alert":
        if action not in ("critical", "warning", "resolved"):
            raise reading.wrong("action", action, "critical, warning or resolved")
        return Notification((_metric_alert(data, action),))
    # Whoever assigns or archives an issue has not solved it.
    return Notification((_issue(data, action),)) if action in ("created", "unresolved", "resolved") else NOTHING


def _event_alert(data: Mapping[str, Any]) -> Signal:
    """An issue alert: a rule was triggered by an event. That it is over is told by the issue, if at all."""
    where = "data.event"
    event = reading.mapping(data.get("event"), where)
    title = reading.text(event.get("title"), f"{where}.title")
    rule = reading.text(data.get("triggered_rule"), "data.triggered_rule")
    number = _number(event.get("issue_id"), f"{where}.issue_id")
    api_url = reading.text(event.get("url"), f"{where}.url")
    project = PROJECT.search(api_url)
    chosen = reading.mapping(data.get("issue_alert") or {}, "data.issue_alert")
    return _signal(
        name=title or rule,
        identity=["issue", number],
        starts_at=reading.since(event.get("datetime"), f"{where}.datetime"),
        tags=_tags(event.get("tags"), f"{where}.tags"),
        labels={
            "alertname": rule or title,
            "severity": _severity(event.get("level"), f"{where}.level"),
            "project": project[1] if project else "",
        },
        annotations={
            "summary": title,
            "description": reading.text(event.get("culprit"), f"{where}.culprit"),
            **_settings(chosen.get("settings"), "data.issue_alert.settings"),
        },
        url=reading.link(reading.text(event.get("web_url"), f"{where}.web_url")) or reading.link(api_url),
        group=number,
    )


def _metric_alert(data: Mapping[str, Any], action: str) -> Signal:
    """A metric alert; its rule names it, for each firing is an incident with a number of its own."""
    where = "data.metric_alert"
    alert = reading.mapping(data.get("metric_alert"), where)
    rule = reading.mapping(alert.get("alert_rule"), f"{where}.alert_rule")
    name = reading.text(rule.get("name"), f"{where}.alert_rule.name")
    projects = reading.items(alert.get("projects") or [], f"{where}.projects")
    starts_at = reading.since(alert.get("date_started"), f"{where}.date_started")
    closed = reading.moment(alert.get("date_closed"), f"{where}.date_closed")
    organization = _number(alert.get("organization_id"), f"{where}.organization_id")
    return _signal(
        name=name,
        identity=["metric", organization, _number(rule.get("id"), f"{where}.alert_rule.id")],
        starts_at=starts_at,
        ends_at=(closed or starts_at) if action == "resolved" else None,
        labels={
            "alertname": name,
            "severity": action if action != "resolved" else "",
            "project": reading.text(projects[0], f"{where}.projects[0]") if len(projects) == 1 else "",
        },
        annotations={
            "summary": reading.text(data.get("description_title"), "data.description_title"),
            "description": reading.text(data.get("description_text"), "data.description_text"),
            **_action_settings(rule, action, f"{where}.alert_rule"),
        },
        url=reading.link(reading.text(data.get("web_url"), "data.web_url")),
    )


def _issue(data: Mapping[str, Any], action: str) -> Signal:
    """An issue that has come, has come back, or was resolved; the same alert as what its events have raised."""
    where = "data.issue"
    issue = reading.mapping(data.get("issue"), where)
    title = reading.text(issue.get("title"), f"{where}.title")
    number = _number(issue.get("id"), f"{where}.id")
    first = reading.since(issue.get("firstSeen"), f"{where}.firstSeen")
    last = reading.moment(issue.get("lastSeen"), f"{where}.lastSeen") or first
    project = reading.mapping(issue.get("project") or {}, f"{where}.project")
    links = [reading.text(issue.get(key), f"{where}.{key}") for key in ("web_url", "permalink", "url")]
    return _signal(
        name=title,
        identity=["issue", number],
        starts_at=last if action == "unresolved" else first,
        ends_at=last if action == "resolved" else None,
        labels={
            "alertname": title,
            "severity": _severity(issue.get("level"), f"{where}.level"),
            "project": reading.text(project.get("slug"), f"{where}.project.slug"),
        },
        annotations={
            "summary": title,
            "description": reading.text(issue.get("culprit"), f"{where}.culprit"),
        },
        url=next((found for each in links if (found := reading.link(each))), ""),
        group=number,
    )


def _signal(
    *,
    name: str,
    identity: list[str],
    starts_at: datetime,
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    url: str,
    ends_at: datetime | None = None,
    tags: Mapping[str, str] | None = None,
    group: str = "",
) -> Signal:
    """One signal. Whoever can send events can set tags: these never replace, nor crowd out, labels of ours."""
    own = {key: value for key, value in {**labels, "incident": "true"}.items() if value}
    kept = dict(sorted((tags or {}).items())[: MOST_LABELS - len(own)])
    return Signal(
        source="Sentry",
        name=reading.title(name),
        fingerprint=reading.fingerprint(["sentry", *identity]),
        starts_at=starts_at,
        ends_at=ends_at,
        labels=bounded(kept | own),
        annotations=bounded({key: value for key, value in annotations.items() if value}),
        url=url,
        group=cut(group, MOST_VALUE),
    )


def _tags(found: Any, where: str) -> dict[str, str]:
    """The tags of an event: a list of keys and values."""
    tags = {}
    for number, pair in enumerate(reading.items([] if found is None else found, where)):
        if not isinstance(pair, list) or len(pair) != PAIR:
            raise reading.wrong(f"{where}[{number}]", pair, "a list of a key and a value")
        key, value = (reading.text(each, f"{where}[{number}]") for each in pair)
        if key and value:
            tags[key] = value
    return tags


def _settings(found: Any, where: str) -> dict[str, str]:
    """What a team has filled in in its alert rule, as far as it has a name of the vocabulary."""
    kept = {}
    for number, each in enumerate(reading.items([] if found is None else found, where)):
        setting = reading.mapping(each, f"{where}[{number}]")
        name = reading.text(setting.get("name"), f"{where}[{number}].name")
        if name in SETTINGS or name.startswith("incident_"):
            kept[name] = reading.text(setting.get("value"), f"{where}[{number}].value")
    return {name: value for name, value in kept.items() if value}


def _action_settings(rule: Mapping[str, Any], action: str, where: str) -> dict[str, str]:
    """The settings of a metric alert's actions; those of the trigger that has fired come before the others'."""
    fired: dict[str, str] = {}
    others: dict[str, str] = {}
    for number, each in enumerate(reading.items(rule.get("triggers") or [], f"{where}.triggers")):
        at = f"{where}.triggers[{number}]"
        trigger = reading.mapping(each, at)
        for index, one in enumerate(reading.items(trigger.get("actions") or [], f"{at}.actions")):
            chosen = reading.mapping(one, f"{at}.actions[{index}]")
            found = _settings(chosen.get("settings"), f"{at}.actions[{index}].settings")
            (fired if trigger.get("label") == action else others).update(found)
    return others | fired


def _severity(found: Any, where: str) -> str:
    level = reading.text(found, where).lower()
    return SEVERITIES.get(level, level)


def _number(found: Any, where: str) -> str:
    """Sentry's number of something, which it writes as a text."""
    number = str(found) if isinstance(found, int) and not isinstance(found, bool) else reading.text(found, where)
    if not number:
        raise reading.wrong(where, found, "the number that Sentry has given it")
    return number
