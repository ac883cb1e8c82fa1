"""Structured logging. Request, operation and tenant ids ride along in context variables."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

# Loggers that tell, at INFO, what our own request and job lines already say.
_QUIET = ("uvicorn.access", "uvicorn.error", "httpx", "httpcore", "pgqueuer", "asyncio")


# Of the request or the operation in which a line is written. One variable, and not structlog's, which are one for each
# id: they take a tenth of what the middleware costs.
_ids: Final[ContextVar[dict[str, str]]] = ContextVar("ids", default={})  # noqa: B039 -- never changed, only replaced


class _Lines:
    """Our own lines go straight to standard error. By way of the standard library's logging, which carries those of
    others, the line of a request costs more than twice as much (bench/middleware.py).
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def msg(self, line: str) -> None:
        """What cannot be written fails nobody's request: there is nowhere else to say so."""
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")

    debug = info = warning = error = critical = msg


def configure(level: str, *, log_format: str = "auto") -> None:
    """To standard error: JSON lines, or coloured ones where `auto` finds a terminal. `level` as BF_LOG_LEVEL."""
    # Plain tracebacks: the rich ones show local variables, and with them a DSN or a key.
    console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        with_ids,
        structlog.processors.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *renderer],
        logger_factory=_Lines,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "DEBUG" else logging.WARNING)


@contextmanager
def lines_about(**ids: str | None) -> Iterator[None]:
    """The block's lines have these ids, but for None, and those that about() adds until it ends."""
    token = _ids.set(_ids.get() | {name: value for name, value in ids.items() if value is not None})
    try:
        yield
    finally:
        _ids.reset(token)


def about(*, tenant_id: str | None = None, operation_id: str | None = None) -> None:
    """From here to the end of the request, its lines have these too, but for None."""
    found = {"tenant_id": tenant_id, "operation_id": operation_id}
    _ids.set(_ids.get() | {name: value for name, value in found.items() if value is not None})


def with_ids(_: object, __: str, line: EventDict) -> EventDict:
    """As a processor of structlog. What the line itself says stands."""
    return {**_ids.get(), **line}


def trace_id(traceparent: str | None) -> str | None:
    """The trace that a W3C traceparent belongs to."""
    return None if traceparent is None else traceparent.split("-")[1]


def logger(name: str) -> FilteringBoundLogger:
    bound: FilteringBoundLogger = structlog.get_logger(name)
    return bound
