"""All checks by the name of the field that asks for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from incident_operator.checks.contract import Check
from incident_operator.checks.http import Http
from incident_operator.checks.pods_ready import PodsReady
from incident_operator.checks.rollout import Rollout

_ALL: tuple[Check, ...] = (Rollout(), PodsReady(), Http())

CATALOGUE: Final[Mapping[str, Check]] = {check.name: check for check in _ALL}
