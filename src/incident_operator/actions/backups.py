"""What every restore asks of a backup before it is used: that its API is there, and how old it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from incident_operator.api.schema import parse_duration
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.rollouts import parsed

SNAPSHOTS = "snapshot.storage.k8s.io"
VELERO = "velero.io"
CNPG = "postgresql.cnpg.io"
INSTALL = {
    SNAPSHOTS: "install the CSI snapshot controller and its CRDs, with a CSI driver that takes snapshots",
    VELERO: "install Velero",
    CNPG: "install CloudNativePG",
}
BY_JOB = "restore by a Job (restore.job), such as from a dump"
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, as ages are told by."""
    return datetime.now(UTC)


async def refuse_unserved(reader: Reader, verb: str, what: object, group: str, *, instead: str = BY_JOB) -> None:
    """Refused("NotServed") where the cluster has no such API; what else can be done is said with it."""
    if group not in await reader.groups():
        raise Refused(
            "NotServed",
            f"could not {verb} {what}: this cluster does not serve {group}; {INSTALL[group]}, or {instead}",
        )


def text_of(params: Mapping[str, Any], form: str, field: str) -> str:
    """A name that must be given; Refused("Invalid") names the field."""
    found = params.get(field)
    if not isinstance(found, str) or not found:
        raise Refused("Invalid", f"restore.{form}.{field} must be a name, not {found!r}")
    return found


def aged(verb: str, backup: str, completed: object, params: Mapping[str, Any], now: datetime) -> str:
    """The age of a backup in words; Refused("BackupTooOld") if it is more than maxAge, or cannot be told."""
    most, made = params.get("maxAge"), parsed(completed)
    try:
        limit = None if most is None else parse_duration(str(most))
    except ValueError as cause:
        raise Refused("Invalid", f"maxAge: {cause}") from cause
    if made is None:
        if limit is None:
            return "of unknown age"
        raise Refused(
            "BackupTooOld",
            f"could not {verb} from {backup}: it does not say when it was completed, and maxAge is {most}",
        )
    age = now - made
    if limit is not None and age > limit:
        raise Refused(
            "BackupTooOld",
            f"could not {verb} from {backup}: it was completed at {completed}, {_said(age.total_seconds())} ago, and "
            f"maxAge is {most}; name a younger one, or allow more",
        )
    return f"{_said(age.total_seconds())} old"


def _said(seconds: float) -> str:
    """A span of time in its two largest units."""
    minutes = max(0, int(seconds // 60))
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
