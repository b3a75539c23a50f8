"""All actions by the name of the field that asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from incident_operator.actions.contract import Action
from incident_operator.actions.isolate import Isolate
from incident_operator.actions.rollout_undo import RolloutUndo
from incident_operator.actions.scale import Scale

_ALL: tuple[Action, ...] = (RolloutUndo(), Scale(), Isolate())

CATALOGUE: Final[Mapping[str, Action]] = {action.name: action for action in _ALL}
