"""Every check there is, by the field of a verification that asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from incident_operator.checks.alert_resolved import AlertResolved
from incident_operator.checks.confirm import Confirm
from incident_operator.checks.contract import Check
from incident_operator.checks.http import Http
from incident_operator.checks.job import JobVerdict
from incident_operator.checks.logs import Logs
from incident_operator.checks.pods_ready import PodsReady
from incident_operator.checks.promql import PromQL
from incident_operator.checks.rollout import Rollout
from incident_operator.checks.sql import Sql
from incident_operator.checks.tcp import Tcp

_ALL: tuple[Check, ...] = (
    Rollout(),
    PodsReady(),
    Http(),
    Confirm(),
    Sql(),
    Logs(),
    JobVerdict(),
    Tcp(),
    AlertResolved(),
    PromQL(None),
)

CATALOGUE: Mapping[str, Check] = MappingProxyType({check.name: check for check in _ALL})
