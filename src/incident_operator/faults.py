"""Everything that can go wrong, sorted by what the engine does next.

Fault
├── Waiting   come back later; nothing is wrong yet      -> Reconciling=True
├── Refused   a guard said no; a person may override it  -> Stalled=True, nothing was written
└── Stalled   retrying will not help; a person must act  -> Stalled=True

Conflict is a Waiting: somebody else wrote in between, so look again at once.
"""

from __future__ import annotations

from datetime import timedelta

SOON = timedelta(seconds=2)


class Fault(Exception):  # noqa: N818 - these are outcomes that have names of their own
    """A known outcome that is not success; carries the condition reason with it."""

    def __init__(self, reason: str, message: str) -> None:
        """Keep the reason (UpperCamelCase, stable: users match on it) beside the message for people."""
        super().__init__(message)
        self.reason = reason

    @property
    def message(self) -> str:
        """What could not be done to what, then why, then what a person can do about it."""
        return str(self)


class Waiting(Fault):
    """The world is not there yet; look again after ``delay``."""

    def __init__(self, reason: str, message: str, *, delay: timedelta = SOON) -> None:
        """Say how long it is not worth looking."""
        super().__init__(reason, message)
        self.delay = delay


class Conflict(Waiting):
    """An optimistic lock or a precondition failed: what we saw is no longer what is there."""

    def __init__(self, message: str) -> None:
        """Come back at once; the next look sees the new state."""
        super().__init__("Conflict", message, delay=timedelta(milliseconds=100))


class Refused(Fault):
    """A guard said no before anything was written."""


class Stalled(Fault):
    """Retrying will not help: a person has to change something."""


class NotFound(Stalled):
    """The object is not there."""

    def __init__(self, message: str) -> None:
        """Use the reason that says the target is gone."""
        super().__init__("NotFound", message)
