"""``restore.velero``: a Restore object for Velero, limited to the Incident's namespace, and awaited.

Source: velero.io, "Restore API Type", "Restore Reference" (existingResourcePolicy) and "Backup API Type".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from incident_operator.actions import backups, making
from incident_operator.actions.contract import Occasion
from incident_operator.cluster.port import Reader
from incident_operator.faults import Refused
from incident_operator.planning.plan import (
    Change,
    Manifest,
    Ref,
    Request,
    Settlement,
    Standing,
    failed,
    pending,
    settled,
)

VERB = "restore"
KIND = "Restore"
OVER = frozenset({"PartiallyFailed", "Failed", "FailedValidation"})
NOTES = (
    "Velero overwrites nothing (existingResourcePolicy none): what is there stays as it is",
    "what is to come from the backup must not be there: a person deletes or renames it first",
    "Velero works with its own rights, limited here to this namespace; the Restore object is kept",
)


async def plan(
    reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any], now: datetime
) -> tuple[Change, ...]:
    """The Restore object in Velero's namespace; Refused unless the backup is Completed and has this namespace in it."""
    said, age = await usable(reader, target, params, now)
    namespace, name = params.get("namespace") or "velero", params["backup"]
    ref = Ref(KIND, making.name_of(name, occasion.uid, occasion.step, KIND, namespace, name), namespace)
    body = {
        "apiVersion": "velero.io/v1",
        "kind": KIND,
        "metadata": {"name": ref.name, "namespace": namespace, "labels": making.labels_for(occasion)},
        "spec": {
            "backupName": name,
            "includedNamespaces": [occasion.namespace],
            "existingResourcePolicy": "none",
        },
    }
    return (
        Change(
            key=f"{KIND}/{ref.name}",
            target=ref,
            request=Request("create", ref, body),
            before={},
            after={"incident": occasion.uid, "backup": name},
            summary=f"{target.kind.lower()}/{target.name}: restore namespace {occasion.namespace} from {said}, {age}",
            notes=NOTES,
            traits=("Irreversible",),
        ),
    )


async def usable(reader: Reader, target: Ref, params: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """The backup as people call it and its age; Refused unless it is Completed, of this namespace and young enough."""
    await backups.refuse_unserved(reader, VERB, target, backups.VELERO)
    namespace, name = params.get("namespace") or "velero", backups.text_of(params, "velero", "backup")
    backup = await reader.get("VeleroBackup", namespace, name)
    said = f"Velero backup {namespace}/{name}"
    _refuse_incomplete(said, backup)
    _refuse_elsewhere(said, backup, target.namespace)
    return said, backups.aged(VERB, said, (backup.get("status") or {}).get("completionTimestamp"), params, now)


def _refuse_incomplete(said: str, backup: Manifest) -> None:
    status = backup.get("status") or {}
    phase = status.get("phase") or "New"
    if phase != "Completed":
        counts = f", {status.get('errors') or 0} errors, {status.get('warnings') or 0} warnings"
        raise Refused(
            "BackupIncomplete",
            f"could not {VERB} from {said}: its phase is {phase}{counts}; only a Completed one has everything in it: "
            "name another one (velero backup get), or restore it by hand",
        )


def _refuse_elsewhere(said: str, backup: Manifest, namespace: str) -> None:
    """Names may be patterns (velero.io, "Namespace Glob Patterns"); none at all are all namespaces."""
    spec = backup.get("spec") or {}
    included, excluded = spec.get("includedNamespaces") or ["*"], spec.get("excludedNamespaces") or []
    is_in = any(fnmatchcase(namespace, each) for each in included)
    if not is_in or any(fnmatchcase(namespace, each) for each in excluded):
        raise Refused(
            "BackupOfOthers",
            f"could not {VERB} from {said}: namespace {namespace} is not in it (included: {', '.join(included)}; "
            f"excluded: {', '.join(excluded) or 'none'})",
        )


async def settle(reader: Reader, change: Change) -> Settlement:
    """Completed is settled; all other ends are failures, with Velero's own counts."""
    target = change.target
    current = await reader.find(KIND, target.namespace, target.name)
    if making.standing(target.uid, change.after["incident"], current) is not Standing.AFTER or current is None:
        return failed("RestoreGone", f"{target} was deleted or replaced before it was seen complete")
    status = current.get("status") or {}
    phase = status.get("phase") or "New"
    counts = f"{status.get('errors') or 0} errors, {status.get('warnings') or 0} warnings"
    if phase == "Completed":
        return settled(f"Velero restore {target.name} is Completed: {counts}", {"restore": target.name})
    if phase in OVER:
        said = [*(status.get("validationErrors") or ()), *filter(None, [status.get("failureReason")])]
        why = f": {making.one_line('; '.join(said))}" if said else ""
        return failed(
            "RestoreFailed",
            f"Velero restore {target.name} is {phase}, {counts}{why}; see velero restore describe {target.name} "
            f"--details -n {target.namespace}",
            {"restore": target.name},
        )
    return pending(f"Velero restore {target.name} is {phase}{_progress(status)}")


def _progress(status: Mapping[str, Any]) -> str:
    done = status.get("progress") or {}
    return f", {done.get('itemsRestored') or 0} of {done['totalItems']} items" if done.get("totalItems") else ""
