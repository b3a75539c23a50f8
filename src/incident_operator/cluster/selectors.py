"""LabelSelectors as the API takes them in a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def query_of(selector: Mapping[str, Any]) -> str:
    """A LabelSelector as text; an empty one selects everything, as in the API."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for each in selector.get("matchExpressions") or ():
        key, values = each["key"], ",".join(each.get("values") or ())
        match each["operator"]:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case _:
                parts.append(f"!{key}")
    return ",".join(parts)
