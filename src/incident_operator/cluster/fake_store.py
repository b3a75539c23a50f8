"""The objects of a cluster in memory, under the rules of an API server: what is refused, counted, kept and cascaded.

There is no schema: nothing is defaulted, and an unknown or ill-typed field is taken as it is.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from incident_operator.api import names
from incident_operator.cluster import fake_patches as patches
from incident_operator.cluster.resources import Resource, resource
from incident_operator.cluster.selectors import query_of
from incident_operator.planning.plan import Manifest, Ref, Request

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Kind, namespace (empty for kinds without), name."""

COUNTED = frozenset(
    {
        "CronJob",
        "DaemonSet",
        "Deployment",
        "Job",
        "NetworkPolicy",
        "Pod",
        "PodDisruptionBudget",
        "ReplicaSet",
        "StatefulSet",
    }
)
"""Built-in kinds whose spec has a generation; custom ones all have."""
SCALED = frozenset({"Deployment", "ReplicaSet", "StatefulSet"})
WITH_STATUS = frozenset(
    {
        "Cluster",
        "HorizontalPodAutoscaler",
        "Incident",
        "PersistentVolumeClaim",
        "ScaledObject",
        "Service",
        "VolumeSnapshot",
        *COUNTED,
    }
) - {"NetworkPolicy"}
"""Kinds whose status is written through its subresource only."""
FIRST_STATUS = {"Incident": {"observedGeneration": -1}}
"""The one default that matters: what status is before anybody wrote it (``default`` in the CRD)."""
CUSTOM = (names.GROUP, "keda.sh", "velero.io", "postgresql.cnpg.io", "snapshot.storage.k8s.io")
KEPT = ("uid", "resourceVersion", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
"""What the server keeps, whatever a patch says."""
GRACE_SECONDS = 30
CONFIG_KEY = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}(?<!^\.)")
"""Not `.`, and nothing that begins with two dots."""
PATCH_FAILED = 422
"""Where it names no field, an operation of a JSON patch did not fit."""


class RefusedError(Exception):
    """An error answer: the HTTP status and the Status object in its body."""

    def __init__(self, code: int, reason: str, message: str, *causes: str) -> None:
        """Keep the parts; ``causes`` are the fields that were not valid."""
        super().__init__(message)
        self.code = code
        details = {"causes": [{"field": each} for each in causes]} if causes else {}
        self.is_patch_test = code == PATCH_FAILED and not causes
        status = {"kind": "Status", "reason": reason, "message": message, "details": details, "code": code}
        self.body = json.dumps(status).encode()


class NotServedError(RefusedError):
    """What an API server answers where it serves no such group: a bare page, as of anything in between."""

    def __init__(self) -> None:
        """Nothing is said but that."""
        super().__init__(404, "", "404 page not found")
        self.body = b"404 page not found\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """One object as it was before a write (None: not there) and is after it (None: gone), and the answer."""

    before: Manifest | None
    after: Manifest | None
    answer: Manifest


def key_of(thing: Manifest) -> Key:
    """Where an object is kept."""
    meta = thing["metadata"]
    return thing["kind"], meta.get("namespace", "") if resource(thing["kind"]).namespaced else "", meta["name"]


def said(kind: str, name: str = "") -> str:
    """A resource as the API server's messages name it: ``deployments.apps "api"``."""
    found = resource(kind)
    plural = f"{found.plural}.{found.group}" if found.group else found.plural
    return f'{plural} "{name}"' if name else plural


def is_counted(found: Resource) -> bool:
    """Whether objects of a kind have a generation."""
    return found.kind in COUNTED or found.group in CUSTOM


class Store:
    """All objects, and the one counter of versions."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        """Begin empty; ``clock`` gives the timestamps."""
        self.objects: dict[Key, Object] = {}
        self._clock = clock
        self._version = 0

    def _next(self) -> str:
        self._version += 1
        return str(self._version)

    def _stamp(self) -> str:
        return f"{self._clock().astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"

    def place(self, thing: Mapping[str, Any]) -> Object:
        """Keep an object as it is, whatever the rules say; what an API server would add is added."""
        new = copy.deepcopy(dict(thing))
        meta = new["metadata"]
        meta.setdefault("uid", str(uuid.uuid4()))
        meta.setdefault("creationTimestamp", self._stamp())
        if is_counted(resource(new["kind"])):
            meta.setdefault("generation", 1)
        meta["resourceVersion"] = self._next()
        self.objects[key_of(new)] = _with_status(new)
        return new

    def read(self, ref: Ref) -> Object:
        """The object itself, not a copy; 404 if it is not there."""
        found = self.objects.get((ref.kind, ref.namespace if resource(ref.kind).namespaced else "", ref.name))
        if found is None:
            raise RefusedError(404, "NotFound", f"{said(ref.kind, ref.name)} not found")
        return found

    def write(self, request: Request, *, dry_run: bool) -> Written:
        """Make one write, or find out what it would do."""
        match request.verb:
            case "create":
                return self._create(request, dry_run=dry_run)
            case "patch":
                return self._patch(request, dry_run=dry_run)
            case _:
                return self._delete(request.ref, dry_run=dry_run)

    def _create(self, request: Request, *, dry_run: bool) -> Written:
        found = resource(request.ref.kind)
        new = patches.tidy(request.body)
        meta, name = new["metadata"], new["metadata"].get("name", "")
        if found.namespaced and meta.setdefault("namespace", request.ref.namespace) != request.ref.namespace:
            raise RefusedError(400, "BadRequest", "the namespace of the provided object does not match the namespace "
                               "sent on the request")  # fmt: skip
        if meta.get("resourceVersion"):
            raise RefusedError(500, "", "resourceVersion should not be set on objects to be created")
        self._admit(found.kind, meta)
        there = self.objects.get(key_of(new))
        if there is not None:
            leaving = "object is being deleted: " if there["metadata"].get("deletionTimestamp") else ""
            raise RefusedError(409, "AlreadyExists", f"{leaving}{said(found.kind, name)} already exists")
        meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._stamp()}
        meta.pop("deletionTimestamp", None)
        if is_counted(found):
            meta["generation"] = 1
        if found.kind in WITH_STATUS:
            new.pop("status", None)
        _with_status(new)
        if not dry_run:
            meta["resourceVersion"] = self._next()
            self.objects[key_of(new)] = new
        return Written(None, new, copy.deepcopy(new))

    def _admit(self, kind: str, meta: Mapping[str, Any]) -> None:
        """The namespace takes new objects; a store that holds no Namespace at all takes every one to be there."""
        if not resource(kind).namespaced or not any(key[0] == "Namespace" for key in self.objects):
            return
        namespace = self.read(Ref("Namespace", meta["namespace"], ""))
        if namespace["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {meta['namespace']} because it is being terminated"
            raise RefusedError(403, "Forbidden", f"{said(kind, meta['name'])} is forbidden: {why}")

    def _patch(self, request: Request, *, dry_run: bool) -> Written:
        ref, there = request.ref, self.read(request.ref)
        new = _patched(there, request)
        _keep_immutable(request, there, _with_status(new))
        _refuse_bad_keys(ref.kind, new)
        if is_counted(resource(ref.kind)) and _counts(ref.kind, there, new):
            new["metadata"]["generation"] = there["metadata"].get("generation", 0) + 1
        after: Object | None = there
        if new != there:
            is_over = new["metadata"].get("deletionTimestamp") and not new["metadata"].get("finalizers")
            after = None if is_over else new
            if not dry_run:
                self._settle(there, after)
        return Written(there, after, self._answer(request, new))

    def _settle(self, before: Object, after: Object | None) -> None:
        """Keep what a write made of an object, and what follows from it."""
        if after is None:
            self.remove(before)
        else:
            after["metadata"]["resourceVersion"] = self._next()
            self.objects[key_of(after)] = after

    @staticmethod
    def _answer(request: Request, new: Object) -> Object:
        if request.subresource == "scale":
            return patches.as_scale(new, query_of(new["spec"].get("selector") or {}))
        return copy.deepcopy(new)

    def _delete(self, ref: Ref, *, dry_run: bool) -> Written:
        there = self.read(ref)
        uid = there["metadata"]["uid"]
        if ref.uid != uid:
            why = f"the UID in the precondition ({ref.uid}) does not match the UID in record ({uid})"
            raise RefusedError(409, "Conflict", f"Operation cannot be fulfilled on {said(ref.kind, ref.name)}: {why}")
        leaving = self._leaving(there)
        stays = bool(leaving["metadata"].get("finalizers")) or _is_graceful(leaving) or ref.kind == "Namespace"
        if not dry_run and leaving != there:
            self._settle(there, leaving)
        if not dry_run and ref.kind == "Namespace":
            self._empty(leaving)
        elif not dry_run and not stays:
            self.remove(leaving)
        if stays or ref.kind == "Pod":
            return Written(there, leaving if stays else None, copy.deepcopy(leaving))
        details = {"name": ref.name, "kind": resource(ref.kind).plural, "uid": uid}
        group = {"group": resource(ref.kind).group} if resource(ref.kind).group else {}
        answer = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details | group}
        return Written(there, None, answer)

    def _leaving(self, there: Object) -> Object:
        """The object as it is while it is being deleted."""
        if there["metadata"].get("deletionTimestamp"):
            return there
        new = copy.deepcopy(there)
        grace = new["spec"].get("terminationGracePeriodSeconds", GRACE_SECONDS) if _is_graceful(new) else 0
        new["metadata"] |= {"deletionTimestamp": self._stamp(), "deletionGracePeriodSeconds": grace}
        if new["metadata"].get("generation"):
            new["metadata"]["generation"] += 1
        return new

    def _empty(self, namespace: Manifest) -> None:
        """Delete what is in a namespace, and the namespace itself once nothing is."""
        name = namespace["metadata"]["name"]
        for kind, there, each in list(self.objects):
            if there == name and (kind, there, each) in self.objects:
                self._delete(Ref(kind, each, there, self.objects[kind, there, each]["metadata"]["uid"]), dry_run=False)
        self._finish(name)

    def _finish(self, name: str) -> None:
        """A namespace that goes is gone with the last object in it."""
        namespace = self.objects.get(("Namespace", "", name))
        is_empty = not any(there == name for _, there, _ in self.objects)
        if namespace and namespace["metadata"].get("deletionTimestamp") and is_empty:
            del self.objects["Namespace", "", name]

    def remove(self, thing: Manifest) -> None:
        """Take an object away whatever its finalizers, and then what it alone owned (background deletion)."""
        self.objects.pop(key_of(thing), None)
        self._finish(key_of(thing)[1])
        gone = thing["metadata"]["uid"]
        for each in list(self.objects.values()):
            owners = each["metadata"].get("ownerReferences") or ()
            if not any(owner["uid"] == gone for owner in owners) or key_of(each) not in self.objects:
                continue
            uids = {other["metadata"]["uid"] for other in self.objects.values()}
            left = [owner for owner in owners if owner["uid"] in uids]
            if left:
                self._settle(each, {**each, "metadata": {**each["metadata"], "ownerReferences": left}})
            else:
                _, namespace, name = key_of(each)
                self._delete(Ref(each["kind"], name, namespace, each["metadata"]["uid"]), dry_run=False)


def _with_status(thing: Object) -> Object:
    """The same object, with the status that its kind begins with if it has none."""
    first = FIRST_STATUS.get(thing["kind"])
    if first is not None:
        thing.setdefault("status", dict(first))
    return thing


def _patched(there: Object, request: Request) -> Object:
    """What a patch makes of the object, as far as its subresource may write it."""
    sub, kind = request.subresource, request.ref.kind
    if (sub == "scale") > (kind in SCALED) or (sub == "status") > (kind in WITH_STATUS):
        raise RefusedError(404, "NotFound", "the server could not find the requested resource")
    view = patches.as_scale(there, "") if sub == "scale" else there
    if request.content_type == patches.JSON_PATCH:
        try:
            new = patches.json_patch(view, request.body)
        except patches.CannotApplyError as cause:
            raise RefusedError(422, "Invalid", f"the server rejected our request: {cause}") from cause
    elif request.content_type == patches.MERGE_PATCH:
        new = patches.merge_patch(view, request.body)
    else:
        raise RefusedError(415, "UnsupportedMediaType", f"the fake knows no {request.content_type}")
    if not isinstance(new, dict) or not isinstance(new.get("metadata"), dict):
        raise RefusedError(400, "BadRequest", "the name of the object was undeterminable")
    new = patches.tidy(new)
    if sub == "scale":
        return _scaled(there, new)
    if sub == "status":
        meta = {**there["metadata"], "uid": new["metadata"].get("uid")}
        meta["resourceVersion"] = new["metadata"].get("resourceVersion")
        found = {**there, "metadata": meta, "status": new.get("status")}
        return copy.deepcopy({key: value for key, value in found.items() if value is not None})
    if kind in WITH_STATUS:
        new.pop("status", None)
        new |= {"status": there["status"]} if "status" in there else {}
    return copy.deepcopy(new)


def _scaled(there: Object, scale: Object) -> Object:
    replicas, uid = scale.get("spec", {}).get("replicas", 0), scale["metadata"].get("uid")
    if replicas < 0:
        why = f"spec.replicas: Invalid value: {replicas}: must be greater than or equal to 0"
        raise RefusedError(422, "Invalid", f'Scale.autoscaling "{there["metadata"]["name"]}" is invalid: {why}', why)
    if uid not in (None, there["metadata"]["uid"]):
        raise RefusedError(409, "Conflict", f"Precondition failed: UID in precondition: {uid}")
    meta = {**there["metadata"], "resourceVersion": scale["metadata"].get("resourceVersion")}
    return {**copy.deepcopy(there), "metadata": meta, "spec": {**there["spec"], "replicas": replicas}}


def _keep_immutable(request: Request, there: Object, new: Object) -> None:
    """Refuse what no patch may do; a ``resourceVersion`` in it is an optimistic lock."""
    old, meta, kind, name = there["metadata"], new["metadata"], request.ref.kind, request.ref.name
    if meta.get("name") != old["name"] or meta.get("namespace") != old.get("namespace"):
        raise RefusedError(400, "BadRequest", "the name or namespace of the object does not match the one on the URL")
    if new.get("kind", kind) != kind:
        raise RefusedError(422, "Invalid", ' "" is invalid: patch: Invalid value', "patch")
    if (meta.get("resourceVersion") or old["resourceVersion"]) != old["resourceVersion"]:
        why = "the object has been modified; please apply your changes to the latest version and try again"
        raise RefusedError(409, "Conflict", f"Operation cannot be fulfilled on {said(kind, name)}: {why}")
    for field in ("uid", "deletionTimestamp"):
        if (meta.get(field) or old.get(field)) != old.get(field):
            why = f'metadata.{field}: Invalid value: "{meta[field]}": field is immutable'
            raise RefusedError(422, "Invalid", f'{kind} "{name}" is invalid: {why}', f"metadata.{field}")
    added = sorted(set(meta.get("finalizers") or ()) - set(old.get("finalizers") or ()))
    if old.get("deletionTimestamp") and added:
        why = f"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted: {added}"
        raise RefusedError(422, "Invalid", f'{kind} "{name}" is invalid: {why}', "metadata.finalizers")
    for field in KEPT:
        meta.pop(field, None)
    meta |= {field: old[field] for field in KEPT if field in old}


def _counts(kind: str, old: Object, new: Object) -> bool:
    """Whether a change makes a new generation; a Deployment's annotations do, too (apps/v1 strategy.go)."""
    if kind == "Deployment" and old["metadata"].get("annotations") != new["metadata"].get("annotations"):
        return True
    apart = {"metadata", "status"}
    return {k: v for k, v in old.items() if k not in apart} != {k: v for k, v in new.items() if k not in apart}


def _is_graceful(thing: Manifest) -> bool:
    """Whether a deletion waits for a kubelet: the pod has been given to a node."""
    return thing["kind"] == "Pod" and bool(thing["spec"].get("nodeName"))


def _refuse_bad_keys(kind: str, new: Object) -> None:
    """A ConfigMap's keys are file names (apimachinery ``IsConfigMapKey``)."""
    bad = sorted(key for key in new.get("data") or {} if not CONFIG_KEY.fullmatch(key)) if kind == "ConfigMap" else []
    if bad:
        why = f'data[{bad[0]}]: Invalid value: "{bad[0]}": a valid config key must consist of alphanumeric characters'
        raise RefusedError(422, "Invalid", f'{kind} "{new["metadata"]["name"]}" is invalid: {why}', f"data[{bad[0]}]")
