"""Surveys a namespace for the blast radius: who is there, who depends on whom; as the Incident's ServiceAccount.

A list that may not be made is unknown, and said to be; it never counts as empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from incident_operator.actions import guards
from incident_operator.cluster.port import Reader
from incident_operator.engine.fresh import Fresh
from incident_operator.engine.reading import LIST_SECONDS
from incident_operator.faults import Stalled
from incident_operator.planning.blast import PodSeen, Survey
from incident_operator.planning.plan import Manifest
from incident_operator.planning.rights import Rule
from incident_operator.planning.rollouts import is_ready
from incident_operator.planning.selectors import is_finished, is_leaving, labels_of, workload_of

CONSUMERS_SECONDS = 30.0
"""Who names which Service changes with deployments only, and takes the longest to list."""
CONSUMERS = ("Deployment", "StatefulSet")

RULES = (
    Rule("", ("pods", "services"), ("list",), "tell how many pods a plan takes, and which Services keep none"),
    Rule("policy", ("poddisruptionbudgets",), ("list",), "tell which disruption budgets it touches"),
    Rule("autoscaling", ("horizontalpodautoscalers",), ("list",), "tell which autoscaler it touches"),
    Rule("apps", ("deployments", "statefulsets"), ("list",), "tell which workloads use the Services"),
)
"""What the responder needs for the blast radius; without it that is unknown, and a policy with limits refuses."""

Key = tuple[str, str]


class Surveyor:
    """Surveys of a moment ago, by namespace and ServiceAccount."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._surveys: Fresh[Key, Survey] = Fresh(LIST_SECONDS)
        self._texts: Fresh[Key, Mapping[str, str] | None] = Fresh(CONSUMERS_SECONDS)

    async def of(self, reader: Reader, namespace: str, account: str) -> Survey:
        """What is in the namespace, as that ServiceAccount may see it."""
        key = (namespace, account)
        return await self._surveys.get(key, lambda: self._survey(reader, key))

    async def _survey(self, reader: Reader, key: Key) -> Survey:
        namespace, unknown = key[0], list[str]()

        async def listed(kind: str) -> Sequence[Manifest]:
            try:
                return await reader.list(kind, namespace)
            except Stalled:
                unknown.append(kind)
                return ()

        pods, services, budgets, scalers, texts = await asyncio.gather(
            listed("Pod"),
            listed("Service"),
            listed("PodDisruptionBudget"),
            listed("HorizontalPodAutoscaler"),
            self._texts.get(key, lambda: _environments(reader, namespace)),
        )
        if texts is None:
            unknown.append("Deployment")
        selectors = {each["metadata"]["name"]: each["spec"].get("selector") or {} for each in services}
        return Survey(
            pods=[_seen(pod) for pod in pods if not is_finished(pod) and not is_leaving(pod)],
            services=selectors,
            budgets={each["metadata"]["name"]: _budget(each) for each in budgets},
            autoscalers={_target(each): each["metadata"]["name"] for each in scalers},
            consumers={name: _users(name, namespace, texts or {}) for name in selectors},
            unknown=tuple(sorted(unknown)),
        )


def _seen(pod: Manifest) -> PodSeen:
    return PodSeen(pod["metadata"]["name"], labels_of(pod), is_ready(pod), workload_of(pod), guards.mark_of(pod))


def _budget(raw: Manifest) -> tuple[Mapping[str, Any], int]:
    return raw["spec"].get("selector") or {}, (raw.get("status") or {}).get("disruptionsAllowed", 0)


def _target(raw: Manifest) -> str:
    ref = raw["spec"].get("scaleTargetRef") or {}
    return f"{ref.get('kind', '')}/{ref.get('name', '')}"


async def _environments(reader: Reader, namespace: str) -> Mapping[str, str] | None:
    """For each workload the values of its environment and its arguments in one text; never shown, only searched."""
    texts = {}
    for kind in CONSUMERS:
        try:
            found = await reader.list(kind, namespace)
        except Stalled:
            return None
        for each in found:
            texts[f"{kind}/{each['metadata']['name']}"] = " ".join(_values(each))
    return texts


def _values(workload: Manifest) -> Iterator[str]:
    spec = workload["spec"]["template"].get("spec") or {}
    for container in spec.get("containers") or ():
        yield from (str(each.get("value", "")) for each in container.get("env") or ())
        yield from (str(each) for each in (*(container.get("args") or ()), *(container.get("command") or ())))


def _users(service: str, namespace: str, texts: Mapping[str, str]) -> tuple[str, ...]:
    """Workloads that name a Service as a host: ``http://api:80``, ``api.shop.svc``, ``api``."""
    ends = (f"{service}.{namespace}", f"//{service}:", f"//{service}/", f"@{service}:", f"@{service}/")
    is_used: Callable[[str], bool] = lambda text: (  # noqa: E731 - one rule, used once
        any(end in text for end in ends)
        or any(word.removeprefix("http://").partition(":")[0] == service for word in text.split())
    )
    return tuple(sorted(who for who, text in texts.items() if is_used(text)))
