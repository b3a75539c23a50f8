"""``confirm``: a person says so, by putting the name of the check into ``spec.confirmed`` of the Incident.

Who may change the Incident may say it; what nobody has said is Unknown, which holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from incident_operator.checks.seeing import unknown
from incident_operator.cluster.port import Reader
from incident_operator.planning.plan import Finding, Ref, Verdict
from incident_operator.planning.rights import Rule


class Confirm:
    """A person has said so."""

    name: ClassVar[str] = "confirm"
    rules: ClassVar[tuple[Rule, ...]] = ()
    asks: ClassVar[tuple[Rule, ...]] = ()

    async def look(
        self,
        reader: Reader,  # noqa: ARG002 - part of the contract
        namespace: str,
        targets: tuple[Ref, ...],  # noqa: ARG002 - part of the contract
        params: Mapping[str, Any],
        *,
        since: datetime,  # noqa: ARG002 - part of the contract
    ) -> Finding:
        """Pass once it was said; until then Unknown, with the question and the command that answers it."""
        question, name = str(params.get("question", "")), params.get("name", "")
        if params.get("confirmed") is True:
            return Finding(Verdict.PASS, f"a person has confirmed: {question}")
        answer = '{"op":"add","path":"/spec/confirmed/-","value":"' + str(name) + '"}'
        first = '{"spec":{"confirmed":["' + str(name) + '"]}}'
        command = f"kubectl patch incident/{params.get('incident', '')} -n {namespace}"
        return unknown(
            f"{question} If so: {command} --type merge -p '{first}' (or, where others are there already, "
            f"--type json -p '[{answer}]')"
        )
