"""Any payload in roughly the right shape, over HTTP, through the whole way in: an answer, and at most Incidents."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from incident_operator.api.configuration import Receiver
from incident_operator.api.incident import IncidentSpec
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine.calls import Caller
from incident_operator.engine.intake import Intake
from incident_operator.signals.signal import Notification
from incident_operator.web import receiver
from unit.signals.test_hostile import AT, METACHARACTERS, broken

EXAMPLES = 200
SAID = (
    "summary", "description", "runbook_url", "incident_target", "incident_runbook", "incident_severity",
    "incident_mode", "incident_type", "incident_hold_for", "incident_dedup_key", "incident_namespace",
)  # fmt: skip
LABELS = ("alertname", "severity", "deployment", "statefulset", "pod", "replicaset")
PLACES = ("namespace", "exported_namespace", "exported_pod")
FREE = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.sampled_from(METACHARACTERS),
    st.builds(
        lambda text, times: text * times, st.sampled_from(["a", "a.", "é", "deployment/a,", "a/b"]), st.integers(1, 400)
    ),
    st.sampled_from(["shop", "gone", "web", "errors", "deployment/web", "SEV-1", "Observe", "2m", "critical", "Data"]),
)


@st.composite
def worded(draw: st.DrawFn) -> dict[str, Any]:
    """A sound payload whose labels and annotations, ours among them, say anything."""
    alerts = []
    for number in range(draw(st.integers(1, 3))):
        # Where the namespace is not there, nothing of the rest is looked at.
        labels = {
            "alertname": "Slow",
            "namespace": "shop",
            **draw(st.dictionaries(st.sampled_from(LABELS), FREE, max_size=4)),
        }
        if not draw(st.integers(0, 3)):
            labels |= draw(st.dictionaries(st.sampled_from(PLACES), FREE, max_size=3))
        said = draw(st.dictionaries(st.sampled_from(SAID) | FREE, FREE, max_size=6))
        status = draw(st.sampled_from(["firing", "firing", "resolved"]))
        told = {"status": status, "labels": labels, "annotations": said, "startsAt": AT, "endsAt": AT}
        alerts.append({**told, "fingerprint": f"{number:016x}", "generatorURL": draw(FREE)})
    return {"version": "4", "groupKey": draw(FREE), "alerts": alerts, "truncatedAlerts": draw(st.integers(0, 2**63))}


class Way:
    """A receiver that listens, and behind it what makes Incidents, on a cluster that is new for each payload."""

    def __init__(self, folder: Path) -> None:
        (folder / "token").write_text("sesame")
        self.configured = Receiver(listen="127.0.0.1:0", token_file=folder / "token", per_second=10_000)
        self.cluster = FakeCluster()
        self.renew()

    def renew(self) -> None:
        def kind(kind: str, name: str, namespace: str = "", **spec: Any) -> dict[str, Any]:
            metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
            version = {"Namespace": "v1", "Deployment": "apps/v1"}.get(kind, "incident-operator.dev/v1alpha1")
            return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}

        self.cluster = FakeCluster(
            kind("Namespace", "shop"), kind("Namespace", "home"), kind("Deployment", "web", "shop"),
            kind("Runbook", "errors", "shop", triggers=[{"alert": "Slow"}]),
        )  # fmt: skip

        async def user() -> str:
            return "operator"

        self.intake = Intake(self.cluster, Caller(self.cluster, home="home"), user=user)

    async def take(self, notification: Notification) -> Sequence[str]:
        return await self.intake.take(notification)

    async def begin(self) -> None:
        self.server = await receiver.listen(
            self.configured, receiver.application(self.configured, self, lambda *_: None)
        )
        self.session = aiohttp.ClientSession(headers={"Authorization": "Bearer sesame"})

    async def send(self, body: bytes) -> int:
        async with self.session.post(self.server.url + "/alerts", data=body) as answer:
            await answer.read()
            return answer.status

    async def end(self) -> None:
        await self.session.close()
        await self.server.close()


def assert_only_incidents(cluster: FakeCluster) -> int:
    """That nothing else was written, and that the API server would have taken each; how many there are."""
    assert {write.request.ref.kind for write in cluster.journal} <= {"Incident"}
    made = [each for (kind, _, _), each in cluster.objects.items() if kind == "Incident"]
    for each in made:
        IncidentSpec.model_validate(each["spec"])
        assert each["metadata"]["namespace"] in ("shop", "home")
        assert set(each["metadata"]["name"]) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert len(each["metadata"]["name"]) <= 253
        assert all(len(label) <= 63 for label in each["metadata"]["labels"].values())
    return len(made)


def test_any_payload_gets_an_answer_and_makes_nothing_but_sound_incidents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is asked is what a payload does. A test process of a gigabyte stood still for 12 s once, and the answer was
    # rightly to come again; that there is one in time is asked in test_receiver.py.
    for limit in ("TAKE_SECONDS", "READ_SECONDS"):
        monkeypatch.setattr(receiver, limit, 600.0)
    told: Counter[str] = Counter()
    way = Way(tmp_path)
    with asyncio.Runner() as runner:
        runner.run(way.begin())

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(payload=worded() | broken("alertmanager"))
        def one(payload: Any) -> None:
            way.renew()
            body = json.dumps(payload).encode()
            status = runner.run(way.send(body))
            assert status in (200, 400, 503), payload
            made = assert_only_incidents(way.cluster)
            assert runner.run(way.send(body)) == status
            assert assert_only_incidents(way.cluster) == made, "the same again is the same"
            assert bool(made) <= (status in (200, 503))
            outcome = f"{status} with {'Incidents' if made else 'none'}"
            event(outcome)
            told[outcome] += 1

        try:
            one()
        finally:
            runner.run(way.end())
    assert told["200 with Incidents"] >= EXAMPLES / 5, f"too few reach the intake to say anything: {told}"
    assert told["400 with none"] >= EXAMPLES / 20, told
