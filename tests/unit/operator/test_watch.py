from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from incident_operator.engine.keys import Key
from incident_operator.operator import watch
from incident_operator.operator.ear import Ear
from incident_operator.operator.queue import Urgency
from incident_operator.operator.supervisor import run_apart, supervise
from incident_operator.telemetry.metrics import Metrics

Until = Callable[..., Any]


class Configuration:
    """What a loaded kubernetes configuration says."""

    ssl_ca_cert = cert_file = key_file = username = password = proxy = None
    verify_ssl = True

    def __init__(self, host: str) -> None:
        self.host = host

    async def get_api_key_with_prefix(self, _name: str) -> str:
        return "Bearer the-token"


class Watching:
    """A running watch, and what it noticed."""

    def __init__(self, url: str) -> None:
        self.noticed: list[tuple[Key, Urgency | None]] = []
        self.ear = Ear()
        self.namespaces: tuple[str, ...] = ()
        self._url = url

    @property
    def names(self) -> list[str]:
        return [key.name for key, _ in self.noticed]

    async def load(self) -> Any:
        return Configuration(self._url)

    async def main(self, stop: asyncio.Event) -> None:
        def notice(key: Key, urgency: Urgency | None, _seen: Any) -> None:
            self.noticed.append((key, urgency))

        await watch.watch(notice, self.load, self.ear, self.namespaces, stop)


@contextlib.asynccontextmanager
async def running(job: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(job)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.fixture
async def watching(api: Any, until: Until) -> AsyncIterator[Watching]:
    made = Watching(api.url)
    async with running(run_apart(made.main, name="kopf")):
        await until(lambda: api.watches == 1)
        yield made


async def test_an_incident_is_noticed_by_name_and_urgency_and_kopf_writes_nothing(
    api: Any, watching: Watching, until: Until
) -> None:
    api.put("bad-deploy", severity="SEV-1")
    await until(lambda: watching.names == ["bad-deploy"])
    assert watching.noticed[0][0] == Key("shop", "bad-deploy")
    assert watching.noticed[0][1].rank == 0
    api.put("bad-deploy", severity="SEV-2")
    await until(lambda: len(watching.noticed) == 2)
    assert api.writes == []
    assert api.authorizations == {"Bearer the-token"}


async def test_closed_incidents_cost_nothing_but_their_end_is_noticed(
    api: Any, watching: Watching, until: Until
) -> None:
    api.put("old", phase="Resolved")
    api.put("new")
    await until(lambda: watching.names == ["new"])
    api.tell({"type": "DELETED", "object": api.incidents["old"]})
    await until(lambda: watching.names == ["new", "old"])


async def test_a_bookmark_shows_that_the_watch_is_alive(api: Any, watching: Watching, until: Until) -> None:
    await until(lambda: watching.ear.age_seconds() > 0.2)
    api.tell({"type": "BOOKMARK", "object": {"kind": "Incident", "metadata": {"resourceVersion": "999"}}})
    await until(lambda: watching.ear.age_seconds() < 0.1)
    assert watching.noticed == []


async def test_a_watch_that_is_cut_goes_on(api: Any, watching: Watching, until: Until) -> None:
    api.tell(None)
    await until(lambda: api.watches_begun == 2)
    api.put("after")
    await until(lambda: watching.names == ["after"])


async def test_only_the_namespaces_asked_for_are_watched(api: Any, until: Until) -> None:
    made = Watching(api.url)
    made.namespaces = ("shop",)
    async with running(run_apart(made.main, name="kopf")):
        await until(lambda: api.watches == 1)
    paths = {path for _, path in api.requests if path.endswith("/incidents")}
    assert paths == {"/apis/incident-operator.dev/v1alpha1/namespaces/shop/incidents"}


async def nothing() -> None:
    """There is nothing to prepare."""


@pytest.mark.parametrize("fault", ["error event", "gone"])
async def test_what_makes_kopf_end_is_survived_without_tracebacks(
    api: Any, until: Until, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch.quieten()
    made, metrics = Watching(api.url), Metrics()

    async with running(supervise(made.main, prepare=nothing, metrics=metrics)):
        await until(lambda: api.watches == 1)
        if fault == "gone":
            api.watch_status = 410
            api.tell(None)
        else:
            status = {"kind": "Status", "code": 500, "message": "etcdserver: no leader", "reason": "InternalError"}
            api.tell({"type": "ERROR", "object": status})
        await until(lambda: (metrics.registry.get_sample_value("incident_operator_kopf_restarts_total") or 0) >= 1)
        api.watch_status = 200
        await until(lambda: api.watches_begun == 2)
        api.put("after")
        await until(lambda: "after" in made.names)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("unknown", ["group", "version"])
async def test_what_discovery_does_not_know_yet_is_asked_for_again(
    api: Any, until: Until, unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    watch.quieten()
    made, metrics = Watching(api.url), Metrics()

    api.unknown = unknown
    async with running(supervise(made.main, prepare=nothing, metrics=metrics)):
        await until(lambda: (metrics.registry.get_sample_value("incident_operator_kopf_restarts_total") or 0) >= 1)
        assert api.watches_begun == 0
        api.unknown = ""
        await until(lambda: api.watches == 1)
        api.put("after")
        await until(lambda: "after" in made.names)
    told = capsys.readouterr().out
    assert "named nothing of incident-operator.dev/v1alpha1" in told
    assert "Traceback" not in told


async def test_stopping_takes_a_moment_only(api: Any, until: Until) -> None:
    made = Watching(api.url)
    task = asyncio.create_task(run_apart(made.main, name="kopf"))
    await until(lambda: api.watches == 1)
    task.cancel()
    async with asyncio.timeout(3):
        with pytest.raises(asyncio.CancelledError):
            await task
    await until(lambda: api.watches == 0)


def test_the_settings_keep_kopf_from_writing_and_from_killing_this_process() -> None:
    found = watch.settings()
    assert (found.posting.enabled, found.peering.standalone, found.scanning.disabled) == (False, True, True)
    assert found.process.ultimate_exiting_timeout is None
    assert (found.networking.request_timeout, found.networking.connect_timeout) == (10, 3)
    assert found.watching.inactivity_timeout == 70
    assert found.queueing.worker_limit is None


def test_what_kopf_says_of_the_connections_it_closes_on_its_way_out_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch.quieten()
    logger = logging.getLogger("kopf._core.reactor.observation")
    logger.error("Request attempt #1/5 failed; will retry: GET /apis -> ClientConnectionError('Connector is closed.')")
    logger.error("Request attempt #1/5 failed; TCP closed; will re-authenticate: GET /api/v1")
    logger.error("Request attempt #1/5 failed; will retry: GET /api/v1 -> TimeoutError()")
    assert [record.getMessage()[-14:] for record in caplog.records] == ["TimeoutError()"]


def test_of_failing_requests_one_line_in_half_a_minute_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    watch.quieten()
    watch.quieten()
    logger = logging.getLogger("kopf._cogs.clients.watching")
    for number in range(1, 6):
        logger.error("Request attempt #%s/5 failed; will retry", number)
    logger.error("something else")
    assert [record.getMessage() for record in caplog.records] == [
        "Request attempt #1/5 failed; will retry",
        "something else",
    ]
