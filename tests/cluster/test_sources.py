"""Every source but Alertmanager, on a real API server: what a workload tells of itself, Falco, Sentry, Trivy Operator.

One operator looks after one namespace, in which all of them have something to tell; each becomes one Incident, about
the right target, with the right runbook, and is planned.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests_support import upstream_crds
from tests_support.alerting import INCIDENTS
from tests_support.cluster import Kubectl, Namespace, OperatorProcess
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster
ANNOTATION = "incident-operator.dev"
STOP = {"name": "stop", "scale": {"replicas": 0}, "timeout": "1s", "onFailure": "Continue"}
RULE = "Terminal shell in container"
SECRET = "of-the-integration"


def runbook(name: str, *alerts: str) -> dict[str, Any]:
    spec = {"containment": [STOP], "triggers": [{"alert": alert} for alert in alerts]}
    return {
        "apiVersion": "incident-operator.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": name}, "spec": spec,
    }  # fmt: skip


def cut() -> dict[str, Any]:
    """A Runbook for pods, which have no replicas."""
    made = runbook("cut", RULE)
    made["spec"]["containment"] = [{"name": "cut", "isolate": {}}]
    return made


def nowhere(name: str, **annotations: str) -> dict[str, Any]:
    """A Deployment whose pods find no node, and so never come up."""
    made = plain(name)
    made["metadata"]["annotations"] = {
        f"{ANNOTATION}/{key.replace('_', '-')}": value for key, value in annotations.items()
    }
    made["spec"]["progressDeadlineSeconds"] = 1
    made["spec"]["template"]["spec"]["nodeSelector"] = {"example.com/nowhere": "true"}
    return made


def pod_of(namespace: Namespace, name: str) -> str:
    (pod,) = eventually(lambda: namespace.list("pods", f"app={name}"), within=30, what=f"the pod of {name}")
    return str(pod["metadata"]["name"])


def crash(namespace: Namespace, name: str) -> None:
    """What kubelet says of a pod whose container crashes again and again; there is no kubelet here to say it."""
    state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}}
    container = {"name": "main", "image": "x", "imageID": "x", "ready": False, "restartCount": 3, "state": state}
    said = json.dumps({"status": {"startTime": "2026-11-24T03:00:00Z", "containerStatuses": [container]}})
    namespace("patch", "pod", pod_of(namespace, name), "--subresource=status", "--type=merge", "-p", said)


def report(replica_set: str, *, critical: int) -> dict[str, Any]:
    """What Trivy Operator makes for a container of a ReplicaSet."""
    counts = {"criticalCount": critical, "highCount": 2, "lowCount": 0, "mediumCount": 0, "unknownCount": 0}
    found = {
        "fixedVersion": "2", "installedVersion": "1", "lastModifiedDate": "", "publishedDate": "",
        "resource": "libbsd0", "severity": "CRITICAL", "title": "", "vulnerabilityID": "CVE-2019-20367",
    }  # fmt: skip
    labels = {"kind": "ReplicaSet", "name": replica_set}
    meta = {
        "name": f"replicaset-{replica_set}-main",
        "labels": {f"trivy-operator.resource.{key}": value for key, value in labels.items()}
        | {"trivy-operator.container.name": "main"},
    }
    said = {
        "artifact": {"repository": "library/nginx", "tag": "1.16"},
        "registry": {"server": "index.docker.io"},
        "os": {"family": "debian", "name": "10"},
        "scanner": {"name": "Trivy", "vendor": "Aqua Security", "version": "0.57.1"},
        "summary": counts,
        "updateTimestamp": "2026-11-24T03:00:00Z",
        "vulnerabilities": [found] * critical,
    }
    return {
        "apiVersion": "aquasecurity.github.io/v1alpha1",
        "kind": "VulnerabilityReport",
        "metadata": meta,
        "report": said,
    }


@pytest.fixture(scope="module")
def shop(kubectl: Kubectl) -> Iterator[Namespace]:
    """Workloads that are ill, and reports about two that are not."""
    kubectl("apply", "--server-side", *upstream_crds.flags("trivy"))
    kubectl("wait", "--for=condition=Established", "crd/vulnerabilityreports.aquasecurity.github.io", "--timeout=30s")
    made = Namespace.create(kubectl)
    made.responder()
    made.apply(
        runbook("stop"),
        runbook("secure", "CriticalVulnerabilities"),
        cut(),
        nowhere("stuck", on_rollout_failure="stop"),
        nowhere("silent"),
        nowhere("crashing", on_crashloop="stop"),
        *(nowhere(name) for name in ("shell", "front", "old", "new")),
        nowhere("told", on_alert="Slow=stop,Other=secure"),
    )
    crash(made, "crashing")
    crash(made, "silent")
    for name, critical in (("old", 1), ("new", 0)):
        pod_of(made, name)
        (revision,) = made.list("replicasets", f"app={name}")
        made.apply(report(revision["metadata"]["name"], critical=critical))
    for name in ("stuck", "silent"):
        exceeded = 'jsonpath={.status.conditions[?(@.type=="Progressing")].reason}=ProgressDeadlineExceeded'
        made("wait", f"--for={exceeded}", f"deployment/{name}", "--timeout=30s")
    yield made
    made.delete()


@pytest.fixture(scope="module")
def url(shop: Namespace, lab_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the operator takes in what Falco and Sentry send."""
    folder = tmp_path_factory.mktemp("sources")
    for name, text in (("token", "sesame"), ("sentry", SECRET)):
        (folder / name).write_text(text)
    receiver = {
        "listen": "127.0.0.1:0", "tokenFile": str(folder / "token"), "sentrySecretFile": str(folder / "sentry"),
        "namespace": shop.name,
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps({"receiver": receiver, "trivyThreshold": "Critical"}))
    options = ("--config", str(folder / "config.yaml"))
    operator = OperatorProcess(lab_kubeconfig, shop.name, folder / "operator.log", *options)
    operator.start()
    lines = lambda: [each for each in operator.log.read_text().splitlines() if "Takes alerts in" in each]  # noqa: E731
    found = re.search(r"http://127\.0\.0\.1:\d+", eventually(lines, within=20, what="the receiver")[0])
    assert found is not None
    yield found[0]
    shop("delete", INCIDENTS, "--all", "--timeout=60s")
    assert operator.stop() == 0
    text = operator.log.read_text()
    assert "Traceback" not in text, text[-4000:]
    assert SECRET not in text


def post(url: str, body: dict[str, Any], **headers: str) -> Any:
    """What the operator answers to a request that it takes."""
    data = json.dumps(body).encode()
    signed = hmac.new(SECRET.encode(), data, hashlib.sha256).hexdigest()
    given = {name.replace("_", "-"): value.replace("SIGNED", signed) for name, value in headers.items()}
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **given})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def about(namespace: Namespace, kind: str, name: str, *, runbook: str, source: str) -> Any:
    """The one Incident about a target, once it is planned: from this source, with this runbook."""

    def planned() -> list[Any]:
        found = [
            each for each in namespace.list(INCIDENTS) if each["spec"].get("targets") == [{"kind": kind, "name": name}]
        ]
        return [each for each in found if (each.get("status") or {}).get("plan")]

    (found,) = eventually(planned, within=60, what=f"an Incident about {kind} {name} with a plan")
    spec = found["spec"]
    assert (spec["source"], spec["runbookRef"]) == (source, {"kind": "Runbook", "name": runbook})
    (step,) = found["status"]["plan"]["steps"]
    assert step["changes"]
    assert all(name in each["summary"] for each in step["changes"])
    return found


def test_a_rollout_that_exceeds_its_deadline_where_the_workload_asks_for_it(shop: Namespace, url: str) -> None:
    found = about(shop, "Deployment", "stuck", runbook="stop", source="Workload")
    (signal,) = found["spec"]["signals"]
    assert signal["name"] == "RolloutFailed"
    assert "progress" in signal["annotations"]["summary"]


def test_pods_that_crash_again_and_again_where_the_workload_asks_for_it(shop: Namespace, url: str) -> None:
    found = about(shop, "Deployment", "crashing", runbook="stop", source="Workload")
    (signal,) = found["spec"]["signals"]
    assert signal["name"] == "CrashLooping"
    assert "has crashed 3 times" in signal["annotations"]["summary"]


def test_an_alert_without_a_runbook_has_the_one_that_the_workload_names_for_it(shop: Namespace, url: str) -> None:
    labels = {"alertname": "Slow", "namespace": shop.name, "deployment": "told", "incident": "true"}
    alert = {
        "status": "firing", "labels": labels, "annotations": {}, "startsAt": "2026-11-24T03:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "00000000000000aa",
    }  # fmt: skip
    payload = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "x", "alerts": [alert]}
    post(f"{url}/alerts", payload, Authorization="Bearer sesame")
    about(shop, "Deployment", "told", runbook="stop", source="Alertmanager")


def test_an_event_of_falco_is_about_that_pod(shop: Namespace, url: str) -> None:
    pod = pod_of(shop, "shell")
    event = {
        "output": "A shell was spawned", "priority": "Critical", "rule": RULE, "time": "2026-11-24T03:00:00.87Z",
        "output_fields": {"k8s.ns.name": shop.name, "k8s.pod.name": pod}, "source": "syscall", "hostname": "node-1",
    }  # fmt: skip
    told = [post(f"{url}/falco", event, Authorization="Bearer sesame") for _ in range(2)]
    assert told[0] == told[1], "the same event is the same Incident"
    found = about(shop, "Pod", pod, runbook="cut", source="Falco")
    assert found["spec"]["type"] == "Security"


def test_a_signed_alert_of_sentry_whose_rule_says_runbook_and_target(shop: Namespace, url: str) -> None:
    said = {"incident_runbook": "stop", "incident_target": "deployment/front", "incident_namespace": shop.name}
    rule = {"title": "Errors", "settings": [{"name": name, "value": value} for name, value in said.items()]}
    event = {
        "datetime": "2026-11-24T03:00:00.677000Z", "issue_id": "1117540176", "level": "error",
        "title": "ReferenceError", "url": "https://sentry.io/api/0/projects/shop/front/events/1/", "tags": [],
    }  # fmt: skip
    body = {"action": "triggered", "data": {"event": event, "triggered_rule": "Errors", "issue_alert": rule}}
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(f"{url}/sentry", body, Sentry_Hook_Resource="event_alert", Sentry_Hook_Signature="0" * 64)
    post(f"{url}/sentry", body, Sentry_Hook_Resource="event_alert", Sentry_Hook_Signature="SIGNED")
    about(shop, "Deployment", "front", runbook="stop", source="Sentry")


def test_a_report_of_vulnerabilities_over_the_threshold_is_about_what_runs_the_image(shop: Namespace, url: str) -> None:
    found = about(shop, "Deployment", "old", runbook="secure", source="Trivy")
    (signal,) = found["spec"]["signals"]
    assert (signal["name"], signal["annotations"]["description"]) == ("CriticalVulnerabilities", "CVE-2019-20367")
    assert found["spec"]["severity"] == "SEV-1"


def test_what_does_not_ask_and_what_is_below_the_threshold_become_none(shop: Namespace, url: str) -> None:
    about(shop, "Deployment", "stuck", runbook="stop", source="Workload")  # so the operator has looked at all of them
    names = {target["name"] for each in shop.list(INCIDENTS) for target in each["spec"].get("targets") or ()}
    assert not names & {"silent", "new"}
