"""``promql``: a query to a Prometheus server gives values on the wanted side of a limit.

Only one of the servers that the operator's configuration names can be asked, so the check reaches
nothing else. All values count, and what was measured before the last action counts neither way.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, ClassVar

from incident_operator.checks.lookback import lookback
from incident_operator.checks.seeing import unknown, unseen
from incident_operator.cluster.port import Reader
from incident_operator.faults import Fault
from incident_operator.monitoring.prometheus import HOW, Prometheus, Sample
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule

DECIMAL = re.compile(r"[-+]?[0-9]{1,300}(\.[0-9]{1,300})?")
MOST_LABELS = 200
"""Characters of a value's labels that are told."""
WORDS = {"lessThan": "less than", "greaterThan": "greater than", "equalTo": "equal to"}
RATIOS = {"maxRatio": "atMost", "minRatio": "atLeast"}
"""How a value is compared with what the query gave at another time."""
SAID = {**WORDS, "atMost": "at most", "atLeast": "at least"}
HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    "lessThan": lambda value, limit: value < limit,
    "greaterThan": lambda value, limit: value > limit,
    "equalTo": lambda value, limit: value == limit,
    "atMost": lambda value, limit: value <= limit,
    "atLeast": lambda value, limit: value >= limit,
}
FAR: Mapping[str, Callable[[float, float], float]] = {
    "lessThan": lambda value, _: value,
    "greaterThan": lambda value, _: -value,
    "equalTo": lambda value, limit: abs(value - limit),
    "atMost": lambda value, _: value,
    "atLeast": lambda value, _: -value,
}
"""How bad a value is; the greater the worse."""


def _now() -> datetime:
    return datetime.now(UTC)


class NoLevel(Exception):  # noqa: N818 - no error: nothing was measured then
    """There is nothing to compare with."""


async def _level(servers: Prometheus, params: Mapping[str, Any]) -> str:
    """The one number that the query gave at the moment that the parameters name; NoLevel says why there is none."""
    at = str(params["at"])
    samples = await servers.query(str(params.get("server") or ""), str(params["query"]), at=datetime.fromisoformat(at))
    if len(samples) != 1:
        many = f"{len(samples)} values: let the query give one, such as by sum or max" if samples else "no value"
        raise NoLevel(f"has nothing to compare with: at {at} the query gave {many}")
    (sample,) = samples
    if not math.isfinite(sample.value) or sample.value < 0:
        raise NoLevel(f"has nothing to compare with: at {at} the query gave {sample.value}")
    return f"{Decimal(repr(float(sample.value))):f}"


class PromQL:
    """What Prometheus measures is as wanted."""

    name: ClassVar[str] = "promql"
    rules: ClassVar[tuple[Rule, ...]] = ()
    asks: ClassVar[tuple[Rule, ...]] = ()

    def __init__(self, servers: Prometheus | None, clock: Callable[[], datetime] = _now) -> None:
        """Ask these servers; without any every look is Unknown, and says how to configure one."""
        self._servers = servers
        self._clock = clock

    async def look(
        self,
        reader: Reader,  # noqa: ARG002 - part of the contract
        namespace: str,  # noqa: ARG002 - part of the contract
        targets: tuple[Ref, ...],  # noqa: ARG002 - part of the contract
        params: Mapping[str, Any],
        *,
        since: datetime,
    ) -> Finding:
        """Pass when every value is as wanted; Unknown if there is none, or the query still sees before the action."""
        servers = self._servers
        if servers is None or not servers.names:
            return unknown(f"no Prometheus server is configured: {HOW}")
        wanted = [name for name in (*WORDS, *RATIOS) if params.get(name) is not None]
        early = _unasked(params, wanted) or self._early(str(params["query"]), since)
        if early:
            return unknown(early)
        asked = f"Prometheus {params.get('server') or servers.names[0]}"
        try:
            return await _compared(servers, params, wanted[0], asked)
        except NoLevel as nothing:
            return unknown(f"{asked} {nothing}")
        except Fault as fault:
            return unseen(fault)

    async def with_level(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters with what the query gave at the moment they name; as they are where that cannot be told."""
        if self._servers is None or not self._servers.names or not any(name in params for name in RATIOS):
            return params
        try:
            return {**params, "level": await _level(self._servers, params)}
        except (Fault, NoLevel):
            return params  # it is asked again, and told then, when it is compared

    def _early(self, query: str, since: datetime) -> str:
        """Why it is too early to ask; empty if it is not."""
        try:
            window = lookback(query)
            passed = self._clock() - since
            if passed >= window:
                return ""
            over = (since + window).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            return f"promql.query: {error}"
        text = f"the window of {_written(window)} began at the last action and is not over yet"
        return f"{text}: until {over:%Y-%m-%dT%H:%M:%SZ}"


def _unasked(params: Mapping[str, Any], wanted: Sequence[str]) -> str:
    """Why there is nothing to ask; empty if there is."""
    if not params.get("query") or len(wanted) != 1:
        return f"promql needs a query, and exactly one of {', '.join((*WORDS, *RATIOS))}"
    limit = str(params[wanted[0]])
    return "" if DECIMAL.fullmatch(limit) else f"promql.{wanted[0]} {limit!r} is not a decimal number, such as 0.01"


async def _compared(servers: Prometheus, params: Mapping[str, Any], how: str, asked: str) -> Finding:
    """What the query gives now, against a limit or against what it gave then."""
    limit, said = str(params[how]), ""
    if how in RATIOS:
        level = str(params.get("level") or await _level(servers, params))
        said = f"; it was {level} at {params['at']}, and {how} is {limit}"
        how, limit = RATIOS[how], f"{(Decimal(level) * Decimal(limit)).normalize():f}"
    samples = await servers.query(str(params.get("server") or ""), str(params["query"]))
    found = _judge(samples, how, limit, asked)
    return dataclasses.replace(found, message=f"{found.message}{said}")


def _judge(samples: Sequence[Sample], how: str, text: str, asked: str) -> Finding:
    """All must hold; what is no number could not be seen, but does not hide one that fails."""
    if not samples:
        return unknown(f"{asked} has no value: nothing matches the query, or nothing is measured any more")
    limit = float(text)
    told = [sample for sample in samples if _comparable(sample.value, how)]
    worst = max(told, key=lambda sample: FAR[how](sample.value, limit), default=None)
    if worst is not None and not HOLDS[how](worst.value, limit):
        return Finding(Verdict.FAIL, f"{asked}: {_shown(worst)}, wanted {SAID[how]} {text}{_among(samples)}")
    untold = next((sample for sample in samples if not _comparable(sample.value, how)), None)
    if worst is None or untold is not None:
        return unknown(f"{asked}: {_shown(untold or samples[0])}, which is not a number to compare{_among(samples)}")
    return Finding(Verdict.PASS, f"{asked}: {_shown(worst)}, {SAID[how]} {text}{_among(samples)}")


def _comparable(value: float, how: str) -> bool:
    """Infinity is beyond every limit, but equal to nothing; NaN (0/0: nothing has happened) says nothing."""
    return math.isfinite(value) or (math.isinf(value) and how != "equalTo")


def _written(window: timedelta) -> str:
    """A duration as in a query: 2m, 1h5m, 90s."""
    minutes, seconds = divmod(window.total_seconds(), 60)
    if seconds:
        return f"{window.total_seconds():g}s"
    hours, minutes = divmod(int(minutes), 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes else "")


def _shown(sample: Sample) -> str:
    """The value, with its labels."""
    labels = ", ".join(f'{name}="{text}"' for name, text in sorted(sample.labels.items()))
    short = labels if len(labels) <= MOST_LABELS else f"{labels[: MOST_LABELS - 1]}…"
    return str(sample.value).removesuffix(".0") + (f" for {{{short}}}" if short else "")


def _among(samples: Sequence[Sample]) -> str:
    return f" (the worst of {len(samples)} values)" if len(samples) > 1 else ""
