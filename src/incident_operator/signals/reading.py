"""What the readers of webhooks share: a stranger's JSON, field by field, into texts that are fit to keep.

Whatever is wrong ends as one ``BadSignal`` that names the field and what it may be; no other
exception gets out, whatever the bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from incident_operator.signals.signal import MOST_NAME, MOST_URL, BadSignal, cut

MOST_SHOWN = 64
"""Characters of a wrong value, or of a key, that a message shows."""
MOST_DIGITS = 32
"""Digits of a whole number; Go writes a float without an exponent up to 21 of them (encoding/json)."""
MOST_COUNT = 2**63 - 1
"""The API server takes no larger whole number."""
FINGERPRINT = 16
"""Characters of a computed fingerprint, as many as Alertmanager's have."""
REPLACED = "\ufffd"
"""Stands where a character was that is not fit to keep."""
UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters but tab and line feed, and half surrogates: JSON can say them, UTF-8 cannot."""
RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
"""As Go writes it (time.RFC3339Nano): up to nine digits of a second, of which Python keeps six."""
LINK = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
FIRST_YEAR = 1970


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object that a body is."""
    try:
        found = json.loads(body.decode(), object_pairs_hook=_once, parse_int=_whole, parse_constant=_no_number)
    except BadSignal:
        raise
    except UnicodeDecodeError as error:
        raise BadSignal(f"body: byte {error.start} is not UTF-8, which JSON is written in") from error
    except RecursionError:
        raise BadSignal("body: its objects and lists are nested too deeply") from None
    except ValueError as error:
        raise BadSignal(f"body: is not JSON: {error}") from error
    return mapping(found, "body")


def wrong(where: str, found: Any, wanted: str) -> BadSignal:
    """What is to be raised for a field."""
    return BadSignal(f"{where}: {_said(found)} is not {wanted}")


def mapping(found: Any, where: str) -> dict[str, Any]:
    """A field that is an object."""
    if not isinstance(found, Mapping):
        raise wrong(where, found, "an object")
    return dict(found)


def items(found: Any, where: str) -> list[Any]:
    """A field that is a list."""
    if not isinstance(found, list):
        raise wrong(where, found, "a list")
    return found


def text(found: Any, where: str) -> str:
    """A field that is a text, fit to keep; empty where it is missing or null."""
    if found is None:
        return ""
    if not isinstance(found, str):
        raise wrong(where, found, "a text")
    return clean(found)


def texts(found: Any, where: str) -> dict[str, str]:
    """A field that is an object of texts, as labels and annotations are; empty where it is missing or null."""
    pairs = mapping({} if found is None else found, where)
    kept = {}
    for key, value in pairs.items():
        name = clean(key)
        if not isinstance(value, str):
            raise wrong(f"{where}.{cut(name, MOST_SHOWN)}", value, "a text")
        kept[name] = clean(value)
    return kept


def count(found: Any, where: str) -> int:
    """A field that is a whole number and not negative; 0 where it is missing or null."""
    if found is None:
        return 0
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= MOST_COUNT:
        raise wrong(where, found, f"a whole number from 0 to {MOST_COUNT}")
    return found


def moment(found: Any, where: str) -> datetime | None:
    """A field that is a time; None where it is missing, null, empty, or before 1970, as Go's zero time is."""
    if found is None or found == "":
        return None
    if not isinstance(found, str) or not RFC_3339.fullmatch(found):
        raise wrong(where, found, "an RFC 3339 time, such as 2024-05-06T07:08:09Z")
    try:
        at = datetime.fromisoformat(found.upper())
        return at.astimezone(UTC) if at.year >= FIRST_YEAR else None
    except (ValueError, OverflowError):
        raise wrong(where, found, "an RFC 3339 time that there is") from None


def since(found: Any, where: str) -> datetime:
    """A field that says since when an alert fires; there must be one."""
    at = moment(found, where)
    if at is None:
        raise wrong(where, found, "an RFC 3339 time since when the alert fires")
    return at


def clean(found: str) -> str:
    """A text that UTF-8 can say, with no control character but tab and line feed; nothing else of it changes."""
    return UNFIT.sub(REPLACED, found)


def title(found: str) -> str:
    """A name of one line; never empty."""
    return cut(" ".join(found.split()), MOST_NAME) or "alert"


def link(found: str) -> str:
    """A text that is a link to a web page, else empty: a link that was cut would lead nowhere."""
    return found if len(found) <= MOST_URL and LINK.fullmatch(found) and REPLACED not in found else ""


def fingerprint(parts: Sequence[Any]) -> str:
    """Names an alert by what does not change as long as it is the same one."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:FINGERPRINT]


def _said(found: Any) -> str:
    """A wrong value in a few words. A deep one is not written out: that would recurse again."""
    if isinstance(found, str):
        return repr(cut(clean(found), MOST_SHOWN))
    if isinstance(found, Mapping):
        return "an object"
    if isinstance(found, list | tuple):
        return "a list"
    return "nothing" if found is None else cut(clean(str(found).lower()), MOST_SHOWN)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are all different: of two, readers differ in which one they believe (RFC 8259, 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise BadSignal(f"body: the key {_said(twice)} is there twice in one object")
    return found


def _whole(digits: str) -> int:
    """A whole number. Python needs quadratic time for long ones."""
    if len(digits) > MOST_DIGITS:
        raise BadSignal(f"body: a whole number has more than {MOST_DIGITS} digits")
    return int(digits)


def _no_number(word: str) -> Any:
    """NaN and the infinities, which Python's parser takes and JSON does not have."""
    raise BadSignal(f"body: {word} is not a number of JSON")
