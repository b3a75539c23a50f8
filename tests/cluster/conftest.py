"""The real API server as the operator sees it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from incident_operator.cluster.connection import Connection, load
from incident_operator.cluster.gateway import ClusterGateway


@pytest.fixture
async def cluster(lab_kubeconfig: Path) -> AsyncIterator[ClusterGateway]:
    connection = Connection(await load(lab_kubeconfig, None))
    yield ClusterGateway(connection, instance="test")
    await connection.close()
