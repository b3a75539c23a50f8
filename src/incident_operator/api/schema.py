"""The ground the models stand on: strict, camelCase, every text bounded, durations as Flux writes them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

DURATION = r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h))+$"
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

Duration = Annotated[str, StringConstraints(pattern=DURATION, max_length=32)]
Label = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
ObjectName = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
Text = Annotated[str, StringConstraints(max_length=2048)]
Word = Annotated[str, StringConstraints(max_length=128)]
Json = Annotated[str, StringConstraints(max_length=262144)]
LabelMap = Annotated[dict[str, Annotated[str, StringConstraints(max_length=63)]], Field(max_length=32)]
Instant = Annotated[str, StringConstraints(max_length=32)]

DAY_SECONDS = 24 * 3600
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> timedelta:
    """``90s``, ``1h30m``, ``500ms``: the pattern that Flux and node-healthcheck-operator use; ValueError otherwise."""
    if not re.fullmatch(DURATION, text):
        raise ValueError(f"{text!r} is not a duration: write it as 500ms, 90s, 5m or 1h30m")
    parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)", text)
    return timedelta(seconds=sum(float(number) * UNITS[unit] for number, unit in parts))


class Model(BaseModel):
    """A part of a kind: unknown fields are refused, nothing changes once it is read."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class Rule(BaseModel):
    """A CEL rule with the message that a person gets; goes to x-kubernetes-validations."""

    rule: str
    message: str = ""
    message_expression: str = ""
    field_path: str = ""

    def as_schema(self) -> JsonDict:
        """As the CRD holds it."""
        told: dict[str, JsonValue] = {
            "rule": self.rule,
            "message": self.message,
            "messageExpression": self.message_expression,
            "fieldPath": self.field_path,
        }
        return {key: value for key, value in told.items() if value}


def validated_by(*rules: Rule) -> JsonDict:
    """The ``json_schema_extra`` of a model that these CEL rules hold."""
    return {"x-kubernetes-validations": [rule.as_schema() for rule in rules]}


def between(field: str, low: str, high: str) -> Rule:
    """A duration lies between two others, or is not given."""
    return Rule(
        rule=f"!has(self.{field}) || (duration(self.{field}) >= duration('{low}') && "
        f"duration(self.{field}) <= duration('{high}'))",
        message=f"{field} must be between {low} and {high}",
    )


def one_of(members: tuple[str, ...]) -> Rule:
    """Exactly one of some fields is set."""
    listed = ", ".join(f"has(self.{member})" for member in members)
    return Rule(
        rule=f"[{listed}].filter(x, x).size() == 1",
        message=f"exactly one of {', '.join(members)} is to be set",
    )


def chosen(model: Model, members: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """The one of some fields that is set, with what is in it."""
    told = model.model_dump(by_alias=True, exclude_none=True)
    return next((member, told[member]) for member in members if member in told)


def exactly_one(model: Model, members: tuple[str, ...]) -> None:
    """Raise ValueError unless exactly one of some fields is set."""
    told = model.model_dump(by_alias=True, exclude_none=True)
    if sum(member in told for member in members) != 1:
        raise ValueError(f"exactly one of {', '.join(members)} is to be set")


def check_between(field: str, text: str | None, low: float, high: float) -> None:
    """Raise ValueError if a duration is given that does not lie between two numbers of seconds."""
    if text is not None and not low <= parse_duration(text).total_seconds() <= high:
        raise ValueError(f"{field} must be between {low:g}s and {high:g}s")
