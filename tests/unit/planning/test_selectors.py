"""LabelSelectors hold exactly as the API server's do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.planning.selectors import is_empty, matches, owns, pods_of

KEYS, VALUES = st.sampled_from("abc"), st.sampled_from(["x", "y", ""])
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
EXPRESSIONS = st.one_of(
    st.fixed_dictionaries(
        {"key": KEYS, "operator": st.sampled_from(["In", "NotIn"]), "values": st.lists(VALUES, min_size=1, max_size=2)}
    ),
    st.fixed_dictionaries({"key": KEYS, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
SELECTORS = st.fixed_dictionaries(
    {}, optional={"matchLabels": LABELS, "matchExpressions": st.lists(EXPRESSIONS, max_size=3)}
)


def naive(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """The documentation, sentence by sentence: a conjunction of set memberships, absent being a value of its own."""
    absent = object()
    told = [
        ({value}, True, key) for key, value in selector.get("matchLabels", {}).items()
    ]  # "equivalent to In with one value"
    for each in selector.get("matchExpressions", []):
        values = set(each.get("values", ())) if each["operator"] in ("In", "NotIn") else {absent}
        told.append((values, each["operator"] in ("In", "DoesNotExist"), each["key"]))
    return all((labels.get(key, absent) in values) is wanted for values, wanted, key in told)


@given(SELECTORS, LABELS)
def test_a_selector_matches_as_the_documentation_says(selector: dict[str, Any], labels: dict[str, str]) -> None:
    assert matches(selector, labels) is naive(selector, labels)


@given(LABELS)
def test_an_empty_selector_selects_everything_and_none_selects_nothing(labels: dict[str, str]) -> None:
    assert matches({}, labels)
    assert not matches(None, labels)


@given(SELECTORS)
def test_an_empty_selector_is_one_without_requirements(selector: dict[str, Any]) -> None:
    requirements = [*selector.get("matchLabels", {}), *selector.get("matchExpressions", [])]
    assert is_empty(selector) is (not requirements)


def test_an_operator_that_is_not_known_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="'Near' is not known"):
        matches({"matchExpressions": [{"key": "a", "operator": "Near"}]}, {})


def a_pod(owner: str, uid: str, template_hash: str, **status: str) -> dict[str, Any]:
    reference = {"kind": "ReplicaSet", "name": owner, "uid": uid, "controller": True}
    metadata = {"name": f"{owner}-p", "labels": {"pod-template-hash": template_hash}, "ownerReferences": [reference]}
    return {"metadata": metadata, "status": status}


def test_pods_of_an_overlapping_selector_belong_to_the_deployment_that_made_them() -> None:
    deployment = {"kind": "Deployment", "metadata": {"name": "api", "uid": "u"}}
    assert owns(deployment, a_pod("api-abc", "rs", "abc"))
    assert not owns(deployment, a_pod("api-canary-abc", "rs", "abc"))
    assert not owns(deployment, {"metadata": {"name": "bare", "labels": {}}})


def test_evicted_and_finished_pods_are_not_the_workloads_any_more() -> None:
    deployment = {"kind": "Deployment", "metadata": {"name": "api", "uid": "u"}}
    pods = [a_pod("api-abc", "rs", "abc", phase=phase) for phase in ("Running", "Pending", "Failed", "Succeeded")]
    assert [pod["status"]["phase"] for pod in pods_of(deployment, pods)] == ["Running", "Pending"]
