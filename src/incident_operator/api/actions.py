"""What a step can do: the parameters of each action.

The docstring under each field is its description in the CRD, so ``kubectl explain`` prints it.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from incident_operator.api.schema import (
    Duration,
    Label,
    LabelMap,
    Model,
    ObjectName,
    Rule,
    exactly_one,
    one_of,
    validated_by,
)

RESTORES = ("volume", "velero", "cloudNativePG", "job")
FAILOVERS = ("cloudNativePG", "patroni", "job")


class RolloutUndo(Model):
    """Go back to the last good revision: one that still runs, else one verified as good, else the previous one."""

    to_revision: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    """Go back to this revision, as `kubectl rollout history` numbers them. Default: the last good one."""


class Scale(Model):
    """Set the number of replicas; an autoscaler is pinned to it, and gets its bounds back on release."""

    replicas: Annotated[int, Field(ge=0, le=10000)]
    """The number of replicas to have."""


class Isolate(Model):
    """Cut the targets off the network with a NetworkPolicy that allows nothing."""

    direction: Literal["Both", "Ingress", "Egress"] = "Both"
    """Which traffic to cut: into the pods (Ingress), out of them (Egress), or Both."""


class RolloutRestart(Model):
    """Replace the pods of the targets by new ones of the same revision, as `kubectl rollout restart` does."""


class Suspend(Model):
    """Let a CronJob start no more Jobs, or a Job no more pods; suspending a Job deletes the pods it has."""


class Resume(Model):
    """Let a CronJob start Jobs again, or a Job its pods; for one that was suspended before the Incident."""


class PauseAutoscaling(Model):
    """Hold the autoscalers of the targets to the replicas there are now."""


class RunJob(Model):
    """Run a Job made from a CronJob, as `kubectl create job --from=cronjob/NAME` does; it must complete."""

    cron_job: ObjectName
    """The CronJob whose Job to run; it may be suspended."""


class SnapshotVolumes(Model):
    """Take a VolumeSnapshot of each volume of the targets."""

    class_name: ObjectName | None = None
    """VolumeSnapshotClass to use. Default: the cluster's default class."""


class RestoreVolume(Model):
    """Give a workload a new volume, from a snapshot or empty; the old one is kept."""

    claim: ObjectName
    """The PersistentVolumeClaim in the pod template that is replaced."""
    snapshot: ObjectName | None = None
    """The VolumeSnapshot to make the new volume from. Default: it is empty."""
    max_age: Duration | None = None
    """Refuse a snapshot that is older than this, like `24h`."""


class RestoreVelero(Model):
    """Restore from a Velero backup."""

    backup: ObjectName
    """The Velero Backup."""
    namespace: Label = "velero"
    """The namespace Velero runs in."""
    max_age: Duration | None = None
    """Refuse a backup that is older than this, like `24h`."""


class RestoreCloudNativePG(Model):
    """Make a new CloudNativePG Cluster from a Backup; the old one is kept."""

    backup: ObjectName
    """The Backup of CloudNativePG."""
    name: Label | None = None
    """Name of the new Cluster. Default: that of the old one with -restored and a few letters."""
    max_age: Duration | None = None
    """Refuse a backup that is older than this, like `24h`."""


class RestoreJob(Model):
    """Run a Job that loads a dump, made from a CronJob as `kubectl create job --from=cronjob/NAME` does."""

    model_config = ConfigDict(
        json_schema_extra=validated_by(
            Rule(
                rule="!has(self.maxAge) || has(self.dumpedBy)",
                message="maxAge needs dumpedBy: the CronJob that writes the dumps tells how old the newest is",
                field_path=".maxAge",
            )
        )
    )

    cron_job: ObjectName
    """The CronJob whose Job loads the dump; it may be suspended."""
    dumped_by: ObjectName | None = None
    """The CronJob that writes the dumps. The newest dump is as old as its status.lastSuccessfulTime; without one \
there is none, and nothing is loaded."""
    max_age: Duration | None = None
    """Refuse to load where the newest dump of dumpedBy is older than this, like `24h`."""
    check: ObjectName | None = None
    """A CronJob whose Job must complete before anything is loaded, such as one that reads the whole dump."""

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        if self.max_age and not self.dumped_by:
            raise ValueError("maxAge needs dumpedBy: the CronJob that writes the dumps tells how old the newest is")
        return self


class Restore(Model):
    """Restore data from a backup that is there, complete and young enough; nothing is overwritten."""

    volume: RestoreVolume | None = None
    """A new volume for a Deployment or StatefulSet."""
    velero: RestoreVelero | None = None
    """A Velero backup."""
    cloud_native_pg: Annotated[RestoreCloudNativePG | None, Field(alias="cloudNativePG")] = None
    """A Backup of CloudNativePG."""
    job: RestoreJob | None = None
    """A Job that restores, such as one that reads a dump."""
    verify_integrity: ObjectName | None = None
    """A CronJob whose Job must complete after the restore and before anything else, such as one that checks pages, \
indexes and rows."""

    model_config = ConfigDict(json_schema_extra=validated_by(one_of(RESTORES)))

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        exactly_one(self, RESTORES)
        return self


class FailoverCloudNativePG(Model):
    """Promote an instance of a CloudNativePG Cluster, as `kubectl cnpg promote` does."""

    to: ObjectName | None = None
    """The instance to promote. Default: a healthy replica."""


class FailoverPatroni(Model):
    """Ask Patroni for another leader, as `patronictl switchover` does, where it keeps its state in Kubernetes."""

    scope: ObjectName
    """The name of the cluster in Patroni's configuration: `scope`, or PATRONI_SCOPE."""
    to: ObjectName | None = None
    """The member that is to lead. Default: a synchronous replica, else the one that has received most."""


class FailoverJob(Model):
    """Promote a replica by a Job, then point a Service at it."""

    cron_job: ObjectName
    """The CronJob whose Job promotes the replica."""
    service: Label
    """The Service that clients use."""
    selector: LabelMap
    """The labels of the promoted pods: the Service's selector when the Job has completed."""


class Failover(Model):
    """Let a replica of a database take over."""

    cloud_native_pg: Annotated[FailoverCloudNativePG | None, Field(alias="cloudNativePG")] = None
    """A CloudNativePG Cluster."""
    patroni: FailoverPatroni | None = None
    """A StatefulSet whose members Patroni runs."""
    job: FailoverJob | None = None
    """Plain streaming replication."""

    model_config = ConfigDict(json_schema_extra=validated_by(one_of(FAILOVERS)))

    @model_validator(mode="after")
    def _as_the_api_server(self) -> Self:
        exactly_one(self, FAILOVERS)
        return self
