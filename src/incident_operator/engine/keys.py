"""What names an Incident on the queue."""

from __future__ import annotations

import dataclasses
from datetime import timedelta


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Key:
    """An Incident by namespace and name: whatever UID is behind the name now."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """As kubectl users write it: ``shop/api-5xx``."""
        return f"{self.namespace}/{self.name}"


class Behind(timedelta):
    """Look again at once, but after everybody whose turn has come: what is left is book-keeping."""
