"""What an alert says in our vocabulary, and what is a problem instead of a guess."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.signals import vocabulary
from incident_operator.signals.naming import base36, incident_name, key_of, slug
from incident_operator.signals.signal import Signal
from incident_operator.signals.vocabulary import Runbook

AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def signal(labels: dict[str, str] | None = None, source: Any = "Alertmanager", **annotations: str) -> Signal:
    return Signal(source, "HighErrorRate", "00aa", AT, None, labels or {}, annotations)


def read(labels: dict[str, str] | None = None, source: Any = "Alertmanager", **annotations: str) -> vocabulary.Meaning:
    return vocabulary.read(signal(labels, source, **annotations))


@pytest.mark.parametrize(
    ("labels", "found", "is_owner"),
    [
        ({"deployment": "web", "pod": "web-1"}, (("Deployment", "web"),), False),
        ({"statefulset": "db"}, (("StatefulSet", "db"),), False),
        ({"pod": "web-1"}, (("Pod", "web-1"),), True),
        ({"job": "kube-state-metrics"}, (), False),
        ({"job_name": "dump-1"}, (("Job", "dump-1"),), False),
        ({"exported_namespace": "shop", "exported_pod": "web-1", "pod": "ksm"}, (("Pod", "web-1"),), True),
        ({"pod": "not a name!"}, (), False),
        ({"deployment": "d" * 254}, (), False),
        ({"deployment": "d" * 253}, (("Deployment", "d" * 253),), False),
    ],
)
def test_the_target_falls_back_to_the_usual_labels(labels: dict[str, str], found: Any, is_owner: bool) -> None:
    meaning = read(labels)
    assert (meaning.targets, meaning.is_owner_meant) == (found, is_owner)


def test_a_pod_that_is_named_outright_and_one_that_is_attacked_are_meant_themselves() -> None:
    assert read({"deployment": "web"}, incident_target="pod/web-1").targets == (("Pod", "web-1"),)
    assert not read({}, incident_target="pod/web-1").is_owner_meant
    assert not read({"pod": "web-1"}, source="Falco").is_owner_meant


def test_several_targets_and_short_kinds() -> None:
    said = "deploy/web, StatefulSet/db,deploy/web"
    assert read(incident_target=said).targets == (("Deployment", "web"), ("StatefulSet", "db"))


@pytest.mark.parametrize(
    ("key", "text", "may_be"),
    [
        ("incident_target", "service/web", "deployment/NAME"),
        ("incident_target", "deployment/$(id)", "deployment/NAME"),
        ("incident_runbook", "../../etc", "NAME, Runbook/NAME or ClusterRunbook/NAME"),
        ("incident_runbook", "Secret/x", "NAME, Runbook/NAME or ClusterRunbook/NAME"),
        ("incident_severity", "SEV-9", "SEV-1 to SEV-4"),
        ("incident_mode", "Force", "Observe, Propose, Enforce"),
        ("incident_type", "Fire", "Security, Outage, Data, Performance"),
        ("incident_hold_for", "2 minutes", "90s or 2m"),
        ("incident_hold_for", "48h", "up to 24h"),
        ("incident_hold_for", "9" * 31 + "h", "up to 24h"),
        ("incident_hold_for", "999999999h" * 25, "up to 24h"),
        ("incident_hold_for", "1s" * 17, "up to 24h"),
    ],
)
def test_a_word_that_cannot_be_understood_is_a_problem_that_says_what_it_may_be(
    key: str, text: str, may_be: str
) -> None:
    problems = read(**{key: text}).problems
    assert len(problems) == 1
    assert key in problems[0]
    assert may_be in problems[0]


def test_two_namespaces_that_differ_are_no_guess() -> None:
    labels = {"namespace": "monitoring", "exported_namespace": "shop"}
    assert "incident_namespace" in read(labels).problems[0]
    assert read(labels, incident_namespace="shop").problems == ()
    assert read(labels, incident_namespace="shop").namespace == "shop"
    assert read({"exported_namespace": "shop"}).namespace == "shop"
    assert read({"namespace": "Bad Name"}).namespace == ""


def test_the_annotation_comes_before_the_label_and_an_unknown_label_is_unsure_which_is_no_reason_to_wait() -> None:
    assert read({"severity": "critical"}).severity == "SEV-1"
    assert read({"severity": "critical"}, incident_severity="SEV-3").severity == "SEV-3"
    assert not read({"severity": "purple"}, incident_severity="SEV-3").is_severity_unsure
    assert not read().is_severity_unsure
    # Unsure means higher: were it taken for no word at all, a runbook's SEV-4 would count.
    unsure = read({"severity": "purple"})
    assert (unsure.severity, unsure.is_severity_unsure, unsure.problems) == ("", True, ())
    assert "'purple'" in unsure.notes[0]
    assert read(incident_severity="SEV-9").is_severity_unsure


def test_runbooks_by_name_and_kind() -> None:
    assert read(incident_runbook="errors").runbook == Runbook("errors")
    assert read(incident_runbook="ClusterRunbook/errors").runbook == Runbook("errors", "ClusterRunbook")
    problems: list[str] = []
    assert vocabulary.on_alert("A=one, HighErrorRate=ClusterRunbook/two", "HighErrorRate", problems) == Runbook(
        "two", "ClusterRunbook"
    )
    assert vocabulary.on_alert("A=one", "HighErrorRate", problems) is None
    assert problems == []


@given(st.dictionaries(st.sampled_from([*vocabulary.LABELLED, "namespace", "severity"]), st.text(max_size=80)),
       st.dictionaries(st.sampled_from(["incident_target", "incident_runbook", "incident_namespace", "incident_mode",
                                        "incident_type", "incident_severity", "incident_hold_for", "summary"]),
                       st.text(max_size=400)))  # fmt: skip
def test_whatever_it_says_only_names_come_of_it(labels: dict[str, str], annotations: dict[str, str]) -> None:
    meaning = vocabulary.read(signal(labels, **annotations))
    for _, name in meaning.targets:
        assert name.strip("abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
        assert len(name) <= 253
    assert meaning.namespace.strip("abcdefghijklmnopqrstuvwxyz0123456789-") == ""
    assert meaning.mode in ("", *vocabulary.MODES)
    assert len(meaning.title) <= 200
    assert all(len(each) < 400 for each in meaning.problems)


def test_a_name_is_the_same_for_the_same_alert_and_fits_into_a_label() -> None:
    first, again = signal({"a": "b"}), signal({"a": "b"}, incident_runbook="x")
    assert incident_name(first) == incident_name(again) == f"am-high-error-rate-00aa-{base36(AT)}"
    assert len(incident_name(Signal("Sentry", "x" * 200, "f" * 64, AT))) <= 63


@given(st.text(max_size=300))
def test_a_slug_is_always_a_part_of_a_name(text: str) -> None:
    found = slug(text)
    assert found.strip("abcdefghijklmnopqrstuvwxyz0123456789-") == ""
    assert found[0] != "-" != found[-1]
    assert len(found) <= 30


def test_keys_do_not_run_into_each_other() -> None:
    assert key_of(["ab", "c"]) != key_of(["a", "bc"])
    assert len(key_of(["x"])) <= 63
