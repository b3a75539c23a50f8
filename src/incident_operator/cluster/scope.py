"""Lists of the namespaces that an operator looks after."""

from __future__ import annotations

from collections.abc import Sequence

from incident_operator.cluster.port import Cluster
from incident_operator.planning.plan import Manifest


async def list_within(
    cluster: Cluster,
    namespaces: Sequence[str],
    kind: str,
    *,
    label_selector: str = "",
    field_selector: str = "",
    metadata_only: bool = False,
) -> list[Manifest]:
    """All objects of a kind in these namespaces, or in all where none is named; raises what ``Cluster.list_all`` does.

    One request for each namespace that is named, for it may have no rights to ask for all.
    """
    found: list[Manifest] = []
    for namespace in namespaces or ("",):
        found += await cluster.list_all(
            kind,
            namespace=namespace,
            label_selector=label_selector,
            field_selector=field_selector,
            metadata_only=metadata_only,
        )
    return found
