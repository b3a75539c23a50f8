"""The API server's own account of who wrote what: the witness that no fault of the operator can fool."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

OURS = "incident-operator.dev"
KEPT = re.compile(
    r"/(incidents|incidentledgers|pods|deployments|statefulsets|horizontalpodautoscalers|networkpolicies)(/|\?|$)"
)
"""The paths whose writes the policy keeps."""
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
SUCCESS = range(200, 300)
LINE_MOST = 8 * 1024 * 1024
"""Bytes of a line of the log at most: an object is 1.5 MiB, and stands there twice."""


@dataclasses.dataclass(frozen=True)
class Write:
    """One write as the API server carried it out, or refused it."""

    audit_id: str
    began: str
    ended: str
    agent: str
    """The proxy that it came through."""
    user: str
    """Whom it was made as: the ServiceAccount where one was impersonated."""
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    uri: str
    request: Any
    response: Any

    @property
    def is_made(self) -> bool:
        return self.code in SUCCESS and "dryRun=All" not in self.uri

    @property
    def is_status_of_incident(self) -> bool:
        return self.resource == "incidents/status"

    @property
    def is_on_target(self) -> bool:
        """Whether it is about anything but Incidents and their kin."""
        return f"/apis/{OURS}/" not in self.uri


class AuditLog:
    """The audit log from a place on; each reader has its own place."""

    def __init__(self, path: Path, *, whole: bool = False) -> None:
        """Begin at its end, or read the whole of it."""
        self._path = path
        self._log = path.open("rb")
        if not whole:
            _to_the_end(self._log)
        self._found: list[Write] = []

    def close(self) -> None:
        self._log.close()

    def begin(self) -> None:
        """Leave out what has been written so far."""
        self._reopen()
        _to_the_end(self._log)
        self._found = []

    def writes(self, namespace: str) -> list[Write]:
        """Every write about a namespace since ``begin``, in the order in which they ended."""
        while self._is_over():
            self._found += self._more()
            self._reopen()
        self._found += self._more()
        return [write for write in self._found if write.namespace == namespace]

    def _reopen(self) -> None:
        self._log.close()
        self._log = self._path.open("rb")

    def _is_over(self) -> bool:
        """Whether the API server has begun another file, as it does each 100 MB: nothing is added to this one."""
        with contextlib.suppress(FileNotFoundError):
            return os.fstat(self._log.fileno()).st_ino != self._path.stat().st_ino
        return False  # between the one and the other

    def _more(self) -> Iterator[Write]:
        for line in iter(self._log.readline, b""):
            if not line.endswith(b"\n"):
                self._log.seek(-len(line), os.SEEK_CUR)
                return  # the rest of it is still being written
            event = json.loads(line)
            if event["stage"] == "ResponseComplete" and event["verb"] in WRITES:
                yield _write(event)


def _to_the_end(log: BinaryIO) -> None:
    """Go to where the last whole line ends: the API server may be in the middle of writing one."""
    size = log.seek(0, os.SEEK_END)
    start = log.seek(max(size - LINE_MOST, 0))
    log.seek(start + log.read(size - start).rfind(b"\n") + 1)


def _write(event: dict[str, Any]) -> Write:
    about, answer = event.get("objectRef") or {}, event.get("responseObject")
    resource = about.get("resource", "") + (f"/{about['subresource']}" if about.get("subresource") else "")
    name = about.get("name") or ((answer or {}).get("metadata") or {}).get("name", "")
    return Write(
        event["auditID"],
        event["requestReceivedTimestamp"],
        event["stageTimestamp"],
        event.get("userAgent", ""),
        (event.get("impersonatedUser") or event["user"])["username"],
        event["verb"],
        resource,
        about.get("namespace", ""),
        name,
        (event.get("responseStatus") or {}).get("code", 0),
        event["requestURI"],
        event.get("requestObject"),
        answer,
    )


Effects = dict[str, int]


def effects(writes: list[Write], mask: Callable[[str], str]) -> Effects:
    """How often each target was changed: a write that is repeated and leaves its object as it was is no effect."""
    counted: collections.Counter[str] = collections.Counter()
    last: dict[str, Any] = {}
    for write in writes:
        if not write.is_made or not write.is_on_target:
            continue
        where = f"{write.resource} {write.name}"
        state = _state(write)
        if write.verb not in ("patch", "update") or last.get(where) != state:
            counted[f"{write.verb} {write.resource} {mask(write.name)}"] += 1
        last[where] = state
    return dict(sorted(counted.items()))


def _state(write: Write) -> Any:
    """What people decide about an object, as it was after a write."""
    answer = write.response or {}
    metadata = answer.get("metadata") or {}
    # The controller's own annotation follows a write and is not part of it.
    notes = {key: text for key, text in (metadata.get("annotations") or {}).items() if "kubernetes.io/" not in key}
    return [metadata.get("uid"), metadata.get("labels"), notes, answer.get("spec")]


def unannounced(writes: list[Write]) -> list[str]:
    """Changes of targets that no status patch had announced, as Intended or as what is put back, before they began."""
    announced = [
        (write.ended, _named(write.request))
        for write in writes
        if write.is_status_of_incident and write.code in SUCCESS
    ]
    return [
        f"{write.verb} {write.resource} {write.name} at {write.began}"
        for write in writes
        if write.is_made
        and write.is_on_target
        and not any(ended <= write.began and _key(write) in found for ended, found in announced)
    ]


def gaps(writes: list[Write], agents: frozenset[str]) -> list[str]:
    """Where an isolation was away, or became another one, while status said that it is in force.

    It is in force from the end of the first status patch with its entry Done until somebody other than these operators
    changes the spec of the Incident or deletes it. ``writes``: everybody's, in the order in which they ended. What was
    asked for counts from when it was sent: it is acted upon a moment after it is stored, and has not ended by then.
    """
    there: dict[str, Any] = {}
    in_force: set[str] = set()
    found = []
    ends = min((write.began for write in writes if write.agent not in agents and _asks_for_an_end(write)), default="~")
    for write in writes:
        if not write.is_made:
            continue
        if write.began >= ends:
            break
        if write.is_status_of_incident:
            in_force |= _isolations(write.request)
            found += [f"{name} is in force since {write.ended}, and is not there" for name in in_force - there.keys()]
        if write.resource != "networkpolicies":
            continue
        state, before = None if write.verb == "delete" else _state(write), there.pop(write.name, None)
        if state is not None:
            there[write.name] = state
        if write.name in in_force and state != before:
            found.append(f"{write.verb} networkpolicies {write.name} at {write.began}, while it was in force")
    return found


def _asks_for_an_end(write: Write) -> bool:
    is_spec = isinstance(write.request, dict) and "spec" in write.request
    return write.resource == "incidents" and (write.verb == "delete" or (write.verb != "create" and is_spec))


def _isolations(patch: Any) -> set[str]:
    """The NetworkPolicies that a status patch says are in force."""
    status = next((each.get("value") for each in patch or () if each.get("path") == "/status"), None) or {}
    entries = status.get("ledger") or ()
    return {
        each["target"]["name"]
        for each in entries
        if each["state"] == "Done" and each["target"]["kind"] == "NetworkPolicy"
    }


def started_too_soon(writes: list[Write], lower: str, upper: str) -> list[str]:
    """Starts of a Deployment in whose past another one was not seen to be up, in the order in which writes ended."""
    found = []
    for write in writes:
        is_start = write.resource == "deployments/scale" and write.name == upper and (_replicas(write) or 0) > 0
        if not (write.is_made and is_start):
            continue
        past = [each for each in writes if each.ended <= write.began and each.is_made and each.name == lower]
        seen = next((each.response for each in reversed(past) if each.resource == "deployments/status"), None)
        if seen is None or not _is_up(seen):
            found.append(f"{upper} was started at {write.began}; {lower}: {(seen or {}).get('status')}")
    return found


def _replicas(write: Write) -> int | None:
    return ((write.response or {}).get("spec") or {}).get("replicas")


def _is_up(deployment: Any) -> bool:
    """Whether a Deployment's controller has seen all of its newest pods be ready."""
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    is_newest = status.get("observedGeneration") == deployment["metadata"]["generation"]
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    return is_newest and counts == {wanted} and wanted > 0


KINDS = {
    "pods": "Pod",
    "deployments": "Deployment",
    "statefulsets": "StatefulSet",
    "networkpolicies": "NetworkPolicy",
    "horizontalpodautoscalers": "HorizontalPodAutoscaler",
}
HELD = ("Intended", "Done")


def _key(write: Write) -> str:
    return f"{KINDS[write.resource.partition('/')[0]]}/{write.name}"


def _named(patch: Any) -> set[str]:
    """The targets of the entries that a status patch says are intended, or in force."""
    found: set[str] = set()
    for operation in patch or ():
        value = operation.get("value") if operation.get("path") == "/status" else None
        for entry in (value or {}).get("ledger") or ():
            if entry.get("state") in HELD:
                found.add(f"{entry['target']['kind']}/{entry['target']['name']}")
    return found


def masker(run: str) -> Callable[[str], str]:
    """Puts a word for what is another one in each run: the run's own name, and names that are generated from it."""
    made = re.compile(rf"(incident-)?{re.escape(run)}(-[a-z]+)?(-[0-9a-f]{{8,10}})?(?![\w])")
    digest = re.compile(r"\b[0-9a-f]{64}\b")

    def word(found: re.Match[str]) -> str:
        return f"{found[1] or ''}RUN{found[2] or ''}{'-#' if found[3] else ''}"

    return lambda text: digest.sub("DIGEST", made.sub(word, text))
