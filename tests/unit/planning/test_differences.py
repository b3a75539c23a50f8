"""Diffs for people: a line a field, and nothing secret."""

from __future__ import annotations

from typing import Any

from incident_operator.planning.differences import MOST_LINES, diff, lines


def pod(**env: str) -> dict[str, Any]:
    container = {"name": "web", "image": "web:1", "env": [{"name": k, "value": v} for k, v in env.items()]}
    return {
        "metadata": {"name": "x", "resourceVersion": "1", "managedFields": [1]},
        "spec": {"containers": [container]},
    }


def test_what_changes_comes_and_goes_is_a_line_each_with_list_items_by_name() -> None:
    new = pod(A="1", B="2")
    new["spec"]["containers"][0]["image"] = "web:2"
    new["metadata"]["resourceVersion"] = "2"
    new["metadata"]["labels"] = {"incident-operator.dev/x": "y"}
    assert lines(pod(A="1"), new) == [
        '+ metadata.labels[incident-operator.dev/x]: "y"',
        '+ spec.containers[web].env[B].name: "B"',
        "+ spec.containers[web].env[B].value: (hidden)",
        '~ spec.containers[web].image: "web:1" -> "web:2"',
    ]


def test_no_object_before_is_all_plus_and_none_after_all_minus() -> None:
    thing = {"kind": "X", "spec": {"a": 1, "b": {}}}
    assert lines(None, thing) == ["+ spec.a: 1", "+ spec.b: {}"]
    assert lines(thing, None) == ["- spec.a: 1", "- spec.b: {}"]


def test_values_that_may_be_secret_are_hidden_on_both_sides() -> None:
    said = diff(pod(PASSWORD="hunter2"), pod(PASSWORD="hunter3"))
    assert said == "~ spec.containers[web].env[PASSWORD].value: (hidden) -> (hidden)"
    assert diff(None, {"kind": "Secret", "data": {"key": "aHVudGVyMg=="}}) == "+ data.key: (hidden)"
    args = {"spec": {"template": {"spec": {"containers": [{"name": "a", "args": ["--token=hunter2"]}]}}}}
    assert "hunter2" not in diff(None, args)
    last = "kubectl.kubernetes.io/last-applied-configuration"
    assert "hunter2" not in diff(None, {"metadata": {"annotations": {last: "hunter2"}}})


def test_long_values_and_long_diffs_are_cut_and_say_so() -> None:
    long = diff(None, {"spec": {"text": "x" * 1000}})
    assert len(long) < 250
    assert "characters" in long
    many = diff(None, {"spec": {f"k{n}": n for n in range(100)}}).splitlines()
    assert len(many) == MOST_LINES + 1
    assert many[-1] == "... and 60 lines more"
