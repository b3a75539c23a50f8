"""What an alert says in our vocabulary: its labels route, its annotations parametrise.

An explicit word that cannot be understood is a problem that is told, never a guess. Annotation names
are snake_case because Prometheus takes them for label names (prometheus ``model/rulefmt``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Literal

from incident_operator.api.schema import DNS_LABEL, DNS_SUBDOMAIN, parse_duration
from incident_operator.signals.signal import Signal, cut

Kinds = Mapping[str, str]
KINDS: Kinds = {
    "deployment": "Deployment", "deploy": "Deployment", "statefulset": "StatefulSet", "sts": "StatefulSet",
    "daemonset": "DaemonSet", "ds": "DaemonSet", "pod": "Pod", "po": "Pod", "cronjob": "CronJob", "cj": "CronJob",
    "job": "Job", "cluster": "Cluster",
}  # fmt: skip
"""What ``incident_target`` may call a kind, as kubectl does."""
LABELLED: Kinds = {
    "deployment": "Deployment", "statefulset": "StatefulSet", "daemonset": "DaemonSet", "cronjob": "CronJob",
    "job_name": "Job", "replicaset": "ReplicaSet", "pod": "Pod",
}  # fmt: skip
"""Labels that name what an alert is about, the first that is there. Not ``job``: that is Prometheus' scrape job."""
SEVERITIES: Mapping[str, str] = {
    "sev-1": "SEV-1", "sev1": "SEV-1", "critical": "SEV-1", "page": "SEV-1", "emergency": "SEV-1", "fatal": "SEV-1",
    "sev-2": "SEV-2", "sev2": "SEV-2", "high": "SEV-2", "error": "SEV-2", "major": "SEV-2",
    "sev-3": "SEV-3", "sev3": "SEV-3", "warning": "SEV-3", "medium": "SEV-3", "minor": "SEV-3",
    "sev-4": "SEV-4", "sev4": "SEV-4", "info": "SEV-4", "low": "SEV-4", "none": "SEV-4",
}  # fmt: skip
UNSURE = "SEV-2"
"""What is assumed where nothing says how bad it is; unsure means higher."""
MOST_OBJECT_NAME = 253
TYPES = ("Security", "Outage", "Data", "Performance")
MODES = ("Observe", "Propose", "Enforce")
MOST_TARGETS = 32
MOST_HOLD_SECONDS = 24 * 3600
TITLE, DESCRIPTION = 200, 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Runbook:
    """A runbook as it is named; without a kind the namespace's own comes before the cluster's."""

    name: str
    kind: Literal["", "Runbook", "ClusterRunbook"] = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Meaning:
    """What one signal asks for; empty: it does not say."""

    namespace: str = ""
    runbook: Runbook | None = None
    targets: tuple[tuple[str, str], ...] = ()
    """Kind and name; a ReplicaSet, or a Pod that a label names, stands for what owns it."""
    is_owner_meant: bool = False
    severity: str = ""
    is_severity_unsure: bool = False
    """Whether it gives a severity that is no word of ours: then the higher one counts."""
    type: str = ""
    mode: str = ""
    hold_for: str = ""
    key: str = ""
    """What the alert itself says it is to be told apart by."""
    title: str = ""
    description: str = ""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What else a person is to know."""


class _Reading:
    """One signal while it is read."""

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self.problems: list[str] = []
        self.notes: list[str] = []

    def word(self, key: str) -> str:
        """An annotation without the space around it."""
        return self.signal.annotations.get(key, "").strip()

    def chosen(self, key: str, choice: tuple[str, ...]) -> str:
        """An annotation that is one of some words, in whatever case."""
        said = self.word(key)
        found = next((each for each in choice if each.lower() == said.lower()), "")
        if said and not found:
            self.problems.append(f"annotation {key} is {cut(said, 64)!r}; it may be {', '.join(choice)}")
        return found


def read(signal: Signal) -> Meaning:
    """What a signal asks for, with what of it could not be understood."""
    reading = _Reading(signal)
    targets, is_owner_meant = _targets(reading)
    severity, is_severity_unsure = _severity(reading)
    said = signal.annotations
    more = [said.get("description", "").strip(), said.get("runbook_url", "").strip()]
    return Meaning(
        namespace=_namespace(reading),
        runbook=runbook_named(reading.word("incident_runbook"), reading.problems, "annotation incident_runbook"),
        targets=targets,
        is_owner_meant=is_owner_meant,
        severity=severity,
        is_severity_unsure=is_severity_unsure,
        type=reading.chosen("incident_type", TYPES),
        mode=reading.chosen("incident_mode", MODES),
        hold_for=_hold_for(reading),
        key=cut(reading.word("incident_dedup_key"), 256),
        title=cut(" ".join(said.get("summary", "").split()), TITLE),
        description=cut("\n".join(each for each in more if each), DESCRIPTION),
        problems=tuple(reading.problems),
        notes=tuple(reading.notes),
    )


def runbook_named(said: str, problems: list[str], where: str) -> Runbook | None:
    """The runbook that a text names: NAME, Runbook/NAME or ClusterRunbook/NAME."""
    if not said:
        return None
    kind, slash, name = said.rpartition("/")
    if re.fullmatch(DNS_SUBDOMAIN, name) and len(name) <= MOST_OBJECT_NAME:
        if not slash:
            return Runbook(name)
        if kind == "Runbook":
            return Runbook(name, "Runbook")
        if kind == "ClusterRunbook":
            return Runbook(name, "ClusterRunbook")
    problems.append(f"{where} is {cut(said, 64)!r}; write it as NAME, Runbook/NAME or ClusterRunbook/NAME")
    return None


def on_alert(annotation: str, alert: str, problems: list[str]) -> Runbook | None:
    """The runbook that a workload's annotation (``alert=runbook,...``) has for an alert."""
    for pair in annotation.split(","):
        name, equals, runbook = pair.strip().partition("=")
        if equals and name.strip() == alert:
            return runbook_named(runbook.strip(), problems, "the workload's annotation on-alert")
    return None


def _namespace(reading: _Reading) -> str:
    """Where the Incident belongs: the annotation, else the label namespace, else exported_namespace."""
    said, labels = reading.word("incident_namespace"), reading.signal.labels
    own, exported = labels.get("namespace", ""), labels.get("exported_namespace", "")
    if not said and own and exported and own != exported:
        # A scrape without honor_labels: one of the two is the exporter's own, and nothing says which.
        reading.problems.append(
            f"labels namespace ({cut(own, 64)}) and exported_namespace ({cut(exported, 64)}) differ; "
            "say which is meant with the annotation incident_namespace"
        )
    found = said or own or exported
    if found and (not re.fullmatch(DNS_LABEL, found) or len(found) > 63):  # noqa: PLR2004 - as names are
        reading.problems.append(f"{cut(found, 64)!r} is not the name of a namespace")
        return ""
    return found


def _targets(reading: _Reading) -> tuple[tuple[tuple[str, str], ...], bool]:
    """What it is about, and whether what owns that is meant: a pod that is named outright is meant itself."""
    said = reading.word("incident_target")
    if said:
        found = [_target(each.strip(), reading) for each in said.split(",")[:MOST_TARGETS]]
        return tuple(dict.fromkeys(each for each in found if each is not None)), False
    labels = reading.signal.labels
    is_exported = not labels.get("namespace") and bool(labels.get("exported_namespace"))
    for label, kind in LABELLED.items():
        name = labels.get(f"exported_{label}" if is_exported else label, "")
        if name and len(name) <= MOST_OBJECT_NAME and re.fullmatch(DNS_SUBDOMAIN, name):
            # Who is attacked is one pod: its fellows are not, as far as Falco has seen.
            is_owner_meant = kind == "ReplicaSet" or (kind == "Pod" and reading.signal.source != "Falco")
            return ((kind, name),), is_owner_meant
    return (), False


def _target(said: str, reading: _Reading) -> tuple[str, str] | None:
    kind, slash, name = said.partition("/")
    found = KINDS.get(kind.lower())
    if slash and found and re.fullmatch(DNS_SUBDOMAIN, name) and len(name) <= MOST_OBJECT_NAME:
        return found, name
    kinds = ", ".join(sorted({each.lower() for each in KINDS.values()}))
    reading.problems.append(
        f"annotation incident_target is {cut(said, 64)!r}; write it as deployment/NAME, or several with commas; "
        f"kinds are {kinds}"
    )
    return None


def _severity(reading: _Reading) -> tuple[str, bool]:
    """The annotation, else the label; and whether there is one that is no word of ours."""
    said = reading.word("incident_severity")
    if said:
        found = SEVERITIES.get(said.lower(), "")
        if not found:
            reading.problems.append(f"annotation incident_severity is {cut(said, 64)!r}; it may be SEV-1 to SEV-4")
        return found, not found
    label = reading.signal.labels.get("severity", "").strip()
    found = SEVERITIES.get(label.lower(), "")
    if label and not found:
        reading.notes.append(
            f"label severity is {cut(label, 64)!r}, which is no severity that is known here: it is taken for {UNSURE}, "
            "or the runbook's if that is higher; say which is meant with the annotation incident_severity"
        )
    return found, bool(label) and not found


def _hold_for(reading: _Reading) -> str:
    said = reading.word("incident_hold_for")
    if not said:
        return ""
    try:
        # Its length first: what many numbers come to is more than Python counts.
        if len(said) <= 32 and 1 <= parse_duration(said).total_seconds() <= MOST_HOLD_SECONDS:  # noqa: PLR2004 - the CRD
            return said
    except (ValueError, OverflowError):
        pass
    reading.problems.append(f"annotation incident_hold_for is {cut(said, 64)!r}; write it as 90s or 2m, up to 24h")
    return ""
