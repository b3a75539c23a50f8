"""What docs/alerts.md and docs/runbooks.md tell people to paste, and what is shipped beside them, is accepted as it is
written: by promtool, by amtool, and by a real API server with the CRDs of Prometheus Operator.
"""

from __future__ import annotations

import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from incident_operator.api.configuration import Configuration
from incident_operator.demo.outages.shop import manifests
from tests_support import prometheus
from tests_support.cluster import ROOT, Kubectl, Namespace, OperatorProcess, incident
from tests_support.waiting import eventually
from tests_support.workloads import plain

pytestmark = pytest.mark.cluster
FENCED = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = ("alerts", "runbooks")
RUNBOOKS = sorted((ROOT / "examples/runbooks").glob("*.yaml"))
WEB, DATABASE = {"kind": "Deployment", "name": "web"}, {"kind": "StatefulSet", "name": "db"}
PLANS = {
    "crash-looping": (WEB, "Planned"),
    "database-failure": (DATABASE, "NoReplica"),
    "database-restore": (DATABASE, "Planned"),
    "ddos-attack": (WEB, "Planned"),
    "high-error-rate": (WEB, "Planned"),
    "performance-degradation": (WEB, "Planned"),
    "security-breach": (WEB, "Planned"),
    "service-outage": (WEB, "Planned"),
    "volume-nearly-full": (WEB, "NotServed NoVolumes"),
}
"""On what each is tried, and what comes of it here: there is no replica, and nothing that takes snapshots."""
CLUSTERWIDE = {
    "Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding", "ClusterRunbook",
}  # fmt: skip


def sort_of(block: dict[str, Any]) -> str:
    """What a fenced block is, by what it has; each must be something that can be tried."""
    if block.get("apiVersion", "").startswith("kustomize."):
        return "kustomization"
    if "apiVersion" in block:
        return "manifest"
    if "groups" in block:
        return "rules"
    if "route" in block:
        return "alertmanager"
    if "alertmanager" in block:
        return "helm values"
    return "configuration"


BLOCKS = [
    pytest.param(text, id=f"{page}-{number}-{sort_of(yaml.safe_load(text))}".replace(" ", "-"))
    for page in PAGES
    for number, text in enumerate(FENCED.findall((ROOT / f"docs/{page}.md").read_text()), 1)
]


@pytest.fixture(scope="module")
def with_crds(kubectl: Kubectl) -> Kubectl:
    """A cluster with the CRDs of Prometheus Operator."""
    paths = prometheus.crds().values()
    kubectl("apply", "--server-side", *(part for path in paths for part in ("-f", str(path))))
    kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    return kubectl


def dry_run(namespace: Namespace, documents: list[dict[str, Any]]) -> None:
    """Have the API server say whether it would take them, all in the test's own namespace."""
    for each in documents:
        if each["kind"] not in CLUSTERWIDE:
            each["metadata"]["namespace"] = namespace.name
    text = yaml.safe_dump_all(documents)
    argv = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-")
    said = namespace.kubectl(*argv, given=text)
    assert said.count("serverside-applied (server dry run)") == len(documents), said


def built(kubectl: Kubectl, kustomization: str, folder: Path) -> list[dict[str, Any]]:
    """What a kustomization makes that stands beside install.yaml and components/, as docs/alerts.md has it."""
    shutil.copy(ROOT / "manifests/install.yaml", folder)
    shutil.copytree(ROOT / "manifests/components", folder / "components")
    (folder / "kustomization.yaml").write_text(kustomization)
    return list(yaml.safe_load_all(kubectl("kustomize", str(folder))))


def test_both_pages_have_blocks_of_every_sort() -> None:
    sorts = {sort_of(yaml.safe_load(each.values[0])) for each in BLOCKS}
    assert sorts == {"kustomization", "manifest", "rules", "alertmanager", "helm values", "configuration"}


@pytest.mark.parametrize("text", BLOCKS)
def test_each_block_of_the_pages_is_accepted_as_it_is_written(
    text: str, with_crds: Kubectl, namespace: Namespace, tmp_path: Path
) -> None:
    block = yaml.safe_load(text)
    match sort_of(block):
        case "kustomization":
            dry_run(namespace, built(with_crds, text, tmp_path))
        case "manifest":
            dry_run(namespace, [block])
            if block["kind"] == "PrometheusRule":
                (tmp_path / "rules.yaml").write_text(yaml.safe_dump(block["spec"]))
                prometheus.run("promtool", "check", "rules", "rules.yaml", cwd=tmp_path)
        case "rules":
            (tmp_path / "rules.yaml").write_text(text)
            prometheus.run("promtool", "check", "rules", "rules.yaml", cwd=tmp_path)
        case "alertmanager":
            (tmp_path / "alertmanager.yaml").write_text(text)
            prometheus.run("amtool", "check-config", "alertmanager.yaml", cwd=tmp_path)
            argv = ("config", "routes", "test", "--config.file=alertmanager.yaml", "incident=true")
            assert prometheus.run("amtool", *argv, cwd=tmp_path).split() == ["incident-operator,people"]
        case "helm values":
            spec = block["alertmanager"]["alertmanagerSpec"]
            alertmanager = {"metadata": {"name": "main"}, "spec": spec, "kind": "Alertmanager"}
            dry_run(namespace, [{"apiVersion": "monitoring.coreos.com/v1", **alertmanager}])
        case _:
            Configuration.model_validate(block)


def test_the_rule_for_prometheus_operator_is_that_of_a_plain_prometheus() -> None:
    blocks = [yaml.safe_load(each.values[0]) for each in BLOCKS]
    (wrapped,) = [each["spec"]["groups"] for each in blocks if each.get("kind") == "PrometheusRule"]
    (plain,) = [each["groups"] for each in blocks if "groups" in each]
    ((first,), (second,)) = ([rule for group in groups for rule in group["rules"]] for groups in (wrapped, plain))
    assert first["annotations"].pop("incident_mode") == "Observe"
    assert first == second


@pytest.fixture
def shipped(with_crds: Kubectl, tmp_path: Path) -> list[dict[str, Any]]:
    """The component on top of the base, as somebody has it who changes nothing."""
    kustomization = "resources: [install.yaml]\ncomponents: [components/monitoring]\n"
    return built(with_crds, kustomization, tmp_path)


def test_the_component_is_accepted_with_the_base(shipped: list[dict[str, Any]], namespace: Namespace) -> None:
    dry_run(namespace, shipped)


def test_the_component_gives_the_operator_its_configuration(shipped: list[dict[str, Any]]) -> None:
    (made,) = [each for each in shipped if each["kind"] == "ConfigMap"]
    (deployment,) = [each for each in shipped if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert made["metadata"]["name"] in [each["configMap"]["name"] for each in pod["volumes"] if "configMap" in each]
    assert Configuration.model_validate(yaml.safe_load(made["data"]["config.yaml"])).prometheus


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_each_example_of_a_runbook_is_accepted(path: Path, kubectl: Kubectl, namespace: Namespace) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    dry_run(namespace, documents)
    assert f"({path.name})" in (ROOT / "docs/runbooks.md").read_text().replace("../examples/runbooks/", "")


@pytest.fixture
def deployed(namespace: Namespace) -> Namespace:
    """A Deployment with two revisions, and the database of examples/outage; nothing of it need run."""
    namespace.apply(*manifests("", "outage/application.yaml", "outage/jobs.yaml"))
    for count, version in enumerate(("1", "2"), 1):
        made = plain("web")
        made["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": "VERSION", "value": version}]
        namespace.apply(made)
        sets = partial(namespace.list, "replicasets", "app=web")
        eventually(lambda sets=sets, count=count: len(sets()) == count, within=20, what="its ReplicaSet")
    return namespace


def test_each_example_of_a_runbook_can_be_planned_or_says_what_is_missing(
    deployed: Namespace, operator: OperatorProcess
) -> None:
    for path in RUNBOOKS:
        deployed.apply({**yaml.safe_load(path.read_text()), "kind": "Runbook"})
        ref = {"kind": "Runbook", "name": path.stem}
        deployed.apply(incident(path.stem, mode="Observe", targets=[PLANS[path.stem][0]], runbookRef=ref))
    for name, (_, wanted) in PLANS.items():
        found = partial(deployed.conditions, name)
        eventually(lambda found=found: "Ready" in found(), within=30, what=f"{name} to be planned")
        assert deployed.conditions(name)["Ready"][1] in wanted.split(), deployed.incident(name)["status"]["conditions"]
