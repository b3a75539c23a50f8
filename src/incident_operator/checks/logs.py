"""``logs``: the targets' containers have logged none, or few, of some texts since the last action.

Texts and not patterns: no expression of a user's can take for ever. The lines themselves are not told,
for they may hold what is not everybody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.checks.seeing import unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.selectors import pods_of

MOST_BYTES = 1 << 20
"""Of one container; more is not read, and then nothing found proves nothing."""


class Logs:
    """Few lines, or none, have one of some texts."""

    name: ClassVar[str] = "logs"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "find the pods"),
        Rule("", ("pods",), ("get", "list"), "find the pods"),
        Rule("", ("pods/log",), ("get",), "read what they have logged since the last action"),
    )
    asks: ClassVar[tuple[Rule, ...]] = (Rule("", ("pods/log",), ("get",)),)

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
        most = int(params.get("atMost") or 0)
        try:
            groups = await asyncio.gather(*(_pods(reader, target) for target in targets))
            found = {pod["metadata"]["name"]: pod for group in groups for pod in group}
            if not found:
                return unknown("there is no pod whose log could be read")
            places = [(name, each["name"]) for name, pod in found.items() for each in pod["spec"]["containers"]]
            logs = await asyncio.gather(
                *(reader.log_text(namespace, *place, since=since, most_bytes=MOST_BYTES) for place in places)
            )
        except Fault as fault:
            return unseen(fault)
        counts = {place: _count(text, texts) for place, text in zip(places, logs, strict=True)}
        total = sum(counts.values())
        if total > most:
            where = ", ".join(f"{pod} ({count})" for (pod, _), count in sorted(counts.items()) if count)
            return Finding(Verdict.FAIL, f"{total} lines have one of the texts, at most {most} are good: {where}")
        cut = [pod for (pod, _), text in zip(places, logs, strict=True) if len(text.encode()) >= MOST_BYTES]
        if cut:
            return unknown(f"pod {cut[0]} has logged more than 1 MiB since {since:%H:%M:%S}: not all of it was read")
        return Finding(Verdict.PASS, f"{total} lines of {len(places)} containers have one of the texts")


def _count(log: str, texts: Sequence[str]) -> int:
    return sum(any(text in line for text in texts) for line in log.lower().splitlines())


async def _pods(reader: Reader, target: Ref) -> Sequence[Manifest]:
    thing = await reader.get(target.kind, target.namespace, target.name)
    if target.kind == "Pod":
        return [thing]
    return pods_of(thing, await reader.list("Pod", target.namespace, thing["spec"].get("selector") or {}))
