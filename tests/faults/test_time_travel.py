"""R6b: an API server whose cache has stopped shows the past, to an operator that has just come to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from faults.access import Api
from faults.audit import AuditLog
from faults.lane import Course, Lane
from faults.patience import WITHIN
from faults.scenarios import SCENARIOS
from faults.second import Second, second_api_server
from tests_support.waiting import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]


def past(second: Second, namespace: str) -> list[str]:
    """The Incidents that its cache shows, without asking etcd."""
    api = Api(second.access, namespace)
    try:
        return [each["metadata"]["name"] for each in api.list("incidents", query="resourceVersion=0")]
    finally:
        api.close()


@pytest.mark.parametrize("name", ["scale", "delete"])
def test_an_incident_that_only_a_stopped_cache_still_shows_is_not_acted_on(
    lane: Lane, make_lane: Callable[..., Lane], witnessed: object, tmp_path: Path, name: str
) -> None:
    scenario, namespace = SCENARIOS[name], lane.namespace.name
    with second_api_server(witnessed, tmp_path) as second, lane.prepared(scenario) as run:  # type: ignore[arg-type]
        lane.operator.stop()
        scenario.apply(lane.api, run)
        eventually(lambda: run in past(second, namespace), within=WITHIN, what="the Incident in the second's cache")
        second.relay.freeze()
        course = Course(lane, scenario, run, is_applied=True)
        assert course.to_the_end(course.begun + 2 * WITHIN) == "", "it was contained, deleted and put back"
        lane.operator.stop()
        assert lane.api.get("incidents", run) is None
        assert past(second, namespace) == [run], "the second one shows what is no more"

        later = make_lane(f"later-{name}", namespace=namespace, access=second.access)
        tries = lambda: [each for each in later.proxy.seen if f"/incidents/{run}" in each.target]  # noqa: E731
        eventually(tries, within=2 * WITHIN, what="the operator to take up the Incident of the past")
        assert past(second, namespace) == [run], "it was of the past for all of the while"
        second.relay.thaw()
        eventually(lambda: past(second, namespace) == [], within=2 * WITHIN, what="the second's cache to catch up")
        lists = len(later.proxy.seen_of("list incidents"))
        eventually(lambda: len(later.proxy.seen_of("list incidents")) > lists + 1, within=WITHIN, what="two re-lists")
        later.close()
        log = AuditLog(second.audit, whole=True)
        made = [each for each in log.writes(namespace) if each.agent == later.agent and each.is_made]
        log.close()
        assert [each for each in made if each.is_on_target] == []
        assert lane.api.list("networkpolicies") == []
