"""What an Incident, a step or a check is about."""

from __future__ import annotations

from typing import Literal

from incident_operator.api.schema import Model, ObjectName

MOST_TARGETS = 500


class Target(Model):
    """One object in the Incident's own namespace."""

    kind: Literal["Deployment", "StatefulSet", "DaemonSet", "Pod", "CronJob", "Job", "Cluster"]
    """Kind of the object: Deployment, StatefulSet, DaemonSet, Pod, CronJob, Job, or Cluster (CloudNativePG)."""
    name: ObjectName
    """Name of the object, in the namespace of the Incident."""
