"""RBAC rules as data: actions and checks declare them, Roles and tests are made from them."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Rule:
    """One RBAC rule that an action or a check needs, and why.

    ``group`` is "" for the core group; ``resources`` may name a subresource (``services/proxy``).
    """

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str = dataclasses.field(default="", compare=False)
    granted_by: str = dataclasses.field(default="", compare=False)
    """The file of ``manifests/responder`` that grants it to those who want it; empty: every responder has it."""
