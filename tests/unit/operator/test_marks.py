from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from incident_operator.api import names
from incident_operator.faults import Conflict, Fault, Stalled, Waiting
from incident_operator.operator.marks import Marker, complete_since, is_good, is_running_whole, targeted
from incident_operator.planning.plan import Request
from incident_operator.planning.revisions import current_of, of_replica_sets
from incident_operator.planning.selectors import matches
from incident_operator.telemetry.metrics import Metrics

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LONG_AGO, JUST_NOW = "2026-11-23T10:00:00Z", "2026-11-23T11:58:00Z"
OPTED = {names.MARK_REVISIONS: "true"}
TEN = timedelta(minutes=10)


def template(image: str = "app:1") -> dict[str, Any]:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": image}]}}


def deployment(*, since: str = LONG_AGO, labels: Mapping[str, str] = OPTED, **status: Any) -> dict[str, Any]:
    return {
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "uid": "d", "generation": 2, "labels": dict(labels)},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template()},
        "status": {
            "observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "availableReplicas": 3,
            "conditions": [
                {"type": "Available", "status": "True", "lastTransitionTime": LONG_AGO},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "lastUpdateTime": since},
            ],
            **status,
        },
    }  # fmt: skip


def replica_set(name: str = "web-1", image: str = "app:1", *, verified: str = "", owner: str = "d") -> dict[str, Any]:
    said = {"deployment.kubernetes.io/revision": "1"} | ({names.VERIFIED_AT: verified} if verified else {})
    owned = [{"kind": "Deployment", "name": "web", "uid": owner, "controller": True}]
    meta = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "labels": {"app": "web"}, "annotations": said}
    return {"kind": "ReplicaSet", "metadata": meta | {"ownerReferences": owned}, "spec": {"template": template(image)}}


def stateful_set(kind: str = "StatefulSet", **status: Any) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "updatedReplicas": 2,
        "currentRevision": "db-1", "updateRevision": "db-1",
    }  # fmt: skip
    if kind == "DaemonSet":
        counts = {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2}
    return {
        "kind": kind,
        "metadata": {"name": "db", "namespace": "shop", "uid": "s", "generation": 1, "labels": dict(OPTED)},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template()},
        "status": {"observedGeneration": 1, **counts, **status},
    }


def controller_revision() -> dict[str, Any]:
    owned = [{"kind": "StatefulSet", "name": "db", "uid": "s", "controller": True}]
    meta = {"name": "db-1", "namespace": "shop", "uid": "uid-db-1", "labels": {"app": "web"}, "ownerReferences": owned}
    return {"kind": "ControllerRevision", "metadata": meta, "revision": 1, "data": {"spec": {"template": template()}}}


def incident(*targets: tuple[str, str], phase: str = "Containment", step: bool = False) -> dict[str, Any]:
    named = [{"kind": kind, "name": name} for kind, name in targets]
    spec = {"targets": [], "containment": [{"name": "x", "targets": named}]} if step else {"targets": named}
    return {"metadata": {"name": "i", "namespace": "shop"}, "spec": spec, "status": {"phase": phase}}


class Cluster:
    """A handful of objects, and the writes made to them."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.objects = list(objects)
        self.writes: list[Request] = []
        self.reads: list[str] = []
        self.fault: Exception | None = None

    def _of(self, kind: str, namespace: str = "") -> list[dict[str, Any]]:
        found = [each for each in self.objects if each.get("kind", "Incident") == kind]
        return [each for each in found if not namespace or each["metadata"].get("namespace") == namespace]

    async def list_all(self, kind: str, *, namespace: str = "", label_selector: str = "", **_: Any) -> Sequence[Any]:
        self.reads.append(kind)
        if not label_selector:
            return self._of(kind, namespace)
        key, _, value = label_selector.partition("=")
        return [each for each in self._of(kind) if each["metadata"].get("labels", {}).get(key) == value]

    async def list(self, kind: str, namespace: str, selector: Mapping[str, Any] | None = None) -> Sequence[Any]:
        self.reads.append(kind)
        found = self._of(kind, namespace)
        return [each for each in found if selector is None or matches(selector, each["metadata"].get("labels", {}))]

    async def find(self, kind: str, _namespace: str, name: str) -> Any:
        if self.fault:
            raise self.fault
        return next((each for each in self._of(kind) if each["metadata"]["name"] == name), None)

    async def send(self, request: Request) -> Any:
        if self.fault:
            raise self.fault
        self.writes.append(request)
        return {}

    @property
    def marked(self) -> list[str]:
        return [write.ref.name for write in self.writes]


class Watch:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def marker(cluster: Cluster, watch: Watch | None = None, **more: Any) -> Marker:
    return Marker(cluster, Metrics(), verified_after=TEN, clock=watch or Watch(), **more)  # type: ignore[arg-type]


async def test_a_revision_that_has_been_whole_for_long_enough_is_marked_by_a_guarded_patch() -> None:
    cluster = Cluster(deployment(), replica_set(), replica_set("web-0", "app:0"), replica_set("other", owner="x"))
    await marker(cluster).once()
    (write,) = cluster.writes
    assert (write.verb, write.ref.kind, write.ref.name, write.ref.uid) == ("patch", "ReplicaSet", "web-1", "uid-web-1")
    assert write.content_type == "application/merge-patch+json"
    annotations = {names.VERIFIED_AT: "2026-11-23T12:00:00Z"}
    assert write.body == {"metadata": {"uid": "uid-web-1", "annotations": annotations}}


async def test_it_is_marked_once_and_after_that_its_revisions_are_not_even_read() -> None:
    cluster = Cluster(deployment(), replica_set())
    mine = marker(cluster)
    for _ in range(3):
        await mine.once()
    assert cluster.marked == ["web-1"]
    assert cluster.reads.count("ReplicaSet") == 1


async def test_a_mark_that_is_there_stays_as_it_is() -> None:
    cluster = Cluster(deployment(), replica_set(verified=LONG_AGO))
    await marker(cluster).once()
    assert cluster.writes == []


@pytest.mark.parametrize(
    "workload",
    [
        pytest.param(deployment(since=JUST_NOW), id="rolled out two minutes ago"),
        pytest.param(deployment(availableReplicas=2), id="a pod is not available"),
        pytest.param(deployment(updatedReplicas=2), id="rolling out"),
        pytest.param(deployment(observedGeneration=1), id="the controller has not seen the change"),
        pytest.param(deployment(replicas=0, updatedReplicas=0, availableReplicas=0), id="no pods prove nothing"),
        pytest.param(deployment(labels={}), id="did not opt in"),
        pytest.param(deployment(labels={names.MARK_REVISIONS: "false"}), id="opted out"),
    ],
)
async def test_nothing_else_is_marked(workload: dict[str, Any]) -> None:
    cluster = Cluster(workload, replica_set())
    await marker(cluster).once()
    assert cluster.writes == []


@pytest.mark.parametrize("in_step", [False, True])
async def test_an_open_incident_on_it_keeps_it_from_being_marked_and_begins_the_time_again(*, in_step: bool) -> None:
    busy, watch = incident(("Deployment", "web"), step=in_step), Watch()
    cluster = Cluster(deployment(), replica_set(), busy)
    mine = marker(cluster, watch)
    await mine.once()
    assert cluster.writes == []
    busy["status"]["phase"] = "Resolved"
    await mine.once()
    assert cluster.writes == []
    watch.now += TEN
    await mine.once()
    assert cluster.marked == ["web-1"]


async def test_an_incident_on_something_else_is_no_hindrance() -> None:
    cluster = Cluster(deployment(), replica_set(), incident(("Deployment", "other"), ("StatefulSet", "web")))
    await marker(cluster).once()
    assert cluster.marked == ["web-1"]


async def test_a_pod_that_was_seen_down_begins_the_time_again_whatever_the_conditions_say() -> None:
    workload, watch = deployment(), Watch()
    whole = copy.deepcopy(workload["status"])
    cluster = Cluster(workload, replica_set())
    mine = marker(cluster, watch)
    workload["status"]["availableReplicas"] = 2
    await mine.once()
    workload["status"] = whole
    watch.now += timedelta(minutes=1)
    await mine.once()
    watch.now += timedelta(minutes=9)
    await mine.once()
    assert cluster.writes == []
    watch.now += timedelta(minutes=1)
    await mine.once()
    assert cluster.marked == ["web-1"]


async def test_a_new_revision_needs_its_own_time() -> None:
    workload, watch = deployment(), Watch()
    cluster = Cluster(workload, replica_set(), replica_set("web-2", "app:2"))
    mine = marker(cluster, watch)
    await mine.once()
    workload["metadata"]["generation"] = workload["status"]["observedGeneration"] = 3
    workload["spec"]["template"] = template("app:2")
    workload["status"]["conditions"][1]["lastUpdateTime"] = "2026-11-23T12:00:00Z"
    await mine.once()
    assert cluster.marked == ["web-1"]
    watch.now += TEN
    await mine.once()
    assert cluster.marked == ["web-1", "web-2"]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_the_other_kinds_are_marked_once_they_were_seen_whole_for_long_enough(kind: str) -> None:
    cluster, watch = Cluster(stateful_set(kind), controller_revision()), Watch()
    mine = marker(cluster, watch)
    await mine.once()
    assert cluster.writes == []
    watch.now += TEN
    await mine.once()
    assert [str(write.ref) for write in cluster.writes] == ["ControllerRevision shop/db-1"]


async def test_a_namespace_opts_in_for_all_of_its_workloads() -> None:
    namespace = {"kind": "Namespace", "metadata": {"name": "shop", "labels": dict(OPTED)}}
    cluster = Cluster(namespace, deployment(labels={}), replica_set())
    await marker(cluster).once()
    assert cluster.marked == ["web-1"]


async def test_an_operator_of_some_namespaces_need_not_be_allowed_to_read_them() -> None:
    cluster = Cluster(deployment(), replica_set())
    mine = marker(cluster, namespaces=("shop",))
    cluster.fault = Stalled("Forbidden", "namespaces is forbidden")
    with capture_logs() as said:
        await mine.once()  # the mark itself is what is refused here, so the namespace was passed over
    assert "Could not mark the revision" in [each["event"] for each in said]
    cluster.fault = None
    await mine.once()
    assert cluster.marked == ["web-1"]
    assert cluster.reads.count("Namespace") == 0


class Picky(Cluster):
    """Refuses the marks of some revisions, or the lists of some kinds, each for a reason of its own."""

    def __init__(self, *objects: dict[str, Any], refused: dict[str, Fault]) -> None:
        super().__init__(*objects)
        self.refused = refused

    async def list(self, kind: str, namespace: str, selector: Mapping[str, Any] | None = None) -> Sequence[Any]:
        if kind in self.refused:
            raise self.refused[kind]
        return await super().list(kind, namespace, selector)

    async def send(self, request: Request) -> Any:
        if request.ref.name in self.refused:
            raise self.refused[request.ref.name]
        return await super().send(request)


@pytest.mark.parametrize("where", ["web-1", "ReplicaSet"])
async def test_one_that_cannot_be_marked_keeps_no_other_from_it_and_is_said_once_for_each_cause(where: str) -> None:
    refused: dict[str, Fault] = {where: Stalled("Rejected", "admission webhook denied it")}
    cluster, watch = Picky(deployment(), replica_set(), stateful_set(), controller_revision(), refused=refused), Watch()
    mine = marker(cluster, watch)
    with capture_logs() as said:
        for _ in range(3):
            await mine.once()
            watch.now += TEN
        refused[where] = Stalled("Forbidden", "replicasets is forbidden")
        await mine.once()
    assert cluster.marked == ["db-1"]
    warnings = [(each["workload"], each["cause"]) for each in said if each["log_level"] == "warning"]
    assert warnings == [
        ("Deployment shop/web", "admission webhook denied it"),
        ("Deployment shop/web", "replicasets is forbidden"),
    ]
    refused.clear()
    await mine.once()
    assert cluster.marked == ["db-1", "web-1"]


async def test_an_api_server_that_is_away_ends_the_look() -> None:
    cluster = Picky(deployment(), replica_set(), refused={"web-1": Waiting("ApiUnreachable", "no answer")})
    with pytest.raises(Waiting):
        await marker(cluster).once()


async def test_one_that_changed_in_between_is_left_for_the_next_look() -> None:
    cluster = Cluster(deployment(), replica_set())
    mine = marker(cluster)
    cluster.fault = Conflict("uid")
    await mine.once()
    assert cluster.writes == []
    cluster.fault = None
    await mine.once()
    assert cluster.marked == ["web-1"]


@pytest.mark.parametrize(
    ("age", "busy", "good"), [(TEN, False, True), (TEN - timedelta(seconds=1), False, False), (TEN, True, False)]
)
def test_good_means_old_enough_and_no_incident(*, age: timedelta, busy: bool, good: bool) -> None:
    workload = deployment()
    revision = current_of(workload, of_replica_sets(workload, [replica_set()]))
    assert revision is not None
    verdict = is_good(workload, revision, now=NOW, since=NOW - age, verified_after=TEN, has_open_incident=busy)
    assert verdict is good


@pytest.mark.parametrize(
    ("workload", "whole"),
    [
        (stateful_set(), True),
        (stateful_set(updateRevision="db-2"), False),
        (stateful_set(availableReplicas=1), False),
        (stateful_set("DaemonSet"), True),
        (stateful_set("DaemonSet", numberAvailable=1), False),
        (stateful_set("DaemonSet", desiredNumberScheduled=0, updatedNumberScheduled=0, numberAvailable=0), False),
    ],
)
def test_whole_means_every_pod_of_the_current_revision_is_available(*, workload: dict[str, Any], whole: bool) -> None:
    assert is_running_whole(workload) is whole


def test_a_deployment_says_since_when_it_is_complete_and_the_later_time_counts() -> None:
    assert complete_since(deployment(since=JUST_NOW)) == datetime.fromisoformat(JUST_NOW)
    assert complete_since(deployment(conditions=[])) is None
    assert complete_since(stateful_set()) is None


def test_only_open_incidents_count_as_on_a_target() -> None:
    found = targeted([incident(("Deployment", "a")), incident(("Deployment", "b"), phase="Resolved")])
    assert found == {("Deployment", "shop", "a")}
