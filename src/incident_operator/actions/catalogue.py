"""Every action there is, by the field of a step that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from incident_operator.actions.contract import Action
from incident_operator.actions.failover import Failover
from incident_operator.actions.isolate import Isolate
from incident_operator.actions.pause_autoscaling import PauseAutoscaling
from incident_operator.actions.restore import Restore
from incident_operator.actions.resume import Resume
from incident_operator.actions.rollout_restart import RolloutRestart
from incident_operator.actions.rollout_undo import RolloutUndo
from incident_operator.actions.run_job import RunJob
from incident_operator.actions.scale import Scale
from incident_operator.actions.snapshot_volumes import SnapshotVolumes
from incident_operator.actions.suspend import Suspend

_ALL: tuple[Action, ...] = (
    RolloutUndo(),
    Scale(),
    Isolate(),
    RolloutRestart(),
    Suspend(),
    Resume(),
    PauseAutoscaling(),
    RunJob(),
    SnapshotVolumes(),
    Restore(),
    Failover(),
)

CATALOGUE: Mapping[str, Action] = MappingProxyType({action.name: action for action in _ALL})
