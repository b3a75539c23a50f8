"""What is generated is what is committed, and it holds what it promises."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from incident_operator.actions.catalogue import CATALOGUE as ACTIONS
from incident_operator.api.checks import CHECKS as CHECK_WORDS
from incident_operator.api.crdgen import KINDS, crd, incident_crd
from incident_operator.api.steps import ACTIONS as ACTION_WORDS
from incident_operator.checks.catalogue import CATALOGUE as CHECKS
from incident_operator.cli import generate, roles
from incident_operator.planning.plan import EntryState
from tests_support.cluster import Kubectl

ROOT = Path(__file__).resolve().parent.parent.parent
INSTALL = list(yaml.safe_load_all((ROOT / "manifests/install.yaml").read_text()))


SHIPPED = [each for each in INSTALL if each["kind"] != "CustomResourceDefinition"]
"""The CRDs are checked by the real API server, which every cluster test applies them to."""


def test_every_generated_file_is_as_its_source_says() -> None:
    assert [path.name for path, text in generate.files().items() if path.read_text() != text] == []


def fields(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield f"{path}[]", schema[key]
            yield from fields(schema[key], f"{path}[]")


SCHEMA = incident_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
FIELDS = [
    (f"{kind.name}.{path}", field)
    for kind in KINDS
    for part in ("spec", "status")
    for path, field in fields(
        crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].get(part, {}), part
    )
]


def test_every_field_is_described() -> None:
    assert [path for path, field in FIELDS if not path.endswith("]") and not field.get("description")] == []


def test_every_text_list_and_map_is_bounded() -> None:
    def is_bounded(field: Mapping[str, Any]) -> bool:
        match field["type"]:
            case "string":
                return "maxLength" in field or "enum" in field
            case "array":
                return "maxItems" in field
            case "object":
                return "properties" in field or "maxProperties" in field
            case _:
                return True

    assert [path for path, field in FIELDS if not is_bounded(field)] == []


def test_nothing_unknown_is_kept_and_the_words_agree() -> None:
    assert "preserve-unknown-fields" not in yaml.safe_dump(incident_crd())
    assert set(ACTION_WORDS) == set(ACTIONS)
    assert set(CHECK_WORDS) == set(CHECKS)
    states = SCHEMA["status"]["properties"]["ledger"]["items"]["properties"]["state"]["enum"]
    assert set(states) == {state.value for state in EntryState}


def granted(file: str) -> set[tuple[str, str, str]]:
    documents = yaml.safe_load_all((ROOT / "manifests/responder" / file).read_text())
    role = next(each for each in documents if each["kind"] == "Role")
    return {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def declared(file: str) -> set[tuple[str, str, str]]:
    return {
        (rule.group, resource, verb)
        for rule in roles.catalogue_rules()
        if rule.granted_by == file
        for resource in rule.resources
        for verb in rule.verbs
    }


def test_the_responder_may_do_what_the_catalogue_declares_and_nothing_else() -> None:
    assert granted("responder.yaml") == declared("")
    assert granted("patroni.yaml") == declared("patroni.yaml")
    assert {verb for _, what, verb in granted("responder.yaml") if what in ("endpoints", "configmaps")} == {"list"}


def test_the_operator_may_not_touch_workloads_as_itself() -> None:
    role = next(
        each for each in INSTALL if each["kind"] == "ClusterRole" and each["metadata"]["name"] == "incident-operator"
    )
    rights = {(res, verb) for rule in role["rules"] for res in rule["resources"] for verb in rule["verbs"]}
    reading = {"get", "list", "watch"}
    written = {resource for resource, verb in rights if verb not in reading}
    assert written == {
        "incidents", "incidents/status", "incidentledgers", "events", "replicasets", "controllerrevisions",
        "serviceaccounts",
    }  # fmt: skip
    assert not any(resource in ("secrets", "*", "pods") or verb == "*" for resource, verb in rights)
    (impersonate,) = [rule for rule in role["rules"] if "impersonate" in rule["verbs"]]
    assert impersonate["resourceNames"] == ["incident-responder"]


@pytest.mark.parametrize("document", SHIPPED, ids=lambda each: f"{each['kind']}-{each['metadata']['name']}")
def test_the_install_manifest_is_valid_kubernetes(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.34", strict=True)


def test_the_pod_is_restricted() -> None:
    deployment = next(each for each in INSTALL if each["kind"] == "Deployment")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.cluster
def test_install_yaml_is_what_kustomize_builds(kubectl: Kubectl) -> None:
    argv = [*kubectl._program, "kustomize", "--load-restrictor=LoadRestrictionsNone", str(ROOT / "manifests/base")]
    built = subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def key(each: Mapping[str, Any]) -> tuple[str, str]:
        return each["kind"], each["metadata"]["name"]

    assert sorted(yaml.safe_load_all(built), key=key) == sorted(INSTALL, key=key)


def test_no_module_is_over_400_lines() -> None:
    long = [
        path for path in [*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/**/*.py")] if path.read_text().count("\n") > 400
    ]
    assert long == []
