"""``restore``: data from a backup that is there, complete and young enough; nothing is overwritten by it.

Four forms: a new volume, Velero, CloudNativePG, and a Job of one's own. What must be checked before or after it is
a part of its own: a step that comes before, or behind it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol

from incident_operator.actions import (
    backups,
    jobs,
    making,
    restore_cnpg,
    restore_job,
    restore_velero,
    restore_volume,
    undo_settling,
)
from incident_operator.actions.contract import Occasion, plain
from incident_operator.actions.patches import is_there
from incident_operator.actions.run_job import RunJob
from incident_operator.actions.settling import LIVE, combined
from incident_operator.actions.snapshot_volumes import CLAIM
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Entry,
    Manifest,
    Ref,
    Release,
    Request,
    Settlement,
    Standing,
    canonical,
)
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import is_leaving

VERB = "restore"
SOURCE = "source"
"""Where a change keeps what it is made from."""
BACKUPS = ("snapshot", "backup", "dumpedBy")
"""What names a backup; without one there is none to look at."""


class Form(Protocol):
    """One form of a restore."""

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any], now: datetime
    ) -> tuple[Change, ...]:
        """What it has to write; the backup is looked at first."""
        ...

    async def usable(self, reader: Reader, target: Ref, params: Mapping[str, Any], now: datetime) -> object:
        """Refused unless the backup can be used."""
        ...


MODULES: Mapping[str, Form] = {
    "volume": restore_volume,
    "velero": restore_velero,
    "cloudNativePG": restore_cnpg,
    "job": restore_job,
}
PER_FORM: Mapping[str, frozenset[str]] = {
    "volume": restore_volume.WORKLOADS,
    "velero": RunJob.kinds,
    "cloudNativePG": frozenset({restore_cnpg.KIND}),
    "job": RunJob.kinds,
}
"""Kinds of target that each form works on."""
CLAIMS = Rule("", ("persistentvolumeclaims",), ("create",))
RESTORES = Rule(backups.VELERO, ("restores",), ("create",))
CLUSTERS = Rule(backups.CNPG, ("clusters",), ("create",))
EVERY = (*jobs.ASKS, RESTORES)


@dataclasses.dataclass(frozen=True, slots=True)
class Restore:
    """Restores data beside what is there."""

    name: ClassVar[str] = "restore"
    kinds: ClassVar[frozenset[str]] = RunJob.kinds
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets"), ("get", "patch"), "give a workload its new volume"),
        Rule("", ("persistentvolumeclaims",), ("get", "create"), "make a volume like the broken one"),
        Rule(backups.SNAPSHOTS, ("volumesnapshots",), ("get",), "see that a snapshot is ready, and how old it is"),
        Rule("", ("pods",), ("get", "delete"), "delete the broken pod that blocks a StatefulSet"),
        Rule(backups.VELERO, ("backups",), ("get",), "see that a Velero backup is complete, and how old it is"),
        Rule(backups.VELERO, ("restores",), ("get", "create"), "have Velero restore, and see how it ends"),
        Rule(backups.CNPG, ("backups",), ("get",), "see that a CloudNativePG backup is complete, and how old it is"),
        Rule(backups.CNPG, ("clusters",), ("get", "create"), "recover a new Cluster beside the old one"),
        *jobs.RULES,
    )
    asks: ClassVar[Mapping[str, tuple[Rule, ...]]] = {
        "Deployment": (CLAIMS, Rule("apps", ("deployments",), ("patch",)), *EVERY),
        "StatefulSet": (CLAIMS, Rule("apps", ("statefulsets",), ("patch",)), *EVERY),
        "Cluster": (CLUSTERS, *EVERY),
        **dict.fromkeys(sorted(RunJob.kinds - {"Deployment", "StatefulSet", "Cluster"}), EVERY),
    }
    forms: ClassVar[Mapping[str, Mapping[str, tuple[Rule, ...]]]] = {
        "volume": {
            "Deployment": (CLAIMS, Rule("apps", ("deployments",), ("patch",))),
            "StatefulSet": (CLAIMS, Rule("apps", ("statefulsets",), ("patch",))),
        },
        "velero": dict.fromkeys(sorted(RunJob.kinds), (RESTORES,)),
        "cloudNativePG": {"Cluster": (CLUSTERS,)},
        "job": dict.fromkeys(sorted(RunJob.kinds), jobs.ASKS),
        "verifyIntegrity": dict.fromkeys(sorted(RunJob.kinds), jobs.ASKS),
    }
    elsewhere: ClassVar[Mapping[str, str]] = {"velero": "namespace"}
    release: ClassVar[Release] = Release.NEVER
    reversible: ClassVar[bool] = True
    destructive: ClassVar[bool] = False

    clock: backups.Clock = backups.utc_now

    async def plan(
        self, reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any]
    ) -> tuple[Change, ...]:
        """What the one form that is set has to write; the backup is looked at first."""
        form, given = _form(params)
        if target.kind not in PER_FORM[form]:
            kinds = ", ".join(sorted(PER_FORM[form]))
            raise Refused("Invalid", f"restore.{form} works on {kinds}, not on {target}")
        changes = await MODULES[form].plan(reader, occasion, target, given, self.clock())
        if not any(given.get(field) for field in BACKUPS):
            return changes
        source = {"form": form, "target": [target.kind, target.name, target.namespace], "given": plain(given)}
        return tuple(dataclasses.replace(change, after={**change.after, SOURCE: source}) for change in changes)

    def parts(self, params: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """What is checked before it, the restore itself, what is checked after it: one must be done for the next."""
        check, verify = (params.get("job") or {}).get("check"), params.get("verifyIntegrity")
        before = [("check", {"job": {"cronJob": check}})] if check else []
        after = [("verify", {"job": {"cronJob": verify}})] if verify else []
        return [*before, ("", params), *after]

    async def recheck(self, reader: Reader, changes: Sequence[Change]) -> None:
        """Refused unless the backup is still there, complete and young enough: an approval may have taken a day."""
        found = [change.after[SOURCE] for change in changes if SOURCE in change.after]
        sources = {canonical(each): each for each in found}
        for source in sources.values():
            kind, name, namespace = source["target"]
            await MODULES[source["form"]].usable(reader, Ref(kind, name, namespace), source["given"], self.clock())

    def standing(self, change: Change, current: Manifest | None) -> Standing:
        """What was made by its name and whose it is, a workload by its claims."""
        if change.target.kind not in (*restore_volume.WORKLOADS, "Pod"):
            return making.standing(change.target.uid, change.after["incident"], current)
        if not is_there(change.target, current) or current is None:
            return Standing.GONE
        if change.target.kind == "Pod":
            return Standing.AFTER if is_leaving(current) else Standing.BEFORE
        return restore_volume.standing(change, current)

    def undo(self, change: Change, current: Manifest) -> Request | None:
        """A workload gets its old volume back; what was made from a backup is never deleted."""
        return restore_volume.undo(change, current) if change.target.kind in restore_volume.WORKLOADS else None

    async def settle(self, reader: Reader, entries: tuple[Entry, ...], *, since: datetime, now: datetime) -> Settlement:
        """What was made is complete, and what uses it is ready."""
        live = [entry for entry in entries if entry.state in LIVE]
        parts = await asyncio.gather(*(self._made(reader, entry.change, now) for entry in live if _is_made(entry)))
        workloads = tuple(entry for entry in live if not _is_made(entry))
        if workloads:
            rollout = undo_settling.Rollout(
                self,
                "given its restored volume",
                "the volume that it had before",
                "change to the restored volume",
                restore_volume.is_new,
            )
            parts.append(await undo_settling.settle(reader, rollout, workloads, since=since, now=now))
        return combined(parts)

    async def _made(self, reader: Reader, change: Change, now: datetime) -> Settlement:
        """One object that was made."""
        match change.target.kind:
            case restore_velero.KIND:
                return await restore_velero.settle(reader, change)
            case restore_cnpg.KIND:
                return await restore_cnpg.settle(reader, change)
            case jobs.KIND:
                return await jobs.job_settlement(reader, change, now)
            case _:
                return await restore_volume.settle_claim(reader, change)


def _form(params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The one form that is asked for."""
    found = [form for form in PER_FORM if params.get(form) is not None]
    if len(found) != 1:
        listed = ", ".join(found) or "none"
        raise Refused("Invalid", f"restore: exactly one of {', '.join(PER_FORM)} is to be set, found {listed}")
    return found[0], params[found[0]]


def _is_made(entry: Entry) -> bool:
    """Whether an entry is of an object that a restore makes."""
    return entry.change.target.kind in (CLAIM, restore_velero.KIND, restore_cnpg.KIND, jobs.KIND)
