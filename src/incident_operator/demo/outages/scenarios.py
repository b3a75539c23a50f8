"""The scenarios by name."""

from __future__ import annotations

from collections.abc import Mapping

from incident_operator.demo.outages.course import Outage
from incident_operator.demo.outages.lasting import Everything, Failover, Halted
from incident_operator.demo.outages.restoring import Corruption, Killed, Restore

SCENARIOS: Mapping[str, type[Outage]] = {
    "restore": Restore,
    "failover": Failover,
    "corruption": Corruption,
    "everything": Everything,
    "halted": Halted,
    "killed": Killed,
}
