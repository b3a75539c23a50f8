"""Every label, annotation, finalizer and field manager of this project, in one file.

``docs/names.md`` lists them for people and is generated from here.
"""

from __future__ import annotations

from typing import Final

GROUP: Final = "incident-operator.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

FIELD_MANAGER: Final = "incident-operator"
"""Field manager of every write, and the reporting component of every Event."""

FINALIZER: Final = f"{GROUP}/release"
"""On an Incident: what it did is put back, or reported, before it goes."""

INSTALL_NAMESPACE: Final = "incident-operator"
"""Namespace that the shipped manifests install the operator into."""

OPERATOR_USER: Final = f"system:serviceaccount:{INSTALL_NAMESPACE}:{FIELD_MANAGER}"
"""User name of the operator as the shipped manifests install it: Incidents that alerts make are reported by it."""

APPROVER_POLICY: Final = "incident-operator-approver"
"""ValidatingAdmissionPolicy that compares an approver with who makes the request; no approval counts without it."""

RESPONDER: Final = "incident-responder"
"""Name of the ServiceAccount an Incident acts as where it names none."""

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
"""Label on every object made by the operator; the value is the field manager."""

INCIDENT_LABEL: Final = f"{GROUP}/incident"
"""Label on objects made for an Incident; the value is the Incident's name."""

INCIDENT_UID: Final = f"{GROUP}/incident-uid"
"""Label on objects made for an Incident; the value is the Incident's UID."""

SIGNAL: Final = f"{GROUP}/signal"
"""Label on an Incident that an alert made: names what it is about, so that a further alert about it joins it."""

FIRINGS: Final = f"{GROUP}/firings"
"""Annotation on an Incident that an alert made: which alerts it knows, and since when each fires, so that a repeated \
one finds it whatever has become of what it is about."""

ON_ALERT: Final = f"{GROUP}/on-alert"
"""Annotation on a workload: alertname=runbook, separated by commas; an alert about it that names no runbook has it."""

ON_ROLLOUT_FAILURE: Final = f"{GROUP}/on-rollout-failure"
"""Annotation on a workload: the runbook of the Incident that opens when its rollout exceeds its progress deadline."""

ON_CRASHLOOP: Final = f"{GROUP}/on-crashloop"
"""Annotation on a workload: the runbook of the Incident that opens when its pods crash again and again."""

ISOLATED: Final = f"{GROUP}/isolated"
"""Label on an isolated pod; the value is the UID of the Incident that isolates it."""

ROLLED_BACK_TO: Final = f"{GROUP}/rolled-back-to"
"""Annotation on a workload: digest of the pod template that an Incident went back to."""

ROLLED_BACK_BY: Final = f"{GROUP}/rolled-back-by"
"""Annotation on a workload: the Incident that went back, as namespace/name."""

VERIFIED_AT: Final = f"{GROUP}/verified-at"
"""Annotation on a ReplicaSet or ControllerRevision: since when it is known to be good (RFC 3339)."""

MARK_REVISIONS: Final = f"{GROUP}/mark-revisions"
"""Label "true" on a Namespace or a workload: good revisions in it are marked with verified-at."""

TIER: Final = f"{GROUP}/tier"
"""Label on a workload: database, api, bot, frontend or auxiliary."""

PROTECTED: Final = f"{GROUP}/protected"
"""Annotation or label "true" on a workload or pod: no Incident touches it."""

REQUESTED_AT: Final = f"{GROUP}/requested-at"
"""Annotation on an Incident: look again now, and try again what stalled; echoed in status."""
