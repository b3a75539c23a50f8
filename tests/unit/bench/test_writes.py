"""The operator's own writes, made again in a row by a client that knows them, are the floor of what it can take."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.alerts import Alerts
from bench.world import INCIDENT

MADE = "alert-first-9f3b"
PATTERN = (
    {
        "apiVersion": "incident-operator.dev/v1alpha1",
        "kind": "Incident",
        "metadata": {"name": MADE, "namespace": "a", "uid": "u", "resourceVersion": "9", "finalizers": ["f"]},
        "spec": {"targets": [{"kind": "Deployment", "name": "first"}]},
        "status": {"ledger": [{"request": f'{{"name": "{MADE}"}}'}]},
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "isolate-x", "namespace": "a", "uid": "u", "labels": {INCIDENT: MADE}},
        "spec": {"policyTypes": ["Ingress"]},
    },
)


class Client:
    """Keeps what is sent, and sees each policy at once."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str, Any]] = []
        self.policy_at: dict[str, float] = {}

    async def request(self, method: str, path: str, body: Any = None, kind: str = "") -> Any:
        self.sent.append((method, path.rpartition("/namespaces/")[2], copy.deepcopy(body)))
        if body.get("kind") == "NetworkPolicy":
            self.policy_at[body["metadata"]["labels"][INCIDENT]] = 0.0
        return {"metadata": {"resourceVersion": "7"}}

    async def post(self, path: str, body: Any) -> Any:
        return await self.request("POST", path, body)

    async def until(self, is_so: Callable[[], bool], within: float, what: str) -> None:
        assert is_so(), what


async def test_incident_intent_and_policy_are_written_in_this_order_about_another_thing() -> None:
    client = Client()
    await Alerts(client, Path(), [], Path())._in_a_row("bare", PATTERN, "one-3")  # type: ignore[arg-type]
    (_, first, incident), (_, second, intent), (_, third, policy) = client.sent
    assert [method for method, _, _ in client.sent] == ["POST", "PATCH", "POST"]
    assert (first, second, third) == ("bare/incidents", "bare/incidents/one-3/status", "bare/networkpolicies")
    assert incident["metadata"] == {"name": "one-3", "finalizers": ["f"]}
    assert (incident["spec"]["targets"][0]["name"], "status" in incident) == ("one-3", False)
    assert intent == {"metadata": {"resourceVersion": "7"}, "status": {"ledger": [{"request": '{"name": "one-3"}'}]}}
    assert policy["metadata"] == {"name": "one-3", "labels": {INCIDENT: "one-3"}}
