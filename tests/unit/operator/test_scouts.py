"""Incidents that begin by themselves: annotated workloads, reports of vulnerabilities, a Prometheus that is asked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from incident_operator.api import names
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine import recalling
from incident_operator.engine.calls import Caller
from incident_operator.engine.intake import Intake
from incident_operator.faults import Stalled, Waiting
from incident_operator.operator.polling import Poller
from incident_operator.operator.scouts import Scouts
from incident_operator.signals import prometheus
from incident_operator.signals.signal import Notification, Signal

NOW = datetime(2026, 11, 24, 4, 0, tzinfo=UTC)
TRIVY = "aquasecurity.github.io"


class Taken:
    """Remembers what was told."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []
        self.fault: Waiting | None = None
        self.refused: set[tuple[str, bool]] = set()
        """Names, and whether they fire, of what cannot be taken in."""

    async def take(self, notification: Notification) -> Sequence[str]:
        """What can be is taken in before a fault is raised, as by the real one."""
        if self.fault is not None:
            raise self.fault
        bad = [each for each in notification.signals if (each.name, each.is_firing) in self.refused]
        self.signals += [each for each in notification.signals if each not in bad and each not in self.signals]
        if bad:
            raise Stalled("Forbidden", f"quota: {bad[0].name}")
        return ()

    def told(self) -> list[tuple[str, bool]]:
        found = [(each.name, each.is_firing) for each in self.signals]
        self.signals = []
        return found


def stuck(*, is_stuck: bool = True, **annotations: str) -> dict[str, Any]:
    condition = {
        "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" if is_stuck else "Fine",
        "lastTransitionTime": "2026-11-24T03:50:00Z", "message": "timed out",
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "annotations": annotations},
        "spec": {"selector": {"matchLabels": {"app": "web"}}},
        "status": {"conditions": [condition]},
    }


def scouts(cluster: FakeCluster, taken: Any, **more: Any) -> Scouts:
    recall = functools.partial(recalling.firing, cluster, (), "Workload")
    return Scouts(cluster, taken, every=timedelta(seconds=30), clock=lambda: NOW, recall=recall, **more)


def intake(cluster: FakeCluster) -> Intake:
    async def user() -> str:
        return "operator"

    return Intake(cluster, Caller(cluster, home="shop"), user=user)


def signals(cluster: FakeCluster) -> list[dict[str, Any]]:
    """Those of the one Incident."""
    (found,) = [each for (kind, _, _), each in cluster.objects.items() if kind == "Incident"]
    return list(found["spec"]["signals"])


ASKS = {names.ON_ROLLOUT_FAILURE: "undo"}


async def test_what_fires_is_told_once_and_its_end_once() -> None:
    cluster, taken = FakeCluster(stuck(**ASKS)), Taken()
    looks = scouts(cluster, taken)
    await looks.look()
    await looks.look()
    assert taken.told() == [("RolloutFailed", True)]
    cluster.put(stuck(is_stuck=False, **ASKS))
    await looks.look()
    await looks.look()
    assert taken.told() == [("RolloutFailed", False)]


async def test_workloads_that_do_not_ask_are_not_read() -> None:
    cluster, taken = FakeCluster(stuck()), Taken()
    read: list[str] = []
    cluster.on_call(lambda call: read.append(call.verb))
    await scouts(cluster, taken).look()
    assert taken.told() == []
    assert set(read) == {"list"}


async def test_a_trouble_that_ends_while_the_operator_is_away_is_over_for_its_incident() -> None:
    cluster = FakeCluster(stuck(**ASKS))
    await scouts(cluster, intake(cluster)).look()
    assert "endsAt" not in signals(cluster)[0]
    await scouts(cluster, intake(cluster)).look()
    assert "endsAt" not in signals(cluster)[0], "it is still stuck"
    cluster.put(stuck(is_stuck=False, **ASKS))
    await scouts(cluster, intake(cluster)).look()
    assert signals(cluster)[0]["endsAt"] == "2026-11-24T04:00:00Z"


async def test_what_was_told_cannot_be_recalled_while_the_api_server_is_away_and_is_then() -> None:
    cluster, taken = FakeCluster(stuck(**ASKS)), Taken()
    await scouts(cluster, intake(cluster)).look()
    cluster.put(stuck(is_stuck=False, **ASKS))
    looks = scouts(cluster, taken)
    cluster.fail(Waiting("Away", "no answer"), of=lambda call: call.ref.kind == "Incident")
    with pytest.raises(Waiting):
        await looks.look()
    await looks.look()
    assert taken.told() == [("RolloutFailed", False)]


async def test_reports_that_cannot_be_listed_keep_no_workload_from_being_told() -> None:
    cluster, taken = FakeCluster(stuck(**ASKS), groups=[TRIVY]), Taken()
    cluster.fail(Stalled("Forbidden", "no right"), of=lambda call: call.ref.kind == "VulnerabilityReport", lasting=True)
    looks = scouts(cluster, taken, trivy_threshold="High")
    await looks.look()
    assert taken.told() == [("RolloutFailed", True)]
    cluster.put(stuck(is_stuck=False, **ASKS))
    await looks.look()
    assert taken.told() == [("RolloutFailed", False)]


async def test_a_responder_that_may_not_read_is_no_end_of_what_was_told() -> None:
    cluster, taken = FakeCluster(stuck(**ASKS)), Taken()
    looks = scouts(cluster, taken)
    await looks.look()
    cluster.grant("shop", names.RESPONDER, [])
    await looks.look()
    assert taken.told() == [("RolloutFailed", True)]


async def test_what_could_not_be_told_is_told_the_next_time() -> None:
    taken = Taken()
    looks = scouts(FakeCluster(stuck(**ASKS)), taken)
    taken.fault = Waiting("Away", "no answer")
    with pytest.raises(Waiting):
        await looks.look()
    taken.fault = None
    await looks.look()
    assert taken.told() == [("RolloutFailed", True)]


async def test_a_trouble_that_cannot_be_told_harms_no_other() -> None:
    other = stuck(**ASKS)
    other["metadata"]["name"] = "api"
    cluster, taken = FakeCluster(stuck(**ASKS)), Taken()
    looks = scouts(cluster, taken)
    await looks.look()
    taken.told()
    taken.refused = {("CrashLooping", True)}
    crashing = {"name": "app", "restartCount": 9, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {},
        "status": {"startTime": "2026-11-24T03:40:00Z", "containerStatuses": [crashing]},
    }
    cluster.put(pod, other, stuck(is_stuck=False, **ASKS, **{names.ON_CRASHLOOP: "undo"}))
    with pytest.raises(Stalled, match="quota: CrashLooping"):
        await looks.look()
    assert sorted(taken.told()) == [("RolloutFailed", False), ("RolloutFailed", True)]
    cluster.take("Deployment", "shop", "api")
    with pytest.raises(Stalled, match="quota: CrashLooping"):
        await looks.look()
    assert taken.told() == [("RolloutFailed", False)], "of the one that was told beside it, and once of the first"
    taken.refused = set()
    await looks.look()
    assert taken.told() == [("CrashLooping", True)]


async def test_reports_are_read_from_the_threshold_on_where_trivy_is_there() -> None:
    report = {
        "apiVersion": f"{TRIVY}/v1alpha1",
        "kind": "VulnerabilityReport",
        "metadata": {
            "name": "replicaset-web",
            "namespace": "shop",
            "creationTimestamp": "2026-11-24T03:00:00Z",
            "labels": {"trivy-operator.resource.kind": "StatefulSet", "trivy-operator.resource.name": "db"},
        },
        "report": {
            "artifact": {"repository": "db", "digest": "sha256:aa"},
            "summary": {"criticalCount": 0, "highCount": 2},
            "vulnerabilities": [],
        },
    }
    broken = {**report, "metadata": {**report["metadata"], "name": "broken"}, "report": {}}
    cluster, taken = FakeCluster(report, broken, groups=[TRIVY]), Taken()
    await scouts(cluster, taken, trivy_threshold="Critical").look()
    await scouts(cluster, taken).look()
    assert taken.told() == []
    await scouts(cluster, taken, trivy_threshold="High").look()
    assert [firing for _, firing in taken.told()] == [True]
    await scouts(FakeCluster(), taken, trivy_threshold="High").look()
    assert taken.told() == []


class Polled:
    """A Prometheus and the poller that asks it."""

    def __init__(self, every: timedelta = timedelta(seconds=15)) -> None:
        self.answer: list[dict[str, Any]] = []
        self.fault: Waiting | None = None
        self.seconds = 0.0
        self.taken: Any = Taken()
        self.told_before: list[Signal] = []
        self.left_out: list[int] = []

        async def recall() -> list[Signal]:
            return self.told_before

        async def ask() -> list[dict[str, Any]]:
            if self.fault is not None:
                raise self.fault
            return self.answer

        self.poller = Poller(
            "main", ask, lambda found: prometheus.read(found, server="main"), self.taken,
            every=every, clock=lambda: NOW, elapsed=lambda: self.seconds,
            recall=recall, left_out=self.left_out.append,
        )  # fmt: skip

    async def poll(self, *alerts: dict[str, Any]) -> list[tuple[str, bool]]:
        self.answer = list(alerts)
        self.seconds += 15
        await self.poller.once()
        return self.taken.told()

    async def polls(self, seconds: int, *alerts: dict[str, Any]) -> list[tuple[str, bool]]:
        """What is told meanwhile."""
        return [told for _ in range(seconds // 15) for told in await self.poll(*alerts)]

    async def refused(self, *alerts: dict[str, Any]) -> list[tuple[str, bool]]:
        """What is told in a poll in which something cannot be taken in."""
        with pytest.raises(Stalled, match="quota"):
            await self.poll(*alerts)
        return self.taken.told()


def alert(name: str = "Slow", at: str = "2026-11-24T03:00:00.5Z", state: str = "firing") -> dict[str, Any]:
    labels = {"alertname": name, "incident": "true", "namespace": "shop"}
    return {"labels": labels, "annotations": {}, "state": state, "activeAt": at, "value": "1"}


async def test_an_alert_is_told_once_and_has_resolved_when_every_answer_has_lacked_it_for_two_minutes() -> None:
    polled = Polled()
    assert await polled.poll(alert()) == [("Slow", True)]
    assert await polled.poll(alert()) == []
    assert await polled.polls(120) == []
    assert await polled.poll() == [("Slow", False)]
    assert await polled.polls(300) == []


async def test_an_alert_that_is_polled_seldom_has_resolved_when_two_answers_lack_it() -> None:
    polled = Polled(every=timedelta(hours=1))
    assert await polled.poll(alert()) == [("Slow", True)]
    polled.seconds += 3600
    assert await polled.poll() == []
    polled.seconds += 3600
    assert await polled.poll() == [("Slow", False)]


async def test_an_alert_that_is_pending_is_not_gone_and_does_not_fire() -> None:
    polled = Polled()
    await polled.poll(alert())
    assert await polled.polls(90) == []
    again = {"at": "2026-11-24T03:20:00Z"}
    assert await polled.polls(240, alert(state="pending", **again)) == []
    assert await polled.polls(90) == []
    polled.poller._all_at = polled.seconds
    assert await polled.poll(alert(**again)) == [("Slow", True)]
    assert await polled.polls(135) == [("Slow", False)]


async def test_the_time_in_which_nobody_answers_is_no_time_in_which_an_alert_was_gone() -> None:
    polled = Polled()
    await polled.poll(alert())
    for _ in range(4):
        assert await polled.poll() == []
        polled.fault = Waiting("PrometheusUnavailable", "it crash-loops")
        polled.seconds += 300
        with pytest.raises(Waiting):
            await polled.poll()
        polled.fault = None
    assert ("Slow", False) not in await polled.poll(alert())


async def test_a_prometheus_that_was_restarted_or_is_away_ends_nothing() -> None:
    polled = Polled()
    await polled.poll(alert())
    assert await polled.poll() == []
    assert await polled.poll(alert()) == []
    polled.fault = Waiting("PrometheusUnavailable", "no answer")
    for _ in range(3):
        with pytest.raises(Waiting):
            await polled.poll()
    polled.fault = None
    assert await polled.poll(alert()) == []


async def test_a_new_firing_is_told_and_everything_once_more_after_a_while() -> None:
    polled = Polled()
    await polled.poll(alert())
    assert await polled.poll(alert(at="2026-11-24T03:30:00Z")) == [("Slow", True)]
    polled.seconds += 300
    assert await polled.poll(alert(at="2026-11-24T03:30:00Z")) == [("Slow", True)]
    assert await polled.poll(alert("Pending", state="pending"), alert(at="2026-11-24T03:30:00Z")) == []


async def test_one_alert_that_cannot_be_taken_in_harms_no_other() -> None:
    polled = Polled()
    polled.taken.refused = {("Bad", True)}
    bad = alert("Bad")
    assert await polled.refused(bad, alert(), alert("Other")) == [("Slow", True), ("Other", True)]
    for _ in range(8):
        assert await polled.refused(bad, alert("Other")) == []
    assert await polled.refused(bad, alert("Other")) == [("Slow", False)]
    assert await polled.refused(bad, alert("Other")) == []
    polled.taken.refused = set()
    assert await polled.poll(bad, alert("Other")) == [("Bad", True)]


async def test_an_end_that_cannot_be_told_is_told_later_and_keeps_no_other_from_being_told() -> None:
    polled = Polled()
    await polled.poll(alert("Bad"), alert())
    polled.taken.refused = {("Bad", False)}
    assert await polled.polls(120) == []
    assert await polled.refused(alert("New")) == [("New", True), ("Slow", False)]
    assert await polled.refused(alert("New")) == []
    polled.taken.refused = set()
    assert await polled.poll(alert("New")) == [("Bad", False)]


async def test_a_repeat_or_a_new_firing_that_cannot_be_taken_in_leaves_the_end_of_what_was_told() -> None:
    polled = Polled()
    await polled.poll(alert())
    polled.taken.refused = {("Slow", True)}
    polled.seconds += 300
    assert await polled.refused(alert()) == []
    assert await polled.refused(alert()) == [], "the repeat is owed"
    assert await polled.refused(alert(at="2026-11-24T03:30:00Z")) == []
    assert await polled.polls(135) == [("Slow", False)]


async def test_what_could_not_be_taken_in_is_told_again() -> None:
    polled = Polled()
    polled.taken.fault = Waiting("Away", "no answer")
    with pytest.raises(Waiting):
        await polled.poll(alert())
    polled.taken.fault = None
    assert await polled.poll(alert()) == [("Slow", True)]


async def test_an_alert_that_ends_while_the_operator_is_away_is_over_for_its_incident() -> None:
    cluster, before, after = FakeCluster(), Polled(), Polled()
    before.taken = before.poller._intake = intake(cluster)
    before.answer = [alert(), alert("Other")]
    await before.poller.once()
    told = sorted(await recalling.firing(cluster, (), "Prometheus"), key=lambda each: each.name, reverse=True)
    assert [(each.name, each.group) for each in told] == [("Slow", "main"), ("Other", "main")]
    after.told_before = [*told, dataclasses.replace(told[0], name="Else", fingerprint="ee", group="second")]
    assert await after.poll(alert("Other")) == [("Other", True)]
    assert await after.polls(120, alert("Other")) == [("Slow", False)], "and nothing of the server that was not asked"


async def test_alerts_that_cannot_be_read_are_counted() -> None:
    polled = Polled()
    assert await polled.poll({**alert(), "activeAt": "x"}, alert("Fine")) == [("Fine", True)]
    assert await polled.poll(alert("Fine")) == []
    assert polled.left_out == [1, 0]
