"""Keeps the long and the confidential parts of a ledger in IncidentLedgers, so that status stays small and harmless.

A page is named after its content and never changes; the Incident owns it, so it goes with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from incident_operator.api import names
from incident_operator.api.ledger import PAGE_MOST
from incident_operator.cluster.port import Cluster
from incident_operator.engine import restoring
from incident_operator.engine.statuses import contents
from incident_operator.faults import NotFound, Stalled
from incident_operator.planning.plan import Manifest, Ref, Request, canonical, digest
from incident_operator.planning.record import Record

KIND = "IncidentLedger"
INLINE_MOST = 1024
"""Characters of request, before and after that stay in status."""
FEW = 50
"""A plan with more writes than this keeps even short ones in a page: they add up."""
PAGE_ENTRIES = 500

Pages = dict[str, dict[str, str]]


async def put_away(cluster: Cluster, incident: Manifest, record: Record, pages: Pages) -> dict[str, str]:
    """See to it that every long entry is in a page; the name of the page for each, by ``step/key``.

    ``pages`` are those known already, and gets the new ones.
    """
    where = {key: name for name, page in pages.items() for key in page}
    stored: dict[str, str] = {}
    new: dict[str, str] = {}
    known = restoring.stored_in(incident)
    inline_most = INLINE_MOST if len(record.entries) <= FEW else 0
    for entry in record.entries:
        key = f"{entry.step}/{entry.change.key}"
        parts = contents(entry.change)
        is_kept = key in known or entry.change.confidential
        if not is_kept and sum(map(len, parts.values())) <= inline_most:
            continue
        text = canonical(parts)
        if key in where and pages[where[key]][key] == text:
            stored[key] = where[key]
        elif key in known and known[key] not in pages:
            stored[key] = known[key]  # it is gone: what it held is not known any more
        else:
            new[key] = text
    for page in _packed(new):
        name = await _make(cluster, incident, page)
        pages[name] = page
        stored |= dict.fromkeys(page, name)
    return stored


def _packed(entries: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """As few pages as can be."""
    page: dict[str, str] = {}
    size = 0
    for key, text in entries.items():
        if page and (size + len(text) > PAGE_MOST or len(page) >= PAGE_ENTRIES):
            yield page
            page, size = {}, 0
        page[key] = text
        size += len(text)
    if page:
        yield page


async def _make(cluster: Cluster, incident: Manifest, page: Mapping[str, str]) -> str:
    """Make a page; one of the name that is there already is the same one."""
    meta = incident["metadata"]
    name = f"{meta['name'][:100].rstrip('.-')}-{digest([meta['uid'], dict(page)])[:12]}"
    body = {
        "apiVersion": names.API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": {names.MANAGED_BY: names.FIELD_MANAGER},
            "ownerReferences": [
                {"apiVersion": names.API_VERSION, "kind": "Incident", "name": meta["name"], "uid": meta["uid"]}
            ],
        },
        "spec": {
            "incident": meta["name"],
            "entries": [{"key": key, "content": text} for key, text in page.items()],
        },
    }
    try:
        await cluster.send(Request("create", Ref(KIND, name, meta["namespace"]), body))
    except Stalled as fault:
        if fault.reason != "AlreadyExists":
            raise
    return name


async def read(cluster: Cluster, incident: Manifest, pages: Pages) -> None:
    """Read the pages that an Incident's status names and that are not known yet; one that is gone stays unknown."""
    namespace = incident["metadata"]["namespace"]
    for name in sorted(set(restoring.stored_in(incident).values()) - set(pages)):
        try:
            page = await cluster.get(KIND, namespace, name)
        except NotFound:
            continue
        pages[name] = {each["key"]: each["content"] for each in page["spec"]["entries"]}


def contents_of(incident: Manifest, pages: Pages) -> dict[str, Mapping[str, str]]:
    """The long parts of an Incident's entries, by ``step/key``, as far as their pages are known."""
    found = {}
    for key, name in restoring.stored_in(incident).items():
        text = pages.get(name, {}).get(key)
        if text is not None:
            parts: Mapping[str, str] = json.loads(text)
            found[key] = parts
    return found
