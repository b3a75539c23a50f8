"""One stream of log lines for us, kopf and aiohttp, as text for people or JSON for machines.

Messages are in Kubernetes' style: a capital, the past tense, no full stop, and the
particulars as keys and values.
"""

from __future__ import annotations

import logging
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

Format = Literal["json", "text"]
CHATTY = ("kopf", "aiohttp", "asyncio", "kubernetes", "urllib3")
"""Loggers of others that are heard from WARNING on, unless everything is asked for."""

SHARED: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    structlog.processors.StackInfoRenderer(),
)
"""What every line goes through, whoever wrote it."""


def formatter(form: Format, *, colors: bool = False) -> structlog.stdlib.ProcessorFormatter:
    """The formatter of one of the two forms."""
    last: list[Processor]
    if form == "json":
        last = [
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(default=str),
        ]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=colors, timestamp_key="ts", exception_formatter=_plain)]
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=SHARED,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )


_plain = structlog.dev.plain_traceback


def configure(form: Format, level: str, stream: TextIO) -> None:
    """Send every log line of the process to one stream, from this level on (``debug``, ``info`` ...)."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter(form, colors=form == "text" and stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def form_for(asked: str | None, stream: TextIO) -> Format:
    """The form asked for; else text where a person is looking, and JSON where nobody is."""
    if asked == "json" or (asked is None and not stream.isatty()):
        return "json"
    return "text"
