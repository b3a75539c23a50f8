"""What the proxy sees of a request, and the rules by which it spoils some."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

Action = Literal[
    "kill_before",  # the operator dies, and the API server never hears of the request
    "kill_applied",  # the request is carried out, and the operator dies before the answer
    "kill_answered",  # the operator dies with the answer just sent
    "status",  # an error instead of an answer: ``code``, and Retry-After: ``retry_after``
    "reset_before",  # the connection breaks, and the API server never hears of the request
    "reset_applied",  # the request is carried out, and the connection breaks
    "hang",  # nothing for ``seconds``, then the request goes on
    "hang_applied",  # the request is carried out at once, and its answer comes after ``seconds``
    "truncated",  # half of the JSON, as if that were all
    "torn",  # half of the answer, then the connection breaks
    "stale",  # the first answer that this very read has had since ``forget``
    "watch_cut",  # the stream ends without a word
    "watch_silent",  # nothing comes any more, bookmarks neither
    "watch_delayed",  # events come ``seconds`` late
    "watch_dropped",  # the event is left out
    "watch_replayed",  # the event comes three times
    "watch_error",  # an ERROR event with ``code``, and the stream ends
]
ALWAYS = 1 << 30
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}
VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
WATCH = re.compile(r"[?&]watch=(1|true)(&|$)")
"""A stream of events: kopf says ``true``, our own watches say ``1``."""
_PATH = re.compile(
    r"/(?:api|apis/(?P<group>[^/]+))/v[^/]+(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>.+))?)?"
)


@dataclasses.dataclass(frozen=True)
class Seen:
    """A request of the operator, without its body."""

    at: float
    method: str
    target: str
    """Path and query."""

    @property
    def is_watch(self) -> bool:
        return WATCH.search(self.target) is not None

    @property
    def is_write(self) -> bool:
        return self.method != "GET" and "dryRun=All" not in self.target

    @property
    def kind(self) -> str:
        """What it does to what: ``patch incidents/status``, ``dry-run create networkpolicies``, ``list pods``."""
        path, _, _ = self.target.partition("?")
        found = _PATH.fullmatch(path)
        if found is None:
            return f"get {path}"
        verb = VERBS.get(self.method, self.method.lower())
        if verb == "get" and not found["name"]:
            verb = "watch" if self.is_watch else "list"
        if "dryRun=All" in self.target:
            verb = f"dry-run {verb}"
        return f"{verb} {found['plural']}" + (f"/{found['sub'].partition('/')[0]}" if found["sub"] else "")


@dataclasses.dataclass
class Rule:
    """Spoils what it matches: not the first ``skip`` requests (or events of a watch), but the next ``count``."""

    action: Action
    method: str = ""
    path: str = ""
    """A pattern that is looked for in path and query."""
    kind: str = ""
    """``Seen.kind``, whole."""
    event: str = ""
    """Of a watch: only events of this type, as ``DELETED``."""
    watch: bool | None = None
    """Only watches, only all else, or both."""
    skip: int = 0
    count: int = 1
    code: int = 500
    retry_after: int | None = None
    seconds: float = 30.0
    is_over: bool = False
    """Whoever is made to hang need not any more."""
    matched: int = dataclasses.field(default=0, init=False)
    fired: int = dataclasses.field(default=0, init=False)
    missed: int = dataclasses.field(default=0, init=False)
    """How often it was its turn, but there was nothing to do it with: no earlier answer that could be given again."""

    @property
    def is_about_events(self) -> bool:
        return self.action.startswith("watch_")

    def concerns(self, seen: Seen) -> bool:
        """Whether a request is of the sort that it spoils."""
        if self.is_about_events and not seen.is_watch:
            return False
        if self.watch is not None and self.watch is not seen.is_watch:
            return False
        if self.kind and self.kind != seen.kind:
            return False
        return self.method in ("", seen.method) and re.search(self.path, seen.target) is not None

    @property
    def has_struck(self) -> bool:
        """Whether anything was spoilt."""
        return self.fired > self.missed

    @property
    def delay(self) -> float:
        """By how much it holds up what it spoils, each time."""
        return self.seconds if self.action.startswith("hang") else float(self.retry_after or 0)

    def take(self) -> bool:
        """Count one more that it concerns; whether this one is spoilt."""
        self.matched += 1
        if self.matched <= self.skip or self.fired >= self.count:
            return False
        self.fired += 1
        return True
