"""What the model of an Incident takes, the API server takes, and nothing else: the CRD is made from the model."""

from __future__ import annotations

import asyncio
import copy
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from incident_operator.api import names
from incident_operator.api.incident import IncidentSpec
from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.gateway import ClusterGateway
from incident_operator.faults import Stalled
from incident_operator.planning.plan import Ref, Request
from tests_support.cluster import Kubectl

pytestmark = pytest.mark.cluster
# No null anywhere: where a field has a default the API server takes a null as if nothing were there; the model refuses.
TARGETS = [{"kind": kind, "name": "x"} for kind in ("Deployment", "StatefulSet", "DaemonSet", "Pod", "Service")]
LISTS = st.lists(st.sampled_from(TARGETS), max_size=3)
DURATIONS = ["1s", "0s", "500ms", "24h", "24h1s", "1h30m", "1.5m", "720h", "721h", "5", "", "-1s", "1d", 5]
LABELS = ["a", "b", "A", "a-", "a.b", "x" * 63, "x" * 64, "", 7]
NUMBERS = [-1, 0, 1, 3, 10000, 10001, 1.5, 1.0, "1", True]
WORDS = ["Enforce", "Observe", "Halt", "Never", "Required", "SEV-1", "Security", "nobody", "", 1]
ANY = st.one_of(
    st.sampled_from([*DURATIONS, *LABELS, *NUMBERS, *WORDS]),
    LISTS,
    st.just({}),
    st.just([]),
    st.booleans(),
    st.text("é\n x", max_size=3),
)


def fields(**given: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={key: st.sampled_from(value) for key, value in given.items()})


ACTION = st.one_of(
    st.builds(lambda more: {"rolloutUndo": more}, fields(toRevision=[1, 2])),
    st.builds(lambda number: {"scale": {"replicas": number}}, st.sampled_from([0, 1, 10000])),
    st.builds(lambda more: {"isolate": more}, fields(direction=["Both", "Ingress"])),
)
STEP = st.builds(
    lambda name, action, more, targets: {"name": name, **action, **more, **targets},
    st.sampled_from(["a", "b", "c"]),
    ACTION,
    fields(timeout=["1s", "10m"], onFailure=["Halt", "Release"], release=["Never"], stage=["s"], expiresAfter=["4h"]),
    st.fixed_dictionaries(
        {},
        optional={
            "targets": st.lists(st.sampled_from(TARGETS[:2]), min_size=1, max_size=2, unique_by=lambda one: one["kind"])
        },
    ),
)
CHECK = st.builds(
    lambda name, check, more: {"name": name, **check, **more},
    st.sampled_from(["a", "b"]),
    st.sampled_from([{"rollout": {}}, {"podsReady": {"minimum": 1}}, {"http": {"service": "w", "port": "80"}}]),
    st.one_of(fields(timeout=["1m", "24h"]), st.just({"for": "10s", "timeout": "10s"})),
)


def named(each: st.SearchStrategy[Any], least: int) -> st.SearchStrategy[Any]:
    return st.lists(each, min_size=least, max_size=2, unique_by=lambda one: one["name"])


def _later(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "name": f"{step['name']}-later"}


SPEC = st.builds(
    lambda targets, more, parts: {
        "title": "t", "type": "Outage", "severity": "SEV-2", "targets": targets, **more, **parts
    },
    st.lists(st.sampled_from(TARGETS[:2]), min_size=1, max_size=2, unique_by=lambda one: one["kind"]),
    fields(mode=["Enforce", "Propose"], release=[True], cancel=[True], expiresAfter=["4h"]),
    st.fixed_dictionaries(
        {"containment": named(STEP, 1)},
        optional={"remediation": named(STEP.map(_later), 0), "verification": named(CHECK, 0)},
    ),
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a spec, and one in each object where nothing is."""
    if isinstance(value, dict):
        yield (*path, "unknown")
        for key, item in value.items():
            yield (*path, key)
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield (*path, number)
            yield from places(item, (*path, number))


@st.composite
def specs(draw: Any) -> dict[str, Any]:
    """Specs that are good, or were before a place or two of them were changed."""
    spec: dict[str, Any] = copy.deepcopy(draw(SPEC))
    for _ in range(draw(st.integers(0, 2))):
        *way, last = draw(st.sampled_from(list(places(spec))))
        here: Any = spec
        for part in way:
            here = here[part]
        if draw(st.booleans()):
            here[last] = copy.deepcopy(draw(ANY))
        elif last != "unknown":
            del here[last]
    return spec


class Judge:
    """The API server, asked in a dry run."""

    def __init__(self, kubeconfig: Path) -> None:
        self.runner = asyncio.Runner()
        self.connection = Connection(self.runner.run(load(kubeconfig, None)))
        self.cluster = ClusterGateway(self.connection, instance="test")

    def says(self, spec: dict[str, Any]) -> str:
        """Why it refuses; empty if it takes it."""
        name = f"n-{secrets.token_hex(4)}"
        body = {"apiVersion": names.API_VERSION, "kind": "Incident", "metadata": {"name": name}, "spec": spec}
        request = Request("create", Ref("Incident", name, "default"), body)
        try:
            self.runner.run(self.cluster.send(request, dry_run=True))
        except Stalled as fault:
            # Admission policies are asked only about what the schema takes, and not about what the model knows.
            return "" if "ValidatingAdmissionPolicy" in fault.message else fault.message
        return ""


@pytest.fixture(scope="module")
def judge(lab_kubeconfig: Path, kubectl: Kubectl) -> Iterator[Judge]:
    made = Judge(lab_kubeconfig)
    yield made
    made.runner.run(made.connection.close())
    made.runner.close()


def model_says(spec: dict[str, Any]) -> str:
    try:
        IncidentSpec.model_validate_json(json.dumps(spec), strict=True)
    except ValidationError as fault:
        return str(fault)
    return ""


def agree(judge: Judge, spec: dict[str, Any]) -> None:
    server, model = judge.says(spec), model_says(spec)
    text = f"{json.dumps(spec)}\nAPI server: {server or 'takes it'}\nmodel: {model or 'takes it'}"
    assert bool(server) == bool(model), text


FEW = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(spec=specs())
def test_the_model_and_the_api_server_agree(judge: Judge, spec: dict[str, Any]) -> None:
    agree(judge, spec)


@pytest.mark.slow
@settings(FEW, max_examples=5000)
@given(spec=specs())
def test_the_model_and_the_api_server_agree_on_many(judge: Judge, spec: dict[str, Any]) -> None:
    agree(judge, spec)
