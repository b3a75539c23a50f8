"""The IncidentLedger: what is too large for an Incident's status, or not for everybody's eyes; made by the operator."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from incident_operator.api.schema import Model, ObjectName, Text

PAGE_MOST = 700_000
"""Characters of all entries of one page; etcd takes 1.5 MiB an object."""


class StoredEntry(Model):
    """The long parts of one ledger entry."""

    key: Text
    """Step and key of the entry, as step/key."""
    content: Annotated[str, StringConstraints(max_length=PAGE_MOST)]
    """Its request, before and after, as one JSON object."""


class IncidentLedgerSpec(Model):
    """One page of an Incident's ledger, for one plan; it never changes."""

    incident: ObjectName
    """Name of the Incident it belongs to."""
    entries: Annotated[list[StoredEntry], Field(max_length=1000)]
    """The entries whose long parts are here."""
