"""Nothing that is confidential gets out of the cluster's Secrets and workloads through an Incident."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from mutation.running import metrics, rest
from mutation.workloads import target, workload
from security.conftest import House
from tests_support.cluster import Namespace, incident
from tests_support.waiting import eventually

pytestmark = pytest.mark.cluster

IN_SECRET = "canary-in-secret-5fd1"
IN_ENV = "canary-in-env-a03c"
IN_ARGS = "canary-in-args-77e2"
IN_ANNOTATION = "canary-in-annotation-19bb"
IN_POD = "canary-in-pod-annotation-c40e"
IN_HEADER = "canary-in-header-02d8"
IN_ODD_ENV = "canary-in-odd-env-6e61"
IN_TITLE = "canary-in-title-{{7*7}}-$(id)"
HIDDEN = (IN_SECRET, IN_ENV, IN_ARGS, IN_ANNOTATION, IN_POD, IN_HEADER, IN_ODD_ENV)
INCIDENT = "incidents.incident-operator.dev"


def shop(version: str) -> dict[str, Any]:
    """A workload with a canary wherever people put what nobody should read."""
    made = workload("web", version=version, annotations={"example.com/note": IN_ANNOTATION})
    made["spec"]["template"]["metadata"]["annotations"] = {"example.com/token": f"{IN_POD}-{version}"}
    (container,) = made["spec"]["template"]["spec"]["containers"]
    secret = {"secretKeyRef": {"name": "db", "key": "password"}}
    container["env"] = [{"name": "TOKEN", "value": f"{IN_ENV}-{version}"}, {"name": "PASSWORD", "valueFrom": secret}]
    container["env"].append({"name": "an [odd] name", "value": f"{IN_ODD_ENV}-{version}"})
    header = {"name": "Authorization", "value": f"Bearer {IN_HEADER}-{version}"}
    container["readinessProbe"] = {"httpGet": {"path": "/", "port": 80, "httpHeaders": [header]}}
    container["args"] = [f"--key={IN_ARGS}-{version}"]
    return dict(made)


def apply(namespace: Namespace, thing: Mapping[str, Any]) -> None:
    """As people do, with the whole object in last-applied-configuration."""
    namespace("apply", "-f", "-", given=json.dumps(thing))


@pytest.fixture(scope="module")
def handled(house: House) -> House:
    """An operator that has rolled back, scaled and isolated a workload full of canaries, and put it back."""
    namespace = house.namespace
    body = {"password": IN_SECRET}
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db"}, "stringData": body})
    for version in ("1", "2"):
        apply(namespace, shop(version))
        eventually(
            lambda wanted=version: len(namespace.list("replicasets")) == int(wanted),
            within=20,
            what="the ReplicaSet of the revision",
        )
    more = {"timeout": "2s", "onFailure": "Continue"}
    steps = [
        {"name": "undo", "rolloutUndo": {"toRevision": 1}, **more},
        {"name": "one", "scale": {"replicas": 1}, **more},
        {"name": "cut", "isolate": {}, **more},
    ]
    check = [{"name": "up", "http": {"service": "web", "port": "80"}, "timeout": "1s"}]
    namespace.apply(incident("leak", title=IN_TITLE, targets=[target("web")], containment=steps, verification=check))
    rest(namespace, "leak", within=60)
    (container,) = namespace.get("deployment", "web")["spec"]["template"]["spec"]["containers"]
    assert container["env"][0]["value"] == f"{IN_ENV}-1", "the rollback was made"
    namespace("patch", "incident", "leak", "--type=merge", "-p", '{"spec":{"release":true}}')
    eventually(lambda: namespace.conditions("leak")["Ready"][1] == "Resolved", within=30, what="the release")
    return house


def surfaces(house: House) -> dict[str, str]:
    """Everything that a person without rights on the workload may come to see."""
    namespace, operator = house.namespace, house.operator
    found = namespace.incident("leak")
    return {
        "the Incident": json.dumps({key: value for key, value in found.items() if key != "spec"}),
        "Events": json.dumps(namespace.list("events.events.k8s.io")),
        "old Events": json.dumps(namespace.list("events")),
        "the log": operator.log.read_text(),
        "the metrics": metrics(operator),
        "kubectl describe": namespace("describe", INCIDENT, "leak"),
        "NetworkPolicies": json.dumps(namespace.list("networkpolicies")),
    }


def test_no_secret_and_no_value_of_a_workload_gets_out(handled: House) -> None:
    told = surfaces(handled)
    assert "undo" in told["the Incident"]
    assert "debug" in told["the log"]
    assert told["the metrics"].count("incident_operator_") > 10
    leaks = [
        f"{canary} in {where}: ...{text[max(0, text.find(canary) - 200) :][:260]}"
        for where, text in told.items()
        for canary in HIDDEN
        if canary in text
    ]
    assert not leaks, "\n".join(leaks)


def test_a_title_is_only_text_wherever_it_shows(handled: House) -> None:
    told = surfaces(handled)
    assert IN_TITLE not in told["the metrics"]
    for where, text in told.items():
        assert "canary-in-title-49" not in text, f"the title was executed, as {where} shows"
        assert "uid=" not in text, f"the title was executed, as {where} shows"


def test_every_line_of_the_log_is_one_json_object(handled: House) -> None:
    for line in handled.operator.log.read_text().splitlines():
        assert isinstance(json.loads(line), dict), line


def test_what_has_to_be_kept_is_in_a_ledger_that_the_roles_for_people_do_not_show(handled: House) -> None:
    namespace = handled.namespace
    ledgers = json.dumps(namespace.list("incidentledgers.incident-operator.dev"))
    assert IN_ENV in ledgers, "the rollback's before is kept there"
    assert IN_SECRET not in ledgers
    for role in ("view", "edit"):
        user = f"{role}@{namespace.name}"
        namespace("create", "rolebinding", role, f"--clusterrole={role}", f"--user={user}")
        eventually(
            lambda who=user: namespace.run("auth", "can-i", "list", "pods", f"--as={who}").stdout.strip() == "yes",
            within=15,
            what=f"the rights of {user}",
        )
        assert namespace.run("get", "incidentledgers.incident-operator.dev", f"--as={user}").returncode != 0
