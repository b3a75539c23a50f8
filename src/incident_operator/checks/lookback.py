"""How far into the past a PromQL query looks: what a check must wait for after an action."""

from __future__ import annotations

import re
from datetime import timedelta

STRING = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
DURATION = r"(?:(?:[0-9]+(?:ms|[smhdwy]))+|[0-9]+(?:\.[0-9]+)?)"
"""Since Prometheus 3 a plain number, too, which is one of seconds."""
TOKEN = re.compile(
    rf"(?P<skipped>{STRING}|#[^\n]*|\s+|@\s*(?:start\(\)|end\(\)|[-+]?[0-9.]+)|(?i:by|without)\s*\([^()]*\))"
    rf"|\[\s*(?P<range>{DURATION})\s*(?::\s*(?:{DURATION}\s*)?)?\]"
    rf"|(?i:offset)\s+(?P<back>-?)\s*(?P<offset>{DURATION})"
    r"|(?P<unread>\[|(?i:offset)\s+[-+0-9(])"
    r"|(?P<open>\()|(?P<close>\))"
    r"|(?P<other>[A-Za-z_0-9:.]+|.)",
    re.DOTALL,
)
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}
"""Seconds of each unit; a day always has 24 hours (Prometheus documentation, "Time durations")."""


def lookback(query: str) -> timedelta:
    """The longest way back of a query: its ranges, with the subqueries and offsets around them added.

    Zero for a query without any. ValueError if there is a range that cannot be read, such as one that
    is calculated.
    """
    open_: list[float] = []
    longest = here = 0.0
    """Of the parentheses we are in, and of the operand that a range or an offset would belong to."""
    for token in TOKEN.finditer(query):
        kind = token.lastgroup
        if kind == "unread":
            raise ValueError(f"cannot tell how long {query[token.start() : token.start() + 20]!r} is")
        if kind == "range":
            here += _seconds(token["range"])
        elif kind == "offset":
            here += _seconds(token["offset"]) * (-1 if token["back"] else 1)
        elif kind == "open":
            open_.append(max(longest, here))
            longest = here = 0.0
        elif kind == "close":
            here = max(longest, here)
            longest = open_.pop() if open_ else 0.0
        elif kind == "other":
            longest, here = max(longest, here), 0.0
    return timedelta(seconds=max(longest, here, *open_))


def _seconds(text: str) -> float:
    parts = re.findall(r"([0-9]+)(ms|[smhdwy])", text)
    return sum(int(number) * UNITS[unit] for number, unit in parts) if parts else float(text)
