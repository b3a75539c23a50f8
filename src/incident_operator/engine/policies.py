"""Reads ResponsePolicies and IncidentApprovals, and keeps the policies of a moment ago."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, time
from typing import Any

from incident_operator.api import names
from incident_operator.api.schema import parse_duration
from incident_operator.cluster.port import Cluster
from incident_operator.engine.fresh import Fresh
from incident_operator.faults import Stalled
from incident_operator.planning.approvals import Vote
from incident_operator.planning.plan import Manifest
from incident_operator.planning.policy import ApprovalRule, Budget, Policy, Protection, selected
from incident_operator.planning.windows import MIDNIGHT, Window

FRESH_SECONDS = 1.0
"""How old the policies and a namespace's labels may be that a plan is judged by."""


class PolicyBook:
    """The policies that hold in a namespace."""

    def __init__(self, cluster: Cluster) -> None:
        """Read nothing yet."""
        self._cluster = cluster
        self._policies: Fresh[str, tuple[Policy, ...]] = Fresh(FRESH_SECONDS)
        self._labels: Fresh[str, Mapping[str, str]] = Fresh(FRESH_SECONDS)

    async def of(self, namespace: str) -> tuple[Policy, ...]:
        """The policies that select a namespace; the built-in one where none does.

        Raises Waiting while they cannot be read, and Stalled where they may not be: what is not
        known to be allowed is not done.
        """
        policies, labels = await asyncio.gather(
            self._policies.get("", self._read), self._labels.get(namespace, lambda: self._labels_of(namespace))
        )
        return selected(policies, labels)

    async def _read(self) -> tuple[Policy, ...]:
        found = await self._cluster.list_all("ResponsePolicy")
        return tuple(_understood(each) for each in found)

    async def _labels_of(self, namespace: str) -> Mapping[str, str]:
        found = await self._cluster.get("Namespace", "", namespace)
        labels: Mapping[str, str] = found["metadata"].get("labels") or {}
        return labels


def _understood(raw: Manifest) -> Policy:
    """A policy; one that cannot be read stops what it may be about, and is named."""
    try:
        return policy_of(raw)
    except (ValueError, OverflowError, KeyError, TypeError) as cause:
        text = f"ResponsePolicy {raw['metadata']['name']} cannot be read: {cause}; correct or delete it"
        raise Stalled("PolicyInvalid", text) from cause


def policy_of(raw: Manifest) -> Policy:
    """A policy from its raw object, which the API server has validated."""
    spec, name = raw["spec"], raw["metadata"]["name"]
    actions, storm = spec.get("actions") or {}, spec.get("storm")
    allowed = actions.get("allowed")
    return Policy(
        name=name,
        selector=spec.get("namespaceSelector") or {},
        max_mode=spec.get("maxMode", "Enforce"),
        allowed=None if allowed is None else tuple(allowed),
        forbidden=tuple(actions.get("forbidden") or ()),
        approvals=tuple(_rule(each, name) for each in spec.get("approvals") or ()),
        protected=tuple(_protection(each) for each in spec.get("protected") or ()),
        budget=_budget(spec.get("blastRadius") or {}),
        windows=tuple(_window(each, name) for each in spec.get("freezeWindows") or ()),
        cooldown=parse_duration(spec.get("cooldown", "0s")),
        storm=(storm["incidents"], parse_duration(storm["within"])) if storm else None,
        service_account=spec.get("defaultServiceAccountName", ""),
    )


def _rule(raw: Mapping[str, Any], policy: str) -> ApprovalRule:
    who = raw.get("from") or {}
    return ApprovalRule(
        name=raw["name"],
        policy=policy,
        severities=tuple(raw.get("severities") or ()),
        types=tuple(raw.get("types") or ()),
        actions=tuple(raw.get("actions") or ()),
        when=tuple(raw.get("when") or ()),
        count=raw.get("count", 1),
        users=tuple(who.get("users") or ()),
        groups=tuple(who.get("groups") or ()),
    )


def _protection(raw: Mapping[str, Any]) -> Protection:
    return Protection(
        raw["name"],
        tuple(raw.get("kinds") or ()),
        tuple(raw.get("names") or ()),
        tuple(raw.get("namespaces") or ()),
        raw.get("selector"),
    )


def _budget(raw: Mapping[str, Any]) -> Budget:
    return Budget(
        raw.get("pods"),
        raw.get("podsPercent"),
        raw.get("workloads"),
        raw.get("workloadPercent"),
        raw.get("exceeded", "Refuse"),
    )


def _window(raw: Mapping[str, Any], policy: str) -> Window:
    try:
        window = Window(
            raw["name"],
            datetime.fromisoformat(raw["start"]) if "start" in raw else None,
            datetime.fromisoformat(raw["end"]) if "end" in raw else None,
            tuple(raw.get("days") or ()),
            time.fromisoformat(raw["opens"]) if "opens" in raw else MIDNIGHT,
            time.fromisoformat(raw["closes"]) if "closes" in raw else MIDNIGHT,
            raw.get("timeZone", "UTC"),
            tuple(raw.get("exceptSeverities") or ()),
        )
        window.until(datetime.fromisoformat("2000-01-01T00:00:00Z"))
    except (ValueError, OSError, KeyError) as cause:
        text = (
            f"ResponsePolicy {policy}: freezeWindows {raw['name']} cannot be read: {cause}; correct its times or zone"
        )
        raise Stalled("PolicyInvalid", text) from cause
    return window


async def votes(cluster: Cluster, namespace: str, incident: str) -> Sequence[Vote]:
    """The approvals and rejections of an Incident's plans.

    Raises Stalled("ApprovalsUnprotected") where the API server does not compare approvers with who
    makes the request: an approval is then only a claim.
    """
    found = [each for each in await cluster.list("IncidentApproval", namespace) if each["spec"]["incident"] == incident]
    if found:
        await _refuse_unprotected(cluster)
    return [_vote(each) for each in found]


def _vote(raw: Manifest) -> Vote:
    spec, meta = raw["spec"], raw["metadata"]
    at = datetime.fromisoformat(meta["creationTimestamp"])
    until = at + parse_duration(spec.get("expiresAfter", "1h"))
    return Vote(
        meta["name"],
        spec["approver"],
        tuple(spec.get("groups") or ()),
        spec["decision"] == "Approved",
        spec["planHash"],
        at,
        until,
        spec.get("reason", ""),
        spec.get("incidentUID", ""),
    )


async def _refuse_unprotected(cluster: Cluster) -> None:
    name = names.APPROVER_POLICY
    wrong = f"ValidatingAdmissionPolicy {name} is not in force, so anybody could approve as somebody else; "
    remedy = "apply manifests/base/admission.yaml"
    try:
        policy, binding = await asyncio.gather(
            cluster.find("ValidatingAdmissionPolicy", "", name),
            cluster.find("ValidatingAdmissionPolicyBinding", "", name),
        )
    except Stalled as fault:
        raise Stalled("ApprovalsUnprotected", f"could not see whether {wrong}{fault.message}") from fault
    denies = binding is not None and "Deny" in (binding["spec"].get("validationActions") or ())
    if policy is None or not denies:
        raise Stalled("ApprovalsUnprotected", wrong + remedy)
