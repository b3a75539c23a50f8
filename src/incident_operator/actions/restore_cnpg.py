"""``restore.cloudNativePG``: a new Cluster recovered from a Backup; the old one is kept, and never has its name taken.

Source: cloudnative-pg.io, "Recovery" (from a ``Backup`` object), "Bootstrap" and "API Reference". CloudNativePG
never recovers in place: recovery is a way to begin a new cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from incident_operator.actions import backups, guards, making
from incident_operator.actions.contract import Occasion, plain
from incident_operator.api import names
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
from incident_operator.planning.rollouts import troubles
from incident_operator.planning.selectors import labels_of

VERB = "restore"
KIND = "Cluster"
MOST_NAME = 50
"""CloudNativePG refuses longer names: it makes those of pods and Services from them."""
HEALTHY = "Cluster in healthy state"
TAKEN_OVER = (
    "imageName",
    "imageCatalogRef",
    "imagePullPolicy",
    "imagePullSecrets",
    "instances",
    "minSyncReplicas",
    "maxSyncReplicas",
    "storage",
    "walStorage",
    "tablespaces",
    "postgresql",
    "postgresUID",
    "postgresGID",
    "resources",
    "affinity",
    "topologySpreadConstraints",
    "priorityClassName",
    "schedulerName",
    "enableSuperuserAccess",
    "superuserSecret",
)
"""What must be the same for PostgreSQL to read the files, and for as many instances to run.

Not its backup and plugins: two clusters that archive to one place destroy the archive of the first.
"""
DEFAULTED = frozenset(
    {
        "bootstrap",
        "description",
        "enablePDB",
        "failoverDelay",
        "logLevel",
        "monitoring",
        "primaryUpdateMethod",
        "primaryUpdateStrategy",
        "replicationSlots",
        "smartShutdownTimeout",
        "startDelay",
        "stopDelay",
        "switchoverDelay",
    }
)
"""What is left out and need not be mentioned: mostly the defaults that CloudNativePG writes into every Cluster."""


async def plan(
    reader: Reader, occasion: Occasion, target: Ref, params: Mapping[str, Any], now: datetime
) -> tuple[Change, ...]:
    """The new Cluster; Refused unless the Backup is a completed one of the target."""
    await backups.refuse_unserved(reader, VERB, target, backups.CNPG)
    old = await reader.get(KIND, target.namespace, target.name)
    guards.refuse_protected(VERB, old)
    said, age = await usable(reader, target, params, now)
    backup_name = params["backup"]
    name = params.get("name") or making.name_of(
        f"{target.name[:30]}-restored", occasion.uid, occasion.step, KIND, target.name, backup_name, most=MOST_NAME
    )
    await _refuse_taken(reader, occasion, target, name)
    ref = Ref(KIND, name, target.namespace)
    body = {
        "apiVersion": f"{backups.CNPG}/v1",
        "kind": KIND,
        "metadata": {"name": name, "namespace": ref.namespace, "labels": making.labels_for(occasion)},
        "spec": _spec(old, backup_name),
    }
    return (
        Change(
            key=f"{KIND}/{name}",
            target=ref,
            request=Request("create", ref, body),
            before={},
            after={"incident": occasion.uid, "backup": backup_name},
            summary=f"cluster/{target.name}: recover a new Cluster {name} from {said}, {age}",
            notes=_notes(old, name),
        ),
    )


async def usable(reader: Reader, target: Ref, params: Mapping[str, Any], now: datetime) -> tuple[str, str]:
    """The Backup as people call it and its age; Refused unless it is a completed one of the target, young enough."""
    name = backups.text_of(params, "cloudNativePG", "backup")
    backup = await reader.get("Backup", target.namespace, name)
    said = f"CloudNativePG backup {target.namespace}/{name}"
    _refuse_unusable(said, backup, target)
    return said, backups.aged(VERB, said, (backup.get("status") or {}).get("stoppedAt"), params, now)


def _refuse_unusable(said: str, backup: Manifest, target: Ref) -> None:
    """Another cluster's backup, one that is not complete, or one that recovery cannot take by its object."""
    spec, status = backup.get("spec") or {}, backup.get("status") or {}
    of, phase = (spec.get("cluster") or {}).get("name"), status.get("phase") or "pending"
    if of != target.name:
        raise Refused(
            "BackupOfOthers", f"could not {VERB} {target} from {said}: it is of Cluster {of}; name one of its own"
        )
    if phase != "completed":
        why = f" ({making.one_line(status['error'])})" if status.get("error") else ""
        raise Refused(
            "BackupIncomplete",
            f"could not {VERB} {target} from {said}: its phase is {phase}{why}; name one that is completed: "
            f"kubectl get backups.postgresql.cnpg.io -n {target.namespace}",
        )
    if (status.get("method") or spec.get("method")) == "plugin":
        raise Refused(
            "UnsupportedBackup",
            f"could not {VERB} {target} from {said}: it was made by a plugin, and such a one is recovered by way of "
            "externalClusters, whose parameters are not known here; make the new Cluster by hand: "
            "cloudnative-pg.io, Recovery",
        )


async def _refuse_taken(reader: Reader, occasion: Occasion, target: Ref, name: str) -> None:
    """The old cluster's name, one that CloudNativePG does not take, and one that somebody else has."""
    if name == target.name:
        raise Refused(
            "Invalid", f"restore.cloudNativePG.name must be another one than {name}: the old Cluster is kept beside it"
        )
    if len(name) > MOST_NAME:
        raise Refused(
            "Invalid", f"restore.cloudNativePG.name must have at most {MOST_NAME} characters, not {len(name)}"
        )
    there = await reader.find(KIND, target.namespace, name)
    if there is not None and labels_of(there).get(names.INCIDENT_UID) != occasion.uid:
        raise Refused(
            "AlreadyExists",
            f"could not {VERB} {target} to Cluster {name}: there is one of that name, and nothing is overwritten; "
            "choose another restore.cloudNativePG.name",
        )


def _spec(old: Manifest, backup: str) -> dict[str, Any]:
    """The old cluster's size and settings, beginning with the backup, and with the same application database."""
    spec = old["spec"]
    found = {field: plain(spec[field]) for field in TAKEN_OVER if field in spec}
    began = next(iter((spec.get("bootstrap") or {}).values()), None) or {}
    # Left out, they would be "app" and "app", which a database of another name would get besides its own.
    own = {field: plain(began[field]) for field in ("database", "owner", "secret") if began.get(field)}
    return {**found, "bootstrap": {"recovery": {"backup": {"name": backup}, **own}}}


def _notes(old: Manifest, name: str) -> tuple[str, ...]:
    """What a person should know, above all what is not the same as before."""
    was = old["metadata"]["name"]
    notes = [
        "recovery goes on to the latest archived WAL: damage that a statement did comes back with it",
        "to stop before such a statement, make the Cluster by hand with a recoveryTarget",
        f"Cluster {was} and its volumes are kept; clients go on using {was}-rw until they are pointed at {name}-rw",
    ]
    if not (next(iter((old["spec"].get("bootstrap") or {}).values()), None) or {}).get("secret"):
        notes.append(f"the application's password is a new one, in Secret {name}-app")
    left = sorted(set(old["spec"]) - set(TAKEN_OVER) - DEFAULTED)
    if left:
        notes.append(f"not taken over from {was}: {', '.join(left)}")
    if {"backup", "plugins"} & set(left):
        notes.append(f"Cluster {name} has no backups of its own until a person gives it a place for them")
    return tuple(notes)


async def settle(reader: Reader, change: Change) -> Settlement:
    """It is healthy with all its instances; what CloudNativePG says of itself until then."""
    target = change.target
    current = await reader.find(KIND, target.namespace, target.name)
    if making.standing(target.uid, change.after["incident"], current) is not Standing.AFTER or current is None:
        return failed("RestoreGone", f"{target} was deleted or replaced before it was seen healthy")
    status = current.get("status") or {}
    wanted, ready = current["spec"].get("instances") or 1, status.get("readyInstances") or 0
    phase = status.get("phase") or "not seen by CloudNativePG yet"
    numbers = f"{ready} of {wanted} instances are ready"
    if phase == HEALTHY and ready == wanted:
        return settled(f"Cluster {target.name} is healthy, {numbers}", {"cluster": target.name})
    why = f" ({making.one_line(status['phaseReason'])})" if status.get("phaseReason") else ""
    pods = await reader.list("Pod", target.namespace, {"matchLabels": {"cnpg.io/cluster": target.name}})
    return pending(f"Cluster {target.name}: {phase}{why}, {numbers}{troubles(pods)}")
