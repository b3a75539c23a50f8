"""Events have names that the API server takes, whatever the Incident is called."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incident_operator.cluster.events import build

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""DNS-1123 subdomain (apimachinery ``util/validation``)."""
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def name_of(incident: str) -> str:
    meta = {"name": incident, "namespace": "shop", "uid": "u", "resourceVersion": "1"}
    about = {"apiVersion": "incident-operator.dev/v1alpha1", "kind": "Incident", "metadata": meta}
    made = build(about, "me", NOW, reason="Halted", message="words", warning=True, action="")
    return str(made["metadata"]["name"])


@pytest.mark.parametrize("end", ["-", ".", "-.", "a-b.c-"])
def test_a_long_name_is_not_cut_where_no_name_may_end(end: str) -> None:
    name = "a" * (200 - len(end)) + end + "b" * 40
    assert SUBDOMAIN.fullmatch(name_of(name))


@given(st.from_regex(SUBDOMAIN, fullmatch=True).filter(lambda name: len(name) <= 253))
def test_every_name_of_an_incident_makes_one_of_an_event(name: str) -> None:
    found = name_of(name)
    assert SUBDOMAIN.fullmatch(found)
    assert len(found) <= 253
