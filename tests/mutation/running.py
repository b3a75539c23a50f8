"""An operator under test, seen from outside: is it up, is it well, how much does it ask of the API server."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from incident_operator.api.status import IncidentStatus
from tests_support.cluster import Namespace, OperatorProcess
from tests_support.waiting import eventually

REQUEST = re.compile(r"^incident_operator_api_requests_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE)
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def metrics(operator: OperatorProcess) -> str:
    with urllib.request.urlopen(f"{operator.url}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


def requests(operator: OperatorProcess, *, only: tuple[str, ...] = ()) -> int:
    """How many requests it has sent to the API server; ``only`` those with these verbs."""
    total = 0.0
    for found in REQUEST.finditer(metrics(operator)):
        verb = dict(re.findall(r'(\w+)="([^"]*)"', found["labels"]))["verb"]
        if not only or verb in only:
            total += float(found["count"])
    return int(total)


def is_well(operator: OperatorProcess, *, since: int = 0) -> None:
    """The process is up, answers its probe, and has logged no bug since its log had that many bytes."""
    assert operator.process is not None
    assert operator.process.poll() is None, operator.log.read_text()[-3000:]
    eventually(lambda: _answers(f"{operator.url}/healthz"), within=20, what="healthz to answer 200")
    text = operator.log.read_bytes()[since:].decode()
    assert "Traceback" not in text, text[-6000:]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError):
        return False


def quiet(operator: OperatorProcess, *, seconds: float, within: float) -> None:
    """Wait until the operator has written nothing for so long."""
    last = [-1, time.monotonic()]

    def look() -> bool:
        count = requests(operator, only=WRITES)
        if count != last[0]:
            last[:] = [count, time.monotonic()]
        return time.monotonic() - last[1] >= seconds

    eventually(look, within=within, what=f"{seconds:g} s without a write of the operator", every=0.3)


RESTING = {"Contained", "Resolved", "Cancelled", "Expired", "Planned"}


def is_at_rest(incident: Any) -> bool:
    """Whether an Incident has come to an outcome for its newest spec, or waits for somebody else."""
    status = incident.get("status") or {}
    found = {each["type"]: each for each in status.get("conditions") or ()}
    if status.get("observedGeneration") != incident["metadata"]["generation"] or "Ready" not in found:
        return False
    if "Stalled" in found or found["Ready"]["status"] == "True":
        return True
    reason = found.get("Reconciling", {}).get("reason")
    return reason not in (None, "Progressing", "ProgressingWithRetry")


def rest(namespace: Namespace, name: str, *, within: float = 40) -> dict[str, tuple[str, str, str]]:
    """Wait until an Incident is at rest; its conditions, which are consistent, by type."""

    def look() -> Any:
        found = namespace.incident(name)
        return found if found is not None and is_at_rest(found) else None

    try:
        incident = eventually(look, within=within, what=f"Incident {name} to come to rest")
    except AssertionError as fault:
        state = json.dumps((namespace.incident(name) or {}).get("status"), indent=1)
        raise AssertionError(f"{fault}\n{state[:5000]}") from None
    return consistent(incident)


def consistent(incident: Any) -> dict[str, tuple[str, str, str]]:
    """The conditions by type, which agree with each other, with the steps and with the schema."""
    status = incident["status"]
    IncidentStatus.model_validate(status)
    found = {each["type"]: (each["status"], each["reason"], each["message"]) for each in status["conditions"]}
    assert len(found) == len(status["conditions"]), f"a condition twice: {status['conditions']}"
    assert "Ready" in found
    assert not {"Reconciling", "Stalled"} <= set(found), found
    assert (found["Ready"][0] == "True") is not bool({"Reconciling", "Stalled"} & set(found)), found
    for kind in ("Reconciling", "Stalled"):
        assert found.get(kind, ("True",))[0] == "True", f"{kind} is there only while it is true: {found}"
    return found


def until(namespace: Namespace, name: str, is_so: Callable[[Any], bool], what: str, *, within: float = 40) -> Any:
    """Wait until an Incident is as wanted; the Incident."""

    def look() -> Any:
        found = namespace.incident(name)
        return found if found is not None and is_so(found) else None

    try:
        return eventually(look, within=within, what=f"{name}: {what}")
    except AssertionError as fault:
        state = json.dumps((namespace.incident(name) or {}).get("status"), indent=1)
        raise AssertionError(f"{fault}\n{state[:5000]}") from None
