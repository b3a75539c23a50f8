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
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import pods_of

MOST_BYTES = 1 << 20
"""Of one container; more is not read, and then nothing found proves nothing."""


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
        """Fail when more lines than allowed have one of the texts; Unknown where not all could be read."""
        texts = [str(text).lower() for text in params.get("patterns") or ()]
        try:
            bound = _bound(params, since, self.clock())
            groups = await asyncio.gather(*(_pods(reader, target) for target in targets))
            found = {pod["metadata"]["name"]: pod for group in groups for pod in group}
            if not found:
                return unknown("there is no pod whose log could be read")
            places = [(name, each["name"]) for name, pod in found.items() for each in pod["spec"]["containers"]]
            logs = await asyncio.gather(
                *(reader.log_text(namespace, *place, since=bound.since, most_bytes=MOST_BYTES) for place in places)
            )
        except ValueError as error:
            return unknown(f"logs.over: {error}")
        except Fault as fault:
            return unseen(fault)
        return _judged(dict(zip(places, logs, strict=True)), texts, bound)


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


def _judged(logs: Mapping[tuple[str, str], str], texts: Sequence[str], bound: Bound) -> Finding:
    """What the logs say; too many lines are too many, however much was not read and however soon it is."""
    counts = {place: _count(text, texts) for place, text in logs.items()}
    total = sum(counts.values())
    if total > bound.most:
        where = ", ".join(f"{pod} ({count})" for (pod, _), count in sorted(counts.items()) if count)
        return Finding(Verdict.FAIL, f"{total} lines have one of the texts, {bound.words}: {where}")
    cut = [pod for (pod, _), text in logs.items() if len(text.encode()) >= MOST_BYTES]
    if cut:
        return unknown(f"pod {cut[0]} has logged more than 1 MiB since {bound.since:%H:%M:%S}: not all of it was read")
    told = f"{total} lines of {len(logs)} containers have one of the texts"
    return unknown(f"{told}; {bound.wait}") if bound.wait else Finding(Verdict.PASS, told)


def _count(log: str, texts: Sequence[str]) -> int:
    return sum(any(text in line for text in texts) for line in log.lower().splitlines())


async def _pods(reader: Reader, target: Ref) -> Sequence[Manifest]:
    thing = await reader.get(target.kind, target.namespace, target.name)
    if target.kind == "Pod":
        return [thing]
    return pods_of(thing, await reader.list("Pod", target.namespace, thing["spec"].get("selector") or {}))
