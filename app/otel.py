"""Spans by OpenTelemetry's SDK, which only app.tracing loads. Names are those of its semantic conventions."""

import asyncio
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Final
from urllib.parse import parse_qsl

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_SERVICE: Final = "apg-bf-tenant-admin"
# Seconds: a process that ends does not wait for a collector that is away.
_LAST_WORDS: Final = 3.0
# Characters: functions are longer, and the same each time.
_MOST_TEXT: Final = 4000
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'")
_W3C: Final = TraceContextTextMapPropagator()


class Otel:
    """A Tracing of its own provider: nothing of it is global, so that an application may bring its own."""

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        self._tracer = provider.get_tracer(_SERVICE)

    def traceparent(self) -> str | None:
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        return carrier.get("traceparent")

    @contextmanager
    def job(self, name: str, *, traceparent: str | None, attributes: Mapping[str, str | int]) -> Iterator[None]:
        parent = _W3C.extract({} if traceparent is None else {"traceparent": traceparent})
        with self._tracer.start_as_current_span(
            name,
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ):
            yield

    def failed(self, code: str) -> None:
        _fail(trace.get_current_span(), code)

    def queried(self, statement: str, seconds: float, error: BaseException | None, *, parameters: bool) -> None:
        asked = trace.get_current_span().get_span_context()
        if not (asked.is_valid and asked.trace_flags.sampled):
            return
        ended = time.time_ns()
        name = statement.split(maxsplit=1)[0].upper().rstrip(";")
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            start_time=ended - int(seconds * 1e9),
            attributes={
                "db.system.name": "postgresql",
                "db.operation.name": name,
                "db.query.text": _text(statement, parameters=parameters),
            },
        )
        if error is not None:
            _fail(span, getattr(error, "sqlstate", None) or type(error).__name__)
        span.end(ended)

    async def stop(self) -> None:
        ending = threading.Thread(target=self.provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _LAST_WORDS)


class _WithoutValues(SpanProcessor):
    """What the parameters of a request's query are set to is for the service alone: one of them is a confirmation."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        query = (span.attributes or {}).get("url.query")
        if isinstance(query, str):
            names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
            span.set_attribute("url.query", "&".join(f"{name}=REDACTED" for name in names))


def exporting() -> Otel:
    """To the collector that the OTEL_* variables name; they say how many spans are sampled, too."""
    provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(_WithoutValues())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Otel(provider)


def _resource() -> Resource:
    """What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say comes first."""
    named = Resource.create()
    try:
        own = Resource({SERVICE_VERSION: version(_SERVICE)})
    except PackageNotFoundError:
        own = Resource({})
    unnamed = str(named.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service")
    return own.merge(named).merge(Resource({SERVICE_NAME: _SERVICE} if unnamed else {}))


def _fail(span: trace.Span, code: str) -> None:
    span.set_attribute("error.type", code)
    span.set_status(StatusCode.ERROR)


def _text(statement: str, *, parameters: bool) -> str:
    """What has no parameters may have its values in its text."""
    text = statement.strip()[:_MOST_TEXT]
    return text if parameters else _LITERAL.sub("'?'", text)
