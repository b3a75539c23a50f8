"""What a change takes away, told from what is in the namespace."""

from __future__ import annotations

from incident_operator.planning.blast import PodSeen, Survey, measure, measure_all
from incident_operator.planning.reach import Reach

API = {"matchLabels": {"app": "api"}}
PODS = [PodSeen(f"api-{n}", {"app": "api"}, is_ready=True, owner="Deployment/api") for n in range(3)] + [
    PodSeen("web-0", {"app": "web"}, is_ready=True)
]
SURVEY = Survey(
    pods=PODS,
    services={"api": {"app": "api"}, "all": {}, "web": {"app": "web"}},
    budgets={"api": (API, 1), "web": ({"matchLabels": {"app": "web"}}, 0)},
    autoscalers={"Deployment/api": "api-hpa"},
    consumers={"api": ("Deployment/api", "Deployment/web"), "web": ()},
)


def test_cutting_off_a_workload_takes_all_its_pods_and_its_services() -> None:
    found = measure(Reach("Deployment/api", API, "cut off"), SURVEY)
    assert (found.pods, found.of, found.in_namespace, found.percent) == (3, 3, 4, 100)
    assert found.services == ("api",)
    assert found.budgets == ("api allows 1 now",)
    assert found.autoscaler == "api-hpa"
    assert found.consumers == ("Deployment/web",)
    assert str(found).startswith("3 of 3 pods of Deployment/api cut off; PodDisruptionBudget api allows 1 now")


def test_one_pod_of_three_is_a_third_and_its_service_lives_on() -> None:
    found = measure(Reach("Pod/api-1", API, "cut off", pod="api-1"), SURVEY)
    assert (found.pods, found.of, found.percent, found.services) == (1, 3, 34, ())


def test_a_scale_down_takes_what_it_takes_and_darkens_a_service_only_at_nothing() -> None:
    assert measure(Reach("Deployment/api", API, "removed", 2), SURVEY).services == ()
    found = measure(Reach("Deployment/api", API, "removed", 3), SURVEY)
    assert (found.pods, found.services) == (3, ("api",))


def test_a_rollback_replaces_pods_and_darkens_nothing() -> None:
    assert measure(Reach("Deployment/api", API, "replaced"), SURVEY).services == ()


def test_pods_that_may_not_be_listed_are_unknown_and_never_none() -> None:
    found = measure(Reach("Deployment/api", API, "cut off"), Survey(unknown=("Pod",)))
    assert found.pods == -1
    assert str(found) == "pods of Deployment/api: unknown (could not list Pod)"


def test_a_workload_without_pods_takes_none() -> None:
    found = measure(Reach("Deployment/x", {"matchLabels": {"app": "x"}}, "cut off"), SURVEY)
    assert (found.pods, found.of, found.percent) == (0, 0, 0)


def one(name: str) -> Reach:
    return Reach(f"Pod/{name}", API, "cut off", pod=name)


def test_pods_that_are_named_one_by_one_leave_their_service_as_dark_as_their_workload_would() -> None:
    found = [each for each in measure_all([one("api-0"), None, one("api-1"), one("api-2")], SURVEY) if each]
    assert [(each.pods, each.of, each.group) for each in found] == [(1, 3, "Deployment/api")] * 3
    assert [each.services for each in found] == [(), (), ("api",)]


def test_what_is_replaced_or_only_in_part_removed_darkens_nothing_for_what_comes_after() -> None:
    again = Reach("Deployment/api", API, "replaced")
    fewer = Reach("Deployment/api", API, "removed", 2)
    found = [each for each in measure_all([again, fewer, one("api-0")], SURVEY) if each]
    assert [each.services for each in found] == [(), (), ()]


def test_a_pod_counts_with_the_workload_that_controls_it_and_not_with_others_of_its_labels() -> None:
    twin = [PodSeen("twin-0", {"app": "api"}, is_ready=True, owner="Deployment/twin")]
    found = measure(one("api-1"), Survey(pods=[*PODS, *twin]))
    assert (found.pods, found.of, found.group) == (1, 3, "Deployment/api")
    alone = measure(one("alone"), Survey(pods=[PodSeen("alone", {"app": "x"}, is_ready=True)]))
    assert (alone.pods, alone.of, alone.group) == (1, 1, "Pod/alone")
