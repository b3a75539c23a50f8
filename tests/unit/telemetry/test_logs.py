from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from incident_operator.telemetry import logs


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in logs.CHATTY}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_those_of_others_are_one_stream_of_one_form() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    with structlog.contextvars.bound_contextvars(incident="shop/bad-deploy"):
        structlog.stdlib.get_logger("incident_operator.work").info("Stepped the Incident", step="undo")
        logging.getLogger("kopf.objects").warning("Patching failed for %s", "x")
    ours, theirs = lines(stream)
    assert (ours["msg"], ours["step"], ours["logger"]) == ("Stepped the Incident", "undo", "incident_operator.work")
    assert (theirs["msg"], theirs["logger"], theirs["level"]) == ("Patching failed for x", "kopf.objects", "warning")
    assert {ours["incident"], theirs["incident"]} == {"shop/bad-deploy"}
    assert str(ours["ts"]).endswith("Z")


@pytest.mark.parametrize(("level", "heard"), [("info", False), ("debug", True), ("error", False)])
def test_the_chatter_of_kopf_is_heard_only_where_everything_is(*, level: str, heard: bool) -> None:
    stream = io.StringIO()
    logs.configure("json", level, stream)
    logging.getLogger("kopf.objects").info("Handler 'changed' succeeded.")
    assert bool(lines(stream)) is heard


def test_an_error_has_its_traceback_in_one_json_line() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    try:
        {}["the-cause"]
    except KeyError:
        structlog.stdlib.get_logger("x").exception("Could not step the Incident")
    (line,) = lines(stream)
    assert "the-cause" in str(line["exception"])
    assert "Traceback" in str(line["exception"])


def test_text_is_for_people_and_has_no_colors_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    logs.configure("text", "info", stream)
    structlog.stdlib.get_logger("x").info("Started", listen="http://127.0.0.1:8080")
    assert "Started" in stream.getvalue()
    assert "listen=http://127.0.0.1:8080" in stream.getvalue()
    assert "\x1b[" not in stream.getvalue()


@pytest.mark.parametrize(
    ("asked", "is_terminal", "form"),
    [(None, True, "text"), (None, False, "json"), ("json", True, "json"), ("text", False, "text")],
)
def test_the_form_is_what_was_asked_for_or_fits_who_is_looking(
    *, asked: str | None, is_terminal: bool, form: str
) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: is_terminal  # type: ignore[method-assign]
    assert logs.form_for(asked, stream) == form
