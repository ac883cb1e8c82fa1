"""Where spans of requests, jobs and SQL go: OpenTelemetry, as the OTEL_* variables have it. Without them nothing of its
SDK is loaded, and nothing asks for it.
"""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol

from app.log import logger

_log = logger(__name__)
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL: Final = "http/protobuf"


class Tracing(Protocol):
    """`provider` is OpenTelemetry's TracerProvider, for what makes spans by itself."""

    provider: Any

    def traceparent(self) -> str | None:
        """Of the span that is current: what is done for it elsewhere belongs to it."""

    def job(
        self, name: str, *, traceparent: str | None, attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[None]:
        """The block is a span, below the one that asked for it."""

    def failed(self, code: str) -> None:
        """What the current span stands for has failed."""

    def queried(self, statement: str, seconds: float, error: BaseException | None, *, parameters: bool) -> None:
        """A statement ended just now. One that no request or job has asked is no span."""

    async def stop(self) -> None:
        """Sends what is left, for a few seconds at most."""


def of_environment() -> Tracing | None:
    """None where no spans are wanted, or cannot be sent: the log then says why."""
    if not _wanted(os.environ):
        return None
    protocol = _first(os.environ, _PROTOCOLS) or _PROTOCOL
    if protocol != _PROTOCOL:
        _log.warning("tracing_impossible", reason=f"spans are sent by {_PROTOCOL}, not {protocol}")
        return None
    try:
        from app.otel import exporting
    except ImportError:
        mend = "pip install 'apg-bf-tenant-admin[otel]'"
        _log.warning("tracing_impossible", reason="OpenTelemetry is not installed", mend=mend)
        return None
    return exporting()


def _wanted(variables: Mapping[str, str]) -> bool:
    if variables.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = variables.get("OTEL_TRACES_EXPORTER", "")
    return exporter == "otlp" or (not exporter and _first(variables, _ENDPOINTS) is not None)


def _first(variables: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((variables[name] for name in names if variables.get(name)), None)
