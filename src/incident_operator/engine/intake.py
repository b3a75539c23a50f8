"""From signals to Incidents: one for each thing that is wrong, however often and by whom it is told.

Needs no Lease: it only makes Incidents, whose names follow from the signals, and writes which of
their alerts still fire. So every replica takes signals in.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import structlog

from incident_operator.api import names
from incident_operator.cluster.port import Cluster
from incident_operator.engine import joining
from incident_operator.engine.calls import Call, Caller
from incident_operator.engine.claims import OPEN
from incident_operator.engine.fresh import Fresh
from incident_operator.faults import Conflict, NotFound, Stalled, Waiting
from incident_operator.planning.plan import Manifest, Ref, Request
from incident_operator.signals.signal import Notification

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.intake")

INDEX_SECONDS = 2.0
"""How old the list of open Incidents may be; those made here are known at once."""
AT_ONCE = 16
"""How many Incidents are made at the same time; the API server has others to serve."""
MOST_TRIES = 8
MOST_MADE = 4096
"""Of those made here that are remembered; the old ones every list knows."""

Where = tuple[str, str]
"""Namespace, and what tells Incidents apart there."""


@dataclasses.dataclass(slots=True)
class _Turn:
    """One at a time for what is about the same."""

    lock: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    waiting: int = 0


class Intake:
    """Takes signals in."""

    def __init__(
        self,
        cluster: Cluster,
        caller: Caller,
        *,
        namespaces: Sequence[str] = (),
        user: Callable[[], Awaitable[str]],
        said: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        """Make Incidents in a cluster; ``user`` tells who that is then, ``said`` is told of source and outcome."""
        self._cluster = cluster
        self._caller = caller
        self._namespaces = namespaces
        self._user = user
        self._said = said
        self._open: Fresh[str, Mapping[Where, str]] = Fresh(INDEX_SECONDS)
        self._made: dict[Where, tuple[float, str]] = {}
        self._turns: dict[Where, _Turn] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def take(self, notification: Notification) -> Sequence[str]:
        """Have an Incident for every signal; their names, as namespace/name, once all are in etcd.

        Raises Waiting where the API server is away: the sender is to try again, and what was made is known then.
        """
        calls = await asyncio.gather(*(self._caller.call(signal) for signal in notification.signals))
        groups: dict[Where, list[Call]] = {}
        for call in calls:
            groups.setdefault((call.namespace, call.key), []).append(call)
        done = await asyncio.gather(
            *(self._handle(where, group) for where, group in groups.items()), return_exceptions=True
        )
        failed = [each for each in done if isinstance(each, BaseException)]
        for each in sorted(failed, key=lambda each: not isinstance(each, Waiting)):
            raise each
        return [each for each in done if isinstance(each, str)]

    async def _handle(self, where: Where, calls: Sequence[Call]) -> str:
        """One Incident for calls that are about the same."""
        turn = self._turns.setdefault(where, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock, self._room:
                namespace, name, outcome = await self._found_or_made(where, calls)
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(where, None)
        for call in calls:
            self._said(call.signal.source, outcome)
        log.info("Took signals in", incident=f"{namespace}/{name}", outcome=outcome, signals=len(calls))
        return f"{namespace}/{name}"

    async def _found_or_made(self, where: Where, calls: Sequence[Call]) -> tuple[str, str, str]:
        name = await self._known(where)
        if name:
            try:
                outcome = await self._join(where[0], name, calls, is_open=True)
            except NotFound:
                outcome = ""
            if outcome:
                return where[0], name, outcome
            self._forget(where, name)
        first = min(calls, key=lambda call: (call.signal.starts_at, call.signal.fingerprint))
        made = joining.incident(calls, first, await self._user())
        namespace, name = await self._create(where[0], made)
        if name:
            self._remember(where, name)
            return namespace, name, "created"
        name = made["metadata"]["name"]
        outcome = await self._join(namespace, name, calls)
        return namespace, name, outcome

    async def _create(self, namespace: str, made: dict[str, Any]) -> tuple[str, str]:
        """Where it was made, and its name; an empty name: it is there already.

        Where the namespace cannot have it, it is made in the operator's own: it is never lost.
        """
        home = self._caller.home
        for place in dict.fromkeys((namespace, home)):
            metadata = {**made["metadata"], "namespace": place}
            body = {**made, "metadata": metadata}
            if place != namespace:
                body = joining.misplaced(body, namespace)
            try:
                await self._cluster.send(Request("create", Ref("Incident", metadata["name"], place), body))
            except (NotFound, Stalled) as fault:
                if fault.reason == "AlreadyExists":
                    return place, ""
                if place == home or not await self._is_no_place(namespace):
                    raise
                log.warning("Namespace cannot have an Incident", namespace=namespace, cause=fault.message)
            else:
                return place, metadata["name"]
        raise Stalled("NoNamespace", f"no Incident can be made in {namespace} or {home}")

    async def _is_no_place(self, namespace: str) -> bool:
        """Whether a namespace is not there, or is going."""
        found = await self._cluster.find("Namespace", "", namespace)
        return found is None or bool(found["metadata"].get("deletionTimestamp"))

    async def _join(self, namespace: str, name: str, calls: Sequence[Call], *, is_open: bool = False) -> str:
        """Have an Incident know what the calls say of their alerts; what came of it.

        Nothing, with ``is_open``, where it has come to its end since it was listed, and the calls have news.
        """
        for _ in itertools.repeat(None, MOST_TRIES):
            found = await self._cluster.get("Incident", namespace, name)
            changes = joining.changes(found, calls)
            if found["metadata"].get("deletionTimestamp") and any(call.signal.is_firing for call in calls):
                raise Waiting(
                    "BeingDeleted", f"Incident {namespace}/{name} is being deleted; try again when it is gone"
                )
            if not changes:
                return "known"
            if is_open and not joining.is_open(found) and not joining.knows(found, calls):
                return ""
            body = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]},
                *changes,
            ]
            try:
                await self._cluster.send(
                    Request("patch", Ref("Incident", name, namespace), body, "application/json-patch+json")
                )
            except Conflict:
                continue
            return "joined"
        raise Waiting("Conflict", f"Incident {namespace}/{name} changes too often; try again")

    async def _known(self, where: Where) -> str:
        """The open Incident about this, or nothing."""
        made = self._made.get(where)
        if made is not None and time.monotonic() - made[0] < INDEX_SECONDS * 2:
            return made[1]
        return (await self._open.get("", self._list)).get(where, "")

    async def _list(self) -> Mapping[Where, str]:
        """Every open Incident that signals made; of two about the same, the older one."""
        found: list[Manifest] = []
        if self._namespaces:
            exists = {"matchExpressions": [{"key": names.SIGNAL, "operator": "Exists"}]}
            for namespace in self._namespaces:
                found += [
                    each for each in await self._cluster.list("Incident", namespace, exists) if joining.is_open(each)
                ]
        else:
            found += await self._cluster.list_all("Incident", label_selector=names.SIGNAL, field_selector=OPEN)
        going = [each for each in found if not each["metadata"].get("deletionTimestamp")]
        newest_first = sorted(going, key=lambda each: str(each["metadata"].get("creationTimestamp")), reverse=True)
        return {
            (each["metadata"]["namespace"], each["metadata"]["labels"][names.SIGNAL]): each["metadata"]["name"]
            for each in newest_first
        }

    def _remember(self, where: Where, name: str) -> None:
        now = time.monotonic()
        if len(self._made) >= MOST_MADE:
            self._made = {key: made for key, made in self._made.items() if now - made[0] < INDEX_SECONDS * 2}
        self._made[where] = (now, name)

    def _forget(self, where: Where, name: str) -> None:
        """It is gone."""
        if self._made.get(where, (0.0, ""))[1] == name:
            del self._made[where]


async def whoami(cluster: Cluster) -> str:
    """The user name that the API server knows the operator by (SelfSubjectReview)."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await cluster.send(Request("create", Ref("SelfSubjectReview", "", ""), body))
    return str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))
