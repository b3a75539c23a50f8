"""Valid objects to begin from: written down where fields depend on each other, else made from the schema."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Mapping
from typing import Any

from mutation.schemas import FIRST, Kind, Way

WORDS = ("a", "Deployment", "1s", "10m", "0123456789abcdef", "12:00", "2026-11-23T10:00:00Z", "/", "80", "UTC")
"""One of these fits each pattern in use; a new pattern needs a new word, and the tests say so."""
STRETCHES = ("a", "0", "A")

TARGET = {"kind": "Deployment", "name": "web"}
STEPS = (
    {"rolloutUndo": {"toRevision": 1}},
    {"scale": {"replicas": 1}},
    {"isolate": {"direction": "Both"}},
    {"rolloutRestart": {}},
    {"pauseAutoscaling": {}},
    {"suspend": {}, "targets": [{"kind": "CronJob", "name": "nightly"}]},
    {"resume": {}, "targets": [{"kind": "CronJob", "name": "nightly"}]},
    {"runJob": {"cronJob": "nightly"}},
    {"snapshotVolumes": {"className": "csi"}},
    {"restore": {"volume": {"claim": "data", "snapshot": "nightly", "maxAge": "24h"}}},
    {"restore": {"velero": {"backup": "daily", "namespace": "velero", "maxAge": "24h"}}},
    {"restore": {"cloudNativePG": {"backup": "base", "name": "pg-2", "maxAge": "24h"}}},
    {
        "restore": {
            "job": {"cronJob": "load", "dumpedBy": "dump", "maxAge": "24h", "check": "check-dump"},
            "verifyIntegrity": "integrity",
        }
    },
    {"failover": {"job": {"cronJob": "promote", "service": "db", "selector": {"role": "replica"}}}},
    {"failover": {"cloudNativePG": {"to": "pg-2"}}},
    {"failover": {"patroni": {"scope": "shop-db", "to": "db-1"}}},
)
CHECKS = (
    {"rollout": {}},
    {"podsReady": {"minimum": 1}},
    {"http": {"service": "web", "port": "http", "path": "/", "status": 200, "timeout": "5s"}},
    {"confirm": {"question": "can users log in?"}},
    {
        "sql": {
            "query": "select 1",
            "expect": "1",
            "database": "app",
            "user": "postgres",
            "container": "postgres",
            "recovery": False,
        }
    },
    {"logs": {"patterns": ["error"], "atMost": 0}},
    {"logs": {"patterns": ["error"], "perMinute": 5, "over": "2m"}},
    {"job": {"cronJob": "integrity"}},
    {"promql": {"query": "up", "lessThan": "0.01", "server": "main"}},
    {"promql": {"query": "up", "greaterThan": "1"}},
    {"promql": {"query": "up", "equalTo": "1"}},
    {"tcp": {"service": "redis", "port": "redis", "timeout": "2s"}},
    {"alertResolved": {}},
)
PERFORMANCES = (
    {"query": "latency", "maxRatio": "1.5", "before": "10m", "server": "main"},
    {"query": "throughput", "minRatio": "0.8"},
)
SIGNAL = {
    "name": "HighErrorRate",
    "fingerprint": "00aa11bb",
    "startsAt": "2026-11-23T10:00:00Z",
    "endsAt": "2026-11-23T10:05:00Z",
    "labels": {"alertname": "HighErrorRate"},
    "annotations": {"summary": "5xx"},
    "url": "https://prometheus.example/graph",
    "problem": "it names no workload",
}
ESCALATION = [{"after": "15m", "hook": "pager"}, {"after": "1h", "hook": "boss"}]
COMMON = {
    "targets": [TARGET, {"kind": "StatefulSet", "name": "db"}],
    "timeout": "10m",
    "onFailure": "Halt",
    "release": "OnResolve",
    "expiresAfter": "4h",
    "approval": "ByPolicy",
    "stage": "first",
}
WINDOWS = (
    {"start": "2026-12-24T00:00:00Z", "end": "2026-12-27T00:00:00Z"},
    {"days": ["Friday", "Saturday"], "opens": "17:00", "closes": "08:00"},
)


def _incidents(user: str) -> list[dict[str, Any]]:
    """One for each pair of an action and a check, with every field that goes with all of them."""
    return [
        {
            "title": "API returns 5xx",
            "description": "since 2.3.1",
            "type": "Outage",
            "severity": "SEV-2",
            "mode": "Enforce",
            "reportedBy": user,
            "changedBy": [user],
            "serviceAccountName": "incident-responder",
            "targets": [TARGET, {"kind": "StatefulSet", "name": "db"}],
            "containment": [{"name": "first", **COMMON, **step}, {"name": "second", **STEPS[2]}],
            "remediation": [{"name": "third", **COMMON, **step}, {"name": "fourth", **STEPS[2]}],
            "verification": [
                {"name": "up", "targets": [TARGET], "for": "10s", "timeout": "5m", **check},
                {"name": "too", "rollout": {}},
            ],
            "release": False,
            "cancel": False,
            "suspend": False,
            "expiresAfter": "4h",
            "recovery": {"planRef": {"name": "shop"}, "verification": "Standard", "performance": performance},
            "confirmed": ["users"],
            "severityReason": "two users only",
            "runbookRef": {"kind": "ClusterRunbook", "name": "errors"},
            "source": "Alertmanager",
            "signals": [SIGNAL, {**SIGNAL, "fingerprint": "bb"}],
            "holdFor": "2m",
            "acknowledgedBy": "alice",
            "escalation": ESCALATION,
        }
        for (step, check), performance in zip(pairs(), itertools.cycle(PERFORMANCES), strict=False)
    ]


def _runbooks() -> list[dict[str, Any]]:
    """One for each pair of an action and a check, with every field that goes with all of them."""
    return [
        {
            "title": "Errors",
            "description": "more",
            "triggers": [{"alert": "HighErrorRate", "labels": {"team": "shop"}}, {"alert": "Slow"}],
            "type": "Outage",
            "severity": "SEV-2",
            "holdFor": "2m",
            "containment": [{"name": "first", **COMMON, **step}, {"name": "second", **STEPS[2]}],
            "remediation": [{"name": "third", **COMMON, **step}, {"name": "fourth", **STEPS[2]}],
            "recovery": {"planRef": {"name": "shop"}, "verification": "Standard", "performance": performance},
            "verification": [
                {"name": "up", "targets": [TARGET], "for": "10s", "timeout": "5m", **check},
                {"name": "too", "rollout": {}},
            ],
            "symptoms": ["5xx"],
            "commonCauses": ["a bad deploy"],
            "diagnosis": ["look at the logs"],
            "impact": {"users": {"query": "users", "server": "main"}, "data": "none", "business": "lost orders"},
            "escalation": ESCALATION,
            "communication": "status page",
        }
        for (step, check), performance in zip(pairs(), itertools.cycle(PERFORMANCES), strict=False)
    ]


def pairs() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every action and every check at least once."""
    count = max(len(STEPS), len(CHECKS))
    return [(STEPS[number % len(STEPS)], CHECKS[number % len(CHECKS)]) for number in range(count)]


def _recovery_plans() -> list[dict[str, Any]]:
    """One for each pair of an action and a check, with every field that goes with all of them."""
    workloads = [
        {"kind": "Deployment", "name": "web", "replicas": 2, "after": ["db"]},
        {"kind": "StatefulSet", "name": "db"},
    ]
    of_tier = {key: value for key, value in COMMON.items() if key != "onFailure"}  # which is the tier's
    by_label = {"tiers": [{"name": "api", "selector": {"app": "api"}, "approval": "None"}]}
    return [by_label] + [
        {
            "title": "the shop",
            "tiers": [
                {
                    "name": "database",
                    "workloads": workloads,
                    "quiesce": False,
                    "steps": [{"name": "first", **of_tier, **step}, {"name": "second", **STEPS[2]}],
                    "gates": [{"name": "up", "targets": [TARGET], "for": "10s", **check}, {"name": "o", "rollout": {}}],
                    "timeout": "10m",
                    "expected": "1m",
                    "onFailure": "Halt",
                    "approval": "Required",
                },
                {"name": "api"},
            ],
        }
        for step, check in pairs()
    ]


def _policies() -> list[dict[str, Any]]:
    selector = {
        "matchLabels": {"team": "shop"},
        "matchExpressions": [{"key": "env", "operator": "In", "values": ["live", "test"]}],
    }
    return [
        {
            "namespaceSelector": selector,
            "maxMode": "Enforce",
            "actions": {"allowed": ["scale", "isolate"], "forbidden": ["rolloutUndo"]},
            "approvals": [
                {
                    "name": "big",
                    "severities": ["SEV-1"],
                    "types": ["Data"],
                    "actions": ["scale"],
                    "when": ["Destructive"],
                    "count": 2,
                    "from": {"users": ["ann"], "groups": ["sre"]},
                },
                {"name": "other"},
            ],
            "protected": [
                {
                    "name": "db",
                    "kinds": ["StatefulSet"],
                    "names": ["db"],
                    "namespaces": ["shop"],
                    "selector": selector,
                },
                {"name": "rest", "kinds": ["DaemonSet"]},
            ],
            "blastRadius": {
                "pods": 5,
                "podsPercent": 50,
                "workloads": 2,
                "workloadPercent": 50,
                "exceeded": "Refuse",
            },
            "freezeWindows": [
                {"name": "quiet", **window, "timeZone": "Europe/Berlin", "exceptSeverities": ["SEV-1"]},
                {"name": "more", **WINDOWS[0]},
            ],
            "cooldown": "10m",
            "storm": {"incidents": 3, "within": "10m"},
            "defaultServiceAccountName": "incident-responder",
        }
        for window in WINDOWS
    ]


def _approvals(user: str) -> list[dict[str, Any]]:
    return [
        {
            "incident": "bad",
            "incidentUID": "01234567-89ab-cdef-0123-456789abcdef",
            "planHash": "0123456789abcdef",
            "decision": "Approved",
            "approver": user,
            "groups": ["system:authenticated"],
            "reason": "seen",
            "expiresAfter": "1h",
        }
    ]


def seeds(kind: Kind, user: str) -> list[dict[str, Any]]:
    """Valid objects of a kind; together they have every field, or nearly."""
    known = {
        "Incident": _incidents,
        "IncidentApproval": _approvals,
        "Runbook": lambda _: _runbooks(),
        "ClusterRunbook": lambda _: _runbooks(),
        "RecoveryPlan": lambda _: _recovery_plans(),
        "ResponsePolicy": lambda _: _policies(),
    }
    specs = known[kind.name](user) if kind.name in known else [sample(kind.schema["properties"]["spec"], full=True)]
    return [
        {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": "seed"},
            "spec": copy.deepcopy(spec),
        }
        for spec in specs
    ]


def sample(schema: Mapping[str, Any], *, full: bool = False, number: int = 0) -> Any:
    """Something that the schema allows; ``full`` with its optional fields, another one for each number."""
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            wanted = schema.get("properties", {}) if full else schema.get("required", ())
            return {name: sample(schema["properties"][name], full=full, number=number) for name in wanted}
        case "array":
            least = max(1, schema.get("minItems", 0))
            return [sample(schema["items"], full=full, number=each) for each in range(least)]
        case "integer":
            return schema.get("minimum", 1)
        case "boolean":
            return False
        case _:
            return _worded(schema, number)


def _worded(schema: Mapping[str, Any], number: int) -> str:
    """A text that fits, with the number in it where that fits, too."""
    for word in (*(f"{word}{number}" for word in WORDS), *WORDS):
        if fits(schema, word):
            return word
    raise AssertionError(f"no word fits {dict(schema)}: add one to WORDS")


def fits(schema: Mapping[str, Any], text: str) -> bool:
    """Whether pattern and bounds allow a text."""
    long_enough = schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", len(text))
    return long_enough and (re.search(schema["pattern"], text) is not None if "pattern" in schema else True)


def stretched(schema: Mapping[str, Any], length: int) -> str | None:
    """A text of just this length that the pattern allows, or any if none does; None for a negative length."""
    if length < 0:
        return None
    shapes = [f"{head}{fill * (length - len(head) - len(tail))}{tail}" for head, fill, tail in _shapes()]
    shapes = [each for each in shapes if len(each) == length]
    pattern = schema.get("pattern", "")
    return next((each for each in shapes if re.search(pattern, each)), shapes[0] if shapes else None)


def _shapes() -> list[tuple[str, str, str]]:
    return [(head, fill, tail) for head in ("", "/") for fill in STRETCHES for tail in ("", "s", "h")]


def place(thing: Any, way: Way) -> Any:
    """What stands there; KeyError or IndexError where nothing does."""
    for step in way:
        thing = thing[step]
    return thing


def planted(thing: dict[str, Any], way: Way, schema: Mapping[str, Any]) -> bool:
    """Put a sample there if nothing is; whether that was possible, which it is where its parent is there."""
    try:
        above = place(thing, way[:-1])
    except (KeyError, IndexError, TypeError):
        return False
    last = way[-1]
    if isinstance(above, list):
        if not above:
            above.append(sample(schema))
        return last == FIRST
    if last not in above:
        above[last] = sample(schema)
    return True
