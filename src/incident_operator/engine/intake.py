"""From signals to Incidents: one for each thing that is wrong, however often and by whom it is told.

Needs no Lease: it only makes Incidents, whose names follow from the signals, and writes which of
their alerts still fire. So every replica takes signals in.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal

import structlog

from incident_operator.api import names
from incident_operator.cluster.port import Cluster
from incident_operator.cluster.scope import list_within
from incident_operator.engine import joining
from incident_operator.engine.calls import Call, Caller
from incident_operator.engine.claims import TAKES_IN
from incident_operator.engine.firings import Index, Where, index
from incident_operator.engine.fresh import Fresh
from incident_operator.faults import Conflict, NotFound, Stalled, Waiting
from incident_operator.planning.plan import Manifest, Ref, Request
from incident_operator.signals.signal import Notification

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.intake")

INDEX_SECONDS = 2.0
"""How old the list of Incidents may be; those made here are known at once."""
AT_ONCE = 16
"""How many Incidents are made at the same time; the API server has others to serve."""
MOST_TRIES = 8
MOST_MADE = 8192
"""Of those made here that are remembered; the old ones every list knows."""


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
        self._index: Fresh[str, Index] = Fresh(INDEX_SECONDS)
        self._made: dict[Where, tuple[float, str]] = {}
        self._turns: dict[Where, _Turn] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def take(self, notification: Notification) -> Sequence[str]:
        """Have an Incident for every signal; their names, as namespace/name, once all are in etcd.

        Raises Waiting where the API server is away: the sender is to try again, and what was made is known then.
        A signal that cannot be taken in keeps no other from it; why it cannot is raised once they are.
        """
        if not notification.signals:
            return ()
        called = await asyncio.gather(
            *(self._caller.call(signal) for signal in notification.signals), return_exceptions=True
        )
        calls = [joining.left_out(call, notification.truncated) for call in called if isinstance(call, Call)]
        groups: dict[tuple[Where, str], list[Call]] = {}
        for call in calls:
            name = await self._knowing(call.namespace, call)
            groups.setdefault(((call.namespace, name or call.key), name), []).append(call)
        done = await asyncio.gather(
            *(self._handle(where, name, group) for (where, name), group in groups.items()), return_exceptions=True
        )
        failed = [each for each in (*called, *done) if isinstance(each, BaseException)]
        for each in sorted(failed, key=lambda each: not isinstance(each, Waiting)):
            raise each
        return list(dict.fromkeys(name for each in done if isinstance(each, list) for name in each))

    async def _handle(self, where: Where, name: str, calls: Sequence[Call]) -> list[str]:
        """One Incident for calls that are about the same, or more where some of them know another."""
        turn = self._turns.setdefault(where, _Turn())
        turn.waiting += 1
        places: list[str] = []
        try:
            async with turn.lock, self._room:
                rest = await self._joined(where[0], name, calls, places) if name else calls
                for key in dict.fromkeys(call.key for call in rest):
                    await self._placed((where[0], key), [call for call in rest if call.key == key], places)
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                self._turns.pop(where, None)
        return places

    async def _placed(self, where: Where, calls: Sequence[Call], places: list[str]) -> None:
        """Have calls about the same in the Incident that is open about it, else in a new one."""
        name = self._remembered(where) or (await self._listed()).about.get(where, "")
        if name:
            calls = await self._joined(where[0], name, calls, places)
        for _ in itertools.repeat(None, MOST_TRIES):
            if not calls:
                return
            calls = await self._begun(where, calls, places)
        raise Waiting("Conflict", f"Incidents of namespace {where[0]} change too often; try again")

    async def _begun(self, where: Where, calls: Sequence[Call], places: list[str]) -> Sequence[Call]:
        """Make the Incident; the calls that are left where it was there already, and is closed.

        Where the namespace cannot have it, it is made in the operator's own: it is never lost.
        """
        place, (made, first) = where[0], await self._incident(calls)
        outcome = await self._created(place, made)
        if outcome == "no place":
            place, calls = self._caller.home, [joining.misplaced(call, where[0]) for call in calls]
            for call in calls:
                if name := await self._knowing(place, call):
                    left = await self._joined(place, name, [call], places)
                    calls = [each for each in calls if each is not call or left]
            if not calls:
                return ()
            made, first = await self._incident(calls)
            outcome = await self._created(place, made)
        name = made["metadata"]["name"]
        if outcome == "created":
            self._took(place, name, outcome, calls, places)
            self._remember(((place, call.key) for call in calls), name)
            self._remember(((place, f"@{call.signal.fingerprint}") for call in calls), name)
            return ()
        return await self._joined(place, name, calls, places, named=first)

    async def _incident(self, calls: Sequence[Call]) -> tuple[dict[str, Any], Call]:
        first = min(calls, key=lambda call: (call.signal.starts_at, call.signal.fingerprint))
        return joining.incident(calls, first, await self._user()), first

    async def _created(self, place: str, made: dict[str, Any]) -> Literal["created", "there", "no place"]:
        """Whether it was made in a namespace, was there already, or cannot be there."""
        metadata = {**made["metadata"], "namespace": place}
        body = {**made, "metadata": metadata}
        try:
            await self._cluster.send(Request("create", Ref("Incident", metadata["name"], place), body))
        except (NotFound, Stalled) as fault:
            if fault.reason == "AlreadyExists":
                return "there"
            if place == self._caller.home or not await self._is_no_place(place):
                raise
            log.warning("Namespace cannot have an Incident", namespace=place, cause=fault.message)
            return "no place"
        return "created"

    async def _is_no_place(self, namespace: str) -> bool:
        """Whether a namespace is not there, or is going."""
        found = await self._cluster.find("Namespace", "", namespace)
        return found is None or bool(found["metadata"].get("deletionTimestamp"))

    async def _joined(
        self, namespace: str, name: str, calls: Sequence[Call], places: list[str], named: Call | None = None
    ) -> Sequence[Call]:
        """Have an Incident know what the calls say of their alerts; the calls that it cannot take any more.

        Those are, where it has come to its end, the ones that are news. ``named`` is the one it was made from: its
        name says so.
        """
        for _ in itertools.repeat(None, MOST_TRIES):
            found = await self._cluster.find("Incident", namespace, name)
            if found is None:
                self._forget(name)
                return calls
            is_going = bool(found["metadata"].get("deletionTimestamp"))
            if is_going and any(call.signal.is_firing for call in calls):
                raise Waiting(
                    "BeingDeleted", f"Incident {namespace}/{name} is being deleted; try again when it is gone"
                )
            is_open = joining.is_open(found)
            mine = calls if is_open or is_going else joining.old_news(found, calls)
            changes = joining.changes(found, mine)
            body = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]},
                *changes,
            ]
            try:
                if changes:
                    await self._cluster.send(
                        Request("patch", Ref("Incident", name, namespace), body, "application/json-patch+json")
                    )
            except Conflict:
                continue
            taken = [*mine, *([named] if named is not None and named not in mine else [])]
            if taken:
                self._took(namespace, name, "joined" if changes else "known", taken, places)
            if is_open:
                self._remember(((namespace, f"@{call.signal.fingerprint}") for call in mine), name)
            return [call for call in calls if all(call is not each for each in taken)]
        raise Waiting("Conflict", f"Incident {namespace}/{name} changes too often; try again")

    def _took(self, namespace: str, name: str, outcome: str, calls: Sequence[Call], places: list[str]) -> None:
        for call in calls:
            self._said(call.signal.source, outcome)
        log.info("Took signals in", incident=f"{namespace}/{name}", outcome=outcome, signals=len(calls))
        places.append(f"{namespace}/{name}")

    async def _knowing(self, namespace: str, call: Call) -> str:
        """The Incident that knows an alert, whatever it is about by now; or nothing."""
        made = self._remembered((namespace, f"@{call.signal.fingerprint}"))
        return made or (await self._listed()).known(namespace, call.signal)

    async def _listed(self) -> Index:
        return await self._index.get("", self._list)

    async def _list(self) -> Index:
        """Every Incident that signals made. Closed ones count, for Alertmanager repeats what fires on after that."""
        every, still_open = await asyncio.gather(self._made_by_signals(""), self._made_by_signals(TAKES_IN))
        return index(every, still_open)

    async def _made_by_signals(self, which: str) -> Sequence[Manifest]:
        """Metadata of the Incidents of a field selector that signals made."""
        of_signals = {"label_selector": names.SIGNAL, "field_selector": which}
        return await list_within(self._cluster, self._namespaces, "Incident", **of_signals, metadata_only=True)

    def _remembered(self, where: Where) -> str:
        at, name = self._made.get(where, (float("-inf"), ""))
        return name if time.monotonic() - at < INDEX_SECONDS * 2 else ""

    def _remember(self, wheres: Iterable[Where], name: str) -> None:
        now = time.monotonic()
        if len(self._made) >= MOST_MADE:
            self._made = {key: made for key, made in self._made.items() if now - made[0] < INDEX_SECONDS * 2}
        self._made.update((where, (now, name)) for where in wheres)

    def _forget(self, name: str) -> None:
        """It is gone."""
        self._made = {where: made for where, made in self._made.items() if made[1] != name}


async def whoami(cluster: Cluster) -> str:
    """The user name that the API server knows the operator by (SelfSubjectReview)."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await cluster.send(Request("create", Ref("SelfSubjectReview", "", ""), body))
    return str(((answer.get("status") or {}).get("userInfo") or {}).get("username", ""))
