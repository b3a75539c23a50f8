from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from incident_operator.signals.signal import BadSignal
from incident_operator.signals.trivy import read

# trivy-operator, docs/docs/crds/vulnerability-report.md, with the fields that reports of a cluster have besides.
REPORT: dict[str, Any] = {
    "apiVersion": "aquasecurity.github.io/v1alpha1",
    "kind": "VulnerabilityReport",
    "metadata": {
        "name": "replicaset-nginx-6d4cf56db6-nginx",
        "namespace": "default",
        "creationTimestamp": "2024-05-01T00:00:00Z",
        "labels": {
            "trivy-operator.container.name": "nginx",
            "trivy-operator.resource.kind": "ReplicaSet",
            "trivy-operator.resource.name": "nginx-6d4cf56db6",
            "trivy-operator.resource.namespace": "default",
            "resource-spec-hash": "7cb64cb677",
        },
    },
    "report": {
        "artifact": {"repository": "library/nginx", "tag": "1.16", "digest": "sha256:d20aa6d1cae56fd17cd458f4"},
        "registry": {"server": "index.docker.io"},
        "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "0.57.1"},
        "summary": {"criticalCount": 2, "highCount": 1, "lowCount": 0, "mediumCount": 1, "unknownCount": 0},
        "updateTimestamp": "2024-05-06T07:08:09Z",
        "vulnerabilities": [
            {"resource": "curl", "severity": "HIGH", "vulnerabilityID": "CVE-2020-8177"},
            {"resource": "libbsd0", "severity": "CRITICAL", "score": 9.1, "vulnerabilityID": "CVE-2019-20367"},
            {"resource": "libwebp6", "severity": "CRITICAL", "score": 9.1, "vulnerabilityID": "CVE-2018-25009"},
            {"resource": "apt", "severity": "MEDIUM", "vulnerabilityID": "CVE-2020-27350"},
        ],
    },
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The report with one field replaced; ``...`` takes it away."""
    report = copy.deepcopy(REPORT)
    *way, last = path.split("/")
    place = report
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return report


def test_critical_vulnerabilities_of_a_workload_are_a_signal() -> None:
    signal = read(REPORT, "Critical")
    assert signal is not None
    assert (signal.source, signal.name) == ("Trivy", "CriticalVulnerabilities")
    assert signal.starts_at == datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
    assert signal.is_firing
    assert signal.labels == {
        "alertname": "CriticalVulnerabilities",
        "incident": "true",
        "severity": "critical",
        "namespace": "default",
        "replicaset": "nginx-6d4cf56db6",
        "container": "nginx",
    }
    assert signal.annotations == {
        "summary": "2 critical and 1 high vulnerabilities in image library/nginx:1.16 of ReplicaSet nginx-6d4cf56db6",
        "description": "CVE-2019-20367, CVE-2018-25009",
    }


@pytest.mark.parametrize(
    ("critical", "high", "threshold", "severity"),
    [
        (0, 0, "Critical", None),
        (0, 0, "High", None),
        (0, 3, "Critical", None),
        (0, 3, "High", "high"),
        (1, 0, "High", "critical"),
        (1, 3, "Critical", "critical"),
    ],
)
def test_only_what_reaches_the_threshold_is_a_signal(
    critical: int, high: int, threshold: str, severity: str | None
) -> None:
    signal = read(changed("report/summary", {"criticalCount": critical, "highCount": high}), threshold)
    assert (signal.labels["severity"] if signal else None) == severity


def test_high_ones_are_named_after_the_critical_ones_where_they_count() -> None:
    signal = read(REPORT, "High")
    assert signal is not None
    assert signal.annotations["description"] == "CVE-2019-20367, CVE-2018-25009, CVE-2020-8177"


def test_ten_are_named_each_once_and_the_others_counted() -> None:
    found = [{"severity": "CRITICAL", "vulnerabilityID": f"CVE-2024-{number // 2}"} for number in range(30)]
    signal = read(changed("report/vulnerabilities", found), "Critical")
    assert signal is not None
    assert signal.annotations["description"].count("CVE-") == 10
    assert signal.annotations["description"].endswith("CVE-2024-9 and 5 more")


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        ("Deployment", "deployment"),
        ("StatefulSet", "statefulset"),
        ("DaemonSet", "daemonset"),
        ("CronJob", "cronjob"),
        ("Job", "job_name"),
        ("Pod", "pod"),
    ],
)
def test_the_workload_is_in_the_label_that_alerts_have_for_its_kind(kind: str, label: str) -> None:
    signal = read(changed("metadata/labels/trivy-operator.resource.kind", kind), "Critical")
    assert signal is not None
    assert signal.labels[label] == "nginx-6d4cf56db6"


def test_a_name_that_is_too_long_for_a_label_is_found_in_the_annotation() -> None:
    report = changed("metadata/labels/trivy-operator.resource.name", ...)
    report["metadata"]["annotations"] = {"trivy-operator.resource.name": "n" * 100}
    signal = read(report, "Critical")
    assert signal is not None
    assert signal.labels["replicaset"] == "n" * 100


def test_another_scan_of_the_same_image_is_the_same_alert_and_another_image_is_not() -> None:
    def fingerprint(report: dict[str, Any]) -> str:
        signal = read(report, "Critical")
        assert signal is not None
        return signal.fingerprint

    same = [
        REPORT,
        changed("report/updateTimestamp", "2024-06-01T00:00:00Z"),
        changed("report/summary/criticalCount", 7),
        changed("report/artifact/tag", "stable"),
    ]
    others = [
        changed("report/artifact/digest", "sha256:0"),
        changed("report/artifact/digest", ...),
        changed("metadata/namespace", "shop"),
        changed("metadata/labels/trivy-operator.resource.kind", "Pod"),
        changed("metadata/labels/trivy-operator.resource.name", "nginx-7"),
        changed("metadata/labels/trivy-operator.container.name", "sidecar"),
    ]
    assert len({fingerprint(each) for each in same}) == 1
    assert len({fingerprint(each) for each in [REPORT, *others]}) == 1 + len(others)


def test_a_report_that_was_never_updated_began_when_it_was_created() -> None:
    signal = read(changed("report/updateTimestamp", ...), "Critical")
    assert signal is not None
    assert signal.starts_at == datetime(2024, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("artifact", "called"),
    [
        ({"repository": "a/b", "tag": "1", "digest": "sha256:0"}, "a/b:1"),
        ({"repository": "a/b", "digest": "sha256:0"}, "a/b@sha256:0"),
        ({"repository": "a/b"}, "a/b"),
    ],
)
def test_an_image_is_called_by_its_tag_else_by_its_digest(artifact: dict[str, str], called: str) -> None:
    signal = read(changed("report/artifact", artifact), "Critical")
    assert signal is not None
    assert f" in image {called} of " in signal.annotations["summary"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("report", ..., "report: nothing is not an object"),
        ("report/summary", ..., "report.summary: nothing is not an object"),
        ("report/summary/criticalCount", "2", "report.summary.criticalCount: '2' is not a whole number"),
        ("report/summary/highCount", -1, "report.summary.highCount: -1 is not a whole number"),
        ("report/updateTimestamp", "x", "report.updateTimestamp: 'x' is not an RFC 3339 time"),
        ("report/artifact", [], "report.artifact: a list is not an object"),
        ("report/artifact/tag", 1.16, "report.artifact.tag: 1.16 is not a text"),
        ("report/vulnerabilities", {}, "report.vulnerabilities: an object is not a list"),
        ("report/vulnerabilities", ["x"], "report.vulnerabilities[0]: 'x' is not an object"),
        ("metadata", ..., "metadata: nothing is not an object"),
        ("metadata/labels", [], "metadata.labels: a list is not an object"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(path: str, value: Any, message: str) -> None:
    with pytest.raises(BadSignal) as told:
        read(changed(path, value), "Critical")
    assert str(told.value).startswith(message)


def test_a_threshold_that_there_is_not_is_no_fault_of_the_report() -> None:
    with pytest.raises(ValueError, match="threshold 'critical' is neither Critical nor High") as told:
        read(REPORT, "critical")
    assert not isinstance(told.value, BadSignal)
