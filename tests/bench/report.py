"""What was measured beside what was wanted, in a table for people."""

from __future__ import annotations

from typing import Any


def table(found: dict[str, Any]) -> str:
    lines: list[str] = []
    if "single" in found:
        lines += _single(found["single"])
    if "burst" in found:
        lines += _burst(found["burst"])
    if "alerts" in found:
        lines += _alerts(found["alerts"])
    if "idle" in found:
        lines += _idle(found["idle"])
    if "recovery" in found:
        lines += _recovery(found["recovery"])
    return "\n".join(lines)


def _recovery(found: list[dict[str, Any]]) -> list[str]:
    lines = ["", "A recovery in five tiers, on simulated nodes", _row("", "all, s", "peak MiB", "API calls")]
    lines += [
        _row(f"{each['workloads']} workloads", each["all_s"], each["peak_mib"], each["api_calls"]) for each in found
    ]
    for each in found:
        worst = max(each["tier_overhead_s"].values())
        told = ", ".join(f"{tier} {seconds:g}" for tier, seconds in each["tier_overhead_s"].items())
        lines.append(f"  beyond start and gates, {each['workloads']} workloads: {_met(worst, 1)} s a tier ({told})")
    return lines


def _row(name: str, *cells: object) -> str:
    return f"  {name:<34}" + "".join(f"{cell!s:>12}" for cell in cells)


def _met(value: float, wanted: float, *, most: bool = True) -> str:
    is_met = value <= wanted if most else value >= wanted
    return f"{value:.2f} ({'at most' if most else 'at least'} {wanted:g}: {'met' if is_met else 'NOT MET'})"


def _single(single: dict[str, Any]) -> list[str]:
    rows = [_row(f"{who}", each["p50_ms"], each["p99_ms"]) for who, each in single.items()]
    mine, floor, kopf = (single[who]["p50_ms"] for who in ("operator", "floor", "kopf"))
    return [
        "",
        "One Incident at a time, from its create call to its NetworkPolicy",
        _row("", "p50 ms", "p99 ms"),
        *rows,
        f"  operator / floor at p50: {_met(mine / floor, 2.5)}",
        f"  operator / kopf  at p50: {_met(mine / kopf, 1.2)}",
    ]


def _burst(burst: dict[str, Any]) -> list[str]:
    keys = ("per_s", "writes_per_s", "p99_ms", "writes_per_incident", "all_contained_s", "all_told_s")
    rows = [_row(who, *(each.get(key, "") for key in keys)) for who, each in burst.items()]
    mine, floor, kopf = burst["operator"], burst["floor"], burst["kopf"]
    per_s, writes = mine["per_s"] / kopf["per_s"], mine["writes_per_s"] / floor["writes_per_s"]
    return [
        "",
        "All at once",
        _row("", "per s", "writes/s", "p99 ms", "writes each", "contained s", "all told s"),
        *rows,
        f"  operator / kopf, Incidents a second:  {_met(per_s, 1.0, most=False)}",
        f"  operator / floor, writes a second:    {_met(writes, 0.75, most=False)}",
        f"  API writes for each Incident:         {_met(mine['writes_per_incident'], 5)}",
        f"  dry runs and access reviews for each: {mine['other_writes_per_incident']}",
        f"  peak memory {mine['peak_mib']} MiB; told before all were contained: {mine['told_before_all_contained']}",
    ]


def _alerts(found: dict[str, Any]) -> list[str]:
    single, burst, same = found["single"], found["burst"], found["same"]
    mine = single["operator"]["p50_ms"]
    return [
        "",
        "From an alert's webhook to its Incident on record, and to the NetworkPolicy of that",
        _row("", "p50 ms", "p99 ms"),
        *(_row(who, each["p50_ms"], each["p99_ms"]) for who, each in single.items()),
        f"  operator / its own writes in a row, at p50: {_met(mine / single['its writes']['p50_ms'], 3)}",
        f"  operator / two writes of a bare client:     {_met(mine / single['floor']['p50_ms'], 3)}",
        f"  {burst['alerts']} different alerts at once: {burst['lost']} lost, {burst['doubled']} doubled",
        f"  a second: {burst['accepted_per_s']} on record, {burst['contained_per_s']} contained",
        f"  one alert {same['posts']} times: {same['incidents']} Incident; {same['posts_per_s']} posts a second",
        f"  times told to come again (503): {burst['asked_again'] + same['asked_again']}",
    ]


def _idle(idle: dict[str, Any]) -> list[str]:
    before = idle["contained_before_the_urgent_one"]
    return [
        "",
        "Nothing to do, with thousands of closed Incidents",
        f"  memory, MiB:                          {_met(idle['mib'], 150)} (peak {idle['peak_mib']})",
        f"  start to the most urgent contained:   {_met(idle['start_s'], 1.5)} s, {before} less urgent before it",
        f"  API calls a minute:                   {idle['calls_per_minute']} (Lease, re-list, marks)",
    ]
