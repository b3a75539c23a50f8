"""An intake on a cluster in memory, and the alerts that are sent to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from incident_operator.api import names
from incident_operator.api.incident import IncidentSpec
from incident_operator.cluster.fake import FakeCluster
from incident_operator.engine.calls import Caller
from incident_operator.engine.intake import Intake
from incident_operator.signals.signal import Notification, Signal

AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
ON_WEB = {"namespace": "shop", "deployment": "web"}


def signal(name: str = "HighErrorRate", print_: str = "aa11", at: datetime = AT, **more: Any) -> Signal:
    told = {"labels": ON_WEB, "annotations": {"incident_runbook": "errors"}, **more}
    return Signal("Alertmanager", name, print_, at, **told)


def ended(of: Signal, seconds: int = 60) -> Signal:
    return Signal(
        of.source, of.name, of.fingerprint, of.starts_at, of.starts_at + timedelta(seconds=seconds),
        of.labels, of.annotations,
    )  # fmt: skip


def runbook(name: str = "errors", kind: str = "Runbook", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name} | ({"namespace": "shop"} if kind == "Runbook" else {})
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def owned(kind: str, name: str, owner_kind: str = "", owner: str = "", **metadata: Any) -> dict[str, Any]:
    refs = [{"apiVersion": "apps/v1", "kind": owner_kind, "name": owner, "uid": "u", "controller": True}]
    version = "v1" if kind == "Pod" else "apps/v1"
    told = {"name": name, "namespace": "shop", **metadata} | ({"ownerReferences": refs} if owner else {})
    return {"apiVersion": version, "kind": kind, "metadata": told, "spec": {"template": {"spec": {}}}}


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


class World:
    """An intake on a cluster in memory."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.cluster = FakeCluster(namespace("shop"), namespace("home"), *objects)
        self.outcomes: list[tuple[str, str]] = []
        self.intake = self.again()

    def again(self) -> Intake:
        """Another one, as after a restart or on the other replica."""

        async def user() -> str:
            return "system:serviceaccount:home:incident-operator"

        caller = Caller(self.cluster, home="home")
        return Intake(self.cluster, caller, user=user, said=lambda *said: self.outcomes.append(said))

    async def take(self, *signals: Signal, intake: Intake | None = None, truncated: int = 0) -> list[str]:
        return list(await (intake or self.intake).take(Notification(signals, truncated)))

    @property
    def incidents(self) -> list[dict[str, Any]]:
        return [each for (kind, _, _), each in sorted(self.cluster.objects.items()) if kind == "Incident"]

    @property
    def one(self) -> dict[str, Any]:
        (found,) = self.incidents
        IncidentSpec.model_validate(found["spec"])
        return found

    def edit(self, **changed: Any) -> None:
        """Change fields of the one Incident, as a person or the engine does."""
        meta = self.one["metadata"]
        self.cluster.edit("Incident", meta["namespace"], meta["name"], lambda each: each.update(changed))

    def close(self) -> None:
        self.edit(status={"phase": "Resolved"})

    def plan(self) -> None:
        self.edit(status={"phase": "AwaitingApproval", "plan": {"hash": "abc"}})

    def stall(self, reason: str) -> None:
        condition = {"type": "Stalled", "status": "True", "reason": reason, "message": "x"}
        self.edit(status={"phase": "Failed", "conditions": [condition]})
