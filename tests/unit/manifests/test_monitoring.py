"""The alert path as it is shipped, as far as it can be told without a cluster."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from incident_operator.api import configuration
from incident_operator.api.runbook import RunbookSpec
from incident_operator.signals import vocabulary
from incident_operator.signals.signal import Signal
from incident_operator.telemetry.metrics import Metrics
from tests_support import prometheus

ROOT = Path(__file__).resolve().parent.parent.parent.parent
COMPONENT = ROOT / "manifests/components/monitoring"
ALERTS = ROOT / "examples/alerts"
RULES = sorted(path for path in ALERTS.glob("*.yaml") if path.name != "alertmanager.yaml")
RUNBOOKS = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "examples/runbooks").glob("*.yaml"))}
GUIDE = {
    "database-failure": (
        "service status", "logs", "connectivity", "disk space", "failover", "restore from backup",
    ),
    "service-outage": (
        "all services", "one component", "servers running", "network connectivity", "cloud provider status", "dns",
        "database accessible", "redis", "application services", "load balancers", "recent deployments",
        "configuration", "infrastructure changes", "third-party issues", "rolls back", "restart", "fail over",
        "capacity", "status page", "users", "stakeholders", "progress",
    ),
    "security-breach": (
        "isolate", "evidence", "memory", "scope", "notify the security team", "document", "access logs", "audit trail",
        "entry point", "data accessed", "damage", "patched", "credentials", "security policies",
        "additional monitoring", "stakeholders", "external", "breach notification laws", "status page",
        "revoked", "logged out", "passwords are reset", "2fa", "recent use",
    ),
    "ddos-attack": (
        "spike", "high error rates", "slow responses", "exhausted", "ddos protection (level 3", "block attacking ips",
        "rate limiting", "upstream provider", "scale resources", "cloudflare, aws shield", "geo-blocking",
        "challenge pages", "whitelist known good ips",
    ),
    "high-error-rate": ("logs", "traces in sentry", "what changed", "rolloutundo", "status page", "prometheus"),
    "performance-degradation": (
        "bottleneck", "cpu", "memory", "database", "network", "slow queries", "traffic patterns", "scale", "optimize",
        "caching",
    ),
}  # fmt: skip
"""Of each section of the guide, what every line of it is about."""


def document(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((COMPONENT / name).read_text())
    return found


def base(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "manifests/base" / name).read_text())
    return found


def configured(config_map: dict[str, Any], folder: Path) -> configuration.Configuration:
    path = folder / "config.yaml"
    path.write_text(config_map["data"]["config.yaml"])
    return configuration.load(path)


def test_what_is_plain_kubernetes_is_valid() -> None:
    for name in ("network-policy.yaml", "configuration.yaml"):
        kubernetes_validate.validate(document(name), "1.34", strict=True)


def test_the_configuration_has_the_receiver_of_the_base_and_a_prometheus(tmp_path: Path) -> None:
    plain, more = configured(base("config.yaml"), tmp_path), configured(document("configuration.yaml"), tmp_path)
    assert more.receiver == plain.receiver
    assert [each.name for each in more.prometheus] == ["main"]


def test_the_parts_of_the_alert_path_fit_each_other(tmp_path: Path) -> None:
    service, pod = base("service.yaml"), base("deployment.yaml")["spec"]["template"]["spec"]
    port = next(each for each in service["spec"]["ports"] if each["name"] == "alerts")
    (rule,) = document("network-policy.yaml")["spec"]["ingress"]
    assert {each["port"] for each in rule["ports"]} == {each["port"] for each in service["spec"]["ports"]}
    (receiver,) = document("alertmanager-config.yaml")["spec"]["receivers"]
    (webhook,) = receiver["webhookConfigs"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    assert webhook["url"] == f"http://{name}.{namespace}.svc:{port['port']}/alerts"
    assert (webhook["sendResolved"], webhook["maxAlerts"]) == (True, 0)
    credentials = webhook["httpConfig"]["authorization"]["credentials"]
    secret = next(each for each in pod["volumes"] if "secret" in each)
    mounts = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert credentials["name"] == secret["secret"]["secretName"]
    token = configured(document("configuration.yaml"), tmp_path).receiver.token_file
    assert str(token) == f"{mounts[secret['name']]}/{credentials['key']}"


def test_the_service_monitor_takes_the_service_of_the_base() -> None:
    spec, service = document("service-monitor.yaml")["spec"], base("service.yaml")
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] in [each["name"] for each in service["spec"]["ports"]]


def test_the_rules_of_the_operators_health_ask_for_metrics_that_it_has() -> None:
    text = (COMPONENT / "prometheus-rule.yaml").read_text()
    used = set(re.findall(r"incident_operator_[a-z_]+", text))
    families = Metrics().registry.collect()
    known = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    assert used <= known


def test_the_rules_of_the_operators_health_fire_when_they_should(tmp_path: Path) -> None:
    spec = document("prometheus-rule.yaml")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(spec))
    shutil.copy(Path(__file__).with_name("operator-health.yaml"), tmp_path)
    prometheus.run("promtool", "check", "rules", "rules.yaml", cwd=tmp_path)
    prometheus.run("promtool", "test", "rules", "operator-health.yaml", cwd=tmp_path)


def test_each_rule_of_the_operators_health_was_seen_to_fire() -> None:
    tests = Path(__file__).with_name("operator-health.yaml").read_text()
    rules = [rule for group in document("prometheus-rule.yaml")["spec"]["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules if f'alertname="{rule["alert"]}"' not in tests] == []
    assert not any("incident" in rule["labels"] for rule in rules), "who is ill does not treat itself"


def test_the_shipped_alertmanager_configuration_sends_incidents_to_the_operator_and_to_people() -> None:
    path = str(ALERTS / "alertmanager.yaml")
    prometheus.run("amtool", "check-config", path)
    said = prometheus.run("amtool", "config", "routes", "test", f"--config.file={path}", "incident=true")
    assert said.split() == ["incident-operator,people"]
    said = prometheus.run("amtool", "config", "routes", "test", f"--config.file={path}", "severity=critical")
    assert said.split() == ["people"]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_each_example_of_rules_is_sound_and_fires_as_its_test_says(path: Path) -> None:
    prometheus.run("promtool", "check", "rules", str(path))
    prometheus.run("promtool", "test", "rules", path.name, cwd=ALERTS / "tests")


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_each_example_of_rules_says_all_that_an_incident_needs(path: Path) -> None:
    for rule in (each for each in prometheus.rules_in(path) if "alert" in each):
        labels, annotations = rule["labels"], rule["annotations"]
        assert isinstance(labels, dict)
        assert isinstance(annotations, dict)
        assert labels["incident"] == "true"
        assert {"summary", "description", "incident_runbook", "incident_type"} <= annotations.keys()
        runbook = RUNBOOKS[annotations["incident_runbook"]]
        assert rule["alert"] in [each["alert"] for each in runbook["spec"]["triggers"]]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.stem)
def test_what_each_example_of_rules_fires_is_understood(path: Path) -> None:
    tests = yaml.safe_load((ALERTS / "tests" / path.name).read_text())["tests"]
    fired = [
        (each["alertname"], alert)
        for test in tests
        for each in test["alert_rule_test"]
        for alert in each.get("exp_alerts", ())
    ]
    assert fired
    for name, alert in fired:
        labels = {**alert["exp_labels"], "alertname": name}
        moment = datetime(2026, 11, 24, tzinfo=UTC)
        signal = Signal("Alertmanager", name, "0" * 16, moment, labels=labels, annotations=alert["exp_annotations"])
        meaning = vocabulary.read(signal)
        assert meaning.problems == ()
        assert (meaning.namespace, bool(meaning.targets), bool(meaning.severity)) == ("shop", True, True)


@pytest.mark.parametrize("name", RUNBOOKS)
def test_each_example_of_a_runbook_helps_people_too(name: str) -> None:
    runbook = RUNBOOKS[name]
    assert (runbook["kind"], runbook["metadata"]["name"]) == ("ClusterRunbook", name)
    spec = RunbookSpec.model_validate(runbook["spec"])
    assert spec.containment or spec.remediation
    for field in ("symptoms", "common_causes", "diagnosis", "verification", "escalation", "communication"):
        assert getattr(spec, field), f"{name} has no {field}"


@pytest.mark.parametrize(("name", "lines"), GUIDE.items(), ids=GUIDE.keys())
def test_each_line_of_the_guide_is_done_checked_or_told_by_its_runbook(name: str, lines: tuple[str, ...]) -> None:
    said = " ".join(yaml.safe_dump(RUNBOOKS[name], width=10**6).lower().split())
    assert [line for line in lines if line not in said] == []


def test_what_a_security_runbook_does_at_once_waits_for_nobody() -> None:
    spec = RUNBOOKS["security-breach"]["spec"]
    steps = [*spec["containment"], *spec.get("remediation", ())]
    assert [step["name"] for step in steps if step.get("approval")] == []
