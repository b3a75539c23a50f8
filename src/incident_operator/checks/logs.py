"""``logs``: the targets' containers have logged none, or few, of some texts since the last action, or a minute.

Texts and not patterns: no expression of a user's can take for ever. The lines themselves are not told,
for they may hold what is not everybody's.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from incident_operator.api.schema import parse_duration
from incident_operator.checks.seeing import unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.containers import containers_of, statuses_of
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import parsed
from incident_operator.planning.selectors import pods_of

MOST_BYTES = 1 << 20
"""Of one container; more is not read, and then nothing found proves nothing."""

AT_ONCE = 4
"""Logs in memory at a time."""
MINUTE = timedelta(minutes=1)
OVER = "1m"
"""How far a rate looks back that does not say so."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """How many lines are good, and from when on they are counted."""

    most: int
    since: datetime
    words: str
    wait: str = ""
    """Why few of them prove nothing yet; empty when they do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """What the log of one container came to; the text itself is not kept."""

    pod: str
    container: str
    lines: int
    """How many have one of the texts."""
    is_cut: bool
    """There was more than is read."""
    is_lost: bool
    """It has ended more than once since then, and of the first time nothing is left to read."""


@dataclasses.dataclass(frozen=True, slots=True)
class Logs:
    """Few lines, or none, have one of some texts."""

    name: ClassVar[str] = "logs"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "find the pods"),
        Rule("", ("pods",), ("get", "list"), "find the pods"),
        Rule("", ("pods/log",), ("get",), "read what they have logged since the last action"),
    )
    asks: ClassVar[tuple[Rule, ...]] = (Rule("", ("pods/log",), ("get",)),)

    clock: Callable[[], datetime] = _now

    async def look(
        self,
        reader: Reader,
        namespace: str,
        targets: tuple[Ref, ...],
        params: Mapping[str, Any],
        *,
        since: datetime,
    ) -> Finding:
        """Fail when more lines than allowed have one of the texts; Unknown where not all could be read.

        Of a container that has ended since then, the log of what ended last is read too; what ended before is lost.
        """
        texts = [str(text).lower() for text in params.get("patterns") or ()]
        try:
            bound = _bound(params, since, self.clock())
            groups = await asyncio.gather(*(_pods(reader, target) for target in targets))
            found = {pod["metadata"]["name"]: pod for group in groups for pod in group}
            if not found:
                return unknown("there is no pod whose log could be read")
            turns = asyncio.Semaphore(AT_ONCE)
            counts = await asyncio.gather(
                *(
                    _counted(reader, namespace, pod, each["name"], bound, texts, turns)
                    for pod in found.values()
                    for each in containers_of(pod["spec"])
                )
            )
        except ValueError as error:
            return unknown(f"logs.over: {error}")
        except Fault as fault:
            return unseen(fault)
        return _judged(counts, bound)


def _bound(params: Mapping[str, Any], since: datetime, now: datetime) -> Bound:
    """What is asked for: a number since the last action, or a rate over the time before now.

    A rate does not look beyond the last action: what went wrong before it counts neither way.
    """
    rate = params.get("perMinute")
    if rate is None:
        most = int(params.get("atMost") or 0)
        return Bound(most, since, f"at most {most} are good")
    over = parse_duration(str(params.get("over") or OVER))
    most, begins = int(int(rate) * over / MINUTE), now - over
    words = f"at most {rate} a minute are good, which is {most} in {over.total_seconds():g} s"
    if begins >= since:
        return Bound(most, begins, words)
    ends = (since + over).astimezone(UTC)
    return Bound(most, since, words, f"it is counted from the last action on until {ends:%Y-%m-%dT%H:%M:%SZ}")


async def _counted(
    reader: Reader, namespace: str, pod: Manifest, container: str, bound: Bound, texts: Sequence[str],
    turns: asyncio.Semaphore,
) -> Counted:  # fmt: skip
    """Read the log of one container when it is its turn, count, and forget the text."""
    name, status = pod["metadata"]["name"], _status_of(pod, container)
    has_crashed = has_ended(status, bound.since)
    # One that waits to be started again has no log of its own: that of what ended is read in its place.
    instances = (False, True) if has_crashed and "waiting" not in (status.get("state") or {}) else (False,)
    lines, is_cut = 0, False
    async with turns:
        for previous in instances:
            text = await reader.log_text(
                namespace, name, container, since=bound.since, most_bytes=MOST_BYTES, previous=previous
            )
            lines, is_cut = lines + _count(text, texts), is_cut or len(text.encode()) >= MOST_BYTES
    return Counted(name, container, lines, is_cut, has_crashed and has_ended_twice(status, bound.since))


def _status_of(pod: Manifest, container: str) -> Manifest:
    """What a pod tells of one of its containers."""
    return next((each for each in statuses_of(pod) if each["name"] == container), {})


def has_ended(status: Manifest, since: datetime) -> bool:
    """Whether a container has ended since then and may run again: its log may have begun only after that.

    The API's times are whole seconds; where it does not tell the end, it was before the start of what runs now.
    """
    ended = (status.get("lastState") or {}).get("terminated")
    if not ended:
        return False
    running = (status.get("state") or {}).get("running") or {}
    at = parsed(ended.get("finishedAt") or running.get("startedAt"))
    return at is None or at >= since.replace(microsecond=0)


def has_ended_twice(status: Manifest, since: datetime) -> bool:
    """Whether a container that has ended since then may have done so before that too: nobody keeps that log."""
    began = parsed(status["lastState"]["terminated"].get("startedAt"))
    is_waiting = "waiting" in (status.get("state") or {})
    ends = (status.get("restartCount") or 0) + is_waiting  # the one that waits is counted when it is started again
    return ends > 1 and (began is None or began >= since.replace(microsecond=0))


def _judged(counts: Sequence[Counted], bound: Bound) -> Finding:
    """What the logs say; too many lines are too many, however much was not read and however soon it is."""
    total = sum(each.lines for each in counts)
    if total > bound.most:
        bad = sorted((each.pod, each.container, each.lines) for each in counts if each.lines)
        where = ", ".join(f"{pod} ({lines})" for pod, _, lines in bad)
        return Finding(Verdict.FAIL, f"{total} lines have one of the texts, {bound.words}: {where}")
    cut = [each.pod for each in counts if each.is_cut]
    if cut:
        return unknown(f"pod {cut[0]} has logged more than 1 MiB since {bound.since:%H:%M:%S}: not all of it was read")
    lost = next((f"pod {each.pod}: container {each.container}" for each in counts if each.is_lost), "")
    if lost:
        return unknown(f"{lost} ended more than once since {bound.since:%H:%M:%S}: not all of it was read")
    told = f"{total} lines of {len(counts)} containers have one of the texts"
    return unknown(f"{told}; {bound.wait}") if bound.wait else Finding(Verdict.PASS, told)


def _count(log: str, texts: Sequence[str]) -> int:
    return sum(any(text in line for text in texts) for line in log.lower().splitlines())


async def _pods(reader: Reader, target: Ref) -> Sequence[Manifest]:
    thing = await reader.get(target.kind, target.namespace, target.name)
    if target.kind == "Pod":
        return [thing]
    return pods_of(thing, await reader.list("Pod", target.namespace, thing["spec"].get("selector") or {}))
