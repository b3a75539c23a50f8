"""Who may do what in a cluster in memory: RBAC as far as this program knows it, said in the API server's words."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from incident_operator.planning.rights import Rule

Right = tuple[str, str, str]
"""Group, resource (with its subresource: ``deployments/scale``), verb."""


def rights_of(rules: Iterable[Rule]) -> frozenset[Right]:
    """The single rights that rules give."""
    return frozenset((rule.group, what, verb) for rule in rules for what in rule.resources for verb in rule.verbs)


@dataclasses.dataclass(frozen=True, slots=True)
class Who:
    """An identity: a ServiceAccount, or the operator itself where it has no name."""

    namespace: str = ""
    service_account: str = ""

    def __str__(self) -> str:
        """As faults name it; empty for the operator."""
        return f"ServiceAccount {self.namespace}/{self.service_account}" if self.service_account else ""

    @property
    def user(self) -> str:
        """As the API server knows it."""
        return f"system:serviceaccount:{self.namespace}:{self.service_account}" if self.service_account else "operator"


class Rights:
    """What each identity may do; one that was never granted anything may do everything."""

    def __init__(self) -> None:
        """Everybody may do everything."""
        self._granted: dict[Who, frozenset[Right]] = {}

    def grant(self, who: Who, rights: Iterable[Right]) -> None:
        """From now on it may do this in its own namespace (the operator: in all), and nothing else."""
        self._granted[who] = frozenset(rights)

    def missing(self, who: Who, right: Right, namespace: str) -> str:
        """Why it may not, in the words of the API server; empty if it may."""
        granted = self._granted.get(who)
        if granted is None or (right in granted and who.namespace in ("", namespace)):
            return ""
        group, what, verb = right
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        return f'User "{who.user}" cannot {verb} resource "{what}" in API group "{group}" {where}'
