"""Which of the replicas acts: a Lease of our own, and a fence that closes before anybody else may take it.

The rules are those of client-go's leaderelection: who holds the Lease renews it; who does not
watches for a change, and takes it once its own clock has seen none for the whole duration, so
that no clock need agree with another. Kopf's peering is not used: peers of one priority freeze
each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from incident_operator.cluster.port import Hands
from incident_operator.faults import Conflict, Fault, NotFound, Stalled, Waiting
from incident_operator.planning.plan import Manifest, Ref, Request

log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("incident_operator.leader")

LEASE_SECONDS = 10
"""A leader that dies is followed this long after its last renewal, and a second or so more."""
RENEW_SECONDS = 2.0
MARGIN_SECONDS = 3.0
"""A leader that cannot renew stops this long before others may begin; a request takes less, or is cut off."""
LOOK_SECONDS = 1.0


class Office(Protocol):
    """Whether this process acts."""

    async def campaign(self) -> None:
        """Return once it does."""
        ...

    async def keep(self) -> None:
        """Return once it does no longer."""
        ...

    async def resign(self) -> None:
        """Let somebody else act at once."""
        ...

    def is_held(self) -> bool:
        """Whether it may write now."""
        ...


class Alone:
    """Without a Lease this process takes itself for the only one."""

    async def campaign(self) -> None:
        """Act at once."""

    async def keep(self) -> None:
        """Act for ever."""
        await asyncio.Event().wait()

    async def resign(self) -> None:
        """Nobody is told."""

    def is_held(self) -> bool:
        """Always."""
        return True


class Leader:
    """Holds a Lease, or waits for it."""

    def __init__(
        self, hands: Hands, namespace: str, name: str, identity: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Want a Lease; ``hands`` must not be behind the fence that this makes."""
        self._hands = hands
        self._ref = Ref("Lease", name, namespace)
        self._identity = identity
        self._clock = clock
        self._until = float("-inf")
        self._version = ""
        self._seen: tuple[Any, float] = (None, 0.0)

    def is_held(self) -> bool:
        """Whether it may write now: from the moment a renewal was asked for, less a margin."""
        return self._clock() < self._until

    def guard(self) -> None:
        """The fence before each write: raises Waiting("NotLeader") once the Lease may be another's."""
        if not self.is_held():
            raise Waiting("NotLeader", f"this replica does not hold Lease {self._ref.namespace}/{self._ref.name} now")

    async def campaign(self) -> None:
        """Return once the Lease is ours."""
        said = ""
        while True:
            try:
                if await self._try():
                    log.info("Leading", lease=str(self._ref), identity=self._identity)
                    return
                holder = str(self._seen[0][0] if self._seen[0] else "")
                if holder != said:
                    log.info("Standing by", lease=str(self._ref), leader=holder)
                    said = holder
            except Fault as fault:
                log.warning("Could not get the Lease", reason=fault.reason, cause=fault.message)
            await asyncio.sleep(LOOK_SECONDS)

    async def _try(self) -> bool:
        """Take the Lease if it is free."""
        lease = await self._hands.find("Lease", self._ref.namespace, self._ref.name)
        if lease is None:
            return await self._create()
        spec = lease.get("spec") or {}
        holder, state = spec.get("holderIdentity") or "", lease["metadata"]["resourceVersion"]
        if self._seen[0] != (holder, state):
            self._seen = ((holder, state), self._clock())
        seconds = spec.get("leaseDurationSeconds") or LEASE_SECONDS
        if holder not in ("", self._identity) and self._clock() - self._seen[1] < seconds:
            return False
        self._version = state
        transitions = (spec.get("leaseTransitions") or 0) + 1
        return await self._write({"leaseTransitions": transitions, "acquireTime": _now()}, self._identity)

    async def _create(self) -> bool:
        begun = self._clock()
        body = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._ref.name, "namespace": self._ref.namespace},
            "spec": {**self._spec(self._identity), "acquireTime": _now(), "leaseTransitions": 0},
        }
        try:
            made = await self._hands.send(Request("create", self._ref, body))
        except Stalled as fault:
            if fault.reason == "AlreadyExists":
                return False
            raise
        self._hold(begun, made)
        return True

    def _spec(self, holder: str) -> dict[str, Any]:
        return {"holderIdentity": holder, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": _now()}

    async def _write(self, more: Mapping[str, Any], holder: str) -> bool:
        """Change the Lease if it is still as it was read."""
        begun = self._clock()
        body = {"metadata": {"resourceVersion": self._version}, "spec": {**self._spec(holder), **more}}
        try:
            written = await self._hands.send(Request("patch", self._ref, body, "application/merge-patch+json"))
        except (Conflict, NotFound):
            return False
        self._hold(begun, written)
        return True

    def _hold(self, begun: float, lease: Manifest) -> None:
        self._version = lease["metadata"]["resourceVersion"]
        self._until = begun + LEASE_SECONDS - MARGIN_SECONDS

    async def keep(self) -> None:
        """Renew the Lease; return when that could not be done in time, or somebody else has it."""
        while self.is_held():
            await asyncio.sleep(min(RENEW_SECONDS, max(self._until - self._clock(), 0.0)))
            try:
                if not await self._write({}, self._identity) and not await self._is_still_ours():
                    self._until = float("-inf")
                    log.error("Lease was taken by another", lease=str(self._ref))
                    return
            except Fault as fault:
                log.warning("Could not renew the Lease", reason=fault.reason, cause=fault.message)
        log.error("Lease is over: could not renew it in time", lease=str(self._ref))

    async def _is_still_ours(self) -> bool:
        """After a conflict: a renewal of ours may have been made although its answer was lost."""
        lease = await self._hands.find("Lease", self._ref.namespace, self._ref.name)
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != self._identity:
            return False
        self._version = lease["metadata"]["resourceVersion"]
        return True

    async def resign(self) -> None:
        """Give the Lease back, so that a standby need not wait for its end."""
        if not self.is_held():
            return
        self._until = float("-inf")
        try:
            # A renewal that was cancelled may have been made: what was read before is not what is there then.
            if not await self._write({}, "") and await self._is_still_ours():
                await self._write({}, "")
        except Fault as fault:
            log.warning("Could not give the Lease back", reason=fault.reason, cause=fault.message)
        self._until = float("-inf")


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
