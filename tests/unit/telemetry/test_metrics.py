from __future__ import annotations

from incident_operator.telemetry.metrics import Metrics

EXPECTED = {
    "signals": ("source", "outcome"),
    "alert_requests": ("source", "outcome"),
    "alert_request_seconds": ("source",),
    "notifications": ("sink", "outcome"),
    "alerts_left_out": ("source",),
    "incidents_overdue": ("clock", "severity"),
    "incidents": ("namespace", "severity", "phase"),
    "steps": ("action", "outcome"),
    "step_duration_seconds": ("action",),
    "time_to_contain_seconds": (),
    "time_to_recover_seconds": (),
    "refusals": ("reason",),
    "api_requests": ("verb", "code"),
    "api_request_seconds": ("verb",),
    "kopf_restarts": (),
    "relists": ("outcome",),
    "revisions_marked": ("kind",),
    "watch_age_seconds": (),
    "leader": (),
    "stale_incidents": (),
    "queue_depth": (),
    "queue_oldest_age_seconds": (),
    "queue_longest_work_seconds": (),
    "build": (),
}


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"incident_operator_{name}", labels)


def test_every_metric_has_the_names_and_labels_that_are_documented() -> None:
    collectors = set(Metrics().registry._collector_to_names)
    found = {collector._name.removeprefix("incident_operator_"): collector._labelnames for collector in collectors}
    assert found == EXPECTED


def test_no_label_holds_a_name_or_a_uid() -> None:
    assert not {"name", "uid", "incident", "pod", "fingerprint"} & {
        label for each in EXPECTED.values() for label in each
    }


def test_what_is_reported_is_what_is_exposed() -> None:
    metrics = Metrics()
    metrics.step_finished("rolloutUndo", "Done", 1.5)
    metrics.step_finished("rolloutUndo", "Failed", -1.0)
    metrics.contained(0.2)
    metrics.resolved(30)
    metrics.refused("NoGoodRevision")
    metrics.api_request("GET", "incident", 200, 0.002)
    metrics.api_request("PATCH", "incident", 0, 10)
    metrics.kopf_restarted()
    assert value(metrics, "steps_total", action="rolloutUndo", outcome="Done") == 1
    assert value(metrics, "step_duration_seconds_sum", action="rolloutUndo") == 1.5
    assert value(metrics, "time_to_contain_seconds_bucket", le="0.25") == 1
    assert value(metrics, "time_to_recover_seconds_sum") == 30
    assert value(metrics, "refusals_total", reason="NoGoodRevision") == 1
    assert value(metrics, "api_requests_total", verb="GET", code="200") == 1
    assert value(metrics, "api_requests_total", verb="PATCH", code="none") == 1
    assert value(metrics, "kopf_restarts_total") == 1
    assert b"incident_operator_build_info{" in metrics.exposition()


def test_the_state_of_queue_and_watch_is_looked_up_at_each_scrape() -> None:
    metrics, depth = Metrics(), [3]
    metrics.ask_queue(lambda: depth[0], lambda: 1.5, lambda: 2.5)
    metrics.ask_watch(lambda: 61.0)
    assert value(metrics, "queue_depth") == 3
    depth[0] = 0
    assert value(metrics, "queue_depth") == 0
    assert value(metrics, "watch_age_seconds") == 61


def test_two_operators_in_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.refused("X")
    assert value(second, "refusals_total", reason="X") is None
