"""The live view of a recovery: what the operator does, tier by tier with its time, and beside it what clients see."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from incident_operator.demo.view import Status, condition
from incident_operator.lab.faults import LabError

IN_PROGRESS = ("Restoring", "Checking")
QUIET_SECONDS = 10.0
"""A tier of which there was no news for so long is told of once more, with its time."""
Line = tuple[str, str]


def tiers_of(incident: Status) -> list[Status]:
    """The tiers of a recovery as status has them; none before it has begun."""
    found: list[Status] = incident.get("status", {}).get("recovery", {}).get("tiers", [])
    return found


def stamp(text: str) -> float:
    """A time of status, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def clock(tier: Mapping[str, Any], now: float) -> str:
    """How long a tier has taken so far, of how long it usually takes: ``12/40 s``; empty before it has begun."""
    if not tier.get("startedAt"):
        return ""
    end = stamp(tier["finishedAt"]) if tier.get("finishedAt") else now
    elapsed = max(int(end - stamp(tier["startedAt"])), 0)
    expected = tier.get("expectedSeconds")
    if not expected:
        return f"{elapsed} s"
    return f"{elapsed}/{expected} s{' late' if elapsed > expected else ''}"


class News:
    """What has changed of an Incident since it was told last."""

    def __init__(self) -> None:
        """Nothing was told yet."""
        self._told: dict[str, str] = {}
        self._at: dict[str, float] = {}

    def lines(self, incident: Status, now: float) -> list[Line]:
        """A tier and a text for each step that is done or has failed, each turn of a tier, and long silence."""
        status = incident.get("status", {})
        of = {step["name"]: step.get("tier", "") for step in status.get("plan", {}).get("steps", ())}
        found: list[Line] = []
        for step in status.get("steps", ()):
            if step["phase"] in ("Done", "Failed") and self._is_new(f"step {step['name']}", step["phase"]):
                how = "" if step["phase"] == "Done" else "FAILED: "
                found.append((of.get(step["name"], ""), f"{step['name']}: {how}{step.get('message', '')}"))
        turned = [tier for tier in tiers_of(incident) if self._is_new(f"tier {tier['name']}", tier["phase"])]
        found += [(tier["name"], f"[{tier['phase']}]") for tier in turned if tier["phase"] != "Pending"]
        for name, _ in found:
            self._at[name] = now
        return found or self._silence(incident, now)

    def _is_new(self, what: str, value: str) -> bool:
        is_new = self._told.get(what) != value
        self._told[what] = value
        return is_new

    def _silence(self, incident: Status, now: float) -> list[Line]:
        for tier in tiers_of(incident):
            name = tier["name"]
            if tier["phase"] in IN_PROGRESS and now - self._at.get(name, now) >= QUIET_SECONDS:
                self._at[name] = now
                return [(name, f"[{tier['phase']}] {tier.get('message', '')}")]
        return []


def follow(
    look: Callable[[], Status],
    meanwhile: Callable[[Status], bool],
    beside: Callable[[], tuple[str, str]],
    say: Callable[[str], None],
    *,
    seconds: float,
) -> Status:
    """Tell what happens until it is over; the Incident as it is then. LabError if it halts for good, or lasts too long.

    ``meanwhile`` may act on each look, and says whether a halt is part of the play; ``beside`` is what clients see, in
    a word and in numbers.
    """
    news, word, begun = News(), "", time.time()
    say(f"\n   {'':>7}  {'tier':<10} {'took':<13} {'the operator':<64} the clients see")
    while time.time() - begun < seconds:
        incident, now = look(), time.time()
        lines = news.lines(incident, now)
        seen, numbers = beside()
        if seen not in (word, "silence"):  # silence: a write waits for its answer
            word, lines = seen, lines or [("", "")]
        times = {tier["name"]: clock(tier, now) for tier in tiers_of(incident)}
        for tier, text in lines:
            say(f"   {now - begun:5.1f} s  {tier:<10} {times.get(tier, ''):<13} {text:<64.64} {numbers}")
        is_played = meanwhile(incident)
        status, reason, message = condition(incident, "Ready")
        if condition(incident, "Stalled")[0] == "True" and not is_played:
            raise LabError(f"the recovery halted: {reason}: {message}")
        if status == "True":
            return incident
        time.sleep(0.1)
    raise LabError(f"the recovery was not over after {seconds:g} s; see kubectl describe")
