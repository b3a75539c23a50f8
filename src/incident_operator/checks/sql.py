"""``sql``: a PostgreSQL answers a query and is not in recovery, asked with psql inside its own pod.

Inside, because no password leaves the pod and no network of the operator's is needed. Of what it answers
nothing is told but whether it is what was expected: rows may be anybody's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.checks.seeing import unknown, unseen
from incident_operator.cluster.port import Ran, Reader
from incident_operator.faults import Fault
from incident_operator.planning.plan import Finding, Manifest, Ref, Verdict
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import is_ready
from incident_operator.planning.selectors import pods_of

SECONDS = 10.0
ROLE = "select case when pg_is_in_recovery() then 'replica' else 'primary' end"
PRIMARY = "primary"


class Sql:
    """A PostgreSQL answers."""

    name: ClassVar[str] = "sql"
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("apps", ("deployments", "statefulsets", "daemonsets"), ("get",), "find the pods of the database"),
        Rule("", ("pods",), ("get", "list"), "find the pods of the database"),
        Rule("", ("pods/exec",), ("get", "create"), "run psql in one of them; which of the two depends on the version"),
    )
    asks: ClassVar[tuple[Rule, ...]] = (Rule("", ("pods/exec",), ("create",)),)

    async def look(
        self,
        reader: Reader,
        namespace: str,
        targets: tuple[Ref, ...],
        params: Mapping[str, Any],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
    ) -> Finding:
        """Pass when exactly one ready pod is a primary and answers as expected; with ``recovery`` any that answers.

        Unknown where a ready pod could not be asked which of the two it is: it may be a second primary.
        """
        query, expected = str(params.get("query") or "select 1"), params.get("expect")
        try:
            groups = await asyncio.gather(*(_ready(reader, target) for target in targets))
            pods = sorted({pod["metadata"]["name"] for group in groups for pod in group})
            if not pods:
                return unknown("no pod of the database is ready, so nobody could be asked")
            container = str(params.get("container") or "")
            argv = _argv(params, query)
            calls = (reader.run_in_pod(namespace, pod, container, argv, timeout_seconds=SECONDS) for pod in pods)
            answers = dict(zip(pods, await asyncio.gather(*calls), strict=True))
        except Fault as fault:
            return unseen(fault)
        return _judge(answers, expected, any_role=bool(params.get("recovery", False)))


def _argv(params: Mapping[str, Any], query: str) -> list[str]:
    """Psql with both questions; no file of the user's is read, and the first error ends it."""
    user, database = str(params.get("user") or "postgres"), str(params.get("database") or "postgres")
    return [
        "psql",
        "-X",
        "-A",
        "-t",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-U",
        user,
        "-d",
        database,
        "-c",
        ROLE,
        "-c",
        query,
    ]


async def _ready(reader: Reader, target: Ref) -> Sequence[Manifest]:
    """The ready pods of a target."""
    thing = await reader.get(target.kind, target.namespace, target.name)
    if target.kind == "Pod":
        return [thing] if is_ready(thing) else []
    found = await reader.list("Pod", target.namespace, thing["spec"].get("selector") or {})
    return [pod for pod in pods_of(thing, found) if is_ready(pod)]


def _judge(answers: Mapping[str, Ran], expected: str | None, *, any_role: bool) -> Finding:
    broken = {pod: ran for pod, ran in answers.items() if ran.exit_code != 0}
    told = {pod: ran.output.partition("\n") for pod, ran in answers.items() if ran.exit_code == 0}
    primaries = sorted(pod for pod, (role, _, _) in told.items() if role.strip() == PRIMARY)
    asked = sorted(told) if any_role else primaries
    if broken and not asked:
        return Finding(Verdict.FAIL, _unasked(broken))
    if not asked:
        return Finding(Verdict.FAIL, f"every server is in recovery: {', '.join(sorted(told))}")
    if len(primaries) > 1 and not any_role:
        return Finding(Verdict.FAIL, f"more than one is a primary: {', '.join(primaries)}")
    wrong = [pod for pod in asked if expected is not None and told[pod][2].strip() != expected]
    if wrong:
        return Finding(Verdict.FAIL, f"pod {wrong[0]} answers something else than was expected")
    if broken and not any_role:
        return unknown(f"pod {primaries[0]} is the primary, and whether it is the only one is open: {_unasked(broken)}")
    return Finding(Verdict.PASS, f"pod {', '.join(asked)} answers" + ("" if any_role else " and is the primary"))


def _unasked(broken: Mapping[str, Ran]) -> str:
    """Why the first of those that did not answer did not."""
    pod, ran = next(iter(broken.items()))
    why = "psql could not be run" if ran.exit_code is None else f"psql ended with {ran.exit_code}"
    return f"pod {pod}: {why}: {_words(ran.error)}"


def _words(error: str) -> str:
    """The kind of error without what it is about: psql repeats parts of rows and of queries."""
    return error.partition('"')[0].strip()[:100] or "it said nothing"
