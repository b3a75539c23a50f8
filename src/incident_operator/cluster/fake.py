"""A cluster in memory: the twin of ``gateway``, held to it by the contract tests.

Every call gives way to the others once, so that what runs at once is really interleaved. What is
written is kept in a journal; a test may make any call fail, before or after it took effect.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import unquote

from incident_operator.cluster import events
from incident_operator.cluster.errors import refused
from incident_operator.cluster.fake_finding import bare, column_of, field, question
from incident_operator.cluster.fake_network import Network
from incident_operator.cluster.fake_rights import Right, Rights, Who
from incident_operator.cluster.fake_store import Key, NotServedError, Object, RefusedError, Store, said
from incident_operator.cluster.port import Ran
from incident_operator.cluster.resources import ONLY_METADATA, RESOURCES, resource
from incident_operator.faults import Fault, NotFound, Refused, Stalled, Waiting
from incident_operator.planning.plan import Manifest, Ref, Request
from incident_operator.planning.selectors import labels_of, matches

OPTIONAL = frozenset(
    {
        "keda.sh", "velero.io", "postgresql.cnpg.io", "snapshot.storage.k8s.io", "aquasecurity.github.io",
        "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io", "argoproj.io",
    }
)  # fmt: skip
GROUPS = frozenset(found.group for found in RESOURCES.values() if found.group) - OPTIONAL


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """One call, as a hook sees it: twice, before it takes effect and after."""

    number: int
    when: Literal["before", "after"]
    who: Who
    verb: str
    ref: Ref
    subresource: str = ""
    dry_run: bool = False
    request: Request | None = None
    """What is to be written."""

    @property
    def is_write(self) -> bool:
        """Whether it changes anything."""
        return self.verb in ("create", "patch", "delete") and not self.dry_run


@dataclasses.dataclass(frozen=True, slots=True)
class Write:
    """One write that was made, with the object before and after (None: not there)."""

    number: int
    who: Who
    request: Request
    before: Manifest | None
    after: Manifest | None


def _metadata(thing: Manifest) -> Manifest:
    """An object as a list of metadata has it."""
    return {"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": thing["metadata"]}


def _no_hook(call: Call) -> None:
    """Let every call through."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class World:
    """What all identities of one cluster share."""

    def __init__(self, groups: Iterable[str], clock: Callable[[], datetime]) -> None:
        """Begin with nothing in it."""
        self.store = Store(clock)
        self.rights = Rights()
        self.network = Network()
        self.groups = GROUPS | frozenset(groups)
        self.journal: list[Write] = []
        self.calls = 0
        self.hook: Callable[[Call], None] = _no_hook


class FakeHands:
    """One identity on a cluster in memory; implements ``port.Hands``."""

    def __init__(self, world: World, who: Who) -> None:
        """Be somebody on a cluster."""
        self._world = world
        self._who = who

    async def _call(self, verb: str, ref: Ref, what: str, act: Callable[[], Any], **more: Any) -> Any:
        """One call: in turn with the others, past the hook and the rights, its errors as the gateway's."""
        await asyncio.sleep(0)
        world = self._world
        world.calls += 1
        call = Call(world.calls, "before", self._who, verb, ref, **more)
        world.hook(call)
        try:
            self._authorize(call)
            found = act()
        except RefusedError as cause:
            raise refused(
                what, cause.code, cause.body, {}, identity=str(self._who), patch_test=cause.is_patch_test
            ) from cause
        world.hook(dataclasses.replace(call, when="after"))
        return found

    def _authorize(self, call: Call) -> None:
        """403 without the right, in the API server's words; 404 where the group is not served. All may review."""
        if call.verb == "review":
            return
        ref, found = call.ref, resource(call.ref.kind)
        if found.only_metadata and call.verb != "list":
            raise Stalled("Invalid", ONLY_METADATA.format(kind=ref.kind))
        plural = f"{found.plural}/{call.subresource}" if call.subresource else found.plural
        namespace = ref.namespace if found.namespaced else ref.name
        why = self._world.rights.missing(self._who, (found.group, plural, call.verb), namespace)
        if why:
            name = "" if call.verb in ("create", "list") else ref.name
            raise RefusedError(403, "Forbidden", f"{said(ref.kind, name)} is forbidden: {why}")
        if found.group and found.group not in self._world.groups:
            raise NotServedError

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """One object, raw."""
        ref = Ref(kind, name, namespace)
        found: Manifest = await self._call(
            "get", ref, f"get {kind} {namespace}/{name}", lambda: copy.deepcopy(self._world.store.read(ref))
        )
        return found

    async def find(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object, raw, or None."""
        try:
            return await self.get(kind, namespace, name)
        except NotFound:
            return None

    async def list(self, kind: str, namespace: str, selector: Mapping[str, Any] | None = None) -> Sequence[Manifest]:
        """Objects of a namespace."""
        what = f"list {kind} in {namespace}"
        return await self._listed(
            kind, namespace, what, lambda: lambda each: selector is None or matches(selector, labels_of(each))
        )

    async def _listed(
        self, kind: str, namespace: str, what: str, asked: Callable[[], Callable[[Manifest], bool]]
    ) -> Sequence[Manifest]:
        def act() -> list[Manifest]:
            wanted = asked()
            there = sorted(self._world.store.objects.items())
            mine = [each for key, each in there if key[0] == kind and namespace in ("", key[1])]
            return [copy.deepcopy(bare(each)) for each in mine if wanted(each)]

        found: Sequence[Manifest] = await self._call("list", Ref(kind, "", namespace), what, act)
        return found

    async def groups(self) -> frozenset[str]:
        """Names of the API groups the cluster serves."""
        await asyncio.sleep(0)
        return self._world.groups

    async def through_service(
        self, namespace: str, service: str, port: str, path: str, *, timeout_seconds: float
    ) -> tuple[int, int]:
        """What ``network.answers`` says; a Service that is only an object has no endpoints."""
        if not path.startswith("/") or ".." in unquote(path).split("/"):
            raise Refused("Invalid", f"http.path {path!r} must begin with / and have no .. in it")
        what = f"get {path} from Service {namespace}/{service}:{port}"

        def act() -> tuple[int, int]:
            answer = self._world.network.answers.get((namespace, service))
            self._world.network.asked.append((namespace, service, port, path, timeout_seconds))
            if isinstance(answer, Fault):
                raise answer
            if answer is None:
                self._world.store.read(Ref("Service", service, namespace))
                raise Waiting("ServiceUnreachable", f"could not {what}: no endpoints available")
            return answer

        ref = Ref("Service", f"http:{service}:{port}", namespace)
        found: tuple[int, int] = await self._call("get", ref, what, act, subresource="proxy")
        return found

    async def run_in_pod(
        self, namespace: str, pod: str, container: str, argv: Sequence[str], *, timeout_seconds: float
    ) -> Ran:
        """What ``network.programs`` says of the pod; a pod that is only an object runs nothing."""
        what = f"run {argv[0]} in pod {namespace}/{pod}"
        ref = Ref("Pod", pod, namespace)

        def act() -> Ran:
            self._world.store.read(ref)
            self._world.network.ran.append((pod, container, tuple(argv), timeout_seconds))
            found = self._world.network.programs.get(pod)
            if isinstance(found, Fault):
                raise found
            if found is None:
                raise Waiting("ExecBroken", f"could not {what}: nobody said how it ended")
            return found

        made: Ran = await self._call("get", ref, what, act, subresource="exec")
        return made

    async def log_text(
        self, namespace: str, pod: str, container: str, *, since: datetime, most_bytes: int, previous: bool = False
    ) -> str:
        """What ``network.logs`` has of the container."""
        ref = Ref("Pod", pod, namespace)

        def act() -> str:
            self._world.store.read(ref)
            return self._world.network.logged(pod, container, since, previous=previous)[:most_bytes]

        made: str = await self._call("get", ref, f"read the log of pod {namespace}/{pod}", act, subresource="log")
        return made

    async def connects(self, address: str, port: int, *, timeout_seconds: float) -> bool | None:
        """Whether ``network`` says that it can be reached; None outside of the pods' network."""
        await asyncio.sleep(0)
        if not self._world.network.on_pod_network:
            return None
        network = self._world.network
        network.tried.append((address, port))
        network.longest = max(network.longest, timeout_seconds)
        return (address, port) in network.reachable

    async def send(self, request: Request, *, dry_run: bool = False) -> Manifest:
        """Make one write; the object as it is after."""
        world, ref = self._world, request.ref

        def act() -> Manifest:
            made = world.store.write(request, dry_run=dry_run)
            if not dry_run:
                world.journal.append(Write(world.calls, self._who, *copy.deepcopy((request, made.before, made.after))))
            return made.answer

        found: Manifest = await self._call(
            request.verb,
            ref,
            f"{request.verb} {ref}",
            act,
            subresource=request.subresource,
            dry_run=dry_run,
            request=request,
        )
        return found

    async def review(self, attributes: Mapping[str, str]) -> bool:
        """Whether this identity may do something."""
        sub = attributes.get("subresource", "")
        what = f"{attributes['resource']}/{sub}" if sub else attributes["resource"]
        right = (attributes.get("group", ""), what, attributes["verb"])
        ref = Ref("SelfSubjectAccessReview", "", "")
        namespace, rights = attributes.get("namespace", ""), self._world.rights
        return bool(
            await self._call("review", ref, f"create {ref}", lambda: not rights.missing(self._who, right, namespace))
        )


class FakeCluster(FakeHands):
    """The operator's own identity on a cluster in memory; implements ``port.Cluster``."""

    def __init__(
        self, *objects: Mapping[str, Any], groups: Iterable[str] = (), clock: Callable[[], datetime] = _utc_now
    ) -> None:
        """Begin with these objects; ``groups`` are served besides those that every cluster has."""
        super().__init__(World(groups, clock), Who())
        self.put(*objects)

    @property
    def objects(self) -> dict[Key, Object]:
        """All objects by kind, namespace and name."""
        return self._world.store.objects

    @property
    def journal(self) -> list[Write]:
        """Every write that was made, oldest first; not what ``put`` and ``edit`` did."""
        return self._world.journal

    @property
    def network(self) -> Network:
        """What can be reached."""
        return self._world.network

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return self._world.calls

    def at(self, kind: str, name: str, namespace: str = "shop") -> Object:
        """The object itself: what is done to it is done behind the API's back."""
        return self.objects[kind, namespace, name]

    def put(self, *objects: Mapping[str, Any]) -> None:
        """Place objects as they are, status and all."""
        for each in objects:
            self._world.store.place(each)

    def edit(self, kind: str, namespace: str, name: str, change: Callable[[Object], None]) -> Object:
        """Somebody else's write: any field, status too; the version grows, and the generation with the spec."""
        there = self.objects[kind, namespace, name]
        new = copy.deepcopy(there)
        change(new)
        if new.get("spec") != there.get("spec") and "generation" in there["metadata"]:
            new["metadata"]["generation"] += 1
        return self._world.store.place(new)

    def take(self, kind: str, namespace: str, name: str) -> None:
        """Somebody else's deletion, past any finalizer."""
        self._world.store.remove(self.objects[kind, namespace, name])

    def grant(self, namespace: str, service_account: str, rights: Iterable[Right]) -> None:
        """From now on this ServiceAccount (empty: the operator) may do this in its namespace, and nothing else."""
        self._world.rights.grant(Who(namespace, service_account), rights)

    def on_call(self, hook: Callable[[Call], None] = _no_hook) -> None:
        """Show every call to a hook, before it takes effect and after; what the hook raises, the caller gets."""
        self._world.hook = hook

    def fail(
        self,
        fault: BaseException,
        *,
        nth: int = 1,
        when: Literal["before", "after"] = "before",
        of: Callable[[Call], bool] = lambda _: True,
        lasting: bool = False,
    ) -> None:
        """Raise a fault at the nth call of a kind from now on, or at all from that one on (``lasting``)."""
        seen = 0

        def hook(call: Call) -> None:
            nonlocal seen
            if call.when != when or not of(call):
                return
            seen += 1
            if seen == nth or (lasting and seen > nth):
                raise fault

        self.on_call(hook)

    def acting_as(self, namespace: str, service_account: str) -> FakeHands:
        """The same cluster as a ServiceAccount."""
        return FakeHands(self._world, Who(namespace, service_account))

    async def list_all(
        self,
        kind: str,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        metadata_only: bool = False,
    ) -> Sequence[Manifest]:
        """All objects of a namespace, or of all; with ``metadata_only`` without their spec and status."""
        what = f"list {kind} of {namespace or 'all namespaces'}"
        found = await self._listed(kind, namespace, what, lambda: question(kind, label_selector, field_selector))
        return [_metadata(each) for each in found] if metadata_only else found

    async def column(self, kind: str, name: str, namespace: str = "") -> Sequence[str]:
        """One column of the table of all objects of a kind of ours; empty if there is no such column."""
        found = await (self.list(kind, namespace) if namespace else self.list_all(kind))
        path = column_of(kind, name)
        return [field(each, path) for each in found] if path else ()

    async def patch_status(
        self, ref: Ref, status: Mapping[str, Any], *, resource_version: str = "", was: Mapping[str, Any] | None = None
    ) -> Manifest:
        """Replace the status subresource under an optimistic lock: on the version, or on what status was."""
        lock = {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}
        body = [
            {"op": "test", "path": "/metadata/uid", "value": ref.uid},
            lock if was is None else {"op": "test", "path": "/status", "value": was},
            {"op": "add", "path": "/status", "value": status},
        ]
        return await self.send(Request("patch", ref, body, "application/json-patch+json", "status"))

    async def event(
        self, about: Manifest, *, reason: str, message: str, warning: bool = False, action: str = ""
    ) -> None:
        """Record an Event about an object; a failure is logged and never raised."""
        await events.record(self, about, "fake", reason=reason, message=message, warning=warning, action=action)
