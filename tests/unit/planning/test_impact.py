"""Who suffers with the targets, what they use, and what is said for a rollback."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from incident_operator.planning.blast import MOST_NAMED, PodSeen, Survey
from incident_operator.planning.changes import Happening, Ranked, ranked
from incident_operator.planning.impact import affected, reason_for, uses
from incident_operator.planning.plan import Ref
from unit.actions.objects import workload

STARTED = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC)
API = Ref("Deployment", "api", "shop", "api-uid")
SETTINGS = Ref("ConfigMap", "settings", "shop")
SURVEY = Survey(
    pods=[
        PodSeen("api-0", {"app": "api"}, is_ready=True),
        PodSeen("api-1", {"app": "api"}, is_ready=False),
        PodSeen("db-0", {"app": "db"}, is_ready=False),
    ],
    services={"api": {"app": "api"}, "db": {"app": "db"}, "headless": {}, "idle": {"app": "idle"}},
    consumers={"api": ("Deployment/api", "Deployment/web"), "db": ("Deployment/api", "Deployment/worker")},
)


def test_services_and_who_uses_them_are_told_with_how_they_are() -> None:
    assert affected([API], [workload()], SURVEY) == (
        "Service api: 1 of 2 pods ready",
        "Deployment/web uses Service api",
    )


def test_a_service_without_a_ready_pod_comes_first_and_targets_are_not_their_own_users() -> None:
    db = Ref("StatefulSet", "db", "shop")
    assert affected([API, db], [workload(), workload("StatefulSet", "db")], SURVEY) == (
        "Service db: no pod is ready",
        "Service api: 1 of 2 pods ready",
        "Deployment/web uses Service api",
        "Deployment/worker uses Service db",
    )


def test_a_workload_without_pods_is_found_by_its_template() -> None:
    idle = Ref("Deployment", "idle", "shop")
    assert affected([idle], [workload(name="idle")], SURVEY) == ("Service idle: no pod is ready",)


def test_a_pod_is_found_by_its_own_labels() -> None:
    assert affected([Ref("Pod", "db-0", "shop")], [], SURVEY) == (
        "Service db: no pod is ready",
        "Deployment/api uses Service db",
        "Deployment/worker uses Service db",
    )


def test_a_workload_that_is_no_target_and_one_that_is_not_known_count_for_nothing() -> None:
    assert affected([Ref("CronJob", "nightly", "shop")], [workload()], SURVEY) == ()


@pytest.mark.parametrize(
    ("unknown", "last"),
    [
        (("Pod",), "perhaps more: could not list Pod"),
        (("Service",), "perhaps more: could not list Service"),
        (("Deployment", "PodDisruptionBudget"), "perhaps more: could not list Deployment"),
    ],
)
def test_what_could_not_be_listed_is_said(unknown: tuple[str, ...], last: str) -> None:
    assert affected([API], [workload()], dataclasses.replace(SURVEY, unknown=unknown))[-1] == last


def test_without_the_pods_nothing_is_claimed_about_readiness() -> None:
    found = affected([API], [workload()], dataclasses.replace(SURVEY, pods=(), unknown=("Pod",)))
    assert found[0] == "Service api"


def test_many_services_are_bounded_and_the_rest_counted() -> None:
    survey = Survey(services={f"s{n:02}": {"app": "api"} for n in range(MOST_NAMED + 3)})
    found = affected([API], [workload()], survey)
    assert len(found) == MOST_NAMED + 1
    assert found[-1] == "and 3 more Services"


def test_everything_a_template_names_is_used() -> None:
    container: dict[str, Any] = {
        "envFrom": [{"configMapRef": {"name": "env"}}, {"secretRef": {"name": "env-secret"}}],
        "env": [
            {"name": "A", "value": "settings"},
            {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "key", "key": "b"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "key-secret", "key": "c"}}},
            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }
    sources = [{"configMap": {"name": "part"}}, {"secret": {"name": "part-secret"}}, {"serviceAccountToken": {}}]
    spec = {
        "containers": [container],
        "initContainers": [{"envFrom": [{"configMapRef": {"name": "init"}}]}],
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "a", "configMap": {"name": "mounted"}},
            {"name": "b", "secret": {"secretName": "mounted-secret"}},
            {"name": "c", "projected": {"sources": sources}},
            {"name": "d", "emptyDir": {}},
        ],
    }
    assert uses({"spec": spec}) == {
        *(("ConfigMap", name) for name in ("env", "key", "part", "init", "mounted")),
        *(("Secret", name) for name in ("env-secret", "key-secret", "part-secret", "pull", "mounted-secret")),
    }
    assert uses({}) == frozenset()


def rank(*happenings: tuple[str, Ref, int]) -> tuple[Ranked, ...]:
    """Kind, object and minutes before the start."""
    given = [
        Happening(kind, what, STARTED - timedelta(minutes=before), revision="7" if kind == "Rollout" else "")  # type: ignore[arg-type]
        for kind, what, before in happenings
    ]
    used_by = {SETTINGS: frozenset({Ref("Deployment", "api", "shop")})}
    return ranked(given, targets=[API], used_by=used_by, started=STARTED)


def test_the_best_fitting_rollout_is_the_reason_for_a_rollback() -> None:
    found = rank(
        ("Rollout", API, 3),
        ("ConfigMap", SETTINGS, 30),
        ("ConfigMap", SETTINGS, 40),
        ("Node", Ref("Node", "n1", ""), 9),
    )
    assert reason_for(found, API) == (
        "its rollout (revision 7) 3 min before the alert began is the best-fitting of 4 changes"
    )


def test_the_only_change_is_told_to_be_the_only_one() -> None:
    assert reason_for(rank(("Rollout", API, 3)), API) == (
        "its rollout (revision 7) 3 min before the alert began is the only change found before it"
    )


def test_of_ten_that_were_kept_there_may_have_been_more() -> None:
    found = rank(*[("Rollout", API, minutes) for minutes in range(3, 20)])
    assert reason_for(found, API).endswith("is the best-fitting of 10 or more changes")


def test_what_fits_better_is_named_and_says_why() -> None:
    found = rank(("Rollout", API, 20), ("ConfigMap", SETTINGS, 1))
    assert reason_for(found, API) == (
        "a change of ConfigMap settings fits better (changed 1 min before the alert began, which the target uses) "
        "than its rollout 20 min before the alert began"
    )


def test_without_a_rollout_of_the_target_another_one_fits_better() -> None:
    found = rank(("Rollout", Ref("Deployment", "web", "shop"), 2))
    assert reason_for(found, API) == (
        "a rollout of Deployment web fits better (rolled out 2 min before the alert began, in the same namespace) "
        "than a rollout: none of it was found"
    )


def test_of_nothing_nothing_is_said() -> None:
    assert reason_for((), API) == ""
