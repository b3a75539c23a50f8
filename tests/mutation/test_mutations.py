"""Recipe R8: each property of each kind, in every way wrong, is refused by name or understood."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from incident_operator.api import crdgen
from mutation.api_server import Answer, ApiServer
from mutation.mutants import Mutant, mutants
from mutation.samples import seeds
from mutation.schemas import Kind, kinds, spelled
from tests_support.cluster import Kubectl

pytestmark = pytest.mark.cluster

KINDS = kinds()
MODELS = {kind.name: kind.spec for kind in crdgen.KINDS}
AS_THE_API_SERVER = {"Incident"}
"""Kinds whose models hold the CEL rules of the CRD, too; those of others leave them to the API server."""
LONGEST_SHOWN = 300
TOO_LARGE = 413
"""The whole object is too large for the API server, whichever field it is."""


@dataclasses.dataclass
class Asked:
    """One kind's seeds and mutants, with the API server's answers."""

    kind: Kind
    sound: list[tuple[Mapping[str, Any], Answer]] = dataclasses.field(repr=False)
    mutants: list[tuple[Mutant, Answer]] = dataclasses.field(repr=False)


@pytest.fixture(scope="module")
def api(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(kubectl.kubeconfig, tmp_path_factory.mktemp("login"))
    yield made
    made.close()


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def asked(request: pytest.FixtureRequest, api: ApiServer, kubectl: Kubectl) -> Asked:
    kind: Kind = request.param
    user = kubectl.json("auth", "whoami")["status"]["userInfo"]["username"]
    sound = seeds(kind, user)
    made = list(mutants(kind, sound))
    path = kind.path("default")
    return Asked(
        kind,
        list(zip(sound, api.try_all(path, sound), strict=True)),
        list(zip(made, api.try_all(path, [each.thing for each in made]), strict=True)),
    )


def told(cases: list[str]) -> str:
    return f"{len(cases)} of them:\n" + "\n".join(each[:LONGEST_SHOWN] for each in cases[:20])


def test_the_seeds_are_valid_and_every_property_is_mutated(asked: Asked) -> None:
    wrong = [f"{seed}: {answer.message}" for seed, answer in asked.sound if not answer.accepted]
    assert not wrong, told(wrong)
    covered = {each.way for each, _ in asked.mutants}
    assert covered == {each.way for each in asked.kind.properties()}
    print(f"{asked.kind.name}: {len(covered)} properties, {len(asked.mutants)} mutants,", end=" ")
    print(f"{sum(answer.accepted for _, answer in asked.mutants)} of them valid")


def test_a_mutant_is_accepted_or_refused_and_never_a_fault_of_the_server(asked: Asked) -> None:
    wrong = [f"{each}: {answer.code} {answer.message}" for each, answer in asked.mutants if answer.code >= 500]
    assert not wrong, told(wrong)
    assert any(answer.accepted for _, answer in asked.mutants)
    assert any(not answer.accepted for _, answer in asked.mutants)


def names_the_field(mutant: Mutant, answer: Answer) -> bool:
    """Whether a person can tell from the answer what to correct: the field, one below it, or its list or group."""
    place = spelled(mutant.way)
    for cause in answer.causes:
        field = cause.get("field", "")
        if field.startswith(place) or (field.count(".") and place.startswith((f"{field}.", f"{field}["))):
            return True
    named = [step for step in mutant.way if isinstance(step, str)]
    return named[-1] in answer.message


def test_a_refusal_names_the_field(asked: Asked) -> None:
    refused = [(each, answer) for each, answer in asked.mutants if not answer.accepted and answer.code != TOO_LARGE]
    wrong = [f"{each}: {answer.message}" for each, answer in refused if not names_the_field(each, answer)]
    assert not wrong, told(wrong)


def read_by_the_model(thing: Mapping[str, Any]) -> str:
    """Nothing if the model of the kind takes it as strict JSON, else what it says."""
    try:
        MODELS[thing["kind"]].model_validate_json(json.dumps(thing.get("spec")), strict=True)
    except ValidationError as fault:
        return str(fault)
    return ""


def has_null(thing: Any) -> bool:
    """In pydantic null is absence; the API server drops it only where there is a default."""
    if isinstance(thing, dict):
        return any(value is None or has_null(value) for value in thing.values())
    return isinstance(thing, list) and any(each is None or has_null(each) for each in thing)


def test_the_model_takes_what_the_api_server_takes(asked: Asked) -> None:
    if asked.kind.name not in MODELS:
        pytest.skip(f"{asked.kind.name} has no model")
    wrong = []
    for each, answer in asked.mutants:
        if answer.accepted and not has_null(each.thing):
            said = read_by_the_model(each.thing)
            if said:
                wrong.append(f"{each}: {said}")
    assert not wrong, told(wrong)


def is_left_to_the_server(kind: Kind, answer: Answer) -> bool:
    """Whether only a CEL rule of the CRD or a key that is there twice is what the API server has against it."""
    rules = set(_messages(kind.schema))
    return bool(answer.causes) and all(
        cause["reason"] == "FieldValueDuplicate" or any(rule in cause["message"] for rule in rules)
        for cause in answer.causes
    )


def _messages(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule.get("message", "")
        for child in schema.values():
            yield from _messages(child)


def test_the_model_refuses_what_the_api_server_refuses(asked: Asked) -> None:
    if asked.kind.name not in MODELS:
        pytest.skip(f"{asked.kind.name} has no model")
    wrong = []
    for each, answer in asked.mutants:
        if answer.accepted or answer.by_policy or has_null(each.thing) or read_by_the_model(each.thing):
            continue
        if asked.kind.name in AS_THE_API_SERVER or not is_left_to_the_server(asked.kind, answer):
            wrong.append(f"{each}: {answer.message}")
    assert not wrong, told(wrong)
