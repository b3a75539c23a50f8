"""A cluster in memory, just real enough for actions and checks: objects, JSON patches with tests, UIDs."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from incident_operator.faults import Conflict, Fault, NotFound, Stalled
from incident_operator.planning.plan import Manifest, Request
from incident_operator.planning.selectors import matches

Object = dict[str, Any]


class Memory:
    """Holds objects; implements ``port.Hands``."""

    def __init__(self, *objects: Object, groups: Sequence[str] = ()) -> None:
        self.objects = {self._key(each): copy.deepcopy(each) for each in objects}
        self.api_groups = frozenset(groups)
        self.reachable: set[tuple[str, int]] = set()
        self.tried: list[tuple[str, int]] = []
        self.answer: tuple[int, int] | Fault = (200, 3)
        self.asked: list[tuple[str, str, str, str, float]] = []
        self.faults: dict[str, Fault] = {}
        """Raised instead of reading a kind."""
        self._uids = itertools.count(1)

    @staticmethod
    def _key(thing: Manifest) -> tuple[str, str, str]:
        return thing["kind"], thing["metadata"]["namespace"], thing["metadata"]["name"]

    def put(self, *objects: Object) -> None:
        for each in objects:
            self.objects[self._key(each)] = copy.deepcopy(each)

    def at(self, kind: str, name: str, namespace: str = "shop") -> Object:
        return self.objects[kind, namespace, name]

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        found = await self.find(kind, namespace, name)
        if found is None:
            raise NotFound(f"could not get {kind} {namespace}/{name}: not found")
        return found

    async def find(self, kind: str, namespace: str, name: str) -> Manifest | None:
        if kind in self.faults:
            raise self.faults[kind]
        return copy.deepcopy(self.objects.get((kind, namespace, name)))

    async def list(self, kind: str, namespace: str, selector: Mapping[str, Any] | None = None) -> Sequence[Manifest]:
        if kind in self.faults:
            raise self.faults[kind]
        return [
            copy.deepcopy(each)
            for (of, there, _), each in self.objects.items()
            if of == kind
            and there == namespace
            and (selector is None or matches(selector, each["metadata"].get("labels", {})))
        ]

    async def groups(self) -> frozenset[str]:
        return self.api_groups

    async def through_service(
        self, namespace: str, service: str, port: str, path: str, *, timeout_seconds: float
    ) -> tuple[int, int]:
        self.asked.append((namespace, service, port, path, timeout_seconds))
        if isinstance(self.answer, Fault):
            raise self.answer
        return self.answer

    async def connects(self, address: str, port: int, *, timeout_seconds: float) -> bool:
        assert timeout_seconds <= 2, "a probe must not hold up an isolation"
        self.tried.append((address, port))
        return (address, port) in self.reachable

    async def send(self, request: Request, *, dry_run: bool = False) -> Manifest:
        ref = request.ref
        key = (ref.kind, ref.namespace, ref.name)
        there = self.objects.get(key)
        if request.verb == "create":
            if there is not None:
                raise Stalled("AlreadyExists", f"{ref} exists already")
            made = copy.deepcopy(request.body)
            made["metadata"]["uid"] = f"made-{next(self._uids)}"
            self.objects[key] = made
            return made
        if there is None:
            raise NotFound(f"{ref} is not there")
        if request.verb == "delete":
            assert ref.uid, "a delete without a UID could hit another object of the name"
            if there["metadata"]["uid"] != ref.uid:
                raise Conflict(f"{ref} is another one by now")
            return self.objects.pop(key)
        assert request.content_type == "application/json-patch+json"
        view = _as_scale(there) if request.subresource == "scale" else there
        new = patched(view, request.body)
        if request.subresource == "scale":
            new = {**there, "spec": {**there["spec"], "replicas": new["spec"].get("replicas", 0)}}
        if new["spec"] != there["spec"]:
            new["metadata"]["generation"] = there["metadata"].get("generation", 0) + 1
        self.objects[key] = new
        return copy.deepcopy(new)


def _as_scale(thing: Object) -> Object:
    """A Scale as the API server has it: no replicas in it where they are 0."""
    replicas = thing["spec"].get("replicas", 1)
    metadata = {key: thing["metadata"][key] for key in ("name", "namespace", "uid")}
    return {"kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas} if replicas else {}}


def patched(thing: Object, operations: Sequence[Mapping[str, Any]]) -> Object:
    """RFC 6902 as the API server does it: all or nothing, and null is absent to a ``test``."""
    new = copy.deepcopy(thing)
    for each in operations:
        keys = [part.replace("~1", "/").replace("~0", "~") for part in each["path"].split("/")[1:]]
        parent: Any = new
        for key in keys[:-1]:
            if key not in parent:
                raise Stalled("Invalid", f"{each['path']} is not there")
            parent = parent[key]
        last = keys[-1]
        if each["op"] == "test":
            if parent.get(last) != each["value"]:
                raise Conflict(f"{each['path']} is not as tested")
        elif each["op"] == "remove" or (each["op"] == "replace" and last not in parent):
            if last not in parent:
                raise Stalled("Invalid", f"{each['path']} is not there")
            del parent[last]
        else:
            parent[last] = copy.deepcopy(each["value"])
    return new
