"""The IncidentApproval: one person's yes or no to exactly one plan; it never changes once it is made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from incident_operator.api.schema import Duration, Model, ObjectName, Rule, validated_by

Uid = Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{36}$", max_length=36)]
User = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class IncidentApprovalSpec(Model):
    """Yes or no to exactly one plan of an Incident of this namespace."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(rule="self == oldSelf", message="an approval cannot be changed: make another one"),
            Rule(
                rule="duration(self.expiresAfter) >= duration('1m') && duration(self.expiresAfter) <= duration('168h')",
                message="expiresAfter must be between 1m and 168h",
                field_path=".expiresAfter",
            ),
        )
    )

    incident: ObjectName
    """Name of the Incident, in this namespace."""
    incident_uid: Annotated[Uid | None, Field(alias="incidentUID")] = None
    """UID of the Incident: then it counts for no other. Without it, for the one that is there when it is made, and \
not for a later one of the same name."""
    plan_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$", max_length=16)]
    """Names the plan: status.plan.hash of the Incident. Another plan needs another approval."""
    decision: Literal["Approved", "Rejected"]
    """Approved, or Rejected, which is final for this plan."""
    approver: User
    """Your own user name (kubectl auth whoami); the API server compares it."""
    groups: Annotated[list[User], Field(max_length=16)] | None = None
    """Groups you are in and approve for, where a policy asks for a group; the API server compares them."""
    reason: Annotated[str, StringConstraints(max_length=1024)] | None = None
    """Why, for the record."""
    expires_after: Duration = "1h"
    """How long the approval may wait to be used, between 1m and 168h."""
