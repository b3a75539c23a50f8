"""One thing to do, as an Incident and a RecoveryPlan say it.

The docstring under each field is its description in the CRD, so ``kubectl explain`` prints it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from incident_operator.api.actions import (
    Failover,
    Isolate,
    PauseAutoscaling,
    Restore,
    Resume,
    RolloutRestart,
    RolloutUndo,
    RunJob,
    Scale,
    SnapshotVolumes,
    Suspend,
)
from incident_operator.api.schema import (
    DAY_SECONDS,
    Duration,
    Label,
    Model,
    between,
    check_between,
    chosen,
    exactly_one,
    one_of,
    validated_by,
)
from incident_operator.api.targets import MOST_TARGETS, Target

Release = Literal["OnResolve", "Manual", "Never"]
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
KINDS = {
    "rolloutUndo": WORKLOADS,
    "scale": ("Deployment", "StatefulSet"),
    "isolate": (*WORKLOADS, "Pod"),
    "rolloutRestart": WORKLOADS,
    "suspend": ("CronJob", "Job"),
    "resume": ("CronJob", "Job"),
    "pauseAutoscaling": ("Deployment", "StatefulSet"),
    "snapshotVolumes": ("Deployment", "StatefulSet", "Pod"),
    "failover": ("Deployment", "StatefulSet", "Cluster"),
}
"""Kinds of target of each action; one that is not named works on any."""
ACTIONS = (
    "rolloutUndo",
    "scale",
    "isolate",
    "rolloutRestart",
    "suspend",
    "resume",
    "pauseAutoscaling",
    "runJob",
    "snapshotVolumes",
    "restore",
    "failover",
)


STEP_RULES = (one_of(ACTIONS), between("timeout", "1s", "24h"), between("expiresAfter", "1s", "720h"))
"""What holds for every step."""


class BaseStep(Model):
    """What every step has, wherever it stands."""

    name: Label
    """Name of the step, unique in the Incident: it is in status, Events and logs."""
    rollout_undo: RolloutUndo | None = None
    """Go back to the last good revision of a Deployment, StatefulSet or DaemonSet. Never rolled forward again."""
    scale: Scale | None = None
    """Set the number of replicas of a Deployment or StatefulSet. Goes back when the Incident is resolved."""
    isolate: Isolate | None = None
    """Cut pods off the network with a NetworkPolicy. Goes back when the Incident is resolved."""
    rollout_restart: RolloutRestart | None = None
    """Replace the pods of a Deployment, StatefulSet or DaemonSet by new ones. Nothing goes back."""
    suspend: Suspend | None = None
    """Suspend a CronJob or Job. Goes back when the Incident is resolved."""
    resume: Resume | None = None
    """Resume a CronJob or Job that somebody had suspended. It is not suspended again."""
    pause_autoscaling: PauseAutoscaling | None = None
    """Hold the autoscalers of a Deployment or StatefulSet. Goes back when the Incident is resolved."""
    run_job: RunJob | None = None
    """Run a Job made from a CronJob; it must complete. Nothing goes back."""
    snapshot_volumes: SnapshotVolumes | None = None
    """Take a VolumeSnapshot of each volume of a Deployment, StatefulSet or Pod. They are kept."""
    restore: Restore | None = None
    """Restore data from a backup; nothing is overwritten."""
    failover: Failover | None = None
    """Let a replica of a database take over."""
    targets: Annotated[list[Target], Field(min_length=1, max_length=MOST_TARGETS)] | None = None
    """What to do it to. Default: the targets of the Incident."""
    timeout: Duration = "10m"
    """How long the world may take to follow before the step has failed, between 1s and 24h."""
    release: Release | None = None
    """When what it did goes back: OnResolve, Manual (by spec.release or deletion), Never. Default: the action's."""
    expires_after: Duration | None = None
    """Put back what it did this long after it was done, like `4h`, whatever else. Default: the Incident's."""
    approval: Literal["ByPolicy", "Required"] = "ByPolicy"
    """Whether a person must approve the plan: as the policies say, or Required in any case."""
    stage: Label | None = None
    """Consecutive steps that name the same stage run together; others run one after the other."""

    @property
    def action(self) -> tuple[str, dict[str, Any]]:
        """The action that is set, with its parameters."""
        return chosen(self, ACTIONS)

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        exactly_one(self, ACTIONS)
        check_between("timeout", self.timeout, 1, DAY_SECONDS)
        check_between("expiresAfter", self.expires_after, 1, 30 * DAY_SECONDS)
        return self


class Step(BaseStep):
    """One thing to do: a name, exactly one action, and what to do it to."""

    model_config = ConfigDict(json_schema_extra=validated_by(*STEP_RULES))

    on_failure: Literal["Halt", "Continue", "Release"] = "Halt"
    """What happens when the step fails: Halt and wait for a person, Continue with the next, or Release all."""


Steps = Annotated[list[Step], Field(max_length=32)]
