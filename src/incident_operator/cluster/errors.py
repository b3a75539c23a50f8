"""The seam: API answers and broken connections become faults here, and nowhere else.

Sources: Kubernetes API conventions ("HTTP status codes"), apimachinery's StatusReason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from incident_operator.faults import SOON, Conflict, Fault, NotFound, Stalled, Waiting

MOST = 500
"""Characters of the API server's own message that are passed on; bodies never are."""

FORBIDDEN, MISSING, CONFLICT, GONE, INVALID, TOO_MANY, UNAUTHORIZED, SERVER = 403, 404, 409, 410, 422, 429, 401, 500


def status_of(body: bytes) -> Mapping[str, Any]:
    """The Status object that an API server's error body holds; empty if it is something else."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and found.get("kind") == "Status" else {}


def _retry_after(headers: Mapping[str, str]) -> timedelta:
    """What the server asks for, between a tenth of a second and a minute; two seconds if it does not say."""
    try:
        return timedelta(seconds=min(max(float(headers.get("Retry-After", "")), 0.1), 60))
    except ValueError:
        return SOON


def _as(identity: str) -> str:
    return f" as {identity}" if identity else ""


def refused(  # noqa: PLR0911 - a table of statuses, one line each
    what: str, code: int, body: bytes, headers: Mapping[str, str], *, identity: str, patch_test: bool = False
) -> Fault:
    """The fault that an error answer means; ``what`` says what was tried: ``patch Deployment shop/api``."""
    status = status_of(body)
    reason, said = str(status.get("reason", "")), str(status.get("message", ""))[:MOST]
    could_not = f"could not {what}{_as(identity)}: "
    if code == FORBIDDEN:
        return Stalled("Forbidden", could_not + (said or "forbidden") + _remedy(identity, said))
    if code == MISSING and reason == "NotFound":  # a page of something in between says nothing about the object
        return NotFound(could_not + (said or "not found"))
    if code == CONFLICT:
        if reason == "AlreadyExists":
            return Stalled("AlreadyExists", could_not + said)
        return Conflict(could_not + (said or "it was changed in between"))
    if code == INVALID and patch_test and not (status.get("details") or {}).get("causes"):
        # A failed ``test`` of a JSON patch names no cause (seen on 1.34); a refused value names its field.
        return Conflict(could_not + "it is no longer as it was when this was planned")
    if code == TOO_MANY:
        return Waiting("ApiBusy", could_not + (said or "too many requests"), delay=_retry_after(headers))
    if code in (UNAUTHORIZED, GONE, MISSING) or code >= SERVER:
        kind = {UNAUTHORIZED: "Unauthorized", GONE: "Expired"}.get(code, "ApiServerError")
        return Waiting(kind, could_not + (said or f"the API server answered {code}"), delay=_retry_after(headers))
    return Stalled(
        "Invalid" if code == INVALID else "Rejected", could_not + (said or f"the API server answered {code}")
    )


def _remedy(identity: str, said: str) -> str:
    """What a person does about a missing right."""
    if "impersonate" in said:
        return "; the operator's ClusterRole lists the ServiceAccounts it may act as: see docs/permissions.md"
    if identity:
        return f"; create {identity} if it is not there, and grant it this with a Role: see manifests/responder"
    return "; see docs/permissions.md for the rights of the operator"


def unreachable(what: str, cause: BaseException, *, identity: str) -> Waiting:
    """The fault of a call that got no whole answer: whether a write was made is not known."""
    text = str(cause) or type(cause).__name__
    return Waiting("ApiUnreachable", f"could not {what}{_as(identity)}: {text[:MOST]}")
