"""What the pages of docs/ tell people to paste, taken out of them as it is written."""

from __future__ import annotations

import re

from tests_support.cluster import ROOT


def blocks(page: str, language: str, *, section: str = "") -> list[str]:
    """The fenced blocks of a language on a page, or in one section of it (``## Title``) with its subsections."""
    text = (ROOT / f"docs/{page}.md").read_text()
    if section:
        _, found, rest = text.partition(f"\n## {section}\n")
        assert found, f"docs/{page}.md has no section {section}"
        text = rest.partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def the_one(found: list[str], having: str) -> str:
    """The one block that has a text."""
    (only,) = [each for each in found if having in each]
    return only


def put(text: str, **values: str) -> str:
    """The text with placeholders of the page replaced; each must be there, so that none is replaced in vain."""
    for old, new in values.items():
        assert old in text, f"the page has no {old} any more: {text}"
        text = text.replace(old, new)
    return text
