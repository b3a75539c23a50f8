"""What an incident's targets take with them, what they use, and why a rollout is believed to be the cause.

Pure. Who depends on whom is known from the survey that the blast radius is measured on; nothing is asked twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from incident_operator.planning.blast import MOST_NAMED, PodSeen, Survey, matches_labels
from incident_operator.planning.changes import MOST_KEPT, VERBS, Ranked, without_uid
from incident_operator.planning.plan import Manifest, Ref

ASKED = ("Pod", "Service", "Deployment")
"""Kinds without whose lists the answer is not whole (Deployment: nor are the consumers known)."""


def affected(targets: Sequence[Ref], workloads: Iterable[Manifest], survey: Survey) -> tuple[str, ...]:
    """The Services in front of the targets, those without a ready pod first, and the workloads that use them.

    A workload stands behind a Service if the labels of its pod template do, so that one without any pod is
    found, too; ``workloads`` are the targets' manifests. What could not be listed is said, never left out.
    """
    names = {f"{target.kind}/{target.name}" for target in targets}
    touched = set()
    for labels in _labels(targets, workloads, survey):
        seen = PodSeen("", labels, is_ready=False)
        touched |= {name for name, selector in survey.services.items() if selector and matches_labels(selector, seen)}
    states = sorted(_state(name, survey) for name in touched)
    services = [text for _, text in states]
    users = sorted(
        {f"{who} uses Service {name}" for name in touched for who in survey.consumers.get(name, ()) if who not in names}
    )
    unseen = [kind for kind in ASKED if kind in survey.unknown]
    unknown = [f"perhaps more: could not list {', '.join(unseen)}"] if unseen else []
    return (*_bounded(services, "Services"), *_bounded(users, "users"), *unknown)


def _labels(targets: Sequence[Ref], workloads: Iterable[Manifest], survey: Survey) -> Iterator[Mapping[str, str]]:
    """The labels of each target's pods."""
    aims = {without_uid(target) for target in targets}
    for each in workloads:
        meta = each["metadata"]
        if Ref(each["kind"], meta["name"], meta.get("namespace", "")) in aims:
            template = (each.get("spec") or {}).get("template") or {}
            yield (template.get("metadata") or {}).get("labels") or {}
    pods = {target.name for target in aims if target.kind == "Pod"}
    yield from (pod.labels for pod in survey.pods if pod.name in pods)


def _state(name: str, survey: Survey) -> tuple[tuple[bool, str], str]:
    """How a Service is, and where it stands in the list."""
    behind = [pod for pod in survey.pods if matches_labels(survey.services[name], pod)]
    ready = sum(pod.is_ready for pod in behind)
    if "Pod" in survey.unknown:
        return (True, name), f"Service {name}"
    if not ready:
        return (False, name), f"Service {name}: no pod is ready"
    return (True, name), f"Service {name}: {ready} of {len(behind)} pods ready"


def _bounded(texts: Sequence[str], what: str) -> list[str]:
    left = len(texts) - MOST_NAMED
    return [*texts[:MOST_NAMED], f"and {left} more {what}"] if left > 0 else list(texts)


def uses(template: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The ConfigMaps and Secrets that a pod template names, as (kind, name): mounted, in the environment, or to pull.

    Fields: core/v1 PodSpec ``volumes`` (configMap, secret, projected), ``imagePullSecrets``, and of every
    container ``env[].valueFrom`` and ``envFrom``.
    """
    return frozenset((kind, name) for kind, name in _named(template.get("spec") or {}) if name)


def _named(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for volume in spec.get("volumes") or ():
        yield "ConfigMap", (volume.get("configMap") or {}).get("name", "")
        yield "Secret", (volume.get("secret") or {}).get("secretName", "")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield "ConfigMap", (source.get("configMap") or {}).get("name", "")
            yield "Secret", (source.get("secret") or {}).get("name", "")
    yield from (("Secret", each.get("name", "")) for each in spec.get("imagePullSecrets") or ())
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        for source in container.get("envFrom") or ():
            yield "ConfigMap", (source.get("configMapRef") or {}).get("name", "")
            yield "Secret", (source.get("secretRef") or {}).get("name", "")
        for variable in container.get("env") or ():
            source = variable.get("valueFrom") or {}
            yield "ConfigMap", (source.get("configMapKeyRef") or {}).get("name", "")
            yield "Secret", (source.get("secretKeyRef") or {}).get("name", "")


def reason_for(ranked: Sequence[Ranked], target: Ref) -> str:
    """Why a rollback of the target is believed to help, or what speaks against it; empty if nothing is known.

    ``ranked`` is what ``changes.ranked`` made, the best first.
    """
    if not ranked:
        return ""
    best = ranked[0]
    aim, what = without_uid(target), best.happening.what
    if best.happening.kind == "Rollout" and without_uid(what) == aim:
        revision = f" (revision {best.happening.revision})" if best.happening.revision else ""
        return f"its rollout{revision} {best.when} is {_among(len(ranked))}"
    mine = next(
        (each for each in ranked if each.happening.kind == "Rollout" and without_uid(each.happening.what) == aim), None
    )
    than = f"its rollout {mine.when}" if mine else "a rollout: none of it was found"
    verb = VERBS.get(best.happening.kind, "changed")
    noun = {"rolled out": "rollout", "changed": "change"}.get(verb, "change")
    return f"a {noun} of {what.kind} {what.name} fits better ({best.why}) than {than}"


def _among(count: int) -> str:
    if count == 1:
        return "the only change found before it"
    more = " or more" if count >= MOST_KEPT else ""
    return f"the best-fitting of {count}{more} changes"
